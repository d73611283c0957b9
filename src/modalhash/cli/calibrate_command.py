"""`modalhash calibrate`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    cache_option,
    device_option,
    json_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress


@click.command("calibrate", epilog="Example: modalhash calibrate photos.index --split dev")
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection", required=False)
@click.option(
    "--split",
    help="Held-out items  [default: dev, validation or val, else items not seen in training].",
)
@click.option(
    "--relevance",
    type=click.Choice(["shared_label", "pair"]),
    help="What relevant means: a label in common, or the query's own item  [default: by label "
    "where there are labels].",
)
@click.option("--seed", default=0, show_default=True, help="Draws queries, items and halves.")
@split_options
@skip_bad_option
@cache_option
@json_option
@device_option
def command(run: str, collection: str | None, *, as_json: bool, **options: Any) -> None:
    """Estimate the probability of relevance at each distance, for the model in RUN.

    RUN may also be an index folder. Without COLLECTION, the one that the model was trained on is
    used: what it held out. The result is kept beside the model; hits then have `relevance`.
    """
    with show_progress() as progress:
        calibration = mh.calibrate(run, collection, progress=progress, **options)
    if as_json:
        echo_json(calibration.to_json())
        return
    from modalhash.cli.tables import print_calibration

    print_calibration(calibration)
    echo(f"kept in {run}")
