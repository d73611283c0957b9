"""`modalhash delete`."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

import modalhash as mh
from modalhash.cli.options import device_option
from modalhash.cli.terminal import echo
from modalhash.errors import InputError

if TYPE_CHECKING:
    from modalhash.search import ItemCounts, SearchIndex

MOST_UNASKED = 0.5
"""Share of an index that is deleted without a question."""


@click.command(
    "delete",
    epilog="Example: modalhash delete photos.index --where 'year < 2000 or owner == \"me\"'",
)
@click.argument("index", type=click.Path(file_okay=False))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--where", help="Remove what passes this filter, instead of IDs.")
@click.option("--ignore-missing", is_flag=True, help="Pass over IDs that aren't there.")
@click.option("--dry-run", is_flag=True, help="Only say how much would be removed.")
@click.option("--yes", is_flag=True, help="Don't ask, even if more than half of INDEX goes.")
@device_option
def command(
    index: str,
    ids: tuple[str, ...],
    *,
    where: str | None,
    ignore_missing: bool,
    dry_run: bool,
    yes: bool,
    device: str,
) -> None:
    """Remove items from INDEX, by ID or by a filter.

    A picture goes with all its texts; a text may go alone. Its codes and metadata are no longer
    found, and are gone from the disk after `modalhash compact`. To remove more than half of INDEX
    takes a yes: to the question on a terminal, or --yes.
    """
    if (where is None) == (not ids):
        raise click.UsageError("Give either IDs or --where.")
    with mh.open_index(index, device=device) as opened:
        delete: Callable[..., ItemCounts]
        if where is not None:
            delete = partial(opened.delete_where, where)
        else:
            missing = "ignore" if ignore_missing else "error"
            delete = partial(opened.delete, read_ids(opened, ids), missing=missing)
        if dry_run or not yes:
            counts = delete(dry_run=True)
            if where is not None and not counts.n_codes:
                opened.check_filter(where)
            if dry_run:
                echo(f"{counts} would be removed from {index}")
                return
            confirm_deletion(counts, len(opened))
        echo(f"{delete()} removed from {index}")


def read_ids(index: "SearchIndex", ids: tuple[str, ...]) -> list[str] | list[int]:
    """Read ids as an index has them: integers, where its ids are integers.

    Raises:
        InputError: if one is no integer, though they should be.
    """
    if not index.has_integer_ids:
        return list(ids)
    try:
        return [int(value) for value in ids]
    except ValueError as error:
        raise InputError(f"ids of this index are integers: {error}") from None


def confirm_deletion(counts: "ItemCounts", n_codes: int) -> None:
    """Ask before more than half of an index is deleted.

    Raises:
        InputError: if nobody can be asked.
        click.Abort: if the answer is no.
    """
    if counts.n_codes <= MOST_UNASKED * n_codes:
        return
    counts_text = f"{counts} are {counts.n_codes / n_codes:.0%} of the index"
    if not sys.stdin.isatty():
        raise InputError(
            f"{counts_text}: nothing was removed; add --yes to remove them, or look with --dry-run"
        )
    click.confirm(f"{counts_text}. Remove them?", abort=True, err=True)
