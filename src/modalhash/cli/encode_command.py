"""`modalhash encode`."""

from typing import Any, Final

import click
from click.core import ParameterSource

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FOLDER,
    NumberRange,
    cache_option,
    device_option,
    largest_picture_option,
    overwrite_option,
    skip_bad_option,
    split_options,
)
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress

OF_COLLECTIONS: Final = ("split", "protocol", "split_file", "split_seed", "cache")
OF_RAY: Final = ("workers", "gpus")
OF_SHARDS: Final = ("images", "overwrite", *OF_RAY)


def refuse_others(context: click.Context, *, shards: bool, ray: str | None) -> None:
    """Refuse options that don't belong to what is encoded, before a collection is loaded.

    Raises:
        UsageError: naming the option.
    """
    refused: dict[str, str] = {}
    if shards:
        refused |= dict.fromkeys(OF_COLLECTIONS, "is for collections; shards are encoded whole")
    else:
        refused |= dict.fromkeys(OF_SHARDS, "is for shards: add --shards")
    if ray is None:
        refused |= dict.fromkeys(OF_RAY, "is for Ray: add --ray")
    for name, why in refused.items():
        source = context.get_parameter_source(name)
        if source is not None and source is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} {why}")


class EncodeCommand(click.Command):
    """Checks which options belong together before any of them does something."""

    def invoke(self, ctx: click.Context) -> Any:
        """Check the options, then run the command."""
        ray = ctx.params["ray"]
        refuse_others(ctx, shards=ctx.params["shards"] or ray is not None, ray=ray)
        return super().invoke(ctx)


@click.command(
    "encode",
    cls=EncodeCommand,
    epilog="Examples: modalhash encode runs/photos photos/ -o photos.codes; "
    "modalhash encode runs/photos 'crawl/*.tar' -o crawl.codes --shards",
)
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("collection")
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="Folder.")
@click.option("--split", default="all", show_default=True, help="Items to encode.")
@click.option(
    "--shards",
    is_flag=True,
    help="COLLECTION is a folder, file or pattern of Parquet files or tars, encoded one by one.",
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Encode shards on a Ray cluster, such as auto or ray://host:10001; without an address, "
    "on a Ray that is started on this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Ray's processes that encode.  [default: one a processor, or as the GPUs suffice]",
)
@click.option(
    "--gpus",
    type=NumberRange(min=0),
    default=0.0,
    show_default=True,
    help="GPUs of each of Ray's processes; may be a fraction.",
)
@click.option(
    "--images",
    type=click.Path(file_okay=False),
    help="Folder of the pictures whose paths are in Parquet.  [default: the shard's]",
)
@overwrite_option
@split_options
@skip_bad_option
@cache_option
@largest_picture_option
@device_option
def command(
    run: str, collection: Any, *, output: str, shards: bool, ray: str | None, **options: Any
) -> None:
    """Write the codes of the pictures and texts of COLLECTION, made by the model in RUN.

    The folder receives image_codes.npy and text_codes.npy (packed bits, uint8), labels.npy where
    there are labels, and codes.json with ids, the number of bits and the bit order.

    With --shards or --ray, it receives a code file for each shard, and shards.json; the same
    command again goes on where it was stopped.
    """
    if shards or ray is not None:
        encode_shards(run, collection, output, ray=ray, options=options)
        return
    for name in OF_SHARDS:
        del options[name]
    with show_progress() as progress:
        codes = mh.encode(run, collection, output, progress=progress, **options)
    echo(
        f"{codes.n_images} pictures and {codes.n_texts} texts, {codes.n_bits} bits each, "
        f"in {codes.folder}"
    )


def encode_shards(
    run: str, shards: str, output: str, *, ray: str | None, options: dict[str, Any]
) -> None:
    """Encode shards and say what came of it."""
    chosen = {name: value for name, value in options.items() if name not in OF_COLLECTIONS}
    with show_progress() as progress:
        codes = mh.encode_shards(run, shards, output, ray=ray, progress=progress, **chosen)
    echo(
        f"{codes.n_items} items and {codes.n_texts} texts of {codes.n_shards} shards, "
        f"{codes.n_bits} bits each, in {codes.folder}; {codes.n_encoded} shards encoded now"
    )
    if codes.n_left_out or codes.left_out:
        echo(f"left out: {codes.n_left_out} rows and {len(codes.left_out)} shards")
