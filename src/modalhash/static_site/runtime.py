"""onnxruntime-web, which computes the model in the browser: its npm package, found or fetched."""

import hashlib
import json
import logging
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modalhash.errors import InputError
from modalhash.files import open_regular_file, write_bytes
from modalhash.machine import user_cache_folder

__all__ = ["BY_NPM", "NO_RUNTIME", "TESTED_VERSION", "Runtime", "find_runtime", "runtime_folder"]

logger = logging.getLogger(__name__)

PACKAGE: Final = "onnxruntime-web"
TESTED_VERSION: Final = "1.30.0"
BY_NPM, NO_RUNTIME = "npm", "none"
MODULE: Final = "ort.wasm.bundle.min.mjs"
WASM: Final = "ort-wasm-simd-threaded.wasm"
LEAST_VERSION: Final = (1, 20)
FILES_SHA256: Final[Mapping[str, str]] = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of the tested version; what is fetched must be these."""
SECONDS: Final = 600.0
ADVICE: Final = (
    f"install it with `npm install {PACKAGE}@{TESTED_VERSION}` and give --runtime "
    f"node_modules/{PACKAGE}; or --runtime npm, which has npm fetch it; or --runtime none for a "
    "site that is searched from its own items, without words"
)


@dataclass(frozen=True)
class Runtime:
    """The files of onnxruntime-web that a site needs.

    Attributes:
        version: of the package.
        files: name to where it lies: the module, and its WebAssembly.
    """

    version: str
    files: Mapping[str, Path]

    @property
    def module(self) -> str:
        """Name of the module."""
        return MODULE

    @property
    def wasm(self) -> str:
        """Name of the WebAssembly file."""
        return WASM


def find_runtime(stated: Path | str | None) -> Runtime | None:
    """Find onnxruntime-web.

    Args:
        stated: the folder of the npm package, or one with a `node_modules` that has it; "npm" to
            have npm fetch the tested version into the user's cache, once; "none" for none. None
            looks in `node_modules` of the working folder.

    Returns:
        What was found; None for "none".

    Raises:
        InputError: if it isn't there, is too old, or npm can't fetch it; saying what can be done.
    """
    if stated == NO_RUNTIME:
        return None
    if stated == BY_NPM:
        return fetch_runtime()
    places = [Path(stated or "."), Path(stated or ".") / "node_modules" / PACKAGE]
    for place in places:
        if (place / "package.json").is_file() and read_package(place)[0] == PACKAGE:
            return open_package(place)
    where = "node_modules of this folder" if stated is None else str(stated)
    raise InputError(
        f"the site computes texts in the browser with {PACKAGE}, which isn't in {where}: {ADVICE}"
    )


def read_package(folder: Path) -> tuple[str, str]:
    """Read the name and version of an npm package; empty where it states none."""
    try:
        document = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        return str(document.get("name", "")), str(document.get("version", ""))
    except (OSError, ValueError, AttributeError):
        return "", ""


def open_package(folder: Path) -> Runtime:
    """Open the package in a folder.

    Raises:
        InputError: if it is too old, or lacks a file.
    """
    version = read_package(folder)[1]
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < LEAST_VERSION:
        raise InputError(
            f"{folder} is {PACKAGE} {version or 'of no version'}, expected "
            f"{'.'.join(map(str, LEAST_VERSION))} or newer: {ADVICE}"
        )
    files = {name: folder / "dist" / name for name in (MODULE, WASM)}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{folder} has no {path.name} in dist: {ADVICE}")
    return Runtime(version, files)


def runtime_folder() -> Path:
    """Name the folder of the user's cache that the tested version goes into."""
    return user_cache_folder() / f"{PACKAGE}-{TESTED_VERSION}"


def fetch_runtime() -> Runtime:
    """Have npm fetch the tested version into the user's cache, if it isn't there.

    Raises:
        InputError: if npm isn't installed, or can't fetch it.
    """
    places = {name: runtime_folder() / name for name in FILES_SHA256}
    if all(path.is_file() and is_tested(path) for path in places.values()):
        return Runtime(TESTED_VERSION, places)
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"npm isn't installed, so it can't fetch {PACKAGE}: {ADVICE}")
    name = f"{PACKAGE}@{TESTED_VERSION}"
    logger.info("fetching %s with npm", name)
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", name, "--silent", "--pack-destination", place]
        try:
            ended = subprocess.run(  # noqa: S603 - a fixed command
                command, check=False, capture_output=True, text=True, timeout=SECONDS, cwd=place
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"npm can't fetch {name} ({error}): {ADVICE}") from error
        archives = sorted(Path(place).glob("*.tgz"))
        if ended.returncode or not archives:
            reason = (ended.stderr or ended.stdout).strip().partition("\n")[0][:200]
            raise InputError(f"npm can't fetch {name} ({reason or 'no reason given'}): {ADVICE}")
        unpack_runtime(archives[0], places)
    return Runtime(TESTED_VERSION, places)


def unpack_runtime(archive: Path, places: Mapping[str, Path]) -> None:
    """Take the files that are needed out of the package's archive.

    Raises:
        InputError: if they aren't the ones of the tested version.
    """
    with tarfile.open(archive) as package:
        for name, path in places.items():
            try:
                entry = package.extractfile(f"package/dist/{name}")
            except KeyError:
                entry = None
            content = b"" if entry is None else entry.read()
            if hashlib.sha256(content).hexdigest() != FILES_SHA256[name]:
                raise InputError(
                    f"{name} that npm fetched isn't the one of {PACKAGE} {TESTED_VERSION}: check "
                    f"which registry npm uses; {ADVICE}"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)


def is_tested(path: Path) -> bool:
    """Tell whether a file in the cache is the tested version's."""
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == FILES_SHA256[path.name]
