"""Install made packages the way pip leaves them: modules beside a `dist-info` folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ACME_POINTS", "add_package", "install_acme"]

ACME_POINTS: Mapping[str, Mapping[str, str]] = {
    "methods": {"pls": "acme_hashing.partial_least_squares:PartialLeastSquares"},
    "encoders": {"colours": "acme_hashing.colours:Colours"},
    "indexes": {"sorted-scan": "acme_hashing.sorted_scan:SortedScan"},
}


def add_package(site: Path, name: str, points: Mapping[str, Mapping[str, str]]) -> None:
    """Register the entry points of a package; its modules are put into `site` by the caller.

    Args:
        site: a folder on the path of modules.
        name: of the package; its version is 1.0.
        points: group, without "modalhash.", to name to `MODULE:CLASS`.
    """
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, named in points.items():
        lines += [f"[modalhash.{group}]", *(f"{key} = {path}" for key, path in named.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


def install_acme(site: Path) -> None:
    """Install the package of a method, an encoder and a kind of index."""
    shutil.copytree(Path(__file__).parent / "acme_hashing", site / "acme_hashing")
    add_package(site, "acme-hashing", ACME_POINTS)
