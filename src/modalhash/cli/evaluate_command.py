"""`modalhash evaluate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from modalhash.choices import Scoring
from modalhash.cli.measure_options import deliver, measure_options, output_options, trec_options
from modalhash.cli.options import (
    captions_option,
    run_options,
    split_options,
)
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress
from modalhash.metrics import Direction
from modalhash.search_request import RerankBy


@click.command(
    "evaluate",
    cls=SectionedCommand,
    epilog="Example: modalhash evaluate runs/photos --split test --report report.html",
)
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection", required=False)
@click.option("--split", default="test", show_default=True, help="Items that are queries.")
@click.option(
    "--database",
    help="Split that is ranked for relevance by labels; 'rest' is all items but the queries  "
    "[default: database if there is such a split, else train].",
)
@click.option(
    "--database-model",
    metavar="RUN",
    type=click.Path(file_okay=False),
    help="Former run that makes the codes of what is ranked, where RUN, or it, was trained with "
    "--compatible-with the other  [default: RUN].",
)
@captions_option
@click.option(
    "--direction",
    "directions",
    multiple=True,
    default=(Direction.IMAGE_TO_TEXT.value, Direction.TEXT_TO_IMAGE.value),
    show_default=True,
    type=click.Choice([direction.value for direction in Direction]),
    help="Modality of the queries and of the results; may be repeated.",
)
@measure_options
@click.option(
    "--scoring",
    default="both",
    show_default=True,
    type=click.Choice(["both", *(scoring.value for scoring in Scoring)]),
    help="What ranks items: 'asymmetric', where the query keeps its numbers, 'hamming', or both.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="RUN",
    type=click.Path(file_okay=False),
    help="Measure this run on the same queries too, and say which differences are real; may be "
    "repeated.",
)
@click.option(
    "--rerank",
    metavar="N",
    help="Reorder the N items nearest by Hamming distance: a number, 'auto' (5 %, between 500 and "
    "5000) or 'all'  [default: plain hashing].",
)
@click.option(
    "--rerank-by",
    default="auto",
    show_default=True,
    type=click.Choice([kind.value for kind in RerankBy]),
    help="What reorders them: 'fine', finer codes of models that learn them, which is 'auto'; "
    "'features' of both sides, where these have one width; 'relaxed', the query's numbers before "
    "the sign.",
)
@click.option(
    "--rerank-score",
    default="fused",
    show_default=True,
    type=click.Choice(["fused", "local"]),
    help="Order by hash codes and finer codes, or by finer codes alone.",
)
@click.option(
    "--rerank-sweep",
    is_flag=True,
    help="Print MAP@50 by shared label and the time of a query for shortlists of 0, 50, 100, 200, "
    "500, 1000, 2000, 5000 and all, and nothing else.",
)
@trec_options
@output_options
@split_options
@run_options
def command(
    run: str,
    collection: str | None,
    *,
    against: tuple[str, ...],
    json_file: str | None,
    csv_file: str | None,
    page: str | None,
    full: bool,
    rerank_sweep: bool,
    **options: Any,
) -> None:
    """Measure the model in RUN on COLLECTION.

    Without COLLECTION, it is measured on the one it was trained on. Labels rank the database for
    the queries of the split; pairs rank the split itself, where each query's partner is.
    """
    if rerank_sweep:
        if against or options["rerank"] is not None or csv_file or page or options["trec"]:
            raise click.UsageError(
                "--rerank-sweep prints one table of RUN: leave out --rerank, --against, --csv, "
                "--write-trec and --report"
            )
        run_sweep(run, collection, json_file, options)
        return
    from modalhash.reports import evaluate_runs

    with show_progress() as progress:
        runs = evaluate_runs([run, *against], collection, page=page, progress=progress, **options)
    deliver(
        runs.reports,
        runs.comparisons,
        json_file=json_file,
        csv_file=csv_file,
        page=page,
        full=full,
    )


SWEEP_OPTIONS = (
    "split", "database", "captions", "directions", "rerank_score", "skip_bad", "cache", "device",
)  # fmt: skip


def run_sweep(
    run: str, collection: str | None, json_file: str | None, options: Mapping[str, Any]
) -> None:
    """Measure and print what each length of the shortlist gives and costs.

    Args:
        run: the run folder.
        collection: or None.
        json_file: a file, "-" for stdout, or None.
        options: of the command.
    """
    from modalhash.api import rerank_sweep
    from modalhash.files import write_text

    chosen = {name: options[name] for name in SWEEP_OPTIONS}
    with show_progress() as progress:
        sweep = rerank_sweep(run, collection, progress=progress, **chosen)
    document = json.dumps(sweep.to_json(), indent=2)
    if json_file == "-":
        echo_json(document)
        return
    from modalhash.cli.tables import print_sweep

    print_sweep(sweep)
    if json_file is not None:
        write_text(Path(json_file), document + "\n", keeps_work=False)
        echo(f"JSON: {json_file}")
