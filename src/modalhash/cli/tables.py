"""Results as tables on stdout."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modalhash.choices import Scoring
from modalhash.cli.terminal import echo, shorten_line, show_controls, show_line
from modalhash.metrics import Measure, MeasureComparison, Report, least_score

if TYPE_CHECKING:  # what is printed here may have been made without torch
    from modalhash.api import RerankSweep
    from modalhash.api.suspecting import Suspect, SuspectList
    from modalhash.artifacts import ModelCalibration
    from modalhash.search import Answer

__all__ = [
    "print_answer",
    "print_calibration",
    "print_comparison",
    "print_report",
    "print_suspects",
    "print_sweep",
]

NARROWEST = 100
LEAST_PROBABILITY = 0.1
"""Suspects that are less probably wrong aren't listed, unless a number of suspects is given."""
SHOWN_SUSPECTS = 20
"""Suspects that are listed at most, unless a number is given."""
WIDEST_ID = 40
"""Characters of an id that stay on one line."""
USUAL_BY_PAIR = ("recall", "median_rank")
EXACT_RANKS = ("mean_rank", "median_rank")
Row = tuple[str, str, str, str, str, str]


class DataConsole(Console):
    """A console whose lines and tables show control characters of data as escapes."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Make a text of a string; see `rich.console.Console.render_str`."""
        return super().render_str(show_controls(text), **settings)


def console() -> Console:
    """Make the console of stdout; pipes get lines that aren't cut."""
    data_console = DataConsole(highlight=False, markup=False)
    if data_console.is_terminal:
        return data_console
    return DataConsole(highlight=False, markup=False, width=max(NARROWEST, 120))


def print_answer(answer: "Answer") -> None:
    """Print hits, best first, or that there are none; with scores if these ranked them.

    Long captions end in "…"; `--json` has them in full.

    How much a distance speaks for a hit is a word; `--explain` and `--json` have the probability.
    """
    with_scores = answer.reranked_by is not None or answer.scoring == Scoring.ASYMMETRIC
    ((kind, query),) = answer.query.items()
    title = f"{answer.target} for {kind} {query!r}, {answer.scoring}"
    if not answer.hits:
        console().print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    table.add_column("distance", justify="right")
    if with_scores:
        table.add_column("score", justify="right")
    is_graded = any(hit.strength is not None for hit in answer.hits)
    if is_graded:
        table.add_column("match")
    table.add_column("id", overflow="fold")
    table.add_column("caption", overflow="fold")
    for hit in answer.hits:
        numbers = [f"{hit.score:.3f}"] if with_scores else []
        if is_graded:
            numbers.append(str(hit.strength or "-"))
        table.add_row(
            f"{hit.distance}/{answer.n_bits}",
            *numbers,
            show_line(str(hit.id)),
            shorten_line(hit.caption),
        )
    console().print(table)


def print_suspects(result: "SuspectList", k: int | None) -> None:
    """Print how many pairs look wrong, then suspects, the most suspect first.

    Long texts end in "…"; `--json` and the CSV file have them in full. Files of pictures come last,
    each on a line of its own, so that any of them can be copied.

    Args:
        result: all pairs, or the `k` most suspect ones.
        k: suspects that are listed; None lists those that are wrong with some probability.
    """
    console().print(f"{result.n_items:,} pairs compared: {describe_wrong_pairs(result)}")
    listed, note = result.suspects[:k], ""
    if k is None:
        listed, note = choose_suspects(result)
    if listed:
        print_suspect_table(listed, f"suspects of {result.collection}")
    if note:
        echo(note)


def describe_wrong_pairs(result: "SuspectList") -> str:
    """Say how many pairs look wrong, or that it can't be told."""
    if not result.is_clear:
        return (
            "pictures and texts agree so little that wrong pairs can't be told from right ones: "
            "read the order as a hint"
        )
    n_wrong = round(result.wrong_share * result.n_items)
    if not n_wrong:
        return "none looks wrong"
    share = f"{result.wrong_share:.1%}" if result.wrong_share < 0.1 else f"{result.wrong_share:.0%}"
    return f"about {n_wrong:,} ({share}) {'looks' if n_wrong == 1 else 'look'} wrong"


def choose_suspects(result: "SuspectList") -> tuple[tuple["Suspect", ...], str]:
    """Choose the suspects that are listed unless a number is given, and say which are left out."""
    if not result.is_clear:
        return result.suspects[:SHOWN_SUSPECTS], ""
    probable = tuple(
        suspect for suspect in result.suspects if suspect.probability >= LEAST_PROBABILITY
    )
    which = f"wrong with a probability of {LEAST_PROBABILITY:.2f} or more"
    if not probable:
        return (), f"No pair is {which}; -k N lists the N most suspect ones anyway."
    if len(probable) <= SHOWN_SUSPECTS:
        return probable, f"Listed: all that are {which}; -k N lists the N most suspect ones."
    n_listed = f"Listed: {SHOWN_SUSPECTS} of the {len(probable):,} that are {which}"
    return probable[:SHOWN_SUSPECTS], f"{n_listed}; -k N lists the N most suspect ones."


def print_suspect_table(suspects: Sequence["Suspect"], title: str) -> None:
    """Print suspects as a table without columns that would be empty, and the files after it."""
    table = Table(title=title, title_justify="left")
    for head in ("score", "probability"):
        table.add_column(head, justify="right")
    ids = [show_line(suspect.id) for suspect in suspects]
    table.add_column("id", overflow="fold", min_width=min(WIDEST_ID, max(map(len, ids))))
    with_texts = any(suspect.text for suspect in suspects)
    if with_texts:
        table.add_column("text", overflow="fold")
    for name, suspect in zip(ids, suspects, strict=True):
        cells = [f"{suspect.score:.3f}", f"{suspect.probability:.2f}", name]
        table.add_row(*cells, *([shorten_line(suspect.text)] if with_texts else []))
    console().print(table)
    if any(suspect.path for suspect in suspects):
        echo("Their files, in the same order:")
    for suspect in suspects:
        if suspect.path:
            echo(show_line(suspect.path))


def format_probability(probability: float | None) -> str:
    """Format a probability; tiny ones aren't shown as 0, nor large ones as 1."""
    if probability is None:
        return "-"
    if probability < 0.001:
        return "< 0.001"
    return "> 0.999" if probability > 0.999 else f"{probability:.3f}"


def print_calibration(calibration: "ModelCalibration") -> None:
    """Print what distances are worth, and how far that can be trusted."""
    out = console()
    out.print(calibration.stated)
    table = Table()
    for name in (
        "direction", "scoring", "queries", "base rate", "nearest", "half way at",
        "Brier (of base rate)", "error", "error of 10 nearest",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in ("direction", "scoring") else "right")
    by_distance = [(Scoring.HAMMING, entry) for entry in calibration.directions.values()]
    by_score = [(Scoring.ASYMMETRIC, entry) for entry in calibration.asymmetric.values()]
    for scoring, direction_calibration in (*by_distance, *by_score):
        curve, all_pairs = direction_calibration.curve, direction_calibration.all_pairs
        half = curve.radius(0.5)
        place = f"{half} bits"
        if half is not None and scoring is Scoring.ASYMMETRIC:
            place = f"score {least_score(half, calibration.n_bits):.3f}"
        table.add_row(
            direction_calibration.direction.value,
            scoring.value,
            f"{curve.n_queries:,}",
            f"{curve.base_rate:.4f}",
            format_probability(float(curve.probabilities[0])),
            "-" if half is None else place,
            f"{all_pairs.brier:.4f} ({all_pairs.brier_of_base_rate:.4f})",
            f"{all_pairs.calibration_error:.4f}",
            f"{direction_calibration.nearest.calibration_error:.4f}",
        )
    out.print(table)


def print_report(report: Report, *, full: bool = False) -> None:
    """Print numbers with their formulas and tie rules, directions side by side.

    Args:
        report: what was measured.
        full: every number, not only MAP, nDCG, and recall and median rank by pair.
    """
    out = console()
    out.print(write_heading(report))
    whole_lists = {measure.measure for measure in report.measures if measure.k is None}
    shown = [
        measure
        for measure in report.measures
        if full
        or (is_usual(measure) and not (measure.measure in whole_lists and is_beyond(measure)))
    ]
    print_rows(out, shown, [format_value(measure) for measure in shown])
    if len(shown) < len(report.measures):
        out.print(f"{len(report.measures) - len(shown)} more numbers with --full, --json or --csv")
    if any(measure.relevance == "jaccard" for measure in shown):
        threshold = report.directions[0].jaccard_threshold
        out.print(f"jaccard: relevant is what has a label Jaccard of at least {threshold:g}")
    for note in report.notes:
        out.print(f"note: {note}")


def print_comparison(
    first: Report, other: Report, compared: Sequence[MeasureComparison], *, full: bool = False
) -> None:
    """Print the differences of two runs with their intervals and what they mean."""
    out = console()
    shown = [
        entry for entry in compared if full or is_usual(entry.first) or is_mean_rank(entry.first)
    ]
    level = f" with its {compared[0].paired.level:.0%} interval" if compared else ""
    out.print(
        f"\n{name_run(other)} against {name_run(first)}: difference of each number{level}, by "
        "paired bootstrap of the queries"
    )
    print_rows(
        out,
        [comparison.first for comparison in shown],
        [format_difference(comparison) for comparison in shown],
    )


def write_heading(report: Report) -> str:
    """Write what was measured, on what, in a line."""
    about = report.about
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items() if count
    )
    if report.split is None:
        where = f"{about.get('query_codes')} against {about.get('database_codes')}"
    else:
        where = f"{about.get('collection', '')}: queries of {report.split}"
        where += "" if report.database is None else f", database {report.database}"
    return f"{name_run(report)}, {where} ({counts}){describe_stages(about)}"


def describe_stages(about: Mapping[str, Any]) -> str:
    """Describe the reranking and what an item takes; "" for plain hashing."""
    text = ""
    if "rerank" in about:
        rerank = about["rerank"]
        score = f"{rerank['score']} score" if "score" in rerank else f"by {rerank['by']}"
        text = f", shortlist {rerank['shortlist']} reranked ({score})"
    if "storage" in about:
        storage = about["storage"]
        text += f", {storage['hash_bits']} + {storage['fine_bits']} bits an item"
    return text


def print_sweep(sweep: "RerankSweep") -> None:
    """Print what each length of the shortlist gives and costs, directions side by side."""
    cutoff = "" if sweep.top_k is None else f"@{sweep.top_k}"
    out = console()
    out.print(
        f"MAP{cutoff} by {sweep.relevance}, {sweep.score} score, database of "
        f"{sweep.n_database:,}, {sweep.n_bits} + {sweep.fine_bits} bits an item"
    )
    directions = list(dict.fromkeys(row.direction for row in sweep.rows))
    table = Table()
    table.add_column("shortlist", justify="right")
    for direction in directions:
        table.add_column(direction, justify="right")
        table.add_column("ms a query", justify="right")
    for length in dict.fromkeys(row.shortlist for row in sweep.rows):
        rows_of_length = {row.direction: row for row in sweep.rows if row.shortlist == length}
        cells = [f"{length:,}" if length < sweep.n_database else f"all ({length:,})"]
        for direction in directions:
            row = rows_of_length.get(direction)
            cells += ["", ""] if row is None else [f"{row.map:.4f}", f"{row.milliseconds:.2f}"]
        table.add_row(*cells)
    out.print(table)


def name_run(report: Report) -> str:
    """Name briefly what was measured."""
    seed = report.about.get("seed")
    of_seed = "" if seed is None else f", seed {seed}"
    bits = "" if report.n_bits is None else f", {report.n_bits} bits"
    return f"{report.about.get('method', 'codes')}{bits}{of_seed}"


def is_usual(measure: Measure) -> bool:
    """Tell whether a number is one of those that tables in papers have."""
    if measure.relevance == "pair":
        return measure.measure in USUAL_BY_PAIR
    if measure.relevance == "judged":
        return True
    return measure.measure in ("map", "ndcg")


def is_beyond(measure: Measure) -> bool:
    """Tell whether a cut-off says the whole list by a number."""
    return measure.k is not None and measure.k >= measure.n_database


def is_mean_rank(measure: Measure) -> bool:
    """Tell whether it is the mean rank, which stands for the median where runs are compared."""
    return measure.measure == "mean_rank"


def format_value(measure: Measure) -> str:
    """Format a number, with its interval if it has one."""
    digits = 1 if measure.measure in EXACT_RANKS else 4
    if math.isnan(measure.value):
        return "-"
    text = f"{measure.value:.{digits}f}"
    if measure.interval is None:
        return text
    low, high = measure.interval
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def format_difference(compared: MeasureComparison) -> str:
    """Format a difference, with its interval and what it means."""
    digits = 1 if compared.first.measure in EXACT_RANKS else 4
    low, high = compared.paired.interval
    return (
        f"{compared.paired.difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]\n"
        f"{compared.verdict}"
    )


def print_rows(out: Console, measures: Sequence[Measure], cells: Iterable[str]) -> None:
    """Print one row a measure, with one cell a direction."""
    directions = list(dict.fromkeys(measure.direction for measure in measures))
    table = Table()
    for name in ("measure", "at", "relevance", "scoring", "convention", "ties"):
        table.add_column(name)
    for direction in directions:
        table.add_column(direction, justify="right")
    rows: dict[Row, dict[str, str]] = {}
    for measure, cell in zip(measures, cells, strict=True):
        rows.setdefault(describe_row(measure), {})[measure.direction] = cell
    for row, cells_of_row in rows.items():
        table.add_row(*row, *(cells_of_row.get(direction, "") for direction in directions))
    out.print(table)


def describe_row(measure: Measure) -> Row:
    """Describe in words what a number is."""
    return (
        measure.measure.replace("_", " "),
        format_cutoff(measure),
        measure.relevance.replace("_", " "),
        measure.scoring,
        measure.convention or "",
        measure.ties,
    )


def format_cutoff(measure: Measure) -> str:
    """Format a cut-off; one beyond the database says that it is the whole list."""
    if measure.measure.endswith("rank") or measure.measure.startswith("lookup"):
        return ""
    if measure.k is None:
        return "all"
    return f"{measure.k} (all)" if is_beyond(measure) else f"{measure.k}"
