"""A limit on what a file's arrays may take in memory, so that a few kilobytes can't take gigabytes.

Compressed files (.npz, .mat, HDF5, Parquet) say how large their content is, and may say much more
than they hold. Readers ask a `ReadBudget` before they take memory.
"""

import os
from pathlib import Path
from typing import Final

from modalhash.errors import CollectionError, Defect, SettingError

__all__ = ["LIMIT_VARIABLE", "ReadBudget"]

LIMIT_VARIABLE: Final = "MODALHASH_MAX_EXPANDED_GB"
"""Environment variable that sets the gigabytes a file's content may take."""
DEFAULT_LIMIT: Final = 1 << 30
EXPANSION: Final = 100
"""A file's content may always take this many times the file's size."""


class ReadBudget:
    """Counts the memory that reading a file takes, and refuses more than its limit.

    The limit is 1 GiB, or 100 times the file's size where that is more; `LIMIT_VARIABLE` sets
    another one.

    Args:
        path: the file, or a folder, for which only the fixed limit counts.

    Raises:
        SettingError: if the variable isn't a positive number.
        OSError: if the file is gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_bytes = path.stat().st_size
        self.limit = max(fixed_limit(), EXPANSION * self.n_bytes)
        self.left = self.limit

    def spend(self, n_bytes: int, name: str) -> None:
        """Count memory that is about to be taken.

        Args:
            n_bytes: how much.
            name: what takes it (an array's name).

        Raises:
            CollectionError: if the file takes more than its limit.
        """
        self.left -= n_bytes
        if self.left < 0:
            problem = (
                f"takes more than {self.limit / 2**30:.3g} GB of memory, from a file of "
                f"{self.n_bytes:,} bytes: it is damaged or made to fill the memory. If you trust "
                f"it, set {LIMIT_VARIABLE} to the gigabytes it may take"
            )
            raise CollectionError([Defect("too-large-array", f"{self.path}:{name}", problem)])


def fixed_limit() -> int:
    """Read the limit that holds for files of any size, in bytes."""
    stated = os.environ.get(LIMIT_VARIABLE)
    if not stated:
        return DEFAULT_LIMIT
    try:
        limit = int(float(stated) * 2**30)
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise SettingError(f"{LIMIT_VARIABLE} is {stated!r}, expected a number of gigabytes")
    return limit
