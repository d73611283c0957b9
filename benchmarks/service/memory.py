"""The memory that a server takes while it is measured."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watch_memory(process: int, *, seconds: float) -> Iterator[list[float]]:
    """Collect the resident memory of a process, once in so many seconds, in MiB."""
    seen: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(seconds):
            lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
            seen.extend(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()
