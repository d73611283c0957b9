"""The notebooks of the documentation run, and their pages show what they keep."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs import notebook_pages
from docs.notebook_pages import FOLDER, list_cells, read_notebook, run_notebook, write_page

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def kinds(outputs: list[dict[str, Any]]) -> list[list[str]]:
    """What each output is: printed, text or HTML."""
    return [sorted(output.get("data", {"printed": ""})) for output in outputs]


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["find-pictures", "train-and-compare"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_keeps(path: Path) -> None:
    """Kinds are compared, not values: these may differ between processors."""
    kept = [cell["outputs"] for cell in list_cells(read_notebook(path), "code")]
    assert list(map(kinds, run_notebook(path))) == list(map(kinds, kept))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_one_and_small(path: Path) -> None:
    document = read_notebook(path)
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    identities = [cell["id"] for cell in document["cells"]]
    assert len(set(identities)) == len(identities)
    assert path.stat().st_size < 200_000
    for cell in list_cells(document, "code"):
        assert cell["outputs"] == [] or cell["execution_count"] is not None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_holds_its_notebook_without_paths_of_a_machine(path: Path) -> None:
    page = write_page(path)
    for cell in read_notebook(path)["cells"]:
        assert "".join(cell["source"]) in page
    assert '<img src="data:image/jpeg;base64,' in page
    assert re.findall(r"/(?:tmp|home|root|work)/", re.sub(r"base64,[^\"]*", "", page)) == []


def test_a_cell_shows_what_it_prints_and_its_last_value(tmp_path: Path) -> None:
    outputs = notebook_pages.run_cell("print('a'); x = 2\nx + 1", {}, tmp_path)
    assert [output["output_type"] for output in outputs] == ["stream", "execute_result"]
    assert outputs[0]["text"] == ["a\n"]
    assert outputs[1]["data"] == {"text/plain": ["3"]}
    assert notebook_pages.run_cell(f"{str(tmp_path)!r} + '/a'", {}, tmp_path)[0]["data"] == {
        "text/plain": ["'./a'"]
    }
    assert notebook_pages.run_cell("x = 3", {}, tmp_path) == []


def test_the_script_keeps_what_a_notebook_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]},
            {"cell_type": "code", "id": "b", "metadata": {}, "source": ["1 + 1"],
             "execution_count": None, "outputs": []},
        ],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps(document), encoding="utf-8")
    notebook_pages.keep_outputs(path)
    page = write_page(path)
    assert page.splitlines()[2:] == [
        "# Title", "", "This page is [a notebook](small.ipynb) that you can run.", "",
        "```python", "1 + 1", "```", "", "```text", "2", "```",
    ]  # fmt: skip


def test_the_notebooks_module_imports_nothing_heavy() -> None:
    code = "import sys, docs.notebook_pages; print('modalhash' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER.parents[1], capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "False"
