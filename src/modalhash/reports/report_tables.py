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
    "comparison_view",
    "meanings",
    "overview",
    "run_view",
    "tiles",
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
    "none": "the order of items at one distance doesn't matter",
}


def title(report: Report) -> str:
    """Return the page's title."""
    name = report.about.get("title") or report.about.get("method") or "Codes"
    return f"{name}, {report.n_bits} bits"


def tiles(report: Report) -> Iterator[dict[str, Any]]:
    """Yield the few numbers to see first: MAP at the first cut-off, recall by pair at the last."""
    for one in headline(report):
        yield {"label": f"{measure_name(one)}@{cutoff(one)}", "cell": cell(one, report)}


def headline(report: Report) -> Iterator[Measure]:
    """Yield MAP by shared label at the first cut-off and recall by pair at the last."""
    for name, relevance, place in (("map", "shared_label", 0), ("recall", "pair", -1)):
        fitting = [
            one for one in report.measures if (one.measure, one.relevance) == (name, relevance)
        ]
        for one in fitting:
            if (one.k, one.convention) == (fitting[place].k, fitting[place].convention):
                yield one


def overview(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the runs side by side by the numbers to see first; nothing for one run."""
    if len(reports) < 2:
        return {}
    rows = [
        {"title": title(one), "seed": one.about.get("seed", "-"), "tiles": list(tiles(one))}
        for one in reports
    ]
    return {"columns": rows[0]["tiles"], "rows": rows}


def run_view(report: Report) -> dict[str, Any]:
    """Return one run's numbers in groups."""
    directions = list(dict.fromkeys(one.direction for one in report.directions))
    threshold = report.directions[0].jaccard_threshold
    groups = []
    ordered = sorted(report.measures, key=lambda one: list(GROUPS).index(one.relevance))
    for relevance, members in groupby(ordered, key=lambda one: one.relevance):
        rows: dict[tuple[object, ...], list[Measure]] = {}
        for one in members:
            rows.setdefault((one.measure, one.k, one.convention, one.ties), []).append(one)
        heading, text = GROUPS[relevance]
        groups.append(
            {
                "heading": heading,
                "text": text.format(threshold=threshold),
                "rows": [row_view(report, found, directions) for found in rows.values()],
            }
        )
    return {
        "title": title(report),
        "directions": [one.replace("_to_", " → ") for one in directions],
        "groups": groups,
    }


def row_view(report: Report, found: Sequence[Measure], directions: Sequence[str]) -> dict[str, Any]:
    """Return one row: a number for each direction and what all of them mean."""
    like = found[0]
    cells = {one.direction: cell(one, report) for one in found}
    counted = list(dict.fromkeys(one["counts"] for one in cells.values()))
    return {
        "name": measure_name(like),
        "at": cutoff(like),
        "formula": formula(like),
        "ties": like.ties.replace("_", " "),
        "counts": counted,
        "seed": report.about.get("seed", "-"),
        "cells": [cells.get(one) for one in directions],
    }


def cell(one: Measure, report: Report) -> dict[str, Any]:
    """Return one number with everything that it means."""
    digits = 1 if one.measure.endswith("rank") else 4
    interval = ""
    if one.interval is not None:
        interval = f"{one.interval[0]:.{digits}f} to {one.interval[1]:.{digits}f}"
    split, database = report.split, report.database
    if one.relevance == "pair":
        database = split
    return {
        "value": "-" if math.isnan(one.value) else f"{one.value:.{digits}f}",
        "exact": "" if math.isnan(one.value) else repr(one.value),
        "interval": interval,
        "direction": one.direction,
        "shown_direction": one.direction.replace("_to_", " → "),
        "measure": one.measure,
        "k": "" if one.k is None else one.k,
        "relevance": one.relevance,
        "convention": one.convention or "",
        "formula": formula(one),
        "ties": one.ties,
        "counts": f"{one.n_queries:,}{of(split)} → {one.n_database:,}{of(database)}",
        "of_seed": of_seed(report),
    }


def of(split: str | None) -> str:
    """Return the part of a count that names a split."""
    return "" if split is None else f" {split}"


def of_seed(report: Report) -> str:
    """Return the part of a sentence that names the seed of training, if there was one."""
    return "" if "seed" not in report.about else f", seed {report.about['seed']}"


def measure_name(one: Measure) -> str:
    """Return a measure as people write it."""
    return NAMES.get(one.measure, one.measure)


def formula(one: Measure) -> str:
    """Return the formula in a word or two."""
    if one.convention is not None:
        default = one.convention.replace("radius_", "within radius ")
        return FORMULAS.get(one.convention, default)
    if one.relevance == "pair":
        return "own among K" if one.measure == "recall" else "nearest own"
    return "hits / K" if one.measure == "precision" else "hits / R"


def cutoff(one: Measure) -> str:
    """Return a cut-off as text; nothing for measures without one."""
    if one.measure.endswith("rank") or one.measure.startswith("lookup"):
        return ""
    if one.k is None:
        return "all"
    return f"{one.k:,}" if one.k < one.n_database else f"{one.k:,} (all)"


def meanings(reports: Sequence[Report]) -> list[tuple[str, str]]:
    """Return the formulas and tie rules that the reports use, with what they mean."""
    used = [one.convention for report in reports for one in report.measures if one.convention]
    used += [one.ties for report in reports for one in report.measures]
    return [
        (FORMULAS.get(name, name.replace("_", " ")), MEANINGS[name])
        for name in dict.fromkeys(used)
        if name in MEANINGS
    ]


def comparison_view(
    first: Report, other: Report, compared: Sequence[MeasureComparison]
) -> dict[str, Any]:
    """Return the differences of two runs."""
    rows = []
    for one in compared:
        digits = 1 if one.first.measure.endswith("rank") else 4
        low, high = one.paired.interval
        rows.append(
            {
                "name": measure_name(one.first),
                "at": cutoff(one.first),
                "relevance": one.first.relevance.replace("_", " "),
                "formula": formula(one.first),
                "ties": one.first.ties.replace("_", " "),
                "direction": one.first.direction.replace("_to_", " → "),
                "first": f"{one.first.value:.{digits}f}",
                "second": f"{one.second.value:.{digits}f}",
                "difference": f"{one.paired.difference:+.{digits}f}",
                "exact": repr(one.paired.difference),
                "interval": f"{low:+.{digits}f} to {high:+.{digits}f}",
                "verdict": one.verdict,
                "is_usual": one.first.measure in ("map", "ndcg", "mean_rank")
                or (one.first.measure, one.first.relevance) == ("recall", "pair"),
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
