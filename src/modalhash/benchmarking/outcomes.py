"""What runs of a bench gave: numbers, costs, reasons of failure; and all of them as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modalhash.choices import Scoring
from modalhash.errors import InputError
from modalhash.metrics import COLLAPSED_SHARE

__all__ = ["DIRECTIONS", "MEASURES", "RERANKED", "Outcome", "csv_text", "map_title", "read_csv"]

MEASURES = (
    ("MAP@50, shared label", "map", "shared_label", 50),
    ("MAP@50, Jaccard >= 0.5", "map", "jaccard", 50),
    ("recall@10 by pair", "recall", "pair", 10),
    ("MAP, whole list, shared label", "map", "shared_label", None),
)
"""Title, measure, relevance and cut-off of what is kept of every run, for both directions."""
DIRECTIONS = ("image_to_text", "text_to_image")
HEADS = [
    "collection", "method", "bits", "seed", "scoring", "measure", "direction", "value", "error",
]  # fmt: skip
HEADS_BEFORE_SCORING = [head for head in HEADS if head != "scoring"]
"""Columns of files from before there was a scoring: their numbers are by Hamming distance."""
RERANKED = ", reranked"
"""What the name of a row ends with whose shortlists were put in a finer order."""
COSTS = {
    "CPU seconds of training": ("cpu_seconds", float),
    "bits per item": ("bits_per_item", int),
    "peak MiB": ("peak_mib", float),
    "parameters": ("n_parameters", int),
    "share of constant bits": ("constant_share", float),
}
"""Title of a cost to the attribute that holds it, and its type."""
RATE = "codes a second"
SIZE, SIGN_COSINE = "mean size of relaxed codes", "cosine of relaxed codes with signs"
BY_MODALITY = {RATE: "rates", SIZE: "code_sizes", SIGN_COSINE: "sign_cosines"}
"""Title of what has a number for each modality to the attribute that holds it."""


@dataclass(frozen=True)
class Outcome:
    """What a task gave.

    Attributes:
        row: name of the table's row: the variant's, with what was done to its answers.
        place: collection's name and split.
        n_bits: bits of a code.
        seed: of the training.
        values: "title direction" to a number; empty if it failed.
        cpu_seconds: of training, features not counted where they were there already.
        bits_per_item: of all that is stored for search.
        error: why it failed, or "".
        peak_mib: largest memory of the process while it trained and measured.
        n_parameters: numbers in the hash heads, what search needs.
        rates: stored features that become codes in a second, by modality, on one thread.
        curves: direction to "recall" and "precision" by rank under a shared label; the ranks are
            the same for all outcomes of a place. Empty in results from before they were kept.
        scoring: what ranked the items: "hamming", "asymmetric", or "reranked", a shortlist by
            Hamming distance in a finer order. It is "hamming" in results from before it was kept.
        constant_share: share of the bits that are the same in the codes of all pictures, or of all
            texts, whichever is larger; 0 in results from before it was kept.
        code_sizes: mean size of relaxed codes at the end of training, by modality; empty for
            methods that have none, and in results from before they were kept.
        sign_cosines: mean cosine of relaxed codes with their signs then, by modality; of methods
            that log none, the cosine of the numbers before the sign for the first rows.
    """

    row: str
    place: str
    n_bits: int
    seed: int
    values: Mapping[str, float]
    cpu_seconds: float = 0.0
    bits_per_item: int = 0
    error: str = ""
    peak_mib: float = 0.0
    n_parameters: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    scoring: str = Scoring.HAMMING.value
    constant_share: float = 0.0
    code_sizes: Mapping[str, float] = field(default_factory=dict)
    sign_cosines: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_collapsed(self) -> bool:
        """Whether so many bits are constant that the codes say little."""
        return self.constant_share > COLLAPSED_SHARE


def map_title(k: int | None, convention: str) -> str:
    """Name MAP by a shared label; the formula is named unless it is `truncated`.

    Example:
        >>> map_title(50, "truncated"), map_title(None, "answerable")
        ('MAP@50, shared label', 'MAP, whole list, shared label, answerable')
    """
    cut = "MAP, whole list" if k is None else f"MAP@{k}"
    return f"{cut}, shared label{'' if convention == 'truncated' else f', {convention}'}"


def csv_text(outcomes: Sequence[Outcome]) -> str:
    """Write every number on a line of its own, with what it was measured on, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    for outcome in outcomes:
        place = [outcome.place, outcome.row, outcome.n_bits, outcome.seed, outcome.scoring]
        if outcome.error:
            writer.writerow([*place, "", "", "", outcome.error])
            continue
        for name, value in outcome.values.items():
            title, _, direction = name.rpartition(" ")
            writer.writerow([*place, title, direction, value, ""])
        for title, (attribute, _) in COSTS.items():
            writer.writerow([*place, title, "", getattr(outcome, attribute), ""])
        for title, attribute in BY_MODALITY.items():
            for modality, number in getattr(outcome, attribute).items():
                writer.writerow([*place, title, modality, number, ""])
    return out.getvalue()


def read_csv(text: str) -> list[Outcome]:
    """Read the outcomes that `csv_text` wrote.

    Raises:
        InputError: if the heads are others.
    """
    reader = csv.reader(io.StringIO(text))
    heads = next(reader, [])
    if heads not in (HEADS, HEADS_BEFORE_SCORING):
        raise InputError(f"the table's columns are {heads}, expected {HEADS}")
    parts_of: dict[tuple[str, str, int, int, str], dict[str, Any]] = {}
    for place, row, n_bits, seed, *scorings, title, direction, value, error in reader:
        before = "reranked" if row.endswith(RERANKED) else Scoring.HAMMING.value
        (scoring,) = scorings or [before]
        key = (place, row, int(n_bits), int(seed), scoring)
        parts = parts_of.setdefault(key, {"values": {}, "rates": {}, "error": error})
        if title in BY_MODALITY:
            parts.setdefault(BY_MODALITY[title], {})[direction] = float(value)
        elif title in COSTS:
            attribute, kind = COSTS[title]
            parts[attribute] = kind(float(value))
        elif title:
            parts["values"][f"{title} {direction}"] = float(value)
    return [
        Outcome(row, place, n_bits, seed, scoring=scoring, **parts)
        for (place, row, n_bits, seed, scoring), parts in parts_of.items()
    ]
