"""`modalhash reproduce`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

import modalhash as mh
from modalhash.cli.grid_options import grid_options, typed_command
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command(
    "reproduce",
    cls=SectionedCommand,
    epilog="Example: modalhash reproduce djsrh --dataset wiki:data/wiki -o reproduced/djsrh-wiki",
)
@click.argument("method")
@click.option(
    "--dataset",
    required=True,
    metavar="D:PATH",
    help="A data set of papers, see `modalhash data list`.",
)
@click.option(
    "--protocol",
    default="auto",
    show_default=True,
    metavar="NAME[:SIZES]",
    help="auto is the method's, one with printed numbers first; see `modalhash data protocols`.",
)
@click.option(
    "--encoder",
    default="auto",
    show_default=True,
    help="auto takes features that came with the data set, else what is nearest to the papers'.",
)
@click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="auto is the data set's, else paper, else what suits the features.",
)
@partial(grid_options, without=("split", "encoder", "preset"))
def command(method: str, *, dataset: str, output: str, **options: Any) -> None:
    """Run METHOD as papers do on a data set, and print their numbers beside ours.

    The protocol decides split, sizes and measure. Each printed number names its source; numbers
    that could not be read are unknown. The text says how the run differs from the papers: features
    are frozen, and usually not the same as theirs. Results are kept run by run, as `modalhash
    bench` keeps them, so that the same command after a kill resumes.
    """
    from modalhash.benchmarking.reproducing import reproduction_text

    with show_progress() as progress:
        result = mh.reproduce(
            method,
            dataset,
            output=output,
            progress=progress,
            command=typed_command(),
            **options,
        )
    echo(reproduction_text(result))
    echo(
        f"{Path(output) / 'reproduction.md'} holds this text, reproduction.json every number",
        err=True,
    )
    if result.has_failed:
        raise click.ClickException("every run failed; the text says why")
