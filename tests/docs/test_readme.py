"""The README's and the pages' examples call what there is."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

import modalhash
from docs.generate import walk_commands
from modalhash.cli.main import cli

ROOT = Path(__file__).parents[2]
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = dict(walk_commands(cli))
BLOCK = re.compile(r"^```(?:text)?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def shown_commands(text: str) -> list[str]:
    """Return every `modalhash ...` of the code blocks, without the generated help."""
    without_help = re.sub(r"<!-- help:.*?<!-- end -->", "", text, flags=re.DOTALL)
    parts = [
        part.strip().removeprefix("$ ")
        for block in BLOCK.findall(without_help)
        for line in block.replace("\\\n", " ").splitlines()
        for part in line.partition("  #")[0].split("&&")
    ]
    return [part for part in parts if part.startswith("modalhash ")]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_shown_commands_exist_with_their_options(path: Path) -> None:
    for shown in shown_commands(path.read_text(encoding="utf-8")):
        words = shlex.split(shown)[1:]
        depth = next((n for n in (2, 1) if tuple(words[:n]) in COMMANDS), 0)
        assert depth, f"there is no command {shown!r}"
        context = COMMANDS[tuple(words[:depth])]
        known = {
            option
            for parameter in context.command.get_params(context)
            if isinstance(parameter, click.Option)
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.partition("=")[0] for word in words[depth:] if re.match(r"--?[a-zA-Z]", word)}
        assert used <= known, shown


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_shown_names_are_in_the_package(path: Path) -> None:
    names = set(re.findall(r"\bmh\.(\w+)", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not hasattr(modalhash, name)] == []


def test_the_readme_starts_with_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first_block = BLOCK.findall(text)[0]
    assert first_block == (
        "python -m venv .venv && . .venv/bin/activate && "
        'pip install -c constraints.txt ".[demo]" && modalhash demo\n./check\n'
    )
    assert (ROOT / "check").stat().st_mode & 0o111


def test_shown_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = set(project["optional-dependencies"])
    for path in PROSE:
        for extras in re.findall(r"(?:modalhash|\.)\[([\w,]+)\]", path.read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= known, path
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w-]+)` \|", tutorial, re.MULTILINE))
    assert listed == known - {"docs"}


def test_constraints_pin_one_version_each() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    names = [re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins]
    assert names == sorted(set(names))
