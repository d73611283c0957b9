"""What a quantiser gave: numbers, bytes, rates, reasons; and all of them as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from modalhash.errors import InputError

__all__ = [
    "CROSS",
    "FLOAT_QUERY",
    "HAMMING",
    "MEASURES",
    "OURS",
    "RESCORED",
    "QuantizerRow",
    "parse_rows",
    "rows_csv",
    "value_name",
]

FLOAT_QUERY, HAMMING, RESCORED = "float query", "hamming", "rescored"
"""What ranks items: the query's floats against codes, Hamming distance, or int8 copies of the first
items by the query's floats."""
MEASURES: Final = (
    "recall@10 by pair",
    "MAP@50, shared label",
    "nDCG@50, shared labels",
    "recall@10 of the float top 10",
    "recall@1 of the float top 10",
)
OURS: Final = ("nested", "shared-space")
"""Rows that are ours."""
CROSS: Final = ("text_to_image", "image_to_text", "query_to_item")
"""Directions from one side to another, and those of vectors without sides."""
HEADS: Final = [
    "collection", "quantizer", "scoring", "asked bytes", "seed", "measure", "direction", "value",
    "error",
]  # fmt: skip
COSTS: Final = {
    "bytes scanned": ("n_bytes", int),
    "bytes in all": ("total_bytes", int),
    "CPU seconds of training": ("cpu_seconds", float),
    "items a CPU second": ("items_per_second", float),
    "peak MiB": ("peak_mib", float),
}
"""Title of a cost to the attribute that holds it, and its type."""


@dataclass(frozen=True)
class QuantizerRow:
    """What one quantiser gave at one size, with one seed and one scoring.

    Attributes:
        quantizer: its name.
        place: the space's name.
        scoring: `FLOAT_QUERY`, `HAMMING` or `RESCORED`.
        asked_bytes: the size that it was to have; 0 for its natural size.
        seed: of the training.
        values: "measure direction" to a number; empty if it failed.
        n_bytes: bytes of an item that a search reads from end to end, factors included.
        total_bytes: bytes of an item in all, with the int8 copy that rescoring takes.
        cpu_seconds: of training and encoding.
        items_per_second: that one CPU second of one thread scans for a query; 0 if not measured.
        peak_mib: largest memory of the process meanwhile.
        error: why there is no such row, or "".
    """

    quantizer: str
    place: str
    scoring: str
    asked_bytes: int
    seed: int
    values: Mapping[str, float] = field(default_factory=dict)
    n_bytes: int = 0
    total_bytes: int = 0
    cpu_seconds: float = 0.0
    items_per_second: float = 0.0
    peak_mib: float = 0.0
    error: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a row of ours."""
        return self.quantizer in OURS

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What rows of several seeds have in common."""
        return self.place, self.quantizer, self.scoring, self.asked_bytes

    @property
    def line(self) -> str:
        """Name of the row whatever its size."""
        return f"{self.quantizer}, {self.scoring}"


def value_name(measure: str, direction: str) -> str:
    """Name a value."""
    return f"{measure} {direction}"


def rows_csv(rows: Sequence[QuantizerRow]) -> str:
    """Write every number on a line of its own, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    for row in rows:
        head = [row.place, row.quantizer, row.scoring, row.asked_bytes, row.seed]
        if row.error:
            writer.writerow([*head, "", "", "", row.error])
            continue
        for name, value in row.values.items():
            measure, _, direction = name.rpartition(" ")
            writer.writerow([*head, measure, direction, value, ""])
        for title, (attribute, _) in COSTS.items():
            writer.writerow([*head, title, "", getattr(row, attribute), ""])
    return out.getvalue()


def parse_rows(text: str) -> list[QuantizerRow]:
    """Read the rows that `rows_csv` wrote.

    Raises:
        InputError: if the heads are others.
    """
    reader = csv.reader(io.StringIO(text))
    heads = next(reader, [])
    if heads != HEADS:
        raise InputError(f"the table's columns are {heads}, expected {HEADS}")
    parts: dict[tuple[str, str, str, int, int], dict[str, Any]] = {}
    for place, quantizer, scoring, size, seed, measure, direction, value, error in reader:
        key = (place, quantizer, scoring, int(size), int(seed))
        part = parts.setdefault(key, {"values": {}, "error": error})
        if measure in COSTS:
            attribute, kind = COSTS[measure]
            part[attribute] = kind(float(value))
        elif measure:
            part["values"][value_name(measure, direction)] = float(value)
    return [
        QuantizerRow(quantizer, place, scoring, size, seed, **part)
        for (place, quantizer, scoring, size, seed), part in parts.items()
    ]


def row_json(row: QuantizerRow) -> dict[str, Any]:
    """Describe a row as JSON."""
    return asdict(row)
