"""`modalhash data convert`."""

import click

from modalhash.cli.options import RESULT_FOLDER, skip_bad_option, split_options
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress
from modalhash.data import Collection, convert_collection, load_collection


@click.command(
    "convert", epilog="Example: modalhash data convert flickr8k:downloads/flickr8k -o flickr8k"
)
@click.argument("collection")
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="New folder.")
@split_options
@skip_bad_option
def command(collection: str | Collection, *, output: str, skip_bad: bool) -> None:
    """Convert COLLECTION to a folder of pictures and captions, or to one of features.

    Pictures are copied, or written as PNG files if they aren't JPEG, PNG or WebP files; splits and
    labels go along. Features become .npy files with ids and splits beside them.
    """
    with show_progress() as progress:
        if not isinstance(collection, Collection):
            collection = load_collection(collection, skip_bad=skip_bad, progress=progress)
        conversion = convert_collection(collection, output, progress=progress)
    pictures = f" ({conversion.n_copied:,} pictures copied, {conversion.n_drawn:,} written as PNG)"
    echo(
        f"{conversion.n_items:,} items{pictures if collection.pictures is not None else ''}; "
        f"try: modalhash data info {conversion.source}"
    )
