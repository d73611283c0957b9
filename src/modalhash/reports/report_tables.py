"""The tables of an evaluation's page: every number with its formula, tie rule, split and seed."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from modalhash.metrics import (
    Measure,
    MeasureComparison,
    Report,
)

__all__ = [
    "GROUPS",
    "list_meanings",
    "make_comparison_view",
    "make_overview",
    "make_run_view",
    "make_tiles",
    "title",
]

GROUPS = {
    "shared_label": (
        "Relevant: shares a label",
        "The literature's rule, and a lenient one: look at what random codes get.",
    ),
    "jaccard": (
        "Relevant: mostly the same labels",
        "The labels in common are at least {threshold:g} of the labels that either has.",
    ),
    "graded": ("Graded by labels", "The more labels in common, the more a hit is worth."),
    "pair": (
        "Relevant: the query's own",
        "Each query looks for its own partner among all that are ranked.",
    ),
}
"""Rule of relevance to its title and what it asks for."""
NAMES = {
    "map": "MAP",
    "ndcg": "nDCG",
    "mean_rank": "mean rank",
    "median_rank": "median rank",
    "lookup_precision": "lookup precision",
    "lookup_recall": "lookup recall",
    "lookup_f1": "lookup F1",
    "lookup_empty": "lookups without an answer",
}
FORMULAS = {
    "truncated": "truncated",
    "first_k_relevant": "first K relevant",
    "standard": "standard",
    "answerable": "answerable",
    "exponential": "gain 2ˢ - 1",
    "linear": "gain s",
}
MEANINGS = {
    "truncated": "precisions at the hits of the first K ranks, divided by the hits there",
    "first_k_relevant": "precisions at the first K relevant items wherever they stand, divided "
    "by min(K, R); R is the number of relevant items",
    "standard": "precisions at the hits of the first K ranks, divided by min(K, R); R is the "
    "number of relevant items",
    "answerable": "as truncated; queries with nothing relevant are left out",
    "exponential": "s labels in common are worth 2ˢ - 1, discounted by 1 / log₂(rank + 1)",
    "linear": "s labels in common are worth s, discounted by 1 / log₂(rank + 1)",
    "expected": "items at one distance stand in every order, each equally likely; the value is "
    "the exact mean",
    "database_order": "items at one distance stand as in the database",
    "optimistic": "items at one distance stand so that the value is largest",
    "pessimistic": "items at one distance stand so that the value is smallest",
    "hamming": "items are ranked by the bits in which their codes differ from the query's",
    "asymmetric": "items are ranked by the query's own numbers against their bits",
    "reranked": "the items nearest by Hamming distance are put in a finer order",
    "scores": "items are ranked by scores that were given",
    "none": "the order of items at one distance doesn't matter",
}


def title(report: Report) -> str:
    """Write the page's title."""
    name = report.about.get("title") or report.about.get("method") or "Codes"
    return f"{name}, {report.code_bits} bits"


def make_tiles(report: Report) -> Iterator[dict[str, Any]]:
    """Yield the few numbers to see first: MAP at the first cut-off, recall by pair at the last."""
    for measure in choose_headline(report):
        yield {
            "label": f"{name_measure(measure)}@{format_cutoff(measure)}, {measure.scoring}",
            "cell": make_cell(measure, report),
        }


def choose_headline(report: Report) -> Iterator[Measure]:
    """Yield MAP by shared label at the first cut-off and recall by pair at the last."""
    for name, relevance, place in (("map", "shared_label", 0), ("recall", "pair", -1)):
        fitting = [
            measure
            for measure in report.measures
            if (measure.measure, measure.relevance) == (name, relevance)
        ]
        for measure in fitting:
            if (measure.k, measure.convention) == (fitting[place].k, fitting[place].convention):
                yield measure


def make_overview(reports: Sequence[Report]) -> dict[str, Any]:
    """Put the runs side by side by the numbers to see first; nothing for one run."""
    if len(reports) < 2:
        return {}
    rows = [
        {
            "title": title(report),
            "seed": report.about.get("seed", "-"),
            "tiles": list(make_tiles(report)),
        }
        for report in reports
    ]
    return {"columns": rows[0]["tiles"], "rows": rows}


def make_run_view(report: Report) -> dict[str, Any]:
    """Group one run's numbers for the page."""
    directions = list(dict.fromkeys(measure.direction for measure in report.directions))
    threshold = report.directions[0].jaccard_threshold
    groups = []
    ordered = sorted(report.measures, key=lambda measure: list(GROUPS).index(measure.relevance))
    for relevance, members in groupby(ordered, key=lambda measure: measure.relevance):
        rows: dict[tuple[object, ...], list[Measure]] = {}
        for measure in members:
            rows.setdefault(
                (
                    measure.measure,
                    measure.k,
                    measure.convention,
                    measure.ties,
                    measure.scoring,
                ),
                [],
            ).append(measure)
        heading, text = GROUPS[relevance]
        groups.append(
            {
                "heading": heading,
                "text": text.format(threshold=threshold),
                "rows": [
                    make_row_view(report, members_of_row, directions)
                    for members_of_row in rows.values()
                ],
            }
        )
    return {
        "title": title(report),
        "directions": [direction.replace("_to_", " → ") for direction in directions],
        "groups": groups,
    }


def make_row_view(
    report: Report, measures: Sequence[Measure], directions: Sequence[str]
) -> dict[str, Any]:
    """Describe one row: a number for each direction and what all of them mean."""
    like = measures[0]
    cells = {measure.direction: make_cell(measure, report) for measure in measures}
    counted = list(dict.fromkeys(shown_cell["counts"] for shown_cell in cells.values()))
    return {
        "name": name_measure(like),
        "at": format_cutoff(like),
        "scoring": like.scoring,
        "formula": name_formula(like),
        "ties": like.ties.replace("_", " "),
        "counts": counted,
        "seed": report.about.get("seed", "-"),
        "cells": [cells.get(direction) for direction in directions],
    }


def make_cell(measure: Measure, report: Report) -> dict[str, Any]:
    """Describe one number with everything that it means."""
    digits = 1 if measure.measure.endswith("rank") else 4
    interval = ""
    if measure.interval is not None:
        interval = f"{measure.interval[0]:.{digits}f} to {measure.interval[1]:.{digits}f}"
    split, database = report.split, report.database
    if measure.relevance == "pair":
        database = split
    return {
        "value": "-" if math.isnan(measure.value) else f"{measure.value:.{digits}f}",
        "exact": "" if math.isnan(measure.value) else repr(measure.value),
        "interval": interval,
        "direction": measure.direction,
        "shown_direction": measure.direction.replace("_to_", " → "),
        "measure": measure.measure,
        "k": "" if measure.k is None else measure.k,
        "relevance": measure.relevance,
        "scoring": measure.scoring,
        "convention": measure.convention or "",
        "formula": name_formula(measure),
        "ties": measure.ties,
        "counts": f"{measure.n_queries:,}{of(split)} → {measure.n_database:,}{of(database)}",
        "of_seed": name_seed(report),
    }


def of(split: str | None) -> str:
    """Make the part of a count that names a split."""
    return "" if split is None else f" {split}"


def name_seed(report: Report) -> str:
    """Name the seed of training in part of a sentence, if there was one."""
    return "" if "seed" not in report.about else f", seed {report.about['seed']}"


def name_measure(measure: Measure) -> str:
    """Name a measure as people write it."""
    return NAMES.get(measure.measure, measure.measure)


def name_formula(measure: Measure) -> str:
    """Name the formula in a word or two."""
    if measure.convention is not None:
        default = measure.convention.replace("radius_", "within radius ")
        return FORMULAS.get(measure.convention, default)
    if measure.relevance == "pair":
        return "own among K" if measure.measure == "recall" else "nearest own"
    return "hits / K" if measure.measure == "precision" else "hits / R"


def format_cutoff(measure: Measure) -> str:
    """Format a cut-off; nothing for measures without one."""
    if measure.measure.endswith("rank") or measure.measure.startswith("lookup"):
        return ""
    if measure.k is None:
        return "all"
    return f"{measure.k:,}" if measure.k < measure.n_database else f"{measure.k:,} (all)"


def list_meanings(reports: Sequence[Report]) -> list[tuple[str, str]]:
    """List the formulas and tie rules that the reports use, with what they mean."""
    used = [
        measure.convention
        for report in reports
        for measure in report.measures
        if measure.convention
    ]
    used += [measure.scoring for report in reports for measure in report.measures]
    used += [measure.ties for report in reports for measure in report.measures]
    return [
        (FORMULAS.get(name, name.replace("_", " ")), MEANINGS[name])
        for name in dict.fromkeys(used)
        if name in MEANINGS
    ]


def make_comparison_view(
    first: Report, other: Report, compared: Sequence[MeasureComparison]
) -> dict[str, Any]:
    """Describe the differences of two runs."""
    rows = []
    for comparison in compared:
        digits = 1 if comparison.first.measure.endswith("rank") else 4
        low, high = comparison.paired.interval
        rows.append(
            {
                "name": name_measure(comparison.first),
                "at": format_cutoff(comparison.first),
                "relevance": comparison.first.relevance.replace("_", " "),
                "scoring": comparison.first.scoring,
                "formula": name_formula(comparison.first),
                "ties": comparison.first.ties.replace("_", " "),
                "direction": comparison.first.direction.replace("_to_", " → "),
                "first": f"{comparison.first.value:.{digits}f}",
                "second": f"{comparison.second.value:.{digits}f}",
                "difference": f"{comparison.paired.difference:+.{digits}f}",
                "exact": repr(comparison.paired.difference),
                "interval": f"{low:+.{digits}f} to {high:+.{digits}f}",
                "verdict": comparison.verdict,
                "is_usual": comparison.first.measure in ("map", "ndcg", "mean_rank")
                or (comparison.first.measure, comparison.first.relevance) == ("recall", "pair"),
            }
        )
    return {
        "first": title(first),
        "second": title(other),
        "level": f"{compared[0].paired.level:.0%}" if compared else "",
        "tables": [
            [row for row in rows if row["is_usual"]],
            [row for row in rows if not row["is_usual"]],
        ],
    }
