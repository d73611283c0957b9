"""`modalhash compact`."""

import click

import modalhash as mh
from modalhash.cli.options import device_option
from modalhash.cli.terminal import echo


@click.command("compact", epilog="Example: modalhash compact photos.index")
@click.argument("index", type=click.Path(file_okay=False))
@device_option
def command(index: str, *, device: str) -> None:
    """Rewrite INDEX: deleted items leave the disk, and searching is as quick as in a new index.

    Searches in other processes go on meanwhile.
    """
    with mh.open_index(index, device=device) as opened:
        opened.compact()
        counts = " and ".join(f"{len(side)} {name}" for name, side in opened.sides.items())
    echo(f"{counts} in {index}")
