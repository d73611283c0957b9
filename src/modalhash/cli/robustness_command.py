"""`modalhash robustness`."""

import json
from pathlib import Path
from typing import Any

import click

import modalhash as mh
from modalhash.cli.grid_options import whole_numbers
from modalhash.cli.options import (
    RESULT_FILE,
    preset_option,
    run_options,
    settings_option,
    split_options,
)
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress
from modalhash.options import LabelNoiseOptions


def read_shares(text: str, largest: float) -> tuple[float, ...] | None:
    """Read shares such as `0,0.03,0.1`; None if that isn't what the text holds."""
    try:
        shares = tuple(float(word) for word in text.split(","))
    except ValueError:
        return None
    return shares if all(0 <= share <= largest for share in shares) else None


def flip_shares(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """Read the shares of label bits that are flipped."""
    if text is None:
        return None
    shares = read_shares(text, 0.5)
    if shares is None:
        raise click.BadParameter(
            f"{text!r} isn't shares in [0, 0.5] such as 0,0.03,0.1", context, parameter
        )
    return shares


def pair_shares(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[float, ...] | None:
    """Read the shares of items that get other texts, of all times that the option is given."""
    shares: list[float] = []
    for text in texts:
        more = read_shares(text, 1.0)
        if more is None:
            raise click.BadParameter(
                f"{text!r} isn't shares in [0, 1] such as 0.2,0.4,0.6", context, parameter
            )
        shares += more
    return tuple(shares) or None


@click.command(
    "robustness",
    cls=SectionedCommand,
    epilog="Example: modalhash robustness photos/ --shuffle-pairs 0.2,0.4,0.6 --split dev",
)
@click.argument("collection")
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="With --flip one that learns from labels, auto is ms2gah; with --shuffle-pairs any, or "
    "several parted by commas, auto is the collection's default.",
)
@click.option(
    "--flip",
    "shares",
    callback=flip_shares,
    help="Shares of the training items' label bits that are flipped  [default: 0,0.03,0.1].",
)
@click.option(
    "--shuffle-pairs",
    multiple=True,
    callback=pair_shares,
    help="Shares of the training items that get the texts of other items, such as 0.2,0.4,0.6, "
    "instead of flipped labels; 0 is measured too. May be repeated.",
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
    help="Seeds; each trains once and decides which bits are flipped, or which texts exchanged.",
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
    type=RESULT_FILE,
    metavar="[FILE]",
    help="Write all numbers of every run to FILE, or print them and nothing else.",
)
@split_options
@run_options
def command(
    collection: str, *, without: tuple[str, ...], json_file: str | None, **options: Any
) -> None:
    """Train on labels or pairs of which some are wrong, and measure what that costs.

    Bits of the labels of COLLECTION's training items are flipped at random, 0 to 1 and 1 to 0; or,
    with --shuffle-pairs, some of the items get the texts of others. Measures use the true labels
    and pairs. Each share is trained with every seed, with the whole method and, under flipped
    labels, without the named parts; one table shows all of them.
    """
    from modalhash.files import write_text

    if options["shares"] is not None and options["shuffle_pairs"] is not None:
        raise click.UsageError("--flip and --shuffle-pairs are two studies: give one of them.")
    with show_progress() as progress:
        study = mh.robustness(collection, progress=progress, without=without or None, **options)
    document = json.dumps(study.to_json(), indent=2, ensure_ascii=False)
    if json_file == "-":
        echo_json(document)
        return
    echo(study.table())
    if json_file is not None:
        write_text(Path(json_file), document + "\n", keeps_work=False)
        echo(f"JSON: {json_file}")
