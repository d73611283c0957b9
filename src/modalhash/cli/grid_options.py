"""Options of commands that train many runs and print one table."""

import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import click

from modalhash.cli.options import (
    RESULT_FOLDER,
    NumberRange,
    Option,
    cache_option,
    read_changes,
    read_whole_number,
)
from modalhash.cli.terminal import echo
from modalhash.options import GridOptions

if TYPE_CHECKING:  # torch is loaded when runs begin
    from modalhash.benchmarking import Comparison

__all__ = ["grid_options", "print_comparison_table", "typed_command", "whole_numbers"]


def whole_numbers(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Read whole numbers such as `16,32`."""
    numbers = [read_whole_number(word.strip()) for word in text.split(",")]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        raise click.BadParameter(f"{text!r} isn't whole numbers such as 16,32", context, parameter)
    return tuple(dict.fromkeys(known))


GRID_OPTIONS: Mapping[str, Option[Any]] = {
    "output": click.option(
        "-o",
        "--output",
        required=True,
        type=RESULT_FOLDER,
        help="Folder for the table and for the result of every run.",
    ),
    "bits": click.option(
        "--bits", default=",".join(map(str, GridOptions.bits)), show_default=True,
        callback=whole_numbers, help="Lengths of codes.",
    ),
    "seeds": click.option(
        "--seeds", default=",".join(map(str, GridOptions.seeds)), show_default=True,
        callback=whole_numbers, help="Seeds; every row is trained once with each.",
    ),
    "split": click.option(
        "--split", default="auto", show_default=True,
        help="Queries; auto is test if there is such a split, else dev.",
    ),
    "encoder": click.option(
        "--encoder", default=GridOptions.encoder, show_default=True,
        help="auto is offline, or precomputed for collections of features.",
    ),
    "preset": click.option(
        "--preset", default=GridOptions.preset, show_default=True,
        help="Of methods that have it; others take their defaults.",
    ),
    "settings": click.option(
        "--set", "settings", multiple=True, callback=read_changes, metavar="KEY=VALUE",
        help="Change a setting of every method that has it; may be repeated.",
    ),
    "workers": click.option(
        "--workers", default=GridOptions.workers, show_default=True, type=click.IntRange(min=1),
        help="Trainings at once, each in a process of one thread.",
    ),
    "memory_gib": click.option(
        "--memory", "memory_gib", type=NumberRange(min=0, min_open=True), metavar="GIB",
        help="Memory of all workers together; fewer run at once where they would need more.",
    ),
    "cache": cache_option,
}  # fmt: skip
"""What all commands over many runs take, by the name of the parameter."""


def grid_options(
    command: Callable[..., Any], *, without: Collection[str] = ()
) -> Callable[..., Any]:
    """Add what all commands over many runs take, except options that a command defines itself."""
    for name, option in reversed(list(GRID_OPTIONS.items())):
        if name not in without:
            command = option(command)
    return command


def typed_command() -> str:
    """Quote the command line as it was typed, for files that say how they were made."""
    return shlex.join(["modalhash", *sys.argv[1:]])


def print_comparison_table(result: "Comparison") -> None:
    """Print the table of a comparison and where its files are.

    Raises:
        click.ClickException: if every run failed.
    """
    echo(result.table)
    echo(
        f"{result.folder / 'table.md'} holds this table, bench.html also plots, results.csv every "
        "number, about.json how they were made",
        err=True,
    )
    if result.has_failed:
        raise click.ClickException("every run failed; the table says why")
