"""`modalhash data`: list, info, check."""

import json
from dataclasses import asdict

import click

from modalhash.cli.options import json_option
from modalhash.cli.watching import watched
from modalhash.data import COLLECTIONS, check_collection, describe, load_collection


@click.group("data", epilog="Example: modalhash data check photos/")
def command() -> None:
    """List the built-in collections, describe one, find every defect in one."""


@command.command("list", epilog="Example: modalhash data list")
def list_command() -> None:
    """Name the collections that can be given to other commands."""
    width = max(len(source.usage) for source in COLLECTIONS.values())
    for source in COLLECTIONS.values():
        click.echo(f"{source.usage:<{width}}  {source.summary}")
    click.echo(f"{'FOLDER':<{width}}  your own pictures: images/ and captions.tsv, see the docs")


@command.command("info", epilog="Example: modalhash data info icons")
@click.argument("collection")
@json_option
def info_command(collection: str, *, as_json: bool) -> None:
    """Count what is in COLLECTION: items, texts, labels, splits, metadata."""
    summary = describe(load_collection(collection))
    if as_json:
        click.echo(json.dumps({"format": 1, **asdict(summary)}, ensure_ascii=False))
        return
    fewest, mean, most = summary.captions_per_item
    rows = {
        "collection": f"{summary.name} ({summary.source})",
        "items": f"{summary.n_items:,}, {'with' if summary.has_pictures else 'no'} pictures",
        "texts": f"{summary.n_captions:,}{'' if summary.has_texts else ' (features only)'}, "
        f"{fewest} to {most} an item, {mean:.2f} on average",
        "splits": ", ".join(f"{name} {count:,}" for name, count in summary.splits.items())
        + (f"; {summary.n_in_no_split:,} in none" if summary.n_in_no_split else ""),
        "split note": summary.split_note,
        "metadata": ", ".join(f"{name} ({kind})" for name, kind in summary.metadata.items()),
        "features": ", ".join(f"{name} {shape}" for name, shape in summary.features.items()),
        "labels": f"{len(summary.labels)}, {summary.n_unlabelled:,} items without any"
        if summary.labels
        else "none",
    }
    for name, value in rows.items():
        if value:
            click.echo(f"{name:<12}{value}")
    for label in summary.labels:
        click.echo(f"  {label.name:<24}{label.n_items:>8,}  {label.share:6.1%}")


@command.command("check", epilog="Example: modalhash data check photos/")
@click.argument("collection")
@json_option
@click.pass_context
def check_command(context: click.Context, collection: str, *, as_json: bool) -> None:
    """Find every defect in COLLECTION, decoding every picture; exit with 1 if there is one."""
    with watched() as progress:
        report = check_collection(collection, progress=progress)
    if as_json:
        document = {
            "format": 1,
            "source": report.source,
            "counts": {
                "items": report.n_items,
                "texts": report.n_captions,
                "pictures": report.n_pictures,
            },
            "defects": [asdict(defect) for defect in report.defects],
            "notes": list(report.notes),
        }
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        for defect in report.defects:
            click.echo(f"{defect}  [{defect.kind}]")
        for note in report.notes:
            click.echo(f"note: {note}")
        found = f"{len(report.defects)} defects" if report.defects else "no defect"
        click.echo(
            f"{report.n_items:,} items, {report.n_captions:,} texts, "
            f"{report.n_pictures:,} pictures decoded: {found}"
        )
    context.exit(0 if report.is_sound else 1)
