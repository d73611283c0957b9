"""`modalhash train`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    cache_option,
    changes,
    device_option,
    encoder_option,
    frame_grid_option,
    frames_option,
    overwrite_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.watching import watched
from modalhash.methods import METHODS


@click.command(
    "train",
    epilog="Example: modalhash train photos/ --method cfrh --bits 64 -o runs/photos",
)
@click.argument("collection")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="Run folder.")
@click.option("--method", default="cfrh", show_default=True, help=f"{', '.join(METHODS)}.")
@click.option("--bits", default=64, show_default=True, help="Bits of a code.")
@encoder_option
@click.option(
    "--tune-encoder",
    is_flag=True,
    help="Learn the encoder's weights too (clip, vit, bert); takes an accelerator.",
)
@frames_option
@frame_grid_option
@click.option("--split", default="train", show_default=True, help="Items to learn from.")
@click.option("--seed", default=0, show_default=True, help="Decides everything random.")
@click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="Named settings of the method, see its page; auto takes what suits the features.",
)
@click.option(
    "--hug",
    type=click.Choice(["contrastive", "same", "plus"]),
    help="Align content tokens too: by contrast, by the method's own loss, or by contrast with "
    "finer codes to rerank by.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=changes,
    metavar="KEY=VALUE",
    help="Change a setting of the method or of training; may be repeated.",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@overwrite_option
@split_options
@skip_bad_option
@cache_option
@device_option
def command(collection: str, *, bits: int, **options: Any) -> None:
    """Learn hash functions from the pairs of COLLECTION.

    COLLECTION is a built-in name (see `modalhash data list`), a folder of pictures with captions,
    or NAME:PATH. Features are made first and kept for the next run. The run folder receives the
    model, its card, the log, the splits and checkpoints; after a kill, the same command with
    --resume gives the same codes as an unbroken run.
    """
    with watched() as progress:
        model = mh.train(collection, n_bits=bits, progress=progress, **options)
    click.echo(
        f"{model.record.title}, {model.n_bits} bits: model in {options['output']} "
        f"(evaluate it: modalhash evaluate {options['output']})"
    )
