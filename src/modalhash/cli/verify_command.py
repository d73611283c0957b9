"""`modalhash verify`."""

import click

import modalhash as mh
from modalhash.cli.terminal import echo

__all__ = ["command", "count_items"]


@click.command("verify", epilog="Example: modalhash verify photos.index")
@click.argument("index", type=click.Path(file_okay=False))
def command(index: str) -> int:
    """Check every byte of INDEX, and report damage: of the model, codes, rows and pictures.

    Changes nothing. Ends with exit code 1 if something is damaged. `modalhash repair` keeps what is
    whole.
    """
    report = mh.verify_index(index)
    for problem in report.problems:
        echo(problem)
    if report.problems and report.is_repairable:
        echo(f"keep what is whole: modalhash repair {index}")
    if not report.problems:
        echo(f"no damage: {count_items(report.n_items)} in {index}")
    return int(bool(report.problems))


def count_items(n_items: dict[str, int]) -> str:
    """Say how many items each side of an index has."""
    return " and ".join(f"{count} {side or 'items'}" for side, count in n_items.items())
