"""`modalhash score`."""

from typing import Any

import click
from click.core import ParameterSource

import modalhash as mh
from modalhash.choices import Scoring
from modalhash.cli.measure_options import (
    deliver,
    measure_options,
    output_options,
    trec_options,
)
from modalhash.cli.options import packed_codes_options
from modalhash.cli.sections import SectionedCommand
from modalhash.metrics import Direction


@click.command(
    "score",
    cls=SectionedCommand,
    epilog="Example: modalhash score query.npy database.npy --bits 64 --query-labels ql.npy "
    "--database-labels dl.npy",
)
@click.argument("query_codes", metavar="QUERY")
@click.argument("database_codes", metavar="DATABASE")
@click.option(
    "--trec",
    "is_trec",
    is_flag=True,
    help="QUERY is a run file of TREC and DATABASE its qrels. Ranks count as they stand, also "
    "where scores are tied, which trec_eval would order by name; -k is 10,100,1000,all, "
    "--convention standard, as trec_eval has them.",
)
@click.option(
    "--scoring",
    default=Scoring.HAMMING.value,
    show_default=True,
    type=click.Choice([scoring.value for scoring in Scoring]),
    help="What ranks the rows of DATABASE: 'hamming' distance; or 'asymmetric', where QUERY holds "
    "the numbers before the sign, one column a bit.",
)
@click.option("--query-labels", metavar="FILE", help="Labels of the rows of QUERY.")
@click.option("--database-labels", metavar="FILE", help="Labels of the rows of DATABASE.")
@click.option("--pairs", is_flag=True, help="Row i of DATABASE is query i's own.")
@click.option(
    "--targets",
    "query_targets",
    metavar="FILE",
    help="Rows of DATABASE, from 0, that are each query's own.",
)
@click.option(
    "--leave-out-self/--count-self",
    default=None,
    help="Whether a query is ranked for itself  [default: left out where the direction is within "
    "one modality and all queries are rows of DATABASE].",
)
@packed_codes_options
@click.option(
    "--direction",
    default=Direction.IMAGE_TO_TEXT.value,
    show_default=True,
    type=click.Choice([direction.value for direction in Direction]),
    help="Modality of the queries and of the results; of folders it tells which codes are read.",
)
@measure_options
@trec_options
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    query_codes: str,
    database_codes: str,
    *,
    is_trec: bool,
    json_file: str | None,
    csv_file: str | None,
    page: str | None,
    full: bool,
    **options: Any,
) -> None:
    """Measure a ranking by codes that any program made.

    QUERY and DATABASE are .npy files (or .npz, .mat, .h5, with a colon and the array's name where
    there are several): codes of -1 and +1, of 0 and 1, or packed bytes; or folders that
    `modalhash encode` wrote. With --scoring asymmetric, QUERY holds real numbers. Labels are one
    column of 0 and 1 a class, or one class a row. Which form was found is said below
    the numbers. With --trec, QUERY and DATABASE are a run and qrels.
    """
    if is_trec:
        if page is not None:
            raise click.UsageError("--report is of codes: leave it out with --trec")
        report = mh.score_trec(query_codes, database_codes, **select_trec_options(context, options))
        deliver([report], json_file=json_file, csv_file=csv_file, page=None, full=full)
        return
    report = mh.score(query_codes, database_codes, **options)
    if page is not None:
        from pathlib import Path

        from modalhash.reports.report import write_report

        write_report([report], Path(page))
    deliver([report], json_file=json_file, csv_file=csv_file, page=page, full=full)


TREC_OPTIONS = ("top_k", "conventions", "n_resamples", "seed", "direction")


def select_trec_options(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Select the options that were given; a run has defaults of its own.

    Raises:
        click.UsageError: if one is given that a run doesn't have.
    """
    stated = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    for parameter in context.command.params:
        if parameter.name in stated and parameter.name not in TREC_OPTIONS:
            raise click.UsageError(f"{parameter.opts[-1]} is of codes: leave it out with --trec")
    return stated
