"""Options of commands that train many runs and print one table."""

import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modalhash.cli.options import Option, cache_option, changes
from modalhash.cli.watching import watched
from modalhash.errors import MissingExtraError
from modalhash.files import write_json, write_text

if TYPE_CHECKING:  # torch is loaded when runs begin
    from modalhash.benchmarking.grid import Place, Task, Variant
    from modalhash.benchmarking.marks import Cell, Marks
    from modalhash.benchmarking.outcomes import Outcome

__all__ = ["deliver_tables", "grid_options", "run_tasks", "run_variants", "whole_numbers"]


def whole_numbers(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Read whole numbers such as `16,32`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() for word in words):
        raise click.BadParameter(f"{text!r} isn't whole numbers such as 16,32", context, parameter)
    return tuple(dict.fromkeys(map(int, words)))


GRID_OPTIONS: Mapping[str, Option[Any]] = {
    "output": click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(file_okay=False),
        help="Folder for the table and for the result of every run.",
    ),
    "bits": click.option(
        "--bits", default="16,32,64,128", show_default=True, callback=whole_numbers,
        help="Lengths of codes.",
    ),
    "seeds": click.option(
        "--seeds", default="0,1,2", show_default=True, callback=whole_numbers, help="A run each."
    ),
    "split": click.option(
        "--split", default="auto", show_default=True,
        help="Queries; auto is test if there is such a split, else dev.",
    ),
    "encoder": click.option(
        "--encoder", default="auto", show_default=True,
        help="auto is offline, or precomputed for collections of features.",
    ),
    "preset": click.option(
        "--preset", default="auto", show_default=True,
        help="Of methods that have it; others take their defaults.",
    ),
    "settings": click.option(
        "--set", "settings", multiple=True, callback=changes, metavar="KEY=VALUE",
        help="Change a setting of every method that has it; may be repeated.",
    ),
    "workers": click.option(
        "--workers", default=1, show_default=True, type=click.IntRange(min=1),
        help="Runs at once, each in a process of one thread.",
    ),
    "memory_gib": click.option(
        "--memory", "memory_gib", type=click.FloatRange(min=0, min_open=True), metavar="GIB",
        help="Of all runs at once; fewer run where they would need more.",
    ),
    "cache": cache_option,
}  # fmt: skip
"""What all commands over many runs take, by the name of the parameter."""


def grid_options(
    command: Callable[..., Any], *, without: Collection[str] = ()
) -> Callable[..., Any]:
    """Add what all commands over many runs take, but for some that a command has its own of."""
    for name, option in reversed(list(GRID_OPTIONS.items())):
        if name not in without:
            command = option(command)
    return command


def run_variants(
    places: "Sequence[Place]",
    variants: "Sequence[Variant]",
    *,
    bits: Sequence[int],
    seeds: Sequence[int],
    **options: Any,
) -> "tuple[list[Task], list[Outcome]]":
    """Run every variant everywhere, at every length, with every seed; return tasks and outcomes."""
    from modalhash.benchmarking.grid import Task

    tasks = [
        Task(place, variant, n_bits, seed)
        for place in places
        for variant in variants
        for n_bits in bits
        for seed in seeds
    ]
    return tasks, run_tasks(tasks, **options)


def run_tasks(
    tasks: "Sequence[Task]",
    *,
    output: str,
    workers: int,
    memory_gib: float | None,
    cache: str | None,
) -> "list[Outcome]":
    """Run tasks with a bar, and return their outcomes."""
    from modalhash.benchmarking.grid import run_grid

    with watched() as progress:
        return run_grid(
            tasks, output, workers=workers, memory_gib=memory_gib, cache=cache, progress=progress
        )


def deliver_tables(
    tasks: "Sequence[Task]",
    outcomes: "Sequence[Outcome]",
    table: "Callable[[Sequence[Outcome], Mapping[Cell, Marks]], str]",
    output: str,
) -> None:
    """Print the table; write it, a page, every number and how they came about to the folder.

    Args:
        tasks: that were run.
        outcomes: of them.
        table: makes the table of outcomes and of the marks of their differences.
        output: the folder.

    Raises:
        click.ClickException: if every run failed.
    """
    from modalhash.benchmarking.grid import describe_variants, read_values
    from modalhash.benchmarking.grid_page import write_grid_page
    from modalhash.benchmarking.marks import find_marks, marks_json
    from modalhash.benchmarking.outcomes import csv_text
    from modalhash.machine import describe_machine
    from modalhash.methods import method_class
    from modalhash.methods.base import Needs

    folder = Path(output)
    labelled = {
        task.variant.name
        for task in tasks
        if Needs.LABELS in method_class(task.variant.method).needs
    }
    marks = find_marks(read_values(tasks, folder), labelled=labelled)
    text = table(outcomes, marks)
    about = {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["modalhash", *sys.argv[1:]]),
        "machine": describe_machine(),
        "rows": describe_variants([task.variant for task in tasks]),
        "marks": marks_json(marks),
    }
    write_text(folder / "table.md", text)
    write_text(folder / "results.csv", csv_text(outcomes))
    write_json(folder / "about.json", about)
    made = f"{about['date']}, {about['command']}, modalhash {version('modalhash')}"
    try:
        write_grid_page(outcomes, marks, folder / "bench.html", made=made)
    except MissingExtraError as error:
        click.echo(f"no page with plots: {error}", err=True)
    click.echo(text)
    click.echo(
        f"{folder / 'table.md'} holds this table, bench.html also plots, results.csv every "
        "number, about.json how they were made",
        err=True,
    )
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed and len(failed) == len(outcomes):
        raise click.ClickException("every run failed; the table says why")
