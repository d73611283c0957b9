"""`modalhash upgrade`."""

import click

import modalhash as mh
from modalhash.cli.options import device_option
from modalhash.cli.terminal import echo


@click.command(
    "upgrade",
    epilog="Example: modalhash upgrade photos.index runs/new",
)
@click.argument("index", type=click.Path(file_okay=False))
@click.argument("run", type=click.Path(file_okay=False))
@device_option
def command(index: str, run: str, *, device: str) -> None:
    """Give INDEX the newer model in RUN, without encoding its items again.

    RUN must have been trained with --compatible-with the run that made INDEX. From then on queries,
    and items that are added, are encoded by the newer model; the codes that are there stay.
    """
    with mh.upgrade_index(index, run, device=device) as upgraded:
        counts = " and ".join(f"{len(side):,} {name}" for name, side in upgraded.sides.items())
        encoder = upgraded.model.record.encoder["name"]
    echo(f"{counts} in {index}, not encoded again; queries are encoded by {run} ({encoder})")
