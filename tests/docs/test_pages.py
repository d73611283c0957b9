"""The pages cover the code: every public name, every method, every documented command."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import modalhash as mh
from docs.api_pages import API_PAGES, ApiPage
from docs.generate import BLOCK, api_pages, settings_table
from modalhash.data import COLLECTIONS
from modalhash.encoders import ENCODERS
from modalhash.methods import METHODS, method_class

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "modalhash"
PAGES = sorted(DOCS.rglob("*.md"))
PROSE = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def documented_names() -> set[str]:
    return {
        name
        for page in API_PAGES.values()
        for module, names in page.names.items()
        for name in names or import_module(module).__all__
    }


def test_every_name_of_the_package_is_documented() -> None:
    assert set(mh.__all__) - documented_names() == set()


@pytest.mark.parametrize("page", API_PAGES.values(), ids=lambda page: page.title)
def test_every_documented_name_exists_and_says_what_it_is(page: ApiPage) -> None:
    for module, names in page.names.items():
        exported = import_module(module).__all__
        assert set(names) - set(exported) == set(), module
        for name in names:
            value = getattr(import_module(module), name)
            assert not callable(value) or value.__doc__, f"{module}.{name}"


def test_every_api_page_is_generated() -> None:
    assert sorted(DOCS.glob("api/*.md")) == sorted(api_pages())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_page_with_its_settings(name: str) -> None:
    text = read(DOCS / "methods" / f"{name}.md")
    settings = method_class(name).settings_class
    assert f"<!-- settings: {settings.__module__}:{settings.__name__} -->" in text
    assert f"--method {name} " in text
    assert f"(methods/{name}.md)" in read(DOCS / "methods.md")
    assert f"(docs/methods/{name}.md)" in read(ROOT / "README.md")


def test_every_collection_and_encoder_has_a_row() -> None:
    collections, encoders = read(DOCS / "collections.md"), read(DOCS / "encoders.md")
    assert [name for name in COLLECTIONS if f"`{name}" not in collections] == []
    assert [name for name in ENCODERS if f"| `{name}`" not in encoders] == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", read(ROOT / "mkdocs.yml")))
    assert listed == {str(page.relative_to(DOCS)) for page in PAGES}


def test_the_site_asks_nothing_of_the_network() -> None:
    settings = read(ROOT / "mkdocs.yml")
    assert "  font: false" in settings
    assert re.findall(r"https?://", settings) == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", read(path))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_python_examples_are_valid_python(path: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", read(path), re.DOTALL | re.MULTILINE):
        ast.parse(block)


def test_choices_are_written_as_their_names() -> None:
    """Settings tables show an enum's default by its member's name: it must be its value too."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.ClassDef) and "StrEnum" in map(ast.unparse, node.bases):
                for member in (n for n in node.body if isinstance(n, ast.Assign)):
                    name = ast.unparse(member.targets[0])
                    assert ast.literal_eval(member.value) == name.lower(), f"{path}: {name}"


def test_a_settings_table_holds_name_default_and_meaning() -> None:
    table = settings_table("methods.base:TrainingSettings").splitlines()
    assert table[:3] == [
        "| setting | default | meaning |",
        "|---|---|---|",
        "| `epochs` | `20` | Passes over the training pairs. |",
    ]


def test_a_missing_settings_class_is_named() -> None:
    with pytest.raises(SystemExit, match=r"has no class Nobody$"):
        settings_table("methods.base:Nobody")


BLOCK_KINDS = (
    "help", "settings", "results", "summary", "signs", "board", "verdicts", "calculator",
)  # fmt: skip


def test_every_block_on_the_pages_is_closed() -> None:
    for page in PAGES:
        text = read(page)
        kinds = [f"<!-- {kind}:" for kind in BLOCK_KINDS]
        assert sum(map(text.count, kinds)) == len(BLOCK.findall(text))


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = read(ROOT / "CHANGELOG.md")
    headings = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d{2}-\d{2})?$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.findall(r"^## ", text, re.MULTILINE) == ["## "] * len(headings)
    groups = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
