"""`modalhash features`."""

import click

import modalhash as mh
from modalhash.cli.options import (
    cache_option,
    device_option,
    encoder_option,
    frame_grid_option,
    frames_option,
    largest_picture_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command("features", epilog="Example: modalhash features photos/ --encoder offline")
@click.argument("collection")
@encoder_option
@click.option("--split", default="train", show_default=True, help="Texts that `bow` is fitted on.")
@click.option("--tokens", is_flag=True, help="Keep content tokens too, which some methods need.")
@frames_option
@frame_grid_option
@click.option("--batch-size", type=click.IntRange(min=1), help="Items at once  [default: fits].")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue after a kill; this happens anyway, the flag is for scripts.",
)
@split_options
@skip_bad_option
@cache_option
@largest_picture_option
@device_option
def command(
    collection: str,
    *,
    encoder: str,
    split: str,
    tokens: bool,
    frames: int,
    frame_grid: int,
    batch_size: int | None,
    resume: bool,  # noqa: ARG001
    skip_bad: bool,
    cache: str | None,
    device: str,
) -> None:
    """Turn the pictures and texts of COLLECTION into features, and keep them.

    Other commands do this by themselves; this one does it ahead of time, for example on another
    machine. Finished parts of a killed run are reused.
    """
    with show_progress() as progress:
        features = mh.extract_features(
            collection,
            encoder,
            split=split,
            with_tokens=tokens,
            frames=frames,
            frame_grid=frame_grid,
            cache=cache,
            batch_size=batch_size,
            skip_bad=skip_bad,
            device=device,
            progress=progress,
        )
    for name, table in (("image", features.image), ("text", features.text)):
        shape = table.token_shape
        token_text = "" if shape is None else f", tokens up to {shape[0]} x {shape[1]}"
        echo(f"{name}: {len(table)} x {table.width} {table.dtype}{token_text}")
