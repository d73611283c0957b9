"""`modalhash add`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    cache_option,
    columns_option,
    device_option,
    largest_picture_option,
    skip_bad_option,
)
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command("add", epilog="Example: modalhash add photos.index new-photos")
@click.argument("index", type=click.Path(file_okay=False))
@click.argument("collection")
@click.option("--split", default="all", show_default=True, help="Items to add.")
@click.option("--upsert", is_flag=True, help="Take the place of items that are there.")
@columns_option
@skip_bad_option
@cache_option
@largest_picture_option
@device_option
def command(index: str, collection: str, **options: Any) -> None:
    """Add COLLECTION to INDEX: its pictures and texts, or nothing.

    They are on disk when the command ends. Searches in other processes see them at once.
    """
    with show_progress() as progress:
        added = mh.add_to_index(index, collection, progress=progress, **options)
    echo(f"{added.images} images and {added.texts} texts added to {index}")
