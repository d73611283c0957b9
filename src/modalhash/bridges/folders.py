"""New folders that appear whole or not at all, and files of many records."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from modalhash.errors import InputError, StorageError
from modalhash.files import create_part_folder, exchange, write_with

__all__ = ["as_json", "check_output", "new_folder", "write_lines", "write_parts"]


def check_output(output: Path, *, is_ours: Callable[[Path], bool], overwrite: bool) -> None:
    """Refuse a place where something is that must be kept; costs nothing.

    Args:
        output: a folder to be made; an empty one may be there.
        is_ours: says whether what is there is of the sort that may be replaced.
        overwrite: replace what is of that sort.

    Raises:
        InputError: if it is taken.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_ours(output):
        raise InputError(f"{output} exists already and holds something else: choose another folder")
    if not overwrite:
        raise InputError(
            f"{output} exists already: replace it with --overwrite, or choose another folder"
        )


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Lend a folder beside `output`, which takes its place when all went well.

    Raises:
        StorageError: if the file system refuses; what was there is kept.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part = create_part_folder(output)
        try:
            yield part
            if output.exists():
                exchange(part, output)
            else:
                part.rename(output)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"can't write {output}: {error.strerror or error}") from error


def as_json(value: Any) -> bytes:
    """Format a value as JSON in one line of UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines, which end in their own newlines, as one file; see `write_with`."""

    def write(file: IO[bytes]) -> None:
        for line in lines:
            file.write(line)

    write_with(path, write)


def write_parts(
    folder: Path,
    name: str,
    records: Iterable[bytes],
    *,
    n_bytes: int,
    head: bytes = b"",
    separator: bytes = b"",
    tail: bytes = b"",
) -> list[str]:
    """Write records into files of a limited size, a record never divided.

    Args:
        folder: where they go.
        name: of the files, with a place for their number ("bulk-{:05d}.ndjson").
        records: one or more.
        n_bytes: of a file; one record may be larger.
        head: begins each file.
        separator: stands between records.
        tail: ends each file.

    Returns:
        The names of the files.
    """
    left = iter(records)
    waiting = next(left, None)
    names: list[str] = []

    def fill(file: IO[bytes]) -> None:
        nonlocal waiting
        size = file.write(head)
        is_first = True
        while waiting is not None and (is_first or size + len(waiting) <= n_bytes):
            size += file.write(waiting if is_first else separator + waiting)
            waiting, is_first = next(left, None), False
        file.write(tail)

    while waiting is not None:
        names.append(name.format(len(names)))
        write_with(folder / names[-1], fill)
    return names
