"""`modalhash ablate`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.grid_options import grid_options, print_comparison_table, typed_command
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.watching import show_progress


@click.command(
    "ablate",
    cls=SectionedCommand,
    epilog="Example: modalhash ablate cfrh photos/ --bits 64 --seeds 0,1,2 -o ablations/cfrh",
)
@click.argument("method")
@click.argument("collections", nargs=-1, required=True)
@click.option(
    "--modules",
    is_flag=True,
    help="Only structural modules (graphs, filters, memories, label networks) of METHOD, several "
    "parted by commas, or all: each turned off, and each fed what belongs to other items.",
)
@grid_options
def command(method: str, collections: tuple[str, ...], *, modules: bool, **options: Any) -> None:
    """Turn off each named part of METHOD, one at a time, and print what that changes.

    The first row is the whole method on COLLECTIONS, the others are differences from it, paired by
    seed. Results are kept run by run, as `modalhash bench` keeps them.
    """
    with show_progress() as progress:
        result = mh.ablate(
            method,
            collections,
            modules=modules,
            progress=progress,
            command=typed_command(),
            **options,
        )
    print_comparison_table(result)
