"""The page on a method of one's own: its files make a package, and its commands run."""

import re
import tomllib
from pathlib import Path

from modalhash.registries import installed
from tests.oracles.command_line import CommandLine
from tests.oracles.third_party_package.installing import add_package

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_method.md").read_text(encoding="utf-8")
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
ORACLES = ROOT / "tests/oracles/third_party_package"


def test_the_method_is_the_one_that_is_tested() -> None:
    method = dict(FILE.findall(PAGE))["acme_hashing/partial_least_squares.py"]
    tested = ORACLES / "acme_hashing" / "partial_least_squares.py"
    assert method == tested.read_text(encoding="utf-8")


def test_the_page_leads_from_files_to_a_row_of_the_table(
    package_site: Path, tmp_path: Path, modalhash: CommandLine, own_cache: Path
) -> None:
    del own_cache
    files = dict(FILE.findall(PAGE))
    project = tomllib.loads(files["pyproject.toml"])["project"]
    folder = package_site / "acme_hashing"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "partial_least_squares.py").write_text(files["acme_hashing/partial_least_squares.py"])
    groups = project["entry-points"]
    add_package(
        package_site,
        project["name"],
        {group.removeprefix("modalhash."): points for group, points in groups.items()},
    )
    installed.cache_clear()
    commands = re.findall(r"^modalhash (.*)$", PAGE, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "evaluate", "bench"]
    for command in commands:
        words = command.replace("runs/pls", f"{tmp_path}/pls").replace("bench/", f"{tmp_path}/b/")
        ended = modalhash(*words.split())
        assert ended.code == 0, ended.err
    assert "| pls" in ended.out
