"""Names and first lines of docstrings in plain English: verbs for functions, nouns for variables.

Rooms in `NOT_YET` still have such names; a room that is clean leaves the list, and stays clean.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "modalhash"
NOT_YET: set[str] = set()
PARTICIPLES = {
    "asked", "chosen", "coded", "computed", "configured", "counted", "described", "divided",
    "drawn", "encoded", "finished", "fitted", "found", "given", "held", "kept", "known", "listed",
    "loaded", "made", "marked", "measured", "named", "numbered", "opened", "proposed", "refused",
    "rounded", "said", "scaled", "shown", "suited", "taken", "told", "trained", "wanted",
    "watched",
}  # fmt: skip
"""No function begins with one of these."""
RIDDLES = {
    "asked", "found", "given", "held", "here", "how", "it", "kept", "made", "one", "said", "taken",
    "that", "there", "told", "wanted", "what", "who",
}  # fmt: skip
"""No variable and no argument is named so."""
ROOMS = sorted(
    {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
)


def room_files(room: str) -> Iterator[Path]:
    folder = PACKAGE / room
    yield from sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def riddles(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that is named against the rules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_property(node):
            if node.name.strip("_").split("_")[0] in PARTICIPLES:
                yield node.lineno, f"function {node.name}: name it with a verb"
            if (ast.get_docstring(node) or "").startswith("Return"):
                yield node.lineno, f"docstring of {node.name}: begin with what it does"
        if isinstance(node, ast.arg) and node.arg in RIDDLES:
            yield node.lineno, f"argument {node.arg}: name it with a noun"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in RIDDLES:
            yield node.lineno, f"variable {node.id}: name it with a noun"


def broken_names(room: str) -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)}:{line}: {problem}"
        for path in room_files(room)
        for line, problem in riddles(ast.parse(path.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("room", sorted(set(ROOMS) - NOT_YET))
def test_names_say_what_they_do_and_hold(room: str) -> None:
    assert broken_names(room) == []


def test_the_list_names_rooms() -> None:
    assert set(ROOMS) >= NOT_YET


def test_riddles_are_recognised() -> None:
    text = 'def found(one, text):\n    """Return it."""\n    told = text\n'
    assert [problem.split(":")[0] for _, problem in riddles(ast.parse(text))] == [
        "function found", "docstring of found", "argument one", "variable told",
    ]  # fmt: skip
