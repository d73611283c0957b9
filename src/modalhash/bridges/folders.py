"""New folders that appear whole or not at all, and files of many records."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from modalhash.errors import InputError
from modalhash.files import write_with

__all__ = ["as_json", "check_output", "write_lines", "write_parts"]


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
