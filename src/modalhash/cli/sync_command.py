"""`modalhash sync`."""

from pathlib import Path

import click

import modalhash as mh
from modalhash.cli.options import device_option, json_option, largest_picture_option
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress


@click.command("sync", epilog="Example: modalhash sync photos.index ~/Pictures --dry-run")
@click.argument("index", type=click.Path(file_okay=False))
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Only say how much would change.")
@click.option("--yes", is_flag=True, help="Remove even more than half of INDEX.")
@click.option(
    "--watch", is_flag=True, help="Go on: sync again whenever something in FOLDER changes."
)
@json_option
@largest_picture_option
@device_option
def command(
    index: str,
    folder: str,
    *,
    dry_run: bool,
    yes: bool,
    watch: bool,
    as_json: bool,
    device: str,
) -> None:
    """Make INDEX hold what FOLDER holds, by encoding only what changed.

    What is new is added, what changed is replaced, and what is gone is removed. A picture changed
    if its file's size or times did, and then its content. FOLDER is what was indexed, wherever it
    lies now. A sync that was killed is finished by the next one.
    """
    if dry_run and watch:
        raise click.UsageError("Give either --dry-run or --watch.")
    sync_once(index, folder, dry_run=dry_run, yes=yes, as_json=as_json, device=device)
    if watch:
        from modalhash.api.syncing import watch_folder

        for _ in watch_folder(folder):
            sync_once(index, folder, dry_run=False, yes=yes, as_json=as_json, device=device)


def sync_once(
    index: str, folder: str, *, dry_run: bool, yes: bool, as_json: bool, device: str
) -> None:
    """Sync once, and print what changed."""
    with show_progress() as progress:
        counts = mh.sync(
            Path(index), folder, dry_run=dry_run, confirmed=yes, device=device, progress=progress
        )
    if as_json:
        echo_json({"format": 1, "dry_run": dry_run, **vars(counts)})
    else:
        echo(f"{index}: {'would be ' if dry_run else ''}{counts}")
