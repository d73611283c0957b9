"""`modalhash bench quantizers`."""

from collections.abc import Mapping
from typing import Any

import click

import modalhash as mh
from modalhash.cli.grid_options import typed_command, whole_numbers
from modalhash.cli.options import RESULT_FOLDER, NumberRange, cache_option
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress
from modalhash.options import QuantizerOptions

ARRAY_OPTIONS: Mapping[str, str] = {
    "queries": "--queries",
    "items": "--items",
    "query_labels": "--query-labels",
    "item_labels": "--item-labels",
    "query_targets": "--targets",
}
"""Arguments of `ArrayInputs` that are files, and their options."""


@click.command(
    "quantizers",
    short_help="Measure how many bytes an item needs.",
    epilog="Example: modalhash bench quantizers photos/ icons --encoder auto,offline-shared -o "
    "board",
)
@click.argument("collections", nargs=-1)
@click.option(
    "-o",
    "--output",
    required=True,
    type=RESULT_FOLDER,
    help="Folder for the table, the page and the result of every row.",
)
@click.option(
    "--sizes",
    default=",".join(map(str, QuantizerOptions.sizes)),
    show_default=True,
    callback=whole_numbers,
    help="Bytes an item.",
)
@click.option(
    "--seeds",
    default=",".join(map(str, QuantizerOptions.seeds)),
    show_default=True,
    callback=whole_numbers,
    help="Seeds; every row that depends on one is trained once with each.",
)
@click.option(
    "--quantizers",
    default=QuantizerOptions.quantizers,
    show_default=True,
    help="Names of rows parted by commas, or all.",
)
@click.option(
    "--encoder",
    default=QuantizerOptions.encoder,
    show_default=True,
    help="Of collections, or several parted by commas; auto is offline, or precomputed for "
    "collections of features.",
)
@click.option(
    "--split",
    default=QuantizerOptions.split,
    show_default=True,
    help="Queries of collections; auto is test if there is such a split, else dev.",
)
@click.option(
    "--space",
    default=QuantizerOptions.space,
    show_default=True,
    type=click.Choice(["auto", "features", "common"]),
    help="Float vectors of collections: the features, a common space that is learned from pairs, "
    "or auto: features where pictures and texts have one width.",
)
@click.option("--queries", metavar="FILE", help="Vectors that ask, of any program, with --items.")
@click.option("--items", metavar="FILE", help="Vectors that are stored, of any program.")
@click.option("--query-labels", metavar="FILE", help="Labels of the rows of --queries.")
@click.option("--item-labels", metavar="FILE", help="Labels of the rows of --items.")
@click.option(
    "--targets",
    "query_targets",
    metavar="FILE",
    help="Rows of --items, from 0, that are each query's own.",
)
@click.option("--pairs", is_flag=True, help="Row i of --items is query i's own.")
@click.option(
    "--metric",
    default="cosine",
    show_default=True,
    type=click.Choice(["cosine", "inner product", "euclidean"]),
    help="Of --queries and --items.",
)
@click.option(
    "--most-queries",
    "n_queries",
    type=click.IntRange(min=1),
    metavar="N",
    help="Take N queries of a side at most, evenly spaced.",
)
@click.option(
    "--shortlist",
    default=QuantizerOptions.shortlist,
    show_default=True,
    type=click.IntRange(min=50),
    help="Items that rescoring ranks again by int8 copies.",
)
@click.option(
    "--workers",
    default=QuantizerOptions.workers,
    show_default=True,
    type=click.IntRange(min=1),
    help="Trainings at once, each in a process of one thread.",
)
@click.option(
    "--memory",
    "memory_gib",
    type=NumberRange(min=0, min_open=True),
    metavar="GIB",
    help="Memory of all workers together; a row that needs more is left out, and says so.",
)
@cache_option
def command(
    collections: tuple[str, ...], *, pairs: bool, metric: str, output: str, **options: Any
) -> None:
    """Measure what quantisers of float vectors keep at 2 to 256 bytes an item, side by side.

    COLLECTIONS are folders and names as everywhere, or HDF5 files of ann-benchmarks and VIBE as
    they come. --queries and --items are files as `modalhash score` takes them. FAISS makes the
    rivals: int8, product and additive quantisers, RaBitQ, signs. Every byte counts that an item
    costs. Each result is kept as soon as it is there, so that the same command after a kill goes
    on.
    """
    from modalhash.benchmarking import ArrayInputs

    files = {name: options.pop(name) for name in ARRAY_OPTIONS}
    sources: list[Any] = list(collections)
    if files["queries"] is not None and files["items"] is not None:
        sources.append(ArrayInputs(**files, pairs=pairs, metric=metric))
    elif any(file is not None for file in files.values()) or pairs:
        raise click.UsageError("vectors of any program need both --queries and --items")
    if not sources:
        raise click.UsageError("name a collection or an HDF5 file, or give --queries and --items")
    with show_progress() as progress:
        board = mh.bench_quantizers(
            sources, output=output, progress=progress, command=typed_command(), **options
        )
    echo(board.table)
    echo(
        f"{board.folder / 'table.md'} holds this table, quantizers.html also plots, results.csv "
        "and results.json every number, about.json how they were made",
        err=True,
    )
    if board.has_failed:
        raise click.ClickException("no row was measured; the table says why")
