"""Tables of measured numbers for the documentation, from the files in benchmarks/results.

A block names a file, and what to take of it, parted by semicolons:

    methods.csv; flickr8k dev; cca-itq, cfrh      rows of one collection
    methods.csv; flickr8k dev; cfrh; 64           of one length
    methods.csv; flickr8k dev; "a, reranked"      a row whose name has a comma
    methods.csv costs; flickr8k dev; ; 64         what rows cost
    ablations-cfrh.csv; icons test                what each part of a method is worth

A JSON file of the same name says how the numbers were made.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modalhash.benchmarking.grid_table import MARKED, ablation_table, cost_table, grid_table
from modalhash.benchmarking.marks import marks_from_json
from modalhash.benchmarking.outcomes import Outcome, read_csv

__all__ = ["measured_table"]

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def measured_table(block: str) -> str:
    """Return a table as Markdown, and a line on how it was made.

    Args:
        block: file, collection with split, rows and lengths; what is left out takes all.

    Raises:
        SystemExit: if the file has nothing that fits.
    """
    first, *asked = [part.strip() for part in block.split(";")]
    file, _, sort = first.partition(" ")
    place, rows, lengths = [*asked, "", "", ""][:3]
    outcomes = read_csv((RESULTS / file).read_text(encoding="utf-8"))
    chosen = chosen_outcomes(outcomes, place, words(rows), words(lengths))
    if not chosen:
        raise SystemExit(f"benchmarks/results/{file} has nothing for {block!r}")
    about = json.loads((RESULTS / file).with_suffix(".json").read_text(encoding="utf-8"))
    whole = not rows and not file.startswith("ablations")
    if file.startswith("ablations"):
        table = ablation_table(chosen)
    elif sort == "costs":
        table = cost_table(chosen)
    else:
        table = grid_table(chosen, marks_from_json(about["marks"]) if whole else {})
    if place:
        table = table.partition("\n\n")[2]
    marked = f"{MARKED} " if whole and sort != "costs" else ""
    return f"{table.rstrip()}\n\n{marked}{made_by(about, (RESULTS / file).stem)}"


def words(text: str) -> list[str]:
    """Return words parted by commas; a comma may stand within double quotes."""
    return [word for word in next(csv.reader([text], skipinitialspace=True), []) if word]


def chosen_outcomes(
    outcomes: Sequence[Outcome], place: str, rows: Sequence[str], lengths: Sequence[str]
) -> list[Outcome]:
    """Return the outcomes of a place, of rows in their order, and of lengths."""
    found = [
        one
        for one in outcomes
        if one.place == (place or one.place)
        and (not rows or one.row in rows)
        and (not lengths or str(one.n_bits) in lengths)
    ]
    return sorted(found, key=lambda one: rows.index(one.row)) if rows else found


def made_by(about: Mapping[str, Any], stem: str) -> str:
    """Return when, on what and by which command the numbers of a file were made."""
    machine = about["machine"]
    return (
        f"Made on {about['date']} by `{about['command']}`, modalhash "
        f"{machine['packages']['modalhash']}, torch {machine['packages']['torch']}, "
        f"{machine['cores']} cores of {machine['cpu']}; seeds' mean ± deviation; every number, "
        f"settings included: `benchmarks/results/{stem}.csv` and `.json`."
    )
