"""Weights that travel inside installed packages: find the file, check its hash."""

from importlib.util import find_spec
from pathlib import Path

from modalhash.errors import MissingExtraError, ModelUnavailableError
from modalhash.files import sha256_of_file

__all__ = ["find_package_file"]


def find_package_file(
    package: str, file: str, *, sha256: str, distribution: str, extra: str, feature: str
) -> Path:
    """Find a file of an installed package without importing it, and check its content.

    Args:
        package: the import name of the package.
        file: path of the file inside the package, with forward slashes.
        sha256: what the file's SHA-256 must be, in hexadecimal.
        distribution: what pip calls the package, with its version ("name==1.0").
        extra: the extra of modalhash that brings it.
        feature: what needs it, as a reader would say it.

    Raises:
        MissingExtraError: if the package isn't installed.
        ModelUnavailableError: if the file is missing or its content differs.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(package, extra, feature)
    path = Path(spec.origin).parent / file
    way_out = f"pip install --force-reinstall '{distribution}'"
    if not path.is_file():
        raise ModelUnavailableError(f"{feature}: {path} is missing: {way_out}")
    digest = sha256_of_file(path)
    if digest != sha256:
        raise ModelUnavailableError(
            f"{feature}: {path} is not the file this version was made for (SHA-256 {digest}, "
            f"expected {sha256}): {way_out}"
        )
    return path
