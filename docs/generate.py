"""Write the parts of the documentation that the code already says.

    python docs/generate.py            write every page that is stale
    python docs/generate.py --check    write nothing; exit 1 and name the stale pages

Hand-written pages hold three kinds of blocks between marks: the help of a command, after
`<!-- help: modalhash NAME -->`, the fields of a settings dataclass as a table, after
`<!-- settings: modalhash.ROOM.FILE:CLASS -->`, and measured numbers of benchmarks/results, after
`<!-- results: FILE; COLLECTION; ROWS -->`, `<!-- summary: FILE; COLLECTION; LENGTH -->` or
`<!-- signs: FILE -->` (see measured.py); of quantisers after `<!-- board: FILE -->`,
`<!-- verdicts: FILE -->` or `<!-- calculator: FILE -->` (quantizer_tables.py); all end at
`<!-- end -->`. Written whole are the pages in docs/api/ (see api_pages.py), docs/datasets.md (cards
and protocols) and the figures in docs/images/: the methods' data flows (flows.py), their results
(results_figures.py), and what a query that keeps its numbers does (asymmetric_figure.py). Pages in
docs/notebooks/ are made of what the notebooks there keep (notebook_pages.py).
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from api_pages import ApiPage  # type: ignore[import-not-found, unused-ignore]

    from modalhash.data import DatasetCard, Sizes

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "src" / "modalhash"
HELP_WIDTH = 88
BLOCK = re.compile(
    r"<!-- (help|settings|results|summary|signs|board|verdicts|calculator): (.*?) -->\n"
    r".*?<!-- end -->",
    re.DOTALL,
)
DATASETS_HEAD = (
    "What the public data sets hold, under which terms, and what goes wrong with them; "
    "`modalhash data card NAME` shows the same. What isn't known to us is said to be unknown. "
    "`modalhash data check` compares a collection's counts with its card, and "
    "`modalhash data inspect FILE` says which layout an unknown file is likely to be. Nothing is "
    "downloaded: get a data set from its site, under its terms."
)
PROTOCOLS_HEAD = (
    "`--protocol NAME` divides a collection into queries (`test`), `train` and `database`, which "
    "is everything but the queries. Sizes of your own stand behind the name: "
    "`djsrh:queries=200,train=500`. Programs that seed NumPy's legacy generator or take rows as "
    "they come are followed row for row, if the collection has their rows in their order; draws "
    "that weren't seeded or published are ours, by seed (`--split-seed`), and the same on every "
    "machine. The sizes that came out "
    "are saved with every run, and `modalhash data split C --protocol NAME -o FILE` writes the "
    "positions to a file that `--split-file` takes. `official` keeps what came with the data set."
)
NOTE = "<!-- Written by docs/generate.py; don't edit. -->"


if str(DOCS) not in sys.path:
    sys.path.append(str(DOCS))


def main() -> int:
    """Write or check the generated pages; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="only name the pages that are stale")
    check_only = parser.parse_args().check
    stale = stale_pages()
    for path, content in stale.items():
        if check_only:
            print(f"{path.relative_to(DOCS.parent)} is stale: run python docs/generate.py")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")
    return int(check_only and bool(stale))


def stale_pages() -> dict[Path, str]:
    """Return the generated pages that differ from what they should be, with that content."""
    pages = {
        **pages_with_blocks(),
        **api_pages(),
        **figures(),
        **notebook_pages(),
        DOCS / "datasets.md": datasets_page(),
    }
    return {
        path: content
        for path, content in pages.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != content
    }


def notebook_pages() -> dict[Path, str]:
    """Write the page of each notebook from what it keeps."""
    import notebook_pages as notebooks  # type: ignore[import-not-found, unused-ignore]

    pages: dict[Path, str] = notebooks.notebook_pages()
    return pages


def figures() -> dict[Path, str]:
    """Draw the methods' data flows and results."""
    from asymmetric_figure import asymmetric_figure  # type: ignore[import-not-found, unused-ignore]
    from flow_drawing import drawn  # type: ignore[import-not-found, unused-ignore]
    from flows import FLOWS  # type: ignore[import-not-found, unused-ignore]
    from results_figures import results_figures  # type: ignore[import-not-found, unused-ignore]

    images = {f"flow-{name}": drawn(flow) for name, flow in FLOWS.items()} | results_figures()
    images["asymmetric"] = asymmetric_figure()
    return {DOCS / "images" / f"{name}.svg": content for name, content in images.items()}


def pages_with_blocks() -> dict[Path, str]:
    """Return every hand-written page that holds a generated block, with the blocks as they are now.

    Raises:
        SystemExit: if a mark names a command or class that there isn't.
    """
    from measured import measured_table, signs_table, summary_table  # type: ignore[import-not-found, unused-ignore]
    from quantizer_tables import board_table, calculator, verdict_table  # type: ignore[import-not-found, unused-ignore]

    texts = help_texts()
    pages = {}
    for path in sorted(DOCS.rglob("*.md")):

        def block(match: re.Match[str], path: Path = path) -> str:
            kind, name = match[1], match[2]
            if kind == "settings":
                body = settings_table(name.removeprefix("modalhash."))
            elif kind == "results":
                body = measured_table(name)
            elif kind == "summary":
                body = summary_table(name)
            elif kind == "signs":
                body = signs_table(name)
            elif kind == "board":
                body = board_table(name)
            elif kind == "verdicts":
                body = verdict_table(name)
            elif kind == "calculator":
                body = calculator(name)
            elif name.removeprefix("modalhash").strip() in texts:
                lines = texts[name.removeprefix("modalhash").strip()]
                body = "```text\n" + "\n\n".join(lines) + "\n```"
            else:
                raise SystemExit(f"{path}: there is no command '{name}'")
            return f"<!-- {kind}: {name} -->\n{body}\n<!-- end -->"

        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            pages[path] = BLOCK.sub(block, text)
    return pages


def settings_table(name: str) -> str:
    """Return the fields of a dataclass as a table: name, default, docstring.

    Args:
        name: "ROOM.FILE:CLASS".
    """
    module, _, wanted = name.partition(":")
    file = PACKAGE / (module.replace(".", "/") + ".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            rows = [f"| `{field}` | {default} | {text} |" for field, default, text in fields(node)]
            head = ["| setting | default | meaning |", "|---|---|---|"]
            return "\n".join([*head, *rows] if rows else ["It has no settings."])
    raise SystemExit(f"{file} has no class {wanted}")


def fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Yield the name, default and docstring of each field of a dataclass, ready for a table."""
    for field, text in pairwise(node.body):
        is_documented = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and is_documented:
            default = "" if field.value is None else f"`{shown_default(field.value)}`"
            meaning = " ".join(str(ast.literal_eval(ast.unparse(text))).split())
            yield ast.unparse(field.target), default, meaning.replace("|", "\\|")


def shown_default(value: ast.expr) -> str:
    """Return a default as a user writes it: an enum's member by its value's usual spelling."""
    if isinstance(value, ast.Attribute):
        return value.attr.lower()
    return ast.unparse(value)


def help_texts() -> dict[str, list[str]]:
    """Return the help of each command by name, a group's with that of its commands.

    The group of all commands has the name "" and stands alone.
    """
    from modalhash.cli.main import cli

    texts: dict[str, list[str]] = {}
    for names, context in walk_commands(cli):
        line = " ".join(["$ modalhash", *names, "--help"])
        texts.setdefault(names[0] if names else "", []).append(f"{line}\n{context.get_help()}")
    return texts


def walk_commands(
    command: click.Command, names: tuple[str, ...] = (), parent: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    """Yield the words after `modalhash` and a context, for a command and all below it."""
    width = {"terminal_width": HELP_WIDTH, "max_content_width": HELP_WIDTH}
    settings = {**command.context_settings, **width}
    name = names[-1] if names else "modalhash"
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield names, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk_commands(below, (*names, name), context)


def datasets_page() -> str:
    """Return the page of the public data sets: a card each, and the protocols."""
    from modalhash.data import CARDS, PROTOCOLS

    blocks = [f"{NOTE}\n# Data sets", DATASETS_HEAD]
    for card in CARDS.values():
        blocks += card_blocks(card)
    rows = []
    for protocol in PROTOCOLS.values():
        sizes = [f"{family}: {shown_sizes(one)}" for family, one in protocol.sizes.items()]
        if protocol.any_sizes is not None:
            sizes.append(f"any: {shown_sizes(protocol.any_sizes)}")
        cuts = ", ".join("all" if k is None else f"{k:,}" for k in protocol.top_k)
        rows.append(
            f"| `{protocol.name}` | {protocol.summary} | {'; '.join(sizes)} | "
            f"`{protocol.convention}` at {cuts} |"
        )
    head = "| protocol | habit | queries and training items | measured as |\n|---|---|---|---|"
    blocks += ["## Protocols", PROTOCOLS_HEAD, "\n".join([head, *rows])]
    return "\n\n".join(blocks) + "\n"


def shown_sizes(sizes: "Sizes") -> str:
    """Return the sizes of a protocol as the page shows them."""
    queries = f"{sizes.queries:,}" if sizes.queries else "its own"
    return f"{queries} and {f'{sizes.train:,}' if sizes.train else 'all others'}"


def card_blocks(card: "DatasetCard") -> Iterator[str]:
    """Yield the parts of a data set's card."""
    yield f"## {card.title}"
    yield card.about
    lines = ["| read as | items | texts | labels | official splits |", "|---|---|---|---|---|"]
    for source, expected in card.expected.items():
        counts = [
            " or ".join(f"{count:,}" for count in numbers) or "unknown"
            for numbers in (expected.items, expected.texts)
        ]
        labels = " or ".join(map(str, expected.labels)) or "none"
        splits = ", ".join(
            f"{name} {' or '.join(f'{count:,}' for count in counts)}"
            for name, counts in expected.splits.items()
        )
        lines.append(f"| `{source}` | {' | '.join(counts)} | {labels} | {splits or 'none'} |")
    yield "\n".join(lines)
    layouts = [f"- `{layout}`: {what}" for layout, what in card.layouts.items()]
    yield "\n".join(["How to load it:", "", *layouts])
    sums = "; ".join(f"`{file}` {digest}" for file, digest in card.checksums.items())
    facts = {
        "Terms": card.terms,
        "Where": card.where,
        "Checksums": sums or "None published that we know of.",
        "Protocols": ", ".join(f"`{name}`" for name in card.protocols),
        "Paper": card.citation,
    }
    yield "\n".join(f"- **{name}**: {text}" for name, text in facts.items())
    yield "\n".join(["Traps:", "", *(f"- {trap}" for trap in card.traps)])


def api_pages() -> dict[Path, str]:
    """Write the pages of the Python API; commands have pages of their own."""
    from api_pages import API_PAGES  # type: ignore[import-not-found, unused-ignore]

    return {DOCS / "api" / f"{name}.md": api_page(page) for name, page in API_PAGES.items()}


def api_page(page: "ApiPage") -> str:
    """Write one page of the Python API."""
    blocks = [f"{NOTE}\n# {page.title}", page.intro]
    for module, names in page.names.items():
        chosen = names or public_names(module_file(module))
        members = f"      members: [{', '.join(chosen)}]"
        hidden = "      show_root_heading: false\n      show_root_toc_entry: false"
        blocks.append(f"::: {module}\n    options:\n{hidden}\n{members}")
    return "\n\n".join(blocks) + "\n"


def module_file(module: str) -> Path:
    """Locate the file of a module; of a room, its `__init__.py`."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public_names(file: Path) -> list[str]:
    """Return the names in a file's `__all__`; none if it has no such list."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


if __name__ == "__main__":
    sys.exit(main())
