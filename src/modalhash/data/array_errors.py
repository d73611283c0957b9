"""The errors of files of arrays: what their readers raise, as errors of ours."""

import zipfile
import zlib
from pathlib import Path
from typing import Final

from modalhash.errors import CollectionError, Defect, ModalhashError

__all__ = ["ARRAY_ERRORS", "read_error", "unreadable_file"]

ARRAY_ERRORS: Final = (
    OSError, ValueError, TypeError, EOFError, LookupError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error, NotImplementedError,
)  # fmt: skip
"""What the readers raise for damaged files."""


def unreadable_file(path: Path, problem: str) -> CollectionError:
    """Describe why a file can't be read, as an error to raise."""
    return CollectionError([Defect("unreadable-file", str(path), problem)])


def read_error(path: Path, error: Exception) -> ModalhashError:
    """Turn any error of reading into `ArrayFileError`s; one of ours stays as it is."""
    if isinstance(error, ModalhashError):
        return error
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return unreadable_file(path, f"can't be read: {reason or type(error).__name__}")
