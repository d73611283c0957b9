"""The page on a method of one's own: its files make a package, and its commands run."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from modalhash.registries import installed
from tests.oracles.command_line import CommandLine
from tests.oracles.third_party_package.installing import add_package

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_method.md").read_text(encoding="utf-8")
APPENDED = re.compile(r"<!-- append to: pyproject.toml -->\n```toml\n(.*?)```", re.DOTALL)
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
ORACLES = ROOT / "tests/oracles/third_party_package"


def test_the_classes_are_those_that_are_tested() -> None:
    files = {name: text for name, text in FILE.findall(PAGE) if name.endswith(".py")}
    assert len(files) == 3
    for name, text in files.items():
        assert text == (ORACLES / name).read_text(encoding="utf-8")


def test_the_page_leads_from_files_to_a_row_of_the_table(
    package_site: Path,
    tmp_path: Path,
    modalhash: CommandLine,
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del own_cache
    files = dict(FILE.findall(PAGE))
    pyproject = "\n".join([files.pop("pyproject.toml"), *APPENDED.findall(PAGE)])
    project = tomllib.loads(pyproject)["project"]
    folder = package_site / "acme_hashing"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, text in files.items():
        (package_site / name).write_text(text)
    groups = project["entry-points"]
    add_package(
        package_site,
        project["name"],
        {group.removeprefix("modalhash."): points for group, points in groups.items()},
    )
    installed.cache_clear()
    commands = re.findall(r"^modalhash (.*)$", PAGE, re.MULTILINE)
    assert [command.split()[0] for command in commands] == [
        "train", "evaluate", "bench", "train", "index", "search",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outputs = []
    for command in commands:
        ended = modalhash(*shlex.split(command))
        assert ended.code == 0, ended.err
        outputs.append(ended.out)
    assert "| pls" in outputs[2]
    assert "sorted-scan" in outputs[4]
    assert "scene-" in outputs[5]
