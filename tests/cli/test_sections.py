"""Help of long commands: every option stands in one section."""

import re

import click
import pytest

from docs.generate import walk_commands
from modalhash.cli.main import cli
from modalhash.cli.sections import SectionedCommand

SECTIONED = {
    " ".join(names): context
    for names, context in walk_commands(cli)
    if isinstance(context.command, SectionedCommand)
}


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_stands_in_one_section(name: str) -> None:
    context = SECTIONED[name]
    lines = context.get_help().partition("Options:")[2].partition("Example")[0].splitlines()
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option):
            longest = max(parameter.opts, key=len)
            shown = [line for line in lines if re.match(rf"  (-\w, )?{longest}(?![\w-])", line)]
            assert len(shown) == 1, longest


def test_the_longest_commands_have_sections() -> None:
    assert {"train", "evaluate", "tune", "ablate", "reproduce", "robustness"} <= set(SECTIONED)
