"""`modalhash export`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.options import overwrite_option
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command("export", epilog="Example: modalhash export photos.index pgvector -o photos.sql")
@click.argument("source", type=click.Path())
@click.argument("target")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="New folder.")
@click.option(
    "--side",
    type=click.Choice(["images", "texts"]),
    help="Codes to export, of a SOURCE that has both.  [default: images]",
)
@click.option(
    "--name", default="codes", show_default=True, help="Of the table, collection or index there."
)
@click.option(
    "--keys",
    type=click.Choice(["ids", "rows"]),
    help="Where keys are integers: the ids, or numbers from 0.  [default: ids if integers]",
)
@overwrite_option
def command(source: str, target: str, *, output: str, **options: Any) -> None:
    """Write the codes of SOURCE as files that another system loads.

    SOURCE is an index folder or what `modalhash encode` wrote. TARGET is elasticsearch, faiss,
    milvus, npy, opensearch, pgvector, qdrant or usearch. The folder holds the files, a README.md
    with the commands that load and ask them, and export.json with the number of bits, the bit order
    and what the target's distances mean. Ids and metadata go along; deleted items don't.
    """
    with show_progress() as progress:
        result = mh.export_codes(source, target, output, progress=progress, **options)
    echo(
        f"{result.n_items:,} codes of {result.n_bits} bits for {result.target} in {result.folder}; "
        "README.md there says how to load them"
    )
