"""What an evaluation says as a whole: every number with its split, counts, formula and tie rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modalhash.choices import Scoring
from modalhash.errors import InputError
from modalhash.metrics.results import DirectionReport, Measure
from modalhash.notebook_html import join_parts, make_fact_table, make_table

__all__ = ["Report"]

FORMAT = 1


@dataclass(frozen=True)
class Report:
    """The measures of one model (or of any codes) on one split.

    Attributes:
        n_bits: bits of a code; None of a ranking that doesn't say.
        split: where queries come from, or None for codes without a collection.
        database: what is ranked for relevance by labels, by name, or None.
        counts: queries, database items and the like, by name.
        directions: one report a direction, rule (labels rank the database, pairs the split) and
            scoring.
        about: method, encoder, collection, seed and whatever else says what was measured.
        notes: what a reader must know (no labels, say).
    """

    n_bits: int | None
    split: str | None
    database: str | None
    counts: Mapping[str, int]
    directions: tuple[DirectionReport, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All numbers."""
        return tuple(measure for direction in self.directions for measure in direction.measures)

    def value(
        self,
        measure: str,
        direction: str,
        *,
        relevance: str,
        k: int | None = None,
        convention: str | None = None,
        scoring: str | None = None,
    ) -> float:
        """Look up one number.

        Args:
            measure: its name.
            direction: "image_to_text" and so on.
            relevance: its rule of relevance.
            k: its cut-off, None for the whole list (or no cut-off).
            convention: its convention, or None for any.
            scoring: what ranked the items; None is the only one there is, or "hamming" of several.

        Raises:
            InputError: if none or more than one fits.
        """
        reports = [
            report
            for report in self.directions
            if report.direction == direction
            and any(number.relevance == relevance for number in report.measures)
        ]
        rankings = list(dict.fromkeys(report.scoring for report in reports))
        if not rankings:
            raise InputError(f"the report has nothing on {direction} with relevance {relevance!r}")
        chosen = scoring
        if chosen is None:
            chosen = rankings[0] if len(rankings) == 1 else Scoring.HAMMING.value
        for report in reports:
            if report.scoring == chosen:
                return report.find(measure, relevance=relevance, k=k, convention=convention).value
        raise InputError(
            f"the report has nothing on {direction} with scoring {chosen!r}; it has "
            f"{', '.join(rankings)}"
        )

    @property
    def code_bits(self) -> int:
        """Bits of a code, for what needs them.

        Raises:
            InputError: if the ranking doesn't say.
        """
        if self.n_bits is None:
            raise InputError(
                "the report is of a ranking without codes, which has no page and no curves: take "
                "its numbers as JSON or CSV"
            )
        return self.n_bits

    @property
    def scorings(self) -> tuple[str, ...]:
        """What ranked the items: "hamming", "asymmetric" or another, in the order measured."""
        return tuple(dict.fromkeys(report.scoring for report in self.directions))

    def ranked_by(self, scoring: str) -> "Report":
        """Keep the numbers of one scoring only; see `scorings`."""
        directions = tuple(report for report in self.directions if report.scoring == scoring)
        return replace(self, directions=directions)

    def __repr__(self) -> str:
        return f"<Report of {len(self.measures)} numbers: {str(self).splitlines()[0]}>"

    def __str__(self) -> str:
        """Write one line a number; `to_json` has what else the report knows."""
        subject = "codes" if self.split is None else f"queries of {self.split}"
        bits = "" if self.n_bits is None else f" {self.n_bits} bits,"
        lines = [f"{self.about.get('method', 'codes')},{bits} {subject}"]
        return "\n".join([*lines, *map(write_measure, self.measures), *self.notes])

    def _repr_html_(self) -> str:
        """Write what notebooks show: every number with its rules, and the notes."""
        has_intervals = any(measure.interval is not None for measure in self.measures)
        header = [
            "direction",
            "measure",
            "relevant",
            "formula",
            "ties",
            "ranked by",
            "value",
            "queries",
            "items",
        ]
        rows = [make_cells(measure, has_intervals) for measure in self.measures]
        title, *_ = str(self).splitlines()
        facts = {f"note {number}": note for number, note in enumerate(self.notes, start=1)}
        return join_parts(
            title,
            make_table([*header, *(["interval"] if has_intervals else [])], rows),
            make_fact_table(facts) if facts else "",
        )

    def to_json(self) -> dict[str, Any]:
        """Write the document that `evaluate --json` and `score --json` give; NaN becomes null."""
        return {
            "format": FORMAT,
            "n_bits": self.n_bits,
            "split": self.split,
            "database": self.database,
            "about": dict(self.about),
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "measures": [measure_json(measure) for measure in self.measures],
        }


def write_measure(measure: Measure) -> str:
    """Write a number in a line, with its cut-off, formula and rules.

    Example:
        >>> rules = {"convention": None, "ties": "expected", "relevance": "pair"}
        >>> counts = {"n_queries": 30, "n_database": 30}
        >>> write_measure(Measure("recall", 0.5, "text_to_image", 10, **rules, **counts))
        'text_to_image: recall@10 by pair, ties expected, hamming: 0.5000'
    """
    cutoff = "" if measure.k is None else f"@{measure.k}"
    convention = "" if measure.convention is None else f", {measure.convention}"
    return (
        f"{measure.direction}: {measure.measure}{cutoff} by {measure.relevance}{convention}, "
        f"ties {measure.ties}, {measure.scoring}: {measure.value:.4f}"
    )


def make_cells(measure: Measure, has_interval: bool) -> list[str]:
    """Make the cells of a number's row."""
    cutoff = "" if measure.k is None else f"@{measure.k}"
    interval = "" if measure.interval is None else "{:.4f} to {:.4f}".format(*measure.interval)
    return [
        measure.direction,
        f"{measure.measure}{cutoff}",
        measure.relevance,
        measure.convention or "",
        measure.ties,
        measure.scoring,
        f"{measure.value:.4f}",
        f"{measure.n_queries:,}",
        f"{measure.n_database:,}",
        *([interval] if has_interval else []),
    ]


def measure_json(measure: Measure) -> dict[str, Any]:
    """Write one measure as JSON."""
    return {
        "measure": measure.measure,
        "k": measure.k,
        "direction": measure.direction,
        "relevance": measure.relevance,
        "scoring": measure.scoring,
        "convention": measure.convention,
        "ties": measure.ties,
        "value": None if math.isnan(measure.value) else measure.value,
        "n_queries": measure.n_queries,
        "n_database": measure.n_database,
        "interval": None if measure.interval is None else list(measure.interval),
    }
