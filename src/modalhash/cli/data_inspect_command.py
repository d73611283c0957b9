"""`modalhash data inspect`."""

from dataclasses import asdict

import click

from modalhash.cli.options import json_option
from modalhash.cli.terminal import echo, echo_json
from modalhash.data import Entry, inspect_file


@click.command("inspect", epilog="Example: modalhash data inspect downloads/mir_cnn.mat")
@click.argument("file", type=click.Path())
@json_option
def command(file: str, *, as_json: bool) -> None:
    """Describe what FILE (or a folder) holds, its likely layout, and how to load it.

    Takes .mat of any version, .h5, .npy, .npz, .pkl (looked at, never run), .tar, .json, .parquet.
    """
    result = inspect_file(file)
    if as_json:
        document = {
            **asdict(result),
            "path": str(result.path),
            "commands": list(result.commands),
        }
        echo_json({"format": 1, **document})
        return
    echo(f"{result.path}: {result.kind}")
    width = max((len(entry.name) for entry in result.entries), default=0)
    for entry in result.entries:
        echo(f"  {entry.name:<{width}}  {format_entry(entry)}")
    for note in result.notes:
        echo(f"  {note}")
    if not result.layouts:
        echo("no layout that is known here; `modalhash data list` names those that are")
    for (source, reason), shown in zip(result.layouts.items(), result.commands, strict=True):
        echo(f"likely {source.partition(':')[0] if ':' in source else 'a folder'}: {reason}")
        echo(f"  {shown}")


def format_entry(entry: Entry) -> str:
    """Format an entry's shape, kind, range and note as one line."""
    shape = " x ".join(f"{length:,}" for length in entry.shape)
    words = [f"{shape} {entry.dtype}".strip()]
    if entry.low is not None and entry.high is not None:
        words.append(f"from {entry.low:g} to {entry.high:g}")
    if entry.note:
        words.append(entry.note)
    return ", ".join(words)
