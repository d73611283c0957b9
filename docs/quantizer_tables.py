"""Tables of quantisers for the documentation, and the data of its calculator.

A block names a file of benchmarks/results; a JSON file of the same name says how the numbers were
made.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from measured import RESULTS  # type: ignore[import-not-found, unused-ignore]

from modalhash.benchmarking.grid_table import markdown
from modalhash.benchmarking.quantizer_rows import MEASURES, QuantizerRow, parse_rows, value_name
from modalhash.benchmarking.quantizer_table import (
    Verdict,
    group_rows,
    list_failures,
    row_cells,
    verdict_cells,
)

__all__ = ["board_table", "calculator", "curve_points", "estimate", "verdict_table"]

COUNTS = (10**6, 10**7, 10**8, 10**9, 10**10)
CALCULATED = {
    "pair": value_name(MEASURES[0], "text_to_image"),
    "map": value_name(MEASURES[1], "text_to_image"),
    "float": value_name(MEASURES[3], "text_to_image"),
}
"""Key of a number in the calculator to the name of its value."""
GIB = 2**30


def read_file(name: str) -> tuple[list[QuantizerRow], dict[str, Any]]:
    """Read the rows of a result file, and how they were made."""
    rows = parse_rows((RESULTS / name).read_text(encoding="utf-8"))
    about = json.loads((RESULTS / name).with_suffix(".json").read_text(encoding="utf-8"))
    return rows, about


def board_table(file: str) -> str:
    """Format every row of each collection, and why some sizes aren't there."""
    rows, about = read_file(file)
    parts = []
    for place in dict.fromkeys(row.place for row in rows):
        of_place = [row for row in rows if row.place == place]
        heads, cells = row_cells(of_place)
        reasons = "\n".join(f"- {line}" for line in list_failures(of_place))
        parts += [f"### All rows: {place}", markdown(heads, cells).rstrip(), reasons]
    return "\n\n".join([*filter(None, parts), made_by(about)])


def verdict_table(block: str) -> str:
    """Format our rows of each collection against the best of the others.

    Args:
        block: file, and "signs" if only rows whose items are signs are compared.
    """
    file, _, kind = block.partition(" ")
    _, about = read_file(file)
    verdicts = [
        Verdict(**{**stored, "interval": tuple(stored["interval"])})
        for stored in about["sign_verdicts" if kind == "signs" else "verdicts"]
    ]
    parts = []
    for place, notes in about["collections"].items():
        chosen = [verdict for verdict in verdicts if verdict.place == place]
        if chosen:
            heads, cells = verdict_cells(chosen)
            title = f"### {place}, signs alone" if kind == "signs" else f"### {place}"
            parts += [title, f"{'; '.join(notes)}.", markdown(heads, cells).rstrip()]
    return "\n\n".join(parts)


def made_by(about: Mapping[str, Any]) -> str:
    """Write when, on what and by which command the numbers of a file were made."""
    machine = about["machine"]
    return (
        f"Made on {about['date']} by `{about['command']}`, modalhash "
        f"{machine['packages']['modalhash']}, faiss-cpu {machine['packages']['faiss-cpu']}, "
        f"{machine['cores']} cores of {machine['cpu']}; seeds' mean ± deviation; every number: "
        "`benchmarks/results/quantizers.csv` and `.json`."
    )


def curve_points(rows: Sequence[QuantizerRow]) -> list[dict[str, Any]]:
    """List what the calculator knows: a point a row with a rate, means over seeds."""
    points = []
    for same in group_rows(rows).values():
        good = [row for row in same if not row.error]
        rates = [row.items_per_second for row in good if row.items_per_second]
        if not rates:
            continue
        first = good[0]
        point: dict[str, Any] = {
            "place": first.place,
            "name": first.line,
            "ours": first.is_ours,
            "scanned": first.n_bytes,
            "total": first.total_bytes,
            "rate": round(statistics.mean(rates)),
        }
        for key, value in CALCULATED.items():
            numbers = [row.values[value] for row in good if value in row.values]
            if numbers:
                point[key] = round(statistics.mean(numbers), 3)
        points.append(point)
    return points


def estimate(point: Mapping[str, Any], n_items: int) -> tuple[float, float]:
    """Compute GiB of all items, and the core seconds of one query that scans them all.

    Example:
        >>> estimate({"total": 16, "rate": 1_000_000_000}, 2**30)
        (16.0, 1.073741824)
    """
    return point["total"] * n_items / GIB, n_items / point["rate"]


def calculator(file: str) -> str:
    """Write the calculator's data, its place in the page, and the same as a table."""
    rows, about = read_file(file)
    points = curve_points(rows)
    data = json.dumps(points, separators=(",", ":"))
    place = points[0]["place"]
    table = fallback_table([point for point in points if point["place"] == place])
    return (
        '<div id="byte-calculator"></div>\n'
        f'<script type="application/json" id="byte-curves">{data}</script>\n'
        '<script src="javascripts/byte_calculator.js" defer></script>\n\n'
        f"The same for {place} without scripts, the row of the largest recall@10 by pair at each "
        f"size:\n\n{table}\n\n{made_by(about)}"
    )


def fallback_table(points: Sequence[Mapping[str, Any]]) -> str:
    """Format the best row of each size at every count of items."""
    heads = ["bytes in all", "row", "recall@10 by pair T→I", "MAP@50 T→I"]
    heads += [f"{count:.0e}".replace("e+", "e") + " items: GiB, core s" for count in COUNTS]
    lines = []
    for total in sorted({point["total"] for point in points}):
        best = max(
            (point for point in points if point["total"] == total),
            key=lambda point: point.get("pair", 0),
        )
        cells = [str(total), best["name"], *(f"{best.get(key, 0):.3f}" for key in ("pair", "map"))]
        for count in COUNTS:
            gib, seconds = estimate(best, count)
            cells.append(f"{gib:,.3g}, {seconds:,.2g}")
        lines.append(cells)
    return markdown(heads, lines).rstrip()
