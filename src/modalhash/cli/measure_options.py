"""Options of the commands that measure, and where what they measured goes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from modalhash.cli.options import RESULT_FILE, RESULT_FOLDER, read_cutoffs
from modalhash.cli.terminal import echo, echo_json
from modalhash.metrics import Convention, MeasureComparison, Report, Ties

__all__ = ["deliver", "measure_options", "output_options", "trec_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


def measure_options(command: Command) -> Command:
    """Add the options that say what is measured, and how."""
    options = (
        click.option(
            "-k",
            "--k",
            "top_k",
            default="50,5000,all",
            show_default=True,
            callback=read_cutoffs,
            help="Cut-offs, separated by commas.",
        ),
        click.option(
            "--convention",
            "conventions",
            multiple=True,
            default=(Convention.TRUNCATED.value,),
            show_default=True,
            type=click.Choice([convention.value for convention in Convention]),
            help="Formula of average precision; may be repeated.",
        ),
        click.option(
            "--ties",
            default=Ties.EXPECTED.value,
            show_default=True,
            type=click.Choice([rule.value for rule in Ties]),
            help="Order of items at equal distance.",
        ),
        click.option(
            "--intervals",
            "n_resamples",
            default=0,
            type=click.IntRange(min=0),
            metavar="N",
            help="Give each number its 95 % interval, by N bootstrap resamples of the queries "
            "(1000 are usual)  [default: none].",
        ),
        click.option(
            "--seed",
            default=0,
            show_default=True,
            help="Of the resamples, and of the examples in the report.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Add the options that say where the numbers go."""
    options = (
        click.option("--full", is_flag=True, help="Show every number, not only the usual ones."),
        click.option(
            "--json",
            "json_file",
            is_flag=False,
            flag_value="-",
            type=RESULT_FILE,
            metavar="[FILE]",
            help="Write all numbers as JSON to FILE, or print them and nothing else.",
        ),
        click.option(
            "--csv", "csv_file", type=RESULT_FILE, help="Write all numbers as a table to FILE."
        ),
        click.option(
            "--report",
            "page",
            type=RESULT_FILE,
            help="Write all numbers, curves and examples as one HTML page.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def trec_options(command: Command) -> Command:
    """Add the options that write rankings as files of TREC."""
    options = (
        click.option(
            "--write-trec",
            "trec",
            metavar="FOLDER",
            type=RESULT_FOLDER,
            help="Also write the rankings as TREC run files, and what is relevant as qrels; "
            "trec_eval orders ties by name, these runs by the database.",
        ),
        click.option(
            "--trec-depth",
            default=1000,
            show_default=True,
            type=click.IntRange(min=1),
            metavar="N",
            help="Items of a query in a run.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def deliver(
    reports: Sequence[Report],
    comparisons: Sequence[Sequence[MeasureComparison]] = (),
    *,
    json_file: str | None,
    csv_file: str | None,
    page: str | None,
    full: bool,
) -> None:
    """Write what was asked for and print the table, or the JSON document and nothing else.

    Args:
        reports: the one measured, then those that it is compared with.
        comparisons: of the first report with each of the others.
        json_file: a file, "-" for stdout, or None.
        csv_file: a file, or None.
        page: the HTML page, which is written already, or None.
        full: whether the printed table holds every number.
    """
    from modalhash.files import write_text
    from modalhash.metrics import csv_text

    document = json.dumps(make_document(reports, comparisons), indent=2, ensure_ascii=False)
    if csv_file is not None:
        write_text(Path(csv_file), csv_text(reports), keeps_work=False)
    if json_file == "-":
        echo_json(document)
        return
    if json_file is not None:
        write_text(Path(json_file), document + "\n", keeps_work=False)
    from modalhash.cli.tables import print_comparison, print_report

    for report in reports:
        print_report(report, full=full)
    for other, compared in zip(reports[1:], comparisons, strict=True):
        print_comparison(reports[0], other, compared, full=full)
    for kind, file in (("JSON", json_file), ("CSV", csv_file), ("report", page)):
        if file is not None:
            echo(f"{kind}: {file}")


def make_document(
    reports: Sequence[Report], comparisons: Sequence[Sequence[MeasureComparison]]
) -> dict[str, Any]:
    """Describe the first report as JSON, with the others and the differences under `against`."""
    document = reports[0].to_json()
    if comparisons:
        document["against"] = [
            {**other.to_json(), "differences": [comparison.to_json() for comparison in compared]}
            for other, compared in zip(reports[1:], comparisons, strict=True)
        ]
    return document
