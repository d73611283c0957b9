"""Options that several commands share, and how their values are read."""

import math
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from modalhash.options import RunOptions, TrainingOptions

__all__ = [
    "NumberRange",
    "Option",
    "cache_option",
    "captions_option",
    "columns_option",
    "device_option",
    "encoder_option",
    "file_metadata_option",
    "frame_grid_option",
    "frames_option",
    "json_option",
    "largest_picture_option",
    "overwrite_option",
    "packed_codes_options",
    "preset_option",
    "read_changes",
    "read_cutoffs",
    "read_whole_number",
    "run_options",
    "seed_option",
    "settings_option",
    "skip_bad_option",
    "split_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]
MOST_DIGITS: Final = 18
"""Digits of a whole number that 64 bits hold."""


class NumberRange(click.FloatRange):
    """Numbers in a range, without nan, which Click's comparisons let pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number; fail if it is none, or out of the range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class ResultPath(click.Path):
    """Where results go: checked before the work begins, so that no work is lost at its end."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Refuse what the file system doesn't let us write; "-" is standard output."""
        from modalhash.files import check_writable

        path = super().convert(value, param, ctx)
        if value != "-":
            check_writable(Path(value), is_folder=self.dir_okay)
        return path


RESULT_FILE: Final = ResultPath(dir_okay=False)
RESULT_FOLDER: Final = ResultPath(file_okay=False)


def read_changes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read `key=value` texts."""
    read = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} isn't KEY=VALUE", context, parameter)
        read[key.strip().replace("-", "_")] = value.strip()
    return read


device_option: Option[Any] = click.option(
    "--device", default=RunOptions.device, show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
cache_option: Option[Any] = click.option(
    "--cache",
    type=click.Path(file_okay=False),
    help="Folder that keeps features  [default: the user's cache folder, or $MODALHASH_CACHE].",
)


def set_largest_picture(
    context: click.Context, _: click.Parameter, megapixels: float | None
) -> None:
    """Let pictures have so many million pixels while a command runs."""
    if megapixels is None:
        return
    from modalhash.data.picture_opening import PIXELS_VARIABLE

    before = os.environ.get(PIXELS_VARIABLE)
    os.environ[PIXELS_VARIABLE] = str(megapixels)

    def restore() -> None:
        if before is None:
            os.environ.pop(PIXELS_VARIABLE, None)
        else:
            os.environ[PIXELS_VARIABLE] = before

    context.call_on_close(restore)


largest_picture_option: Option[Any] = click.option(
    "--largest-picture",
    type=NumberRange(min=0, min_open=True, max=1e6),
    metavar="MEGAPIXELS",
    callback=set_largest_picture,
    expose_value=False,
    help="Read pictures of up to so many million pixels, such as panoramas.  [default: "
    "$MODALHASH_MAX_MEGAPIXELS, or 89]",
)
file_metadata_option: Option[Any] = click.option(
    "--file-metadata/--no-file-metadata",
    default=True,
    show_default=True,
    help="Store what the pictures' files say: date, camera, place, title, caption, keywords, "
    "rating.",
)
encoder_option: Option[Any] = click.option(
    "--encoder",
    default="offline",
    show_default=True,
    help="offline, offline-shared, clip, clip:MODEL, bow, precomputed, or a pair IMAGE+TEXT such "
    "as offline+bow or vit:MODEL+bert:MODEL.",
)
frames_option: Option[Any] = click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=TrainingOptions.frames,
    show_default=True,
    help="Frames read of a video at most, evenly spaced.",
)
frame_grid_option: Option[Any] = click.option(
    "--frame-grid",
    type=click.IntRange(min=0),
    default=TrainingOptions.frame_grid,
    show_default=True,
    help="Side of the square that a frame's patches are pooled to, as tokens; 0 for none.",
)
preset_option: Option[Any] = click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="Named settings of the method, see its page; auto takes what suits the features.",
)
settings_option: Option[Any] = click.option(
    "--set",
    "settings",
    multiple=True,
    callback=read_changes,
    metavar="KEY=VALUE",
    help="Change a setting of the method or of training; may be repeated.",
)
seed_option: Option[Any] = click.option(
    "--seed", default=0, show_default=True, help="Decides everything random."
)
captions_option: Option[Any] = click.option(
    "--captions",
    type=click.Choice(["first", "all"]),
    default="first",
    show_default=True,
    help="Use each picture's first caption, or all of them.",
)
overwrite_option: Option[Any] = click.option(
    "--overwrite", is_flag=True, help="Replace what is there."
)
skip_bad_option: Option[Any] = click.option(
    "--skip-bad", is_flag=True, help="Leave out items with defects, and say how many."
)
json_option: Option[Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


def run_options(command: Command) -> Command:
    """Add the options of `modalhash.options.RunOptions`: how the work is done."""
    for option in (device_option, cache_option, skip_bad_option):
        command = option(command)
    return command


def packed_codes_options(command: Command) -> Command:
    """Add the options that say how packed codes of any program are read."""
    command = click.option(
        "--bit-order",
        default="little",
        show_default=True,
        type=click.Choice(["little", "big"]),
        help="Of packed codes; np.packbits writes 'big' unless told otherwise.",
    )(command)
    return click.option(
        "--bits",
        "n_bits",
        type=click.IntRange(min=1),
        help="Bits of a code; needed for packed codes.",
    )(command)


def columns_option(command: Command) -> Command:
    """Let a user name the columns of the table that COLLECTION is."""

    @wraps(command)
    def with_columns(**options: Any) -> Any:
        columns = options.pop("columns")
        if columns is not None:
            if options["collection"] is None:
                raise click.UsageError("--columns names columns of COLLECTION: name it too")
            options["collection"] = f"{options['collection']}#{_check_columns(columns)}"
        return command(**options)

    return click.option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="Columns of COLLECTION's table: image, caption, id, caption_id, split, label; also "
        "images=FOLDER, separator and encoding.",
    )(with_columns)  # type: ignore[return-value]


def _check_columns(columns: str) -> str:
    from modalhash.data.table_columns import read_columns

    read_columns(columns)
    return columns


def split_options(command: Command) -> Command:
    """Add the options that name COLLECTION's columns, and divide it by a protocol or a file.

    A protocol also sets the defaults of `-k` and `--convention`, in commands that have these
    options.
    """

    @wraps(command)
    def wrapper(**options: Any) -> Any:
        choices = {key: options.pop(key) for key in ("protocol", "split_file", "split_seed")}
        if any(value is not None for value in choices.values()):
            _divide(options, **choices)
        return command(**options)

    for option in (
        click.option(
            "--split-seed", type=int, help="Seed of the protocol's draw, or of splits made here."
        ),
        click.option(
            "--split-file",
            type=click.Path(),
            help="Divide COLLECTION as this file says, which `data split` wrote; or RUN/splits.",
        ),
        click.option(
            "--protocol",
            metavar="NAME[:SIZES]",
            help="Divide COLLECTION as a paper does, see `modalhash data protocols`.",
        ),
    ):
        wrapper = option(wrapper)
    return columns_option(wrapper)  # type: ignore[return-value]


def _divide(
    options: dict[str, Any], *, protocol: str | None, split_file: str | None, split_seed: int | None
) -> None:
    """Load the collection wrapper as asked for, and set the defaults that go with it."""
    from modalhash.cli.watching import show_progress
    from modalhash.data import PROTOCOLS, load_collection

    if options["collection"] is None:
        raise click.UsageError(
            "--protocol, --split-file and --split-seed divide COLLECTION: name it. Without it, "
            "the run's own splits are used."
        )
    with show_progress() as progress:
        collection = load_collection(
            options["collection"],
            skip_bad=options.get("skip_bad", False),
            protocol=protocol,
            split_file=split_file,
            split_seed=split_seed,
            progress=progress,
        )
    options["collection"] = collection
    if protocol is None:
        return
    measured = PROTOCOLS[protocol.partition(":")[0]]
    defaults = {"top_k": measured.top_k, "conventions": (measured.convention,)}
    context = click.get_current_context()
    for name, value in defaults.items():
        if name in options and context.get_parameter_source(name) == ParameterSource.DEFAULT:
            options[name] = value


def read_whole_number(word: str) -> int | None:
    """Read a whole number from 0 on in the digits 0 to 9; None if the word is something else."""
    is_number = word.isascii() and word.isdigit() and len(word) <= MOST_DIGITS
    return int(word) if is_number else None


def read_cutoffs(
    context: click.Context, parameter: click.Parameter, text: str
) -> tuple[int | None, ...]:
    """Read cut-offs such as `50,5000,all`."""
    read: list[int | None] = []
    for part in text.split(","):
        word = part.strip()
        if word == "all":
            read.append(None)
        elif number := read_whole_number(word):
            read.append(number)
        else:
            raise click.BadParameter(f"{word!r} is neither a number nor 'all'", context, parameter)
    return tuple(read)
