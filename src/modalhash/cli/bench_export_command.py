"""`modalhash bench export`."""

from typing import Any

import click

from modalhash.cli.options import RESULT_FOLDER, cache_option, overwrite_option, split_options
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command(
    "export",
    short_help="Write the input files of a public program.",
    epilog="Example: modalhash bench export cirh photos/ -o cirh-inputs",
)
@click.argument("program")
@click.argument("collection")
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="New folder.")
@click.option(
    "--layout",
    metavar="NAME",
    help="Of the files: mirflickr or coco (cirh, ucch), pairs or blank-partner (ucmfh), flickr "
    "(dgcpn).  [default: the first]",
)
@click.option(
    "--split",
    default="auto",
    show_default=True,
    help="Queries; auto is test if there is such a split, else dev.",
)
@click.option(
    "--database",
    help="Split that is searched, or rest.  [default: database if there is one, else train]",
)
@click.option(
    "--encoder",
    default="auto",
    show_default=True,
    help="auto is offline, or precomputed for collections of features.",
)
@overwrite_option
@split_options
@cache_option
def command(program: str, collection: Any, *, output: str, **options: Any) -> None:
    """Write the input files that a public program reads, made from COLLECTION.

    PROGRAM is cirh, ucch, ucmfh or dgcpn. `python OUTPUT/run.py CHECKOUT --bits N` runs a checkout
    of it on these files, also without a GPU, and keeps its codes for `modalhash bench import`;
    the checkout isn't changed. Features, training items, queries and database are those that
    `modalhash bench COLLECTION` measures our methods on, with the first text of each picture.
    """
    from modalhash.benchmarking.public_programs import export_inputs

    with show_progress() as progress:
        exported = export_inputs(program, collection, output, progress=progress, **options)
    counts = ", ".join(f"{count:,} {name}" for name, count in exported.counts.items())
    echo(f"{exported.program}: {counts} items in {exported.folder}")
    for note in exported.notes:
        echo(f"note: {note}")
    echo(f"its command: {exported.command}")
    echo(
        f"run: git clone {exported.address} CHECKOUT; "
        f"python {exported.folder / 'run.py'} CHECKOUT --bits N"
    )
