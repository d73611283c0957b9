"""`modalhash delete`."""

import click

import modalhash as mh
from modalhash.cli.options import device_option
from modalhash.cli.terminal import echo


@click.command(
    "delete",
    epilog="Example: modalhash delete photos.index --where 'year < 2000 or owner == \"me\"'",
)
@click.argument("index", type=click.Path(file_okay=False))
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--where", help="Remove what passes this filter, instead of IDs.")
@click.option("--ignore-missing", is_flag=True, help="Pass over IDs that aren't there.")
@device_option
def command(
    index: str, ids: tuple[str, ...], *, where: str | None, ignore_missing: bool, device: str
) -> None:
    """Remove items from INDEX, by ID or by a filter.

    A picture goes with all its texts; a text may go alone. Its codes and metadata are no longer
    found, and are gone from the disk after `modalhash compact`.
    """
    if (where is None) == (not ids):
        raise click.UsageError("Give either IDs or --where.")
    with mh.open_index(index, device=device) as opened:
        if where is not None:
            count = opened.delete_where(where)
        else:
            count = opened.delete(ids, missing="ignore" if ignore_missing else "error")
    echo(f"{count} codes removed from {index}")
