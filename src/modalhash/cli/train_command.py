"""`modalhash train`."""

from collections.abc import Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

import modalhash as mh
from modalhash.cli.options import (
    RESULT_FOLDER,
    encoder_option,
    frame_grid_option,
    frames_option,
    overwrite_option,
    preset_option,
    run_options,
    seed_option,
    settings_option,
    split_options,
)
from modalhash.cli.sections import SectionedCommand
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress
from modalhash.methods import METHODS

SEARCHED: Final = ("split", "seed", "encoder", "preset", "settings", "skip_bad", "cache", "device")
"""Options that a search over settings takes too."""
NOT_SEARCHED: Final = ("hug", "compatible_with", "tune_encoder", "frames", "frame_grid")


def is_typed(name: str) -> bool:
    """Tell whether an option of the running command was typed, rather than left at its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not ParameterSource.DEFAULT


def read_settings_file(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read method, preset and settings from a file; --set changes the settings.

    Raises:
        UsageError: if --method or --preset was typed and the file holds another.
    """
    from modalhash.api.settings_files import read_settings

    read = read_settings(path)
    for name, value in (("method", read.method), ("preset", read.preset)):
        if is_typed(name) and options[name] != value:
            raise click.UsageError(
                f"--{name} is {options[name]}, but {path} holds settings of {value or 'defaults'}: "
                f"leave --{name} out"
            )
    settings = {**read.settings, **options["settings"]}
    return {"method": read.method, "preset": read.preset or None, "settings": settings}


def search_settings(
    collection: Any, n_trials: int, n_bits: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Search for the best settings in a folder beside the run's; return them with their preset.

    Raises:
        UsageError: if an option was typed that a search doesn't take.
    """
    for name in NOT_SEARCHED:
        if is_typed(name):
            raise click.UsageError(f"--{name.replace('_', '-')} isn't searched: leave --tune out")
    with show_progress() as progress:
        result = mh.tune(
            options["method"],
            collection,
            f"{options['output'].rstrip('/')}-tuning",
            n_trials=n_trials,
            n_bits=n_bits,
            progress=progress,
            **{name: options[name] for name in SEARCHED},
        )
    echo(
        f"best of {len(result.trials)} trials: {result.best.value:.4f} ({result.objective}, as it "
        f"is {result.trials[0].value:.4f}); all of them in {result.settings_file.parent}"
    )
    return {"preset": result.settings.preset or None, "settings": result.settings.settings}


@click.command(
    "train",
    cls=SectionedCommand,
    epilog="Example: modalhash train photos/ --bits 64 -o runs/photos",
)
@click.argument("collection")
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="Run folder.")
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="auto is nested-labelled where the items to learn from have labels, else nested; with "
    f"--hug or --tune-encoder, cfrh. Others: {', '.join(METHODS)}; what an installed package "
    "registers; or MODULE:CLASS.",
)
@click.option("--bits", default=64, show_default=True, help="Bits of a code.")
@encoder_option
@click.option(
    "--tune-encoder",
    is_flag=True,
    help="Also learn the encoder's weights (clip, vit, bert); needs an accelerator.",
)
@frames_option
@frame_grid_option
@click.option("--split", default="train", show_default=True, help="Items to learn from.")
@seed_option
@preset_option
@click.option(
    "--hug",
    type=click.Choice(["contrastive", "same", "plus"]),
    help="Align content tokens too: by contrast, by the method's own loss, or by contrast with "
    "finer codes to rerank by.",
)
@click.option(
    "--compatible-with",
    metavar="RUN",
    type=click.Path(file_okay=False),
    help="Former run: the new model's queries search the codes that it made, and new items may be "
    "added to them; see `modalhash upgrade`.",
)
@settings_option
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False),
    help="File of a method and its settings, which `modalhash tune` writes.",
)
@click.option(
    "--tune",
    "n_trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="First search over the settings with N trials on a validation part of the items to "
    "learn from, see `modalhash tune`.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@overwrite_option
@split_options
@run_options
def command(
    collection: str, *, bits: int, settings_file: str | None, n_trials: int | None, **options: Any
) -> None:
    """Learn hash functions from the pairs of COLLECTION.

    COLLECTION is a built-in name (see `modalhash data list`), a folder of pictures with captions,
    or NAME:PATH. Pictures without captions suffice with --encoder clip or offline-shared. Features
    are made first and kept for the next run. The run folder receives the model, its card, the log,
    the splits and checkpoints; after a kill, the same command with --resume gives the same codes as
    an uninterrupted run.
    """
    if settings_file is not None:
        options |= read_settings_file(settings_file, options)
    if n_trials is not None:
        options |= search_settings(collection, n_trials, bits, options)
    with show_progress() as progress:
        model = mh.train(collection, n_bits=bits, progress=progress, **options)
    echo(
        f"{model.record.title}, {model.n_bits} bits: model in {options['output']} "
        f"(evaluate it: modalhash evaluate {options['output']})"
    )
