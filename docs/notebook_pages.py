"""The notebooks of the documentation: run them, and write them as pages.

    python docs/notebook_pages.py NAME...    run notebooks/NAME.ipynb, and keep what it shows

`docs/generate.py` makes a page of each notebook from what it keeps, without running it.
"""

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "notebook_pages", "run_notebook"]

FOLDER = Path(__file__).parent / "notebooks"
NOTE = "<!-- Written by docs/generate.py from the notebook; don't edit. -->"
DOWNLOAD = "This page is [a notebook]({name}.ipynb) that you can run."


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook's document."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def list_cells(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """List the cells of a kind: "code" or "markdown"."""
    return [cell for cell in document["cells"] if cell["cell_type"] == kind]


def run_notebook(path: Path) -> list[list[dict[str, Any]]]:
    """Run the code of a notebook in a new folder, as a kernel would.

    Returns:
        The outputs of each code cell, as notebooks keep them: what was printed, and what the last
        line's value shows. Paths of this machine are left out.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        return [
            run_cell("".join(cell["source"]), names, Path(folder).resolve())
            for cell in list_cells(read_notebook(path), "code")
        ]


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, with a cache and without progress there."""
    variables = {"MODALHASH_CACHE": str(folder / "cache"), "MODALHASH_PROGRESS": "0"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    with contextlib.chdir(folder):
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def run_cell(source: str, names: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Run one cell, and collect its outputs."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102 - our own notebooks
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().replace(str(folder), ".")
        outputs.append({"output_type": "stream", "name": "stdout", "text": split_lines(text)})
    if value is not None:
        data = {"text/plain": repr(value)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_()
        outputs.append({
            "output_type": "execute_result",
            "execution_count": None,
            "metadata": {},
            "data": {
                name: split_lines(text.replace(str(folder), ".")) for name, text in data.items()
            },
        })  # fmt: skip
    return outputs


def split_lines(text: str) -> list[str]:
    """Split a text as notebooks keep it."""
    return text.splitlines(keepends=True)


def keep_outputs(path: Path) -> None:
    """Run a notebook, and write what it shows into it."""
    document = read_notebook(path)
    results = run_notebook(path)
    for number, (cell, outputs) in enumerate(
        zip(list_cells(document, "code"), results, strict=True), start=1
    ):
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = number
        cell |= {"execution_count": number, "outputs": outputs}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def notebook_pages() -> dict[Path, str]:
    """Write the page of each notebook."""
    return {path.with_suffix(".md"): write_page(path) for path in sorted(FOLDER.glob("*.ipynb"))}


def write_page(path: Path) -> str:
    """Write a notebook as a page."""
    blocks = [NOTE]
    for cell in read_notebook(path)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            continue
        blocks.append(f"```python\n{source}\n```")
        blocks += [write_output(output) for output in cell["outputs"]]
    blocks.insert(2, DOWNLOAD.format(name=path.stem))
    return "\n\n".join(blocks) + "\n"


def write_output(output: dict[str, Any]) -> str:
    """Write what a cell showed: HTML as it is, text as text."""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    html = output["data"].get("text/html")
    if html is not None:
        return "".join(html).strip()
    return f"```text\n{''.join(output['data']['text/plain']).rstrip()}\n```"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep_outputs(FOLDER / f"{argument}.ipynb")
