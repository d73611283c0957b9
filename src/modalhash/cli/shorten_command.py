"""`modalhash shorten`."""

import click

import modalhash as mh
from modalhash.cli.options import RESULT_FOLDER, device_option
from modalhash.cli.terminal import echo


@click.command(
    "shorten",
    epilog="Examples: modalhash shorten runs/photos --bits 32 -o runs/photos-32; "
    "modalhash shorten photos.codes --bits 32 -o photos-32.codes",
)
@click.argument("source", type=click.Path(file_okay=False))
@click.option("--bits", required=True, type=click.IntRange(min=1), help="First bits to keep.")
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="New folder.")
@device_option
def command(source: str, *, bits: int, output: str, device: str) -> None:
    """Keep the first bits of the codes of SOURCE, a run folder or what `modalhash encode` wrote.

    The methods nested and nested-labelled learn codes of several lengths in one: those of 128 bits
    hold codes of 16, 32 and 64 as their first bits. Of a run, the new folder is a model for every
    other command; of codes, it holds the same as encoding with that model.
    """
    from modalhash.api.shortening import holds_codes

    if holds_codes(source):
        codes = mh.shorten_codes(source, output, n_bits=bits)
        echo(
            f"{codes.n_images} pictures and {codes.n_texts} texts, {codes.n_bits} bits each, "
            f"in {codes.folder}"
        )
        return
    model = mh.shorten(source, output, n_bits=bits, device=device)
    echo(
        f"{model.record.title}, the first {model.n_bits} of "
        f"{model.record.shortened_from['n_bits']} bits: model in {output}"
    )
