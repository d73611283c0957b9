"""What a long job tells whoever watches it, and the watchers that need no package."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = [
    "Progress",
    "automatic",
    "format_values",
    "line_watcher",
    "rewriting_watcher",
    "silent",
]

SHOWN_VALUES: Final = 5
LINE_SECONDS: Final = 5.0
"""Seconds between two lines of a stage, where there is no terminal."""
REWRITE_SECONDS: Final = 0.2
"""Seconds between two states of a line that is written over."""
COLUMNS: Final = 79
BAR_WIDTH: Final = 20
VARIABLE: Final = "MODALHASH_PROGRESS"
"""An environment variable; 0 shows no progress unless a watcher is named."""


class Progress(Protocol):
    """A watcher of long jobs, called as they advance."""

    def __call__(
        self, stage: str, done: int, total: int, values: Mapping[str, float] | None = None
    ) -> None:
        """Take note of an advance.

        Args:
            stage: what is being done ("train", "image features"); a new name starts a new bar.
            done: units finished, from 0 to `total`.
            total: units in all.
            values: named numbers to show beside the bar (losses, rates).
        """


def silent(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
    """Show nothing."""


@dataclass
class Stages:
    """When each stage began, and with how much done, and when it was last shown, by a clock."""

    started: dict[str, float] = field(default_factory=dict)
    first_done: dict[str, int] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def begin(self, stage: str, now: float, done: int) -> None:
        """Take note of a stage; one that starts anew is a new one."""
        if stage in self.finished and not done:
            self.finished.discard(stage)
            self.started.pop(stage, None)
            self.first_done.pop(stage, None)
            self.shown.pop(stage, None)
        self.started.setdefault(stage, now)
        self.first_done.setdefault(stage, done)

    def write_time_left(self, stage: str, now: float, done: int, total: int) -> str:
        """Write how long a stage is likely to take still; "" before that is known.

        What was done at the first report took an unknown time, and counts for nothing.
        """
        seconds, finished = now - self.started[stage], done - self.first_done[stage]
        if seconds <= 0 or finished <= 0:
            return ""
        return f"{format_seconds(seconds * (total - done) / finished)} left"


def line_watcher(
    clock: Callable[[], float] = time.monotonic,
    *,
    write: Callable[[str], None],
    first_after: float = 0.0,
) -> Progress:
    """Make a watcher for logs and pipes: a line when a stage starts, every few seconds, and ends.

    Args:
        clock: gives seconds.
        write: takes a line.
        first_after: seconds for which a stage shows nothing; one that ends before shows nothing.
    """
    stages = Stages()

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        now, is_done = clock(), done >= total
        stages.begin(stage, now, done)
        is_first = stage not in stages.shown
        if is_first and now - stages.started[stage] < first_after:
            if is_done:
                stages.finished.add(stage)
            return
        is_due = is_first or now - stages.shown[stage] >= LINE_SECONDS
        if stage in stages.finished or not (is_done or is_due):
            return
        if is_done:
            stages.finished.add(stage)
            state = f"{total} done"
        elif not done:
            state = f"{total} to do"
        else:
            left = stages.write_time_left(stage, now, done, total)
            state = f"{done} of {total}" + (f", {left}" if left else "")
        stages.shown[stage] = now
        numbers = format_values(values)
        write(f"{stage}: {state}" + (f"; {numbers}" if numbers else ""))

    return watch


def rewriting_watcher(
    clock: Callable[[], float] = time.monotonic, *, write: Callable[[str], None]
) -> Progress:
    r"""Make a watcher for terminals and notebooks: one line a stage, which is written over.

    Args:
        clock: gives seconds.
        write: takes text; `\r` goes back to the beginning of the line.
    """
    stages, state = Stages(), {"open": ""}

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        now, is_done = clock(), done >= total
        stages.begin(stage, now, done)
        is_due = now - stages.shown.get(stage, -REWRITE_SECONDS) >= REWRITE_SECONDS
        if stage in stages.finished or not (is_done or is_due):
            return
        stages.shown[stage] = now
        if state["open"] not in ("", stage):
            write("\n")
        left = (
            f"{format_seconds(now - stages.started[stage])} in all"
            if is_done
            else stages.write_time_left(stage, now, done, total)
        )
        filled = round(BAR_WIDTH * min(done, total) / max(total, 1))
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        line = f"{stage[:20]:20} {bar} {done}/{total} {left} {format_values(values)}"
        write(f"\r{line[:COLUMNS]:{COLUMNS}}")
        state["open"] = stage
        if is_done:
            stages.finished.add(stage)
            write("\n")
            state["open"] = ""

    return watch


def write_line(text: str) -> None:
    """Write a line to standard error."""
    write_text(f"{text}\n")


def write_text(text: str) -> None:
    """Write text to standard error, at once; nothing where there is none."""
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


REWRITING: Final = rewriting_watcher(write=write_text)
LINES: Final = line_watcher(write=write_line, first_after=LINE_SECONDS)


def automatic(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
    """Show progress on standard error as it is: the default of the verbs.

    A terminal and a notebook show a line that is written over; elsewhere, jobs of more than some
    seconds write a line every few seconds. Processes that another one started for its work show
    nothing, nor does anything where the environment variable MODALHASH_PROGRESS is 0.
    """
    if os.environ.get(VARIABLE) == "0" or is_worker():
        return
    can_rewrite = is_notebook() or (sys.stderr is not None and sys.stderr.isatty())
    (REWRITING if can_rewrite else LINES)(stage, done, total, values)


def is_worker() -> bool:
    """Tell whether this process was started by `multiprocessing` for another one's work."""
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def is_notebook() -> bool:
    """Tell whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def format_values(values: Mapping[str, float] | None) -> str:
    """Format the first values."""
    listed = list((values or {}).items())[:SHOWN_VALUES]
    return "  ".join(f"{name} {value:.4g}" for name, value in listed)


def format_seconds(seconds: float) -> str:
    """Format a time as minutes and seconds, or hours and minutes.

    Example:
        >>> format_seconds(75), format_seconds(3700)
        ('1:15 min', '1:01 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
