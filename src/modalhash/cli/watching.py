"""Progress on stderr: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from modalhash.cli.terminal import echo, show_line
from modalhash.progress import Progress as Watcher
from modalhash.progress import silent

__all__ = ["show_progress"]

SHOWN_VALUES = 5
LINE_SECONDS = 5.0
"""Seconds between two lines of a stage, where there is no terminal."""
BAR_WIDTH, LONGEST_STAGE = 20, 20


@contextmanager
def show_progress(*, quiet: bool | None = None) -> Iterator[Watcher]:
    """Yield a watcher that shows progress on stderr; quiet shows nothing."""
    if quiet is None:
        context = click.get_current_context(silent=True)
        quiet = bool(context and context.find_root().obj and context.find_root().obj["quiet"])
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent if quiet else line_watcher()
        return
    with progress_bars(console) as bars:
        yield bar_watcher(bars)


def progress_bars(console: Console) -> Progress:
    """Make bars whose total and time left fit 80 columns; values take what room is left."""
    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=LONGEST_STAGE),
        ),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        TextColumn(
            "{task.fields[values]}",
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=console,
        refresh_per_second=5,
        expand=True,
    )


def bar_watcher(bars: Progress) -> Watcher:
    """Make a watcher that draws one bar a stage."""
    tasks: dict[str, TaskID] = {}

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(show_line(stage), total=total, values="")
        bars.update(tasks[stage], completed=done, total=total, values=format_values(values))

    return watch


def line_watcher(clock: Callable[[], float] = time.monotonic) -> Watcher:
    """Make a watcher for logs and pipes: a line when a stage starts, every few seconds, and ends.

    Args:
        clock: gives seconds.
    """
    started: dict[str, float] = {}
    printed: dict[str, float] = {}
    finished: set[str] = set()

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        now, is_done = clock(), done >= total
        is_due = stage not in printed or now - printed[stage] >= LINE_SECONDS
        if stage in finished or not (is_done or is_due):
            return
        if is_done:
            finished.add(stage)
            state = f"{total} done"
        elif stage not in printed:
            started[stage] = now
            state = f"{total} to do"
        else:
            left = (now - started[stage]) * (total - done) / max(done, 1)
            state = f"{done} of {total}, {format_seconds(left)} left"
        printed[stage] = now
        numbers = format_values(values)
        echo(f"{stage}: {state}" + (f"; {numbers}" if numbers else ""), err=True)

    return watch


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
