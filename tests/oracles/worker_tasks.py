"""Work for processes of a test: importable, as spawned processes need it."""

import os
import signal
import time
from pathlib import Path

__all__ = ["double_or_die", "note_time", "write_and_wait"]


def double_or_die(number: int) -> int:
    """Return twice the number; 13 kills its process."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def note_time(task: tuple[str, str]) -> tuple[str, int]:
    """Mark beginning and end in a folder; return the name and how many ran at the time."""
    folder, name = Path(task[0]), task[1]
    (folder / name).touch()
    time.sleep(0.3)
    running = len(list(folder.iterdir()))
    (folder / name).unlink()
    return name, running


def write_and_wait(path: str) -> None:
    """Write this process's number to a file, and sleep."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
