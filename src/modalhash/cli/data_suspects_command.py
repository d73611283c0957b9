"""`modalhash data suspects`."""

from pathlib import Path

import click

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FILE,
    cache_option,
    device_option,
    frame_grid_option,
    frames_option,
    json_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.tables import LEAST_PROBABILITY, SHOWN_SUSPECTS, print_suspects
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress
from modalhash.data import Collection


@click.command("suspects", epilog="Example: modalhash data suspects photos/ -o suspects.csv")
@click.argument("collection")
@click.option(
    "-k",
    "--k",
    type=click.IntRange(min=1),
    help=f"List the K most suspect items  [default: {SHOWN_SUSPECTS} at most, of those that are "
    f"wrong with a probability of {LEAST_PROBABILITY:.2f} or more; all items in FILE].",
)
@click.option(
    "-o",
    "--output",
    type=RESULT_FILE,
    metavar="FILE",
    help="Also write them as CSV to FILE.",
)
@click.option("--encoder", default="auto", show_default=True, help="Makes the features.")
@click.option(
    "--split", default="all", show_default=True, help="Items that are compared with each other."
)
@frames_option
@frame_grid_option
@split_options
@skip_bad_option
@cache_option
@device_option
@json_option
def command(
    collection: str | Collection,
    *,
    k: int | None,
    output: str | None,
    encoder: str,
    split: str,
    frames: int,
    frame_grid: int,
    skip_bad: bool,
    cache: str | None,
    device: str,
    as_json: bool,
) -> None:
    """List the items of COLLECTION whose picture and texts most likely don't belong together.

    Nothing is trained. What makes items alike is predicted from each picture and from its texts,
    without that pair itself; where both predictions agree no better than those of two items at
    random, the pair is suspect. The probability that it is wrong is estimated from how many pairs
    have such a score. An item's texts are judged together.
    """
    from modalhash.files import write_text

    with show_progress() as progress:
        result = mh.suspects(
            collection,
            k=k or SHOWN_SUSPECTS if as_json and not output else k,
            encoder=encoder,
            split=split,
            frames=frames,
            frame_grid=frame_grid,
            skip_bad=skip_bad,
            cache=cache,
            device=device,
            progress=progress,
        )
    if output is not None:
        write_text(Path(output), result.to_csv(), keeps_work=False)
    if as_json:
        echo_json(result.to_json())
        return
    print_suspects(result, k)
    if output is not None:
        echo(f"CSV: {output}")
