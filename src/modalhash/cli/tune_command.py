"""`modalhash tune`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FOLDER,
    overwrite_option,
    run_options,
    seed_option,
    settings_option,
    split_options,
)
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress
from modalhash.options import TuningOptions


@click.command(
    "tune",
    cls=SectionedCommand,
    epilog="Example: modalhash tune djsrh photos/ --trials 30 --bits 64 -o tuning/djsrh",
)
@click.argument("method")
@click.argument("collection")
@click.option(
    "-o",
    "--output",
    required=True,
    type=RESULT_FOLDER,
    help="Folder for the trials, their table and the best settings.",
)
@click.option(
    "--trials",
    "n_trials",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Settings to try, beside the method as it is.",
)
@click.option("--bits", "n_bits", default=64, show_default=True, help="Bits of a code.")
@click.option(
    "--over",
    multiple=True,
    metavar="NAME[=VALUES]",
    help="Search this setting, between LOW:HIGH, LOW:HIGH:log, or over A,B,C; may be repeated.  "
    "[default: the usual ones]",
)
@click.option(
    "--objective",
    default=TuningOptions.objective,
    show_default=True,
    help="recall (@10 by pair) or map (@50 by a shared label), the mean of both directions; auto "
    "is map for methods that learn from labels, else recall.",
)
@click.option(
    "--validation",
    "validation_share",
    default=TuningOptions.validation_share,
    show_default=True,
    help="Share of the training items that judges a trial.",
)
@click.option(
    "--repeats",
    default=TuningOptions.repeats,
    show_default=True,
    type=click.IntRange(min=1),
    help="Divisions and seeds that each trial is judged by; its value is the mean.",
)
@click.option("--split", default="train", show_default=True, help="Items to learn from.")
@click.option(
    "--encoder",
    default="auto",
    show_default=True,
    help="auto is offline, or precomputed for collections of features.",
)
@click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="Settings that trials change; auto takes what suits the features.",
)
@settings_option
@seed_option
@overwrite_option
@split_options
@run_options
def command(method: str, collection: Any, *, output: str, **options: Any) -> None:
    """Search over the settings of METHOD on a validation part of COLLECTION's training items.

    Queries take no part. The best settings go to a file that `modalhash train --settings` takes.
    The same command resumes a search that was stopped; with more --trials, it adds some.
    """
    from modalhash.tuning import trials_table

    with show_progress() as progress:
        result = mh.tune(method, collection, output, progress=progress, **options)
    echo(trials_table(result))
    echo(
        f"best: {result.best.value:.4f}, as it is: {result.trials[0].value:.4f}; train with it: "
        f"modalhash train COLLECTION --settings {result.settings_file} -o RUN",
        err=True,
    )
