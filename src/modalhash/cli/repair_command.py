"""`modalhash repair`."""

import click

import modalhash as mh
from modalhash.cli.terminal import echo
from modalhash.cli.verify_command import count_items


@click.command("repair", epilog="Example: modalhash repair photos.index")
@click.argument("index", type=click.Path(file_okay=False))
def command(index: str) -> None:
    """Keep the undamaged part of INDEX, and report what was lost.

    What can be read of codes, ids, metadata and the write log is written anew. Copy the folder
    first if you may get a better copy of a damaged file: what is lost is then no longer in it.
    """
    repair = mh.repair_index(index)
    for loss in repair.losses:
        echo(loss)
    whole_items = f"{count_items(repair.n_items)} in {index}"
    echo(f"kept {whole_items}" if repair.losses else f"no damage: {whole_items}")
