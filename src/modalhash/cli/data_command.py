"""`modalhash data`: list, card, protocols, info, split; larger commands have their own files."""

from dataclasses import asdict
from pathlib import Path

import click

from modalhash.cli.data_check_command import command as check_command
from modalhash.cli.data_convert_command import command as convert_command
from modalhash.cli.data_inspect_command import command as inspect_command
from modalhash.cli.data_suspects_command import command as suspects_command
from modalhash.cli.options import RESULT_FILE, json_option, skip_bad_option, split_options
from modalhash.cli.terminal import echo, echo_json
from modalhash.data import (
    COLLECTIONS,
    PROTOCOLS,
    Collection,
    card_named,
    describe,
    load_collection,
    write_split_file,
)


@click.group("data", epilog="Example: modalhash data check photos/")
def command() -> None:
    """List, describe, check, divide and convert collections."""


@command.command("list", epilog="Example: modalhash data list")
def list_command() -> None:
    """List the collections that other commands take."""
    width = max(len(source.usage) for source in COLLECTIONS.values())
    for source in COLLECTIONS.values():
        echo(f"{source.usage:<{width}}  {source.summary}")
    echo(f"{'FOLDER':<{width}}  your own pictures: images/ and captions.tsv, see the docs")


@command.command("card", epilog="Example: modalhash data card mirflickr")
@click.argument("name")
@json_option
def card_command(name: str, *, as_json: bool) -> None:
    """Show the card of the public data set NAME: content, terms, protocols, pitfalls."""
    card = card_named(name)
    if as_json:
        echo_json({"format": 1, **asdict(card)})
        return
    echo(f"{card.title}\n\n{card.about}\n")
    for source, expected in card.expected.items():
        counts = {"items": expected.items, "texts": expected.texts, "labels": expected.labels}
        counts_text = [
            f"{' or '.join(f'{n:,}' for n in numbers) or 'unknown number of'} {noun}"
            for noun, numbers in counts.items()
            if numbers or noun == "items"
        ]
        splits = [
            f"{split} {' or '.join(f'{n:,}' for n in counts)}"
            for split, counts in expected.splits.items()
        ]
        echo(f"{source}: {', '.join(counts_text)}{'; ' if splits else ''}{', '.join(splits)}")
    sums = [f"{file} {digest}" for file, digest in card.checksums.items()]
    rows = {
        "terms": card.terms,
        "where": card.where,
        "checksums": "; ".join(sums) or "none published that we know of",
        "protocols": ", ".join(card.protocols),
        "paper": card.citation,
    }
    echo()
    for key, value in rows.items():
        echo(f"{key:<11}{value}")
    echo("\nhow to load it")
    for layout, content in card.layouts.items():
        echo(f"  {layout}: {content}")
    echo("\ntraps")
    for trap in card.traps:
        echo(f"  - {trap}")


@command.command("protocols", epilog="Example: modalhash data protocols")
def protocols_command() -> None:
    """List the protocols by which papers divide a data set, and how they measure."""
    width = max(map(len, PROTOCOLS))
    for protocol in PROTOCOLS.values():
        cuts = ", ".join("all" if k is None else str(k) for k in protocol.top_k)
        echo(f"{protocol.name:<{width}}  {protocol.summary} ({protocol.convention} @ {cuts})")


@command.command("info", epilog="Example: modalhash data info icons")
@click.argument("collection")
@split_options
@json_option
def info_command(collection: str | Collection, *, as_json: bool) -> None:
    """Count what is in COLLECTION: items, texts, labels, splits, metadata."""
    if not isinstance(collection, Collection):
        collection = load_collection(collection)
    summary = describe(collection)
    if as_json:
        echo_json({"format": 1, **asdict(summary)})
        return
    fewest, mean, most = summary.captions_per_item
    rows = {
        "collection": f"{summary.name} ({summary.source})",
        "items": f"{summary.n_items:,}, {'with' if summary.has_pictures else 'no'} pictures",
        "texts": f"{summary.n_captions:,}{'' if summary.has_texts else ' (features only)'}, "
        + (
            f"{fewest} an item"
            if fewest == most
            else f"{fewest} to {most} an item, {mean:.2f} on average"
        )
        if summary.n_captions
        else "none",
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
            echo(f"{name:<12}{value}")
    for label in summary.labels:
        echo(f"  {label.name:<24}{label.n_items:>8,}  {label.share:6.1%}")


@command.command(
    "split", epilog="Example: modalhash data split icons --protocol dcmh:queries=100 -o icons.json"
)
@click.argument("collection")
@click.option("-o", "--output", required=True, type=RESULT_FILE, help="The split file.")
@split_options
@skip_bad_option
def split_command(collection: str | Collection, *, output: str, skip_bad: bool) -> None:
    """Divide COLLECTION and write the splits to a file, for `--split-file`.

    The file holds positions counted from 0, the fingerprint of the collection they belong to, and
    one of the splits themselves, so that two people can see whether they used the same.
    """
    if not isinstance(collection, Collection):
        collection = load_collection(collection, skip_bad=skip_bad)
    fingerprint = write_split_file(collection, Path(output))
    echo(f"{collection.split_note}\nfingerprint {fingerprint}, in {output}")


command.add_command(check_command)
command.add_command(convert_command)
command.add_command(inspect_command)
command.add_command(suspects_command)
