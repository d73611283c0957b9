"""`modalhash encode`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import cache_option, device_option, skip_bad_option, split_options
from modalhash.cli.watching import watched


@click.command("encode", epilog="Example: modalhash encode runs/photos photos/ -o photos.codes")
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="Folder.")
@click.option("--split", default="all", show_default=True, help="Items to encode.")
@split_options
@skip_bad_option
@cache_option
@device_option
def command(run: str, collection: str, *, output: str, **options: Any) -> None:
    """Write the codes of the pictures and texts of COLLECTION, made by the model in RUN.

    The folder receives image_codes.npy and text_codes.npy (packed bits, uint8), labels.npy where
    there are labels, and codes.json with ids, the number of bits and the bit order.
    """
    with watched() as progress:
        codes = mh.encode(run, collection, output, progress=progress, **options)
    click.echo(
        f"{codes.n_images} pictures and {codes.n_texts} texts, {codes.n_bits} bits each, "
        f"in {codes.folder}"
    )
