"""New folders that appear whole or not at all, and what killed builds of them left."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modalhash.errors import LockedError, StorageError
from modalhash.files import create_part_folder, exchange, sync_folder
from modalhash.index.lock import ProcessLock

__all__ = ["new_folder"]

LOCK_FILE = ".building.lock"


def keep_nothing_else(folder: Path) -> None:
    """Do nothing: a folder keeps nothing outside of itself."""


@contextmanager
def new_folder(
    output: Path, *, discard: Callable[[Path], None] = keep_nothing_else
) -> Iterator[Path]:
    """Lend a folder beside `output`, which takes its place when all went well.

    The exchange is on disk when the block ends. Folders that killed builds of the same output left
    are removed.

    Args:
        output: the folder to make; what is there is replaced.
        discard: called for a folder that goes, to remove what it keeps elsewhere.

    Raises:
        StorageError: if the file system refuses; what was there is kept.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_parts(output, discard)
        part = create_part_folder(output)
        lock = ProcessLock(part / LOCK_FILE, f"{part} is being built by")
        try:
            yield part
            put_in_place(part, output)
        finally:
            discard(part)
            remove_part(part)
            lock.release()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"can't write {output}: {error.strerror or error}") from error


def put_in_place(part: Path, output: Path) -> None:
    """Put a finished folder in its place; what was there lies at `part` then, free to go."""
    if output.exists():
        with suppress(OSError):
            (output / LOCK_FILE).touch()  # what was there goes next, by another build if need be
        exchange(part, output)
    else:
        part.rename(output)
    sync_folder(output.parent)
    with suppress(FileNotFoundError):
        (output / LOCK_FILE).unlink()


def remove_dead_parts(output: Path, discard: Callable[[Path], None]) -> None:
    """Remove the folders that killed builds of an output left; living builds lock theirs."""
    pattern = re.compile(re.escape(f".{output.name}.") + r"[0-9a-f]{8}")
    for name in os.listdir(output.parent):  # noqa: PTH208 - names only
        part = output.parent / name
        if not pattern.fullmatch(name) or not (part / LOCK_FILE).is_file():
            continue
        with suppress(LockedError, StorageError):
            lock = ProcessLock(part / LOCK_FILE, f"{part} is being built by")
            discard(part)
            remove_part(part)
            lock.release()


def remove_part(part: Path) -> None:
    """Remove a folder, its lock file last, so that what a kill leaves of it is found again."""
    with suppress(OSError):
        for path in part.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK_FILE:
                path.unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)
