"""Progress on stderr: bars on a terminal, a line now and then elsewhere."""

from collections.abc import Iterator, Mapping
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
from modalhash.progress import format_values, line_watcher, silent

__all__ = ["show_progress"]

BAR_WIDTH, LONGEST_STAGE = 20, 20


@contextmanager
def show_progress(*, quiet: bool | None = None) -> Iterator[Watcher]:
    """Yield a watcher that shows progress on stderr; quiet shows nothing."""
    if quiet is None:
        context = click.get_current_context(silent=True)
        quiet = bool(context and context.find_root().obj and context.find_root().obj["quiet"])
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent if quiet else line_watcher(write=write_line)
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


def write_line(text: str) -> None:
    """Write a line of progress to standard error."""
    echo(text, err=True)
