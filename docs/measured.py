"""Tables of measured numbers for the documentation, from the files in benchmarks/results.

A block names a file, and what to take of it, parted by semicolons:

    methods-icons.csv; icons test; cca-itq, cfrh  rows of one collection
    methods-icons.csv; icons test; cfrh; 64       of one length
    methods-icons.csv; icons test; "a, reranked"  a row whose name has a comma
    methods-icons.csv costs; icons test; ; 64     what rows cost
    ablations-cfrh.csv; icons test                what each part of a method is worth
    modules.csv; icons test; sgrn, cfrh           structural modules: on, off, with shuffled input

A summary names a file, a collection and a length; it has the best rows of each kind by Hamming
distance, two numbers a direction.

A JSON file of the same name says how the numbers were made.
"""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modalhash.benchmarking.grid_table import (
    MARKED,
    ablation_table,
    cost_table,
    grid_table,
    group_by_row,
    markdown,
)
from modalhash.benchmarking.marks import marks_from_json
from modalhash.benchmarking.module_table import differences_from_json, module_table
from modalhash.benchmarking.outcomes import DIRECTIONS, Outcome, read_csv
from modalhash.benchmarking.variants import list_module_rows
from modalhash.choices import Scoring
from modalhash.methods import METHODS

__all__ = [
    "RESULTS",
    "average_rows",
    "choose_outcomes",
    "measured_table",
    "read_outcomes",
    "signs_table",
    "summary_table",
]

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def measured_table(block: str) -> str:
    """Format a table as Markdown, and a line on how it was made.

    Args:
        block: file, collection with split, rows and lengths; what is left out takes all.

    Raises:
        SystemExit: if the file has nothing that fits.
    """
    first, *asked = [part.strip() for part in block.split(";")]
    file, _, sort = first.partition(" ")
    place, rows, lengths = [*asked, "", "", ""][:3]
    outcomes = read_outcomes(file)
    modules = file.startswith("modules")
    chosen = choose_outcomes(outcomes, place, [] if modules else words(rows), words(lengths))
    if not chosen:
        raise SystemExit(f"benchmarks/results/{file} has nothing for {block!r}")
    about = read_about(file)
    whole = not rows and not file.startswith(("ablations", "modules"))
    if modules:
        names = words(rows) or list(METHODS)
        table = module_table(
            chosen,
            [row for name in names for row in list_module_rows(name)],
            differences_from_json(about["differences"]),
        )
    elif file.startswith("ablations"):
        table = ablation_table(chosen)
    elif sort == "costs":
        table = cost_table(chosen)
    else:
        table = grid_table(chosen, marks_from_json(about["marks"]) if whole else {})
    if place:
        table = table.partition("\n\n")[2]
    marked = f"{MARKED} " if whole and sort != "costs" else ""
    return f"{table.rstrip()}\n\n{marked}{made_by(about, file)}"


def words(text: str) -> list[str]:
    """Split words at commas; a comma may stand within double quotes."""
    return [word for word in next(csv.reader([text], skipinitialspace=True), []) if word]


def choose_outcomes(
    outcomes: Sequence[Outcome], place: str, rows: Sequence[str], lengths: Sequence[str]
) -> list[Outcome]:
    """Choose the outcomes of a place, of rows in their order, and of lengths."""
    chosen = [
        outcome
        for outcome in outcomes
        if outcome.place == (place or outcome.place)
        and (not rows or outcome.row in rows)
        and (not lengths or str(outcome.n_bits) in lengths)
    ]
    return sorted(chosen, key=lambda outcome: rows.index(outcome.row)) if rows else chosen


def summary_table(block: str) -> str:
    """Format the best rows of a collection at one length as a small table.

    The default methods and the floor `random` are always there; of the others, those with the
    largest MAP@50 by a shared label, mean of both directions.

    Args:
        block: file, collection with split, and length.
    """
    file, place, length = (part.strip() for part in block.split(";"))
    outcomes = read_outcomes(file)
    means = average_rows(choose_outcomes(outcomes, place, [], [length]))
    ranked = sorted(means, key=lambda row: -sum(means[row][:2]))
    shown = [row for row in ranked if row in ALWAYS or row in ranked[:N_BEST]]
    heads = [
        "method", "MAP@50 image→text", "MAP@50 text→image", "recall@10 image→text",
        "recall@10 text→image",
    ]  # fmt: skip
    rows = [[name_link(row), *(f"{value:.3f}" for value in means[row])] for row in shown]
    return markdown(heads, rows).rstrip()


def signs_table(block: str) -> str:
    """Format how near codes are to their signs as Markdown, a row a method, means over seeds.

    Args:
        block: file, collection with split, and length.
    """
    file, place, length = (part.strip() for part in block.split(";"))
    outcomes = read_outcomes(file)
    rows = {
        row: same
        for (row, _, scoring), same in group_by_row(
            choose_outcomes(outcomes, place, [], [length])
        ).items()
        if scoring == Scoring.HAMMING and same[0].sign_cosines
    }
    heads = [
        "method", "mean size, image / text", "cosine with signs, image / text", "constant bits",
    ]  # fmt: skip
    cells = [
        [
            name_link(row),
            pair_of_means([outcome.code_sizes for outcome in same], "no tanh"),
            pair_of_means([outcome.sign_cosines for outcome in same], ""),
            f"{statistics.mean(outcome.constant_share for outcome in same):.0%}",
        ]
        for row, same in sorted(rows.items())
    ]
    return f"{markdown(heads, cells).rstrip()}\n\n{made_by(read_about(file), file)}"


def pair_of_means(numbers: Sequence[Mapping[str, float]], nothing: str) -> str:
    """Format means of numbers by modality, pictures first; `nothing` where there are none."""
    if not all(numbers):
        return nothing
    means = (statistics.mean(pair[side] for pair in numbers) for side in ("image", "text"))
    return " / ".join(f"{mean:.2f}" for mean in means)


def read_outcomes(file: str) -> list[Outcome]:
    """Read the numbers of a file."""
    return read_csv((RESULTS / file).read_text(encoding="utf-8"))


def read_about(file: str) -> dict[str, Any]:
    """Read how the numbers of a file were made."""
    about: dict[str, Any] = json.loads(
        (RESULTS / file).with_suffix(".json").read_text(encoding="utf-8")
    )
    return about


ALWAYS = ("nested", "nested-labelled", "cca-itq", "random")
N_BEST = 6
SUMMARY = ("MAP@50, shared label", "recall@10 by pair")


def average_rows(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    """Average the numbers of a summary over seeds, by row, as papers rank: by Hamming distance.

    Reranked rows count; rows that failed don't.
    """
    names = [f"{title} {direction}" for title in SUMMARY for direction in DIRECTIONS]
    measured = [
        outcome
        for outcome in outcomes
        if outcome.scoring != Scoring.ASYMMETRIC and all(name in outcome.values for name in names)
    ]
    return {
        row: [statistics.mean(outcome.values[name] for outcome in same) for name in names]
        for (row, *_), same in group_by_row(measured).items()
    }


def name_link(row: str) -> str:
    """Link a row to the page of its method."""
    method = row.partition(",")[0].partition("+")[0]
    return f"[{row}](methods/{method}.md)"


def made_by(about: Mapping[str, Any], file: str) -> str:
    """Write when, on what and by which command the numbers of a file were made."""
    machine = about["machine"]
    return (
        f"Made on {about['date']} by `{about['command']}`, modalhash "
        f"{machine['packages']['modalhash']}, torch {machine['packages']['torch']}, "
        f"{machine['cores']} cores of {machine['cpu']}; seeds' mean ± deviation; every number, "
        f"settings included: `benchmarks/results/{file}` and `.json`."
    )
