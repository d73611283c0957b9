"""`modalhash push`."""

import sys
from typing import Final

import click

import modalhash as mh
from modalhash.cli.options import device_option
from modalhash.cli.terminal import echo, show_line
from modalhash.cli.watching import show_progress

MOST_FILES: Final = 20
LONGEST_LINE: Final = 160
"""Characters of a line of the card that are shown."""


@click.command(
    "push",
    epilog="Example: modalhash push run anna/photos-64 --license apache-2.0 --split test --dry-run",
)
@click.argument("source", type=click.Path(file_okay=False))
@click.argument("repository", metavar="OWNER/NAME")
@click.option(
    "--license",
    "licence",
    metavar="IDENTIFIER",
    help="Of a model's weights, of an index's texts and pictures: apache-2.0, cc-by-4.0, other or "
    "the like. Nobody can choose it for you.  [default: asked for]",
)
@click.option(
    "--split",
    help="Measure the model on this split of its own collection, and put the numbers on the card.",
)
@click.option("--private", is_flag=True, help="A new repository is private.")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing: only list the files, and print the card's head."
)
@device_option
def command(
    source: str,
    repository: str,
    *,
    licence: str | None,
    split: str | None,
    private: bool,
    dry_run: bool,
    device: str,
) -> None:
    """Send a model, or an index as a data set, to a hub.

    SOURCE is a run folder or an index folder. The repository is made if it isn't there. Log in with
    `hf auth login` first, or set HF_TOKEN.
    """
    with show_progress() as progress:
        result = mh.push(
            source,
            repository,
            license=licence or ask_for_licence(),
            split=split,
            private=private,
            dry_run=dry_run,
            device=device,
            progress=progress,
        )
    total = f"{len(result.sizes)} files, {result.n_bytes / 1e6:.1f} MB"
    if result.address is not None:
        echo(f"{result.repository}: {total}, at {show_line(result.address)}")
        return
    echo(f"{result.repository} would get {total}:")
    for path, size in list(result.sizes.items())[:MOST_FILES]:
        echo(f"  {show_line(path)}  {size:,} bytes")
    if len(result.sizes) > MOST_FILES:
        echo(f"  and {len(result.sizes) - MOST_FILES:,} more")
    echo("and a card that begins with:")
    for line in result.card.partition("\n---\n")[0].splitlines()[1:]:
        echo(f"  {show_line(line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + '...')}")


def ask_for_licence() -> str:
    """Ask for the licence where somebody can answer.

    Raises:
        UsageError: where nobody can.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(
            "--license is missing: name the licence of the weights (of an index: of its texts and "
            "pictures), such as apache-2.0, cc-by-4.0 or other."
        )
    answer: str = click.prompt("License, such as apache-2.0, cc-by-4.0 or other", err=True)
    return answer.strip()
