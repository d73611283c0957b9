"""Tables of a board of quantisers, and verdicts: our rows against the others of as many bytes."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.grid_table import format_spread, markdown
from modalhash.benchmarking.quantizer_rows import (
    CROSS,
    MEASURES,
    QuantizerRow,
    value_name,
)
from modalhash.benchmarking.quantizer_searches import QueryValues
from modalhash.metrics import compare_runs

__all__ = [
    "COLUMNS",
    "VERDICTS",
    "Verdict",
    "column_values",
    "find_verdicts",
    "group_rows",
    "list_failures",
    "quantizer_table",
    "row_cells",
    "verdict_cells",
]

LEVEL, RESAMPLES = 0.95, 1000
ARROWS: Final = {
    "text_to_image": "T→I", "image_to_text": "I→T", "image_to_image": "I→I", "query_to_item": "",
}  # fmt: skip
SHOWN: Final = (
    *((measure, direction) for measure in MEASURES[:4] for direction in CROSS),
    (MEASURES[3], "image_to_image"),
    (MEASURES[4], "text_to_image"),
    (MEASURES[4], "query_to_item"),
)
COLUMNS: Final = tuple(
    (value_name(measure, direction), f"{measure} {ARROWS[direction]}".strip())
    for measure, direction in SHOWN
)
"""Name of a value and its heading; what no row has isn't shown."""
JUDGED: Final = MEASURES[:2]
"""Measures that verdicts are about."""
VERDICTS: Final = ("ahead", "not told apart", "behind")


@dataclass(frozen=True)
class Verdict:
    """Our best row of a size against the best of the others of as many bytes or fewer.

    Attributes:
        place: of the space.
        value: name of the value.
        n_bytes: bytes an item of ours, in all.
        ours: name of our row.
        our_value: mean over seeds.
        other: name of the other row, "" if there is none.
        other_bytes: its bytes in all.
        other_value: mean over seeds.
        difference: ours minus the other's, of queries' means over seeds.
        interval: its bootstrap interval over queries.
        verdict: of `VERDICTS`.
    """

    place: str
    value: str
    n_bytes: int
    ours: str
    our_value: float
    other: str
    other_bytes: int
    other_value: float
    difference: float
    interval: tuple[float, float]
    verdict: str


Means = NDArray[np.float64]
"""(q,) values of queries, means over seeds; NaN: doesn't count."""


@dataclass(frozen=True)
class Contender:
    """A row that takes part in verdicts.

    Attributes:
        line: quantiser and scoring.
        total_bytes: bytes of an item in all.
        n_bytes: bytes of its code.
        is_ours: whether it is ours.
    """

    line: str
    total_bytes: int
    n_bytes: int
    is_ours: bool

    @property
    def has_copies(self) -> bool:
        """Whether int8 copies stand beside its codes."""
        return self.total_bytes > self.n_bytes


def group_rows(rows: Sequence[QuantizerRow]) -> dict[tuple[str, str, str, int], list[QuantizerRow]]:
    """Group rows by all but the seed, in the order met."""
    groups: dict[tuple[str, str, str, int], list[QuantizerRow]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return groups


def find_verdicts(measured: Sequence[tuple[QuantizerRow, QueryValues]]) -> list[Verdict]:
    """Compare our rows with the best of the others, place by place, value by value, size by size.

    Seeds are averaged query by query first. Of ours, the scoring with the largest mean is taken;
    of the others, the row with the largest mean among all of as many bytes in all or fewer.
    """
    seeds: dict[tuple[str, str], dict[Contender, list[Means]]] = {}
    for row, values in measured:
        for name, of_queries in values.items():
            if name.rpartition(" ")[0] in JUDGED:
                contender = Contender(row.line, row.total_bytes, row.n_bytes, row.is_ours)
                of_place = seeds.setdefault((row.place, name), {})
                of_place.setdefault(contender, []).append(of_queries.astype(np.float64))
    verdicts = []
    for (place, value), of_place in seeds.items():
        means = {contender: np.mean(np.stack(part), axis=0) for contender, part in of_place.items()}
        own = [contender for contender in means if contender.is_ours and not contender.has_copies]
        for n_bytes in sorted({contender.total_bytes for contender in own}):
            ours = {key: means[key] for key in own if key.total_bytes == n_bytes}
            others = {
                key: part
                for key, part in means.items()
                if not key.is_ours and key.total_bytes <= n_bytes
            }
            if others:
                verdicts.append(compare_best(place, value, ours, others))
    return verdicts


def compare_best(
    place: str,
    value: str,
    ours: Mapping["Contender", Means],
    others: Mapping["Contender", Means],
) -> Verdict:
    """Compare the best of two groups of rows."""
    own, other = find_best(ours), find_best(others)
    comparison = compare_runs(
        others[other], ours[own], generator=0, n_resamples=RESAMPLES, level=LEVEL
    )
    low, high = comparison.interval
    verdict = VERDICTS[0] if low > 0 else VERDICTS[2] if high < 0 else VERDICTS[1]
    return Verdict(
        place,
        value,
        own.total_bytes,
        own.line,
        round(float(np.nanmean(ours[own])), 4),
        other.line,
        other.total_bytes,
        round(float(np.nanmean(others[other])), 4),
        round(comparison.difference, 4),
        (round(low, 4), round(high, 4)),
        verdict,
    )


def find_best(means: Mapping[Contender, Means]) -> Contender:
    """Find the contender of the largest mean."""
    return max(means, key=lambda key: float(np.nanmean(means[key])))


def quantizer_table(rows: Sequence[QuantizerRow], verdicts: Sequence[Verdict]) -> str:
    """Format a section a collection: the verdicts, every row, and why some sizes aren't there."""
    parts = []
    for place in dict.fromkeys(row.place for row in rows):
        of_place = [row for row in rows if row.place == place]
        heads, cells = row_cells(of_place)
        part = [f"## {place}"]
        heads_of_verdicts, lines = verdict_cells(
            [verdict for verdict in verdicts if verdict.place == place]
        )
        if lines:
            part += ["Ours against the best other row of as many bytes or fewer:",
                     markdown(heads_of_verdicts, lines).rstrip()]  # fmt: skip
        if cells:
            part.append(markdown(heads, cells).rstrip())
        if failures := list_failures(of_place):
            part.append("\n".join(f"- {line}" for line in failures))
        parts.append("\n\n".join(part) + "\n")
    return "\n".join(parts)


def column_values(rows: Sequence[QuantizerRow]) -> list[tuple[str, str]]:
    """List names and headings of the values that some row has."""
    return [(name, head) for name, head in COLUMNS if any(name in row.values for row in rows)]


def row_cells(rows: Sequence[QuantizerRow]) -> tuple[list[str], list[list[str]]]:
    """Format headings and cells of the rows of a collection, by bytes in all, then by name."""
    columns = column_values(rows)
    heads = ["quantizer", "scoring", "bytes", "in all", *(head for _, head in columns)]
    heads.append("queries a CPU second, a million items")
    groups = [same for same in group_rows(rows).values() if not all(row.error for row in same)]
    cells = []
    for same in sorted(groups, key=lambda same: (same[0].n_bytes, same[0].total_bytes)):
        good = [row for row in same if not row.error]
        first = good[0]
        cells.append(
            [
                f"**{first.quantizer}**" if first.is_ours else first.quantizer,
                first.scoring,
                str(first.n_bytes),
                str(first.total_bytes),
                *(
                    format_spread([row.values[name] for row in good if name in row.values])
                    for name, _ in columns
                ),
                format_rate(good),
            ]
        )
    return heads, cells


def format_rate(rows: Sequence[QuantizerRow]) -> str:
    """Format how many queries a CPU second answers over a million items."""
    rates = [row.items_per_second for row in rows if row.items_per_second]
    return f"{statistics.mean(rates) / 1e6:,.1f}" if rates else "-"


def verdict_cells(verdicts: Sequence[Verdict]) -> tuple[list[str], list[list[str]]]:
    """Format headings and cells of verdicts."""
    heads = ["bytes", "measure", "ours", "", "best other", "its bytes", "", "difference", "verdict"]
    cells = []
    for verdict in sorted(verdicts, key=lambda verdict: (verdict.n_bytes, verdict.value)):
        measure, _, direction = verdict.value.rpartition(" ")
        low, high = verdict.interval
        cells.append(
            [
                str(verdict.n_bytes),
                f"{measure} {ARROWS.get(direction, direction)}".strip(),
                verdict.ours,
                f"{verdict.our_value:.3f}",
                verdict.other,
                str(verdict.other_bytes),
                f"{verdict.other_value:.3f}",
                f"{verdict.difference:+.3f} ({low:+.3f} to {high:+.3f})",
                f"**{verdict.verdict}**" if verdict.verdict == VERDICTS[0] else verdict.verdict,
            ]
        )
    return heads, cells


def list_failures(rows: Sequence[QuantizerRow]) -> list[str]:
    """List why rows aren't there: the quantiser, the sizes, and the reason."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row.error:
            sizes = reasons.setdefault((row.quantizer, row.error), [])
            if row.asked_bytes not in sizes:
                sizes.append(row.asked_bytes)
    return [
        f"{quantizer} at {', '.join(map(str, sizes))} bytes: {reason}"
        for (quantizer, reason), sizes in reasons.items()
    ]
