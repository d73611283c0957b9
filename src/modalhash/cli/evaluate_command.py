"""`modalhash evaluate`."""

import json
from pathlib import Path
from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    cache_option,
    captions_option,
    cutoffs,
    device_option,
    skip_bad_option,
)
from modalhash.cli.watching import watched


@click.command(
    "evaluate", epilog="Example: modalhash evaluate runs/photos --split test --json report.json"
)
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection", required=False)
@click.option("--split", default="test", show_default=True, help="Items that are queries.")
@click.option(
    "--database",
    default="train",
    show_default=True,
    help="Split that is ranked for relevance by labels; 'rest' is all items but the queries.",
)
@captions_option
@click.option(
    "-k",
    "--k",
    "top_k",
    default="50,5000,all",
    show_default=True,
    callback=cutoffs,
    help="Cut-offs, separated by commas.",
)
@click.option(
    "--convention",
    "conventions",
    multiple=True,
    default=("truncated",),
    show_default=True,
    type=click.Choice(["truncated", "first_k_relevant", "standard", "answerable"]),
    help="Formula of average precision; may be repeated.",
)
@click.option(
    "--ties",
    default="expected",
    show_default=True,
    type=click.Choice(["expected", "database_order", "optimistic", "pessimistic"]),
    help="Order of items at equal distance.",
)
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write the report as JSON to FILE, or print it and nothing else.",
)
@skip_bad_option
@cache_option
@device_option
def command(
    run: str,
    collection: str | None,
    *,
    json_file: str | None,
    **options: Any,
) -> None:
    """Measure the model in RUN on COLLECTION, in both directions.

    Without COLLECTION, it is measured on the one it was trained on. Labels rank the database for
    the queries of the split; pairs rank the split itself, where each query's partner is.
    """
    with watched() as progress:
        report = mh.evaluate(run, collection, progress=progress, **options)
    document = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    if json_file == "-":
        click.echo(document)
        return
    from modalhash.cli.tables import print_report

    print_report(report)
    if json_file is not None:
        from modalhash.files import write_text

        write_text(Path(json_file), document + "\n")
        click.echo(f"report: {json_file}")
