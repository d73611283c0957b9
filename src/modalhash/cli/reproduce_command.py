"""`modalhash reproduce`."""

import shlex
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from modalhash.cli.grid_options import grid_options, run_tasks
from modalhash.files import write_json, write_text


@click.command(
    "reproduce",
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
def command(
    method: str, *, dataset: str, protocol: str, output: str, bits: Any, seeds: Any, **options: Any
) -> None:
    """Run METHOD as papers do on a data set, and print their numbers beside ours.

    The protocol decides split, sizes and measure. Printed numbers stand there with where they were
    read; those that nobody could read are unknown. The text says how the run differs from papers:
    features are frozen, as a rule others than theirs. Results are kept run by run, as `modalhash
    bench` keeps them, so that the same command after a kill goes on.
    """
    from modalhash.benchmarking.reproduction import (
        compare_with_printed,
        plan_reproduction,
        reproduction_json,
        reproduction_text,
    )
    from modalhash.machine import describe_machine

    asked = {name: options.pop(name) for name in ("encoder", "preset", "settings")}
    plan = plan_reproduction(method, dataset, protocol=protocol, **asked)
    outcomes = run_tasks(plan.tasks(bits, seeds), output=output, **options)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["modalhash", *sys.argv[1:]]),
        "modalhash": version("modalhash"),
        "machine": describe_machine(),
    }
    found = compare_with_printed(plan, outcomes, about)
    text, folder = reproduction_text(found), Path(output)
    write_text(folder / "reproduction.md", text)
    write_json(folder / "reproduction.json", reproduction_json(found))
    click.echo(text)
    click.echo(
        f"{folder / 'reproduction.md'} holds this text, reproduction.json every number", err=True
    )
    if all(one.error for one in outcomes):
        raise click.ClickException("every run failed; the text says why")
