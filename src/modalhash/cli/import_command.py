"""`modalhash import`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FOLDER,
    overwrite_option,
    packed_codes_options,
)
from modalhash.cli.terminal import echo


@click.command("import", epilog="Example: modalhash import codes.npy --bits 64 -o codes.index")
@click.argument("codes", type=click.Path())
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="New folder.")
@packed_codes_options
@click.option(
    "--ids",
    metavar="FILE",
    help="Text file of one id a line, or .npy of integers or texts.  [default: 0, 1, ...]",
)
@click.option("--metadata", metavar="FILE", help="JSON-lines file, one object a code.")
@click.option(
    "--side",
    type=click.Choice(["images", "texts"]),
    help="Codes to import, of a folder that has both.  [default: images]",
)
@click.option("--kind", default="auto", show_default=True, help="See the page on kinds of index.")
@overwrite_option
def command(codes: str, *, output: str, **options: Any) -> None:
    """Make an index of CODES that any program made.

    CODES is a .npy file (or .npz, .mat, .h5, with a colon and the array's name where there are
    several) of -1 and +1, of 0 and 1, or of packed bytes; or a folder that `modalhash encode` or
    `modalhash export ... npy` wrote. The index has no model: search it with codes from Python, or
    export it. (Embeddings of clip-retrieval aren't codes but features: train on them, see the page
    on bridges.)
    """
    with mh.import_codes(codes, output, **options) as index:
        echo(f"{len(index):,} codes of {index.n_bits} bits in {output}")
