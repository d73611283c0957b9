"""How the command line is started, and what happens where it can't print."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "modalhash"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_the_module_is_the_command() -> None:
    from importlib.metadata import version

    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"modalhash, version {version('modalhash')}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("arguments", [["--help"], ["data", "list"]])
def test_a_full_disk_is_no_bug(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    expected = "modalhash: can't write the result: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, expected)


def test_a_reader_that_has_left_ends_the_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = subprocess.run(
            [*COMMAND, "data", "list"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_terminal_without_a_character_is_no_bug(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "犬"
    folder.mkdir()
    ended = subprocess.run(
        [*COMMAND, "data", "check", str(folder)],
        capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, b"")
    # Click writes UTF-8 where the terminal says ASCII; others get the character's escape.
    assert b"\\u72ac" in ended.stdout or "犬".encode() in ended.stdout


@pytest.mark.skipif(os.name == "nt", reason="there is no such shell here")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", ["--version", "data list"])
def test_a_closed_standard_stream_is_no_bug(arguments: str, closed: str) -> None:
    command = f'"$0" -m modalhash {arguments} {closed}'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) == (" >&-" not in f" {closed}")


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    script = (
        "import sys; from modalhash.cli.main import open_missing_streams as o; o();"
        "import os; h = os.open(os.devnull, os.O_RDONLY); sys.exit(h)"
    )
    ended = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" <&- >&-', sys.executable, script], check=False
    )
    assert ended.returncode > 2
