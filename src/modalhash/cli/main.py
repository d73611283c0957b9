"""The command `modalhash`: what all commands share."""

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeGuard

import click

from modalhash.cli.terminal import echo
from modalhash.errors import FilterError, MissingExtraError, ModalhashError
from modalhash.extras import find_missing_extra

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "demo": "Run every step on built-in pictures: train, measure, search.",
    "data": "List, describe and check collections.",
    "features": "Turn pictures and texts into features.",
    "train": "Learn hash functions from pictures and their texts.",
    "tune": "Search over the settings of a method.",
    "encode": "Write the codes of a collection.",
    "shorten": "Cut codes, or a model's, to their first bits.",
    "evaluate": "Measure a model with the literature's measures.",
    "score": "Measure codes that any program made.",
    "bench": "Train methods side by side, and print one table.",
    "reproduce": "Run a paper's protocol, and compare with its numbers.",
    "ablate": "Turn off each part of a method, and measure its worth.",
    "robustness": "Train on wrong labels or wrong pairs, and measure what that costs.",
    "index": "Make a collection searchable.",
    "find": "Find pictures in any folder, without captions.",
    "search": "Find pictures by words, texts by a picture.",
    "calibrate": "Estimate the probability of relevance at each distance.",
    "add": "Add a collection to an index.",
    "sync": "Bring an index up to date with its folder.",
    "upgrade": "Give an index a newer model, without encoding again.",
    "delete": "Remove items from an index.",
    "compact": "Rewrite an index without its deleted items.",
    "verify": "Read every byte of an index, and report damage.",
    "repair": "Keep the undamaged part of an index.",
    "serve": "Serve an HTTP API and a search page.",
    "mcp": "Serve tools for assistants (Model Context Protocol).",
    "key": "Create, list and revoke API keys of a server.",
    "export": "Write codes as files that another system loads.",
    "import": "Make an index of codes that any program made.",
    "push": "Send a model or an index to a hub.",
}
"""Command to its line in the help, in the order of use; each lies in a file of its name."""


PATH_ERRORS = frozenset({errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP})
"""What the file system says against a path of the user's."""
OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF, errno.EDQUOT})
"""Ways in which printing fails."""
LAST_STREAM: Final = 2
"""The file number of the last standard stream."""


class LazyGroup(click.Group):
    """A group whose commands are imported when one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which a user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"modalhash.cli.{cmd_name}_command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class StderrHandler(logging.Handler):
    """Prints messages on stderr as it is at the moment: above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        echo(self.format(record), err=True)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: modalhash demo",
)
@click.version_option(package_name="modalhash")
@click.option("--debug", is_flag=True, help="Show the trace of an error, and all log messages.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no log, only results.")
@click.pass_context
def cli(context: click.Context, *, debug: bool, quiet: bool) -> None:
    """Learn short binary codes from image-text pairs, and search pictures by words with them."""
    context.obj = {"quiet": quiet}
    logger = logging.getLogger("modalhash")
    logger.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.INFO)
    logger.handlers = [StderrHandler()]
    if not debug:
        # A hub's client would report each of its retries; the error at their end says it all.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    open_missing_streams()
    show_what_cannot_be_encoded()
    try:
        outcome: Any = cli.main(arguments, prog_name="modalhash", standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here, and not when Python ends
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        echo(shown.getvalue(), err=True, nl=False)
        sys.exit(error.exit_code)
    except click.Abort:
        echo("modalhash: interrupted; what was finished is kept", err=True)
        sys.exit(130)
    except Exception as error:
        if is_of_writing(error):
            discard_output()
            if not isinstance(error, BrokenPipeError):
                echo(f"modalhash: can't write the result: {error.strerror}", err=True)
            sys.exit(1)
        if "--debug" in arguments:
            raise
        echo(f"modalhash: {format_error(name_missing_extra(error, arguments))}", err=True)
        sys.exit(1)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def open_missing_streams() -> None:
    """Open standard streams that the caller closed on nothing.

    Otherwise the next file that is opened, such as an index's log, takes the number of one of them,
    and gets what libraries print.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (handle := os.open(os.devnull, os.O_RDWR)) <= LAST_STREAM:
        pass
    os.close(handle)
    sys.stdin = sys.stdin or open_nothing("r")
    sys.stdout = sys.stdout or open_nothing("w")
    sys.stderr = sys.stderr or open_nothing("w")


def open_nothing(mode: Literal["r", "w"]) -> TextIO:
    """Open what reads as empty, and drops what is written."""
    return Path(os.devnull).open(mode, encoding="utf-8")


def show_what_cannot_be_encoded() -> None:
    """Let a terminal that can't show a character show its escape instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def is_of_writing(error: Exception) -> TypeGuard[OSError]:
    """Tell whether an error came from printing, or from a file that no error of ours names."""
    if isinstance(error, ModalhashError):
        return False
    return isinstance(error, OSError) and error.errno in OUTPUT_ERRORS


def discard_output() -> None:
    """Send what is still to be printed nowhere, so that Python doesn't fail on it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def name_missing_extra(error: Exception, arguments: Sequence[str]) -> Exception:
    """Replace the error of a package that isn't installed by one that names its extra."""
    if not isinstance(error, ModuleNotFoundError) or isinstance(error, ModalhashError):
        return error
    command = next((word for word in arguments if word in COMMANDS), "")
    missing = find_missing_extra(error, f"modalhash {command}".rstrip())
    if missing is not None and command == "demo":
        return MissingExtraError(missing.package, "demo", "modalhash demo")
    return missing or error


def format_error(error: Exception) -> str:
    """Format an error in one line; of an error that isn't ours, also its type.

    What can't be understood in a filter is marked in a second and third line.
    """
    if isinstance(error, FilterError):
        return str(error)
    text = " ".join(str(error).split())
    if isinstance(error, ModalhashError):
        return text
    if isinstance(error, OSError) and error.errno in PATH_ERRORS and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path"
    return (
        f"unexpected {type(error).__name__}: {text}; this is a bug, please report it with what "
        "`modalhash --debug ...` prints"
    )
