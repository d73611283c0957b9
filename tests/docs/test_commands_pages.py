"""Every command says what it does, shows an example and has a page with its help as it is now."""

from pathlib import Path

import click
import pytest

from docs.generate import HELP_WIDTH, help_texts, stale_pages, walk_commands
from modalhash.cli.main import cli

ROOT = Path(__file__).parents[2]
COMMANDS = dict(walk_commands(cli))
TOP = sorted({names[0] for names in COMMANDS if names})
LEAVES = {
    names: context
    for names, context in COMMANDS.items()
    if not isinstance(context.command, click.Group)
}


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_a_command_says_what_it_does_in_one_line(names: tuple[str, ...]) -> None:
    command = COMMANDS[names].command
    first_line = (command.help or "").strip().partition("\n")[0]
    assert first_line.endswith("."), f"modalhash {' '.join(names)}: {first_line!r}"


@pytest.mark.parametrize("names", LEAVES, ids=" ".join)
def test_a_command_shows_an_example_of_itself(names: tuple[str, ...]) -> None:
    shown = LEAVES[names].get_help()
    after_usage = shown.partition("\n")[2]
    assert f"modalhash {' '.join(names)}" in after_usage


@pytest.mark.parametrize("names", LEAVES, ids=" ".join)
def test_every_option_says_what_it_is(names: tuple[str, ...]) -> None:
    context = LEAVES[names]
    options = [p for p in context.command.get_params(context) if isinstance(p, click.Option)]
    assert [option.name for option in options if not (option.help or option.hidden)] == []


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_fits_its_width(names: tuple[str, ...]) -> None:
    lines = COMMANDS[names].get_help().splitlines()
    assert [line for line in lines if len(line) > HELP_WIDTH] == []


@pytest.mark.parametrize("name", TOP)
def test_every_command_has_a_page_with_its_help(name: str) -> None:
    page = (ROOT / "docs" / "commands" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# modalhash {name}\n")
    assert "\n\n".join(help_texts()[name]) in page
    overview = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"(commands/{name}.md)" in overview


def test_every_page_has_a_command() -> None:
    pages = sorted(path.stem for path in (ROOT / "docs" / "commands").glob("*.md"))
    assert pages == TOP


def test_generated_pages_are_fresh() -> None:
    stale = [str(path.relative_to(ROOT)) for path in stale_pages()]
    assert stale == [], "run python docs/generate.py"
