"""One writer at a time: a lock of the operating system, which a kill releases."""

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from modalhash.errors import IndexLockedError, LockedError, StorageError
from modalhash.files import open_own_file
from modalhash.index.forking import renew_in_children

__all__ = ["LOCK_FILE", "ProcessLock", "WriterLock"]

LOCK_FILE = "writer.lock"
LOCKED_BYTE = 1 << 30
"""On Windows a byte is locked; it lies far behind what the file says."""


class ProcessLock:
    """A lock that one process at a time holds; a kill gives it back, and so does a fork's end.

    The file says who holds it; it stays when the lock is released, and then means nothing. Both
    kinds of lock work between processes of one machine; on network file systems they may not.

    Args:
        path: of the lock's file, made if missing.
        refusal: begins the error when somebody else has it ("... is being changed by").
        advice: ends that error.
        is_removed: remove the file when the lock is released.

    Raises:
        LockedError: if somebody else has it, naming the process.
        StorageError: if the file can't be written.
    """

    error = LockedError

    def __init__(
        self,
        path: Path,
        refusal: str,
        advice: str = "wait until it is done, or stop it",
        *,
        is_removed: bool = False,
    ) -> None:
        self.path, self.owner, self.is_removed = path, os.getpid(), is_removed
        self.file = self.open()
        try:
            lock_file(self.file)
            while not self.is_at_path():  # who had the lock has removed its file meanwhile
                os.close(self.file)
                self.file = self.open()
                lock_file(self.file)
        except OSError as error:
            holder = self.holder()
            self.close()
            raise self.error(f"{refusal} {holder}: {advice}") from error
        self.sign()
        renew_in_children(self)

    def open(self) -> int:
        """Open the lock's file.

        Raises:
            StorageError: if it can't be written.
        """
        try:
            return open_own_file(self.path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StorageError(
                f"can't write {self.path}: {error.strerror or error}; changing an index needs a "
                "folder that can be written to"
            ) from error

    def is_at_path(self) -> bool:
        """Tell whether the file that is locked is the one at the path."""
        try:
            return not self.is_removed or os.path.samestat(os.fstat(self.file), self.path.stat())
        except FileNotFoundError:
            return False

    def sign(self) -> None:
        """Write who holds the lock; what can't be written is left out."""
        holder = {
            "process": self.owner,
            "host": socket.gethostname(),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:3]]),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        try:
            os.ftruncate(self.file, 0)
            os.lseek(self.file, 0, os.SEEK_SET)
            os.write(self.file, json.dumps(holder).encode())
        except OSError:
            return

    def holder(self) -> str:
        """Say who holds the lock."""
        try:
            content: Any = json.loads(os.read(self.file, 4096))
            return (
                f"process {content['process']} on {content['host']} "
                f"({content['command']}, since {content['since']})"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that took it, and not one forked from it."""
        return self.file >= 0 and self.owner == os.getpid()

    def after_fork(self) -> None:
        """Let go of the lock in a forked child: it is the parent's, and ends with the parent."""
        self.close()

    def release(self) -> None:
        """Let another process in."""
        if self.is_mine and self.is_removed:
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file, which gives the lock back."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class WriterLock(ProcessLock):
    """The right to change an index folder.

    Args:
        folder: the index folder.

    Raises:
        IndexLockedError: if somebody else has it, naming the process.
        StorageError: if the lock file can't be written.
    """

    error = IndexLockedError

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / LOCK_FILE,
            f"{folder} is being changed by",
            "an index has one writer at a time; wait until it is done, or close it there",
        )


if sys.platform == "win32":
    import msvcrt

    def lock_file(file: int) -> None:
        """Lock an open file, or raise OSError at once."""
        os.lseek(file, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def lock_file(file: int) -> None:
        """Lock an open file, or raise OSError at once."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
