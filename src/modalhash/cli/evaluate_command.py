"""`modalhash evaluate`."""

from typing import Any

import click

from modalhash.cli.measure_options import deliver, measure_options, output_options
from modalhash.cli.options import (
    cache_option,
    captions_option,
    device_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.watching import watched
from modalhash.metrics import Direction


@click.command(
    "evaluate", epilog="Example: modalhash evaluate runs/photos --split test --report report.html"
)
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection", required=False)
@click.option("--split", default="test", show_default=True, help="Items that are queries.")
@click.option(
    "--database",
    help="Split that is ranked for relevance by labels; 'rest' is all items but the queries  "
    "[default: database if there is such a split, else train].",
)
@captions_option
@click.option(
    "--direction",
    "directions",
    multiple=True,
    default=(Direction.IMAGE_TO_TEXT.value, Direction.TEXT_TO_IMAGE.value),
    show_default=True,
    type=click.Choice([one.value for one in Direction]),
    help="What asks and what answers; may be repeated.",
)
@measure_options
@click.option(
    "--against",
    multiple=True,
    metavar="RUN",
    type=click.Path(file_okay=False),
    help="Measure this run on the same queries too, and say which differences are real; may be "
    "repeated.",
)
@output_options
@split_options
@skip_bad_option
@cache_option
@device_option
def command(
    run: str,
    collection: str | None,
    *,
    against: tuple[str, ...],
    json_file: str | None,
    csv_file: str | None,
    page: str | None,
    full: bool,
    **options: Any,
) -> None:
    """Measure the model in RUN on COLLECTION.

    Without COLLECTION, it is measured on the one it was trained on. Labels rank the database for
    the queries of the split; pairs rank the split itself, where each query's partner is.
    """
    from modalhash.bench import evaluate_runs

    with watched() as progress:
        measured = evaluate_runs(
            [run, *against], collection, page=page, progress=progress, **options
        )
    deliver(
        measured.reports,
        measured.comparisons,
        json_file=json_file,
        csv_file=csv_file,
        page=page,
        full=full,
    )
