"""Progress bars on stderr."""

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

from modalhash.cli.terminal import echo, show_line
from modalhash.progress import Progress as Watcher
from modalhash.progress import silent

__all__ = ["watched"]

SHOWN_VALUES = 5


@contextmanager
def watched(*, quiet: bool | None = None) -> Iterator[Watcher]:
    """Yield a watcher that draws one bar a stage on stderr; quiet draws nothing."""
    if quiet is None:
        context = click.get_current_context(silent=True)
        quiet = bool(context and context.find_root().obj and context.find_root().obj["quiet"])
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent if quiet else plain_watcher()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, refresh_per_second=5) as bars:

        def watch(
            stage: str, done: int, total: int, values: Mapping[str, float] | None = None
        ) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(show_line(stage), total=total, values="")
            shown = shown_values(values)
            bars.update(tasks[stage], completed=done, total=total, values=shown)

        yield watch


def plain_watcher() -> Watcher:
    """Return a watcher for logs and pipes: one line when a stage starts and one when it ends."""
    seen: set[tuple[str, bool]] = set()

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        is_done = done >= total
        if (stage, is_done) not in seen:
            seen.add((stage, is_done))
            state = f"{total} done" if is_done else f"{total} to do"
            echo(" ".join([f"{stage}: {state}", shown_values(values)]).rstrip(), err=True)

    return watch


def shown_values(values: Mapping[str, float] | None) -> str:
    """Return the first values as text."""
    listed = list((values or {}).items())[:SHOWN_VALUES]
    return "  ".join(f"{name} {value:.4g}" for name, value in listed)
