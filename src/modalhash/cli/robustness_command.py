"""`modalhash robustness`."""

import json
from pathlib import Path
from typing import Any

import click

import modalhash as mh
from modalhash.cli.grid_options import whole_numbers
from modalhash.cli.options import preset_option, run_options, settings_option, split_options
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress
from modalhash.options import LabelNoiseOptions


def shares(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Read shares such as `0,0.03,0.1`."""
    try:
        read = tuple(float(word) for word in text.split(","))
    except ValueError:
        read = ()
    if not read or not all(0 <= share <= 0.5 for share in read):
        raise click.BadParameter(
            f"{text!r} isn't shares in [0, 0.5] such as 0,0.03,0.1", context, parameter
        )
    return read


@click.command(
    "robustness",
    cls=SectionedCommand,
    epilog="Example: modalhash robustness photos/ --method ms2gah --flip 0,0.03,0.1 --split dev",
)
@click.argument("collection")
@click.option("--method", default="ms2gah", show_default=True, help="One that learns from labels.")
@click.option(
    "--flip",
    "shares",
    default="0,0.03,0.1",
    show_default=True,
    callback=shares,
    help="Shares of the training items' label bits that are flipped.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="PART",
    help="Also train without this part of the method, see `modalhash ablate`; may be repeated  "
    "[default: the graph, if it has one].",
)
@click.option(
    "--bits",
    "n_bits",
    default=LabelNoiseOptions.n_bits,
    show_default=True,
    help="Bits of a code.",
)
@click.option(
    "--seeds",
    default="0,1,2",
    show_default=True,
    callback=whole_numbers,
    help="Seeds; each trains once and decides which bits are flipped.",
)
@click.option(
    "--split",
    default="auto",
    show_default=True,
    help="Queries; auto is test if there is such a split, else dev.",
)
@click.option(
    "--encoder",
    default="auto",
    show_default=True,
    help="auto is offline, or precomputed for collections of features.",
)
@preset_option
@settings_option
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write all numbers of every run to FILE, or print them and nothing else.",
)
@split_options
@run_options
def command(
    collection: str, *, without: tuple[str, ...], json_file: str | None, **options: Any
) -> None:
    """Train on labels of which some are wrong, and measure what that costs.

    Bits of the labels of COLLECTION's training items are flipped at random, 0 to 1 and 1 to 0;
    measures use the true labels. Each share is trained with every seed, with the whole method and
    without the named parts; one table shows all of them.
    """
    from modalhash.files import write_text

    with show_progress() as progress:
        study = mh.robustness(collection, progress=progress, without=without or None, **options)
    document = json.dumps(study.to_json(), indent=2, ensure_ascii=False)
    if json_file == "-":
        echo_json(document)
        return
    echo(study.table())
    if json_file is not None:
        write_text(Path(json_file), document + "\n")
        echo(f"JSON: {json_file}")
