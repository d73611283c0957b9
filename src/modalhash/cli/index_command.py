"""`modalhash index`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FOLDER,
    cache_option,
    device_option,
    file_metadata_option,
    largest_picture_option,
    overwrite_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command("index", epilog="Example: modalhash index runs/photos -o photos.index")
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection", required=False)
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="Folder.")
@click.option("--split", default="all", show_default=True, help="Items to index.")
@click.option(
    "--kind",
    help="auto, flat, ivf, mih, exact or milvus; see the page on kinds of index.  "
    "[default: auto, with --url milvus]",
)
@click.option("--url", help="Milvus server to keep the codes, such as http://localhost:19530.")
@click.option(
    "--recall",
    type=float,
    help="Share of the 10 nearest that auto and ivf should find.  [default: 0.95]",
)
@click.option(
    "--keep-features",
    default="none",
    show_default=True,
    type=click.Choice(["none", "int8"]),
    help="Keep the features of all items, a byte a number, to rerank searches by.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    show_default=True,
    help="Find out how probable relevance is at each distance, on held-out items.",
)
@file_metadata_option
@overwrite_option
@split_options
@skip_bad_option
@cache_option
@largest_picture_option
@device_option
def command(
    run: str,
    collection: str | None,
    *,
    output: str,
    **options: Any,
) -> None:
    """Make COLLECTION searchable by texts and pictures, with the model in RUN.

    RUN may also be offline-shared, the ready model, which needs no training and no captions.
    Without COLLECTION, what the model was trained on is indexed. It may also be a folder that
    `encode --shards` wrote. The index folder holds all that queries need, the model included.
    """
    with show_progress() as progress:
        index = mh.build_index(run, collection, output=output, progress=progress, **options)
    counts = " and ".join(f"{len(side)} {name}" for name, side in index.sides.items())
    echo(f"{counts}, {index.model.n_bits} bits each, in {output}")
    for name, stated in index.choices.items():
        echo(f"{name}: {stated}")
    if index.calibration is not None:
        echo(f"relevance: {index.calibration.stated}")
    echo(f'try: modalhash search {output} --text "..."')
