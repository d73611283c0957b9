"""Results as tables on stdout."""

from rich.console import Console
from rich.table import Table

from modalhash.artifacts import Answer
from modalhash.metrics import Measure, Report

__all__ = ["print_answer", "print_report"]

DIRECTIONS = ("image_to_text", "text_to_image")
NARROWEST = 100


def console() -> Console:
    """Return the console of stdout; pipes get lines that aren't cut."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=max(NARROWEST, 120))


def print_answer(answer: Answer) -> None:
    """Print hits, nearest first."""
    ((kind, query),) = answer.query.items()
    table = Table(title=f"{answer.target} for {kind} {query!r}", title_justify="left")
    table.add_column("distance", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("caption", overflow="fold")
    for hit in answer.hits:
        table.add_row(f"{hit.distance}/{answer.n_bits}", str(hit.id), hit.caption)
    console().print(table)


def print_report(report: Report) -> None:
    """Print every number with its formula and tie rule, both directions side by side."""
    about = report.about
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items()
    )
    out = console()
    out.print(
        f"{about.get('method', 'codes')}, {report.n_bits} bits, {about.get('collection', '')}: "
        f"queries of {report.split}, database {report.database} ({counts})"
    )
    table = Table()
    for name in ("measure", "at", "relevance", "convention", "ties"):
        table.add_column(name)
    for direction in DIRECTIONS:
        table.add_column(direction, justify="right")
    rows: dict[tuple[str, str, str, str, str], dict[str, Measure]] = {}
    for measure in report.measures:
        key = (
            measure.measure.replace("_", " "),
            "all" if measure.k is None else str(measure.k),
            measure.relevance.replace("_", " "),
            measure.convention or "",
            measure.ties,
        )
        rows.setdefault(key, {})[measure.direction] = measure
    for key, found in rows.items():
        values = (f"{found[one].value:.4f}" if one in found else "" for one in DIRECTIONS)
        table.add_row(*key, *values)
    out.print(table)
    for note in report.notes:
        out.print(f"note: {note}")
