"""One training and one measurement of a comparison: its numbers, and what it costs."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modalhash.api.learning import train
from modalhash.api.measuring import evaluate
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.benchmarking.outcomes import DIRECTIONS, MEASURES, RERANKED, Outcome, map_title
from modalhash.benchmarking.tasks import Task, load_place, usual_encoder, usual_split
from modalhash.choices import Scoring
from modalhash.codes import binarise, pack
from modalhash.data import PROTOCOLS, Collection, Modality
from modalhash.data.collection import Positions
from modalhash.machine import forget_peak, peak_mib
from modalhash.metrics import Convention, Report, code_statistics
from modalhash.progress import silent

__all__ = ["QueryValues", "list_values", "run_task"]

RATE_ROWS = 2048
"""Rows that an encoding rate is measured on."""


QueryValues = dict[str, NDArray[np.float32]]
"""For each value of an outcome, by name, the (q,) values of its queries; NaN: doesn't count."""


def run_task(task: Task, cache: Path | str | None) -> Iterator[tuple[Outcome, QueryValues]]:
    """Train and measure once; yield what it gave, with the values behind each number."""
    collection, variant = load_place(task.place.collection, task.place.protocol), task.variant
    forget_peak()
    started = time.process_time()
    model = train(
        collection,
        method=variant.method,
        n_bits=task.n_bits,
        encoder=usual_encoder(collection, task.place.encoder),
        seed=task.seed,
        preset=variant.preset or None,
        settings=variant.settings,
        hug=variant.hug or None,
        cache=cache,
        progress=silent,
    )
    seconds = round(time.process_time() - started, 1)
    split = usual_split(collection, task.place.split)
    encoding = measure_encoding(model, collection, cache)
    for row, bits, scoring, report in measure_rankings(task, model, collection, split, cache):
        outcome = Outcome(
            row,
            f"{collection.name} {split}",
            task.n_bits,
            task.seed,
            {**list_values(report), **list_protocol_values(report, task.place.protocol)},
            seconds,
            bits,
            peak_mib=round(peak_mib(), 1),
            n_parameters=n_parameters(model),
            rates=encoding.rates,
            curves=keep_curves(report),
            scoring=scoring,
            constant_share=encoding.constant_share,
            code_sizes=list_last_values(model, "size"),
            sign_cosines=list_last_values(model, "sign_cosine") or encoding.sign_cosines,
        )
        yield outcome, list_query_values(report)


def n_parameters(model: HashModel) -> int:
    """Count the numbers that the two towers have learned."""
    return sum(parameter.numel() for parameter in model.hasher_in_torch.parameters())


@dataclass(frozen=True)
class Encoding:
    """How a model encodes a collection's first rows.

    Attributes:
        rates: stored features that become codes in a second, by modality.
        sign_cosines: mean cosine of the numbers before the sign with their signs, by modality.
        constant_share: share of the bits that are the same for all pictures, or for all texts: the
            larger one.
    """

    rates: Mapping[str, float]
    sign_cosines: Mapping[str, float]
    constant_share: float


def measure_encoding(
    model: HashModel, collection: Collection, cache: Path | str | None
) -> Encoding:
    """Encode the first rows of both modalities, and measure what comes of it."""
    import torch

    from modalhash.losses import sign_cosine

    folder = None if cache is None else Path(cache)
    codes = CollectionCodes(model, collection, captions="first", cache_folder=folder)
    items = np.arange(min(collection.n_items, RATE_ROWS))
    sides: tuple[tuple[Modality, Positions], ...] = (
        ("image", items),
        ("text", codes.texts_of(items)),
    )
    rates: dict[str, float] = {}
    cosines: dict[str, float] = {}
    constant_counts = []
    for modality, rows in sides:
        codes.relaxed(rows[:1], modality)
        started = time.perf_counter()
        relaxed = codes.relaxed(rows, modality)
        packed = pack(binarise(relaxed))
        rates[modality] = round(len(rows) / max(time.perf_counter() - started, 1e-6), 1)
        cosines[modality] = round(float(sign_cosine(torch.from_numpy(relaxed))), 4)
        constant_counts.append(code_statistics(packed, model.n_bits).n_constant_bits)
    return Encoding(rates, cosines, round(max(constant_counts) / model.n_bits, 4))


def list_last_values(model: HashModel, measure: str) -> dict[str, float]:
    """List what the last epoch logged of relaxed codes, by modality; empty for closed forms."""
    results = model.record.results
    return {
        modality: round(results[f"{modality}_{measure}"], 4)
        for modality in ("image", "text")
        if f"{modality}_{measure}" in results
    }


def measure_rankings(
    task: Task, model: HashModel, collection: Collection, split: str, cache: Path | str | None
) -> Iterator[tuple[str, int, str, Report]]:
    """Measure a model by everything that ranks its items: row, bits an item, scoring, numbers.

    The protocols of papers rank by Hamming distance, so nothing else is measured under them.
    """
    names = list_protocol_measures(task.place.protocol)
    measure = partial(
        evaluate,
        model,
        collection,
        split=split,
        cache=cache,
        progress=silent,
        top_k=list(dict.fromkeys([50, 5000, None, *(k for k, _ in names)])),
        conventions=list(dict.fromkeys([Convention.TRUNCATED, *(name for _, name in names)])),
    )
    both = measure(scoring=Scoring.HAMMING if task.place.protocol else "both")
    for scoring in both.scorings:
        yield task.variant.name, model.n_bits, scoring, both.ranked_by(scoring)
    if model.has_fine_codes:
        row, n_bits = f"{task.variant.name}{RERANKED}", model.n_bits + model.fine_books.n_bits
        yield row, n_bits, "reranked", measure(scoring=Scoring.HAMMING, rerank="auto")


def list_values(report: Report) -> dict[str, float]:
    """List the numbers of `MEASURES` in both directions, as far as they were measured."""
    rules = {measure.relevance for measure in report.measures}
    return {
        f"{title} {direction}": round(
            report.value(measure, direction, relevance=rule, k=k, convention=formula_of(measure)), 4
        )
        for title, measure, rule, k in MEASURES
        if rule in rules
        for direction in DIRECTIONS
    }


def list_query_values(report: Report) -> QueryValues:
    """List the (q,) float32 values behind each of `measured_values`."""
    rules = {measure.relevance for measure in report.measures}
    values_by_name: QueryValues = {}
    for title, measure, rule, k in MEASURES:
        for direction_report in report.directions if rule in rules else ():
            if any(number.relevance == rule for number in direction_report.measures):
                values = direction_report.values(
                    measure, relevance=rule, k=k, convention=formula_of(measure)
                )
                values_by_name[f"{title} {direction_report.direction}"] = values.astype(np.float32)
    return values_by_name


def formula_of(measure: str) -> str | None:
    """Name the formula that `MEASURES` means; None for measures that have one only."""
    return Convention.TRUNCATED if measure == "map" else None


def list_protocol_measures(protocol: str) -> list[tuple[int | None, Convention]]:
    """List cut-offs and formulas of a protocol ("djsrh:queries=9"); nothing for "".

    Example:
        >>> list_protocol_measures("ucch")
        [(None, <Convention.ANSWERABLE: 'answerable'>)]
    """
    if not protocol:
        return []
    rule = PROTOCOLS[protocol.partition(":")[0]]
    return [(k, Convention(rule.convention)) for k in rule.top_k]


def list_protocol_values(report: Report, protocol: str) -> dict[str, float]:
    """List what a protocol measures, in both directions, by `map_title`; nothing for ""."""
    return {
        f"{map_title(k, name)} {direction}": round(
            report.value("map", direction, relevance="shared_label", k=k, convention=name), 4
        )
        for k, name in list_protocol_measures(protocol)
        for direction in DIRECTIONS
    }


def keep_curves(report: Report) -> dict[str, dict[str, list[float]]]:
    """Collect rounded precision and recall by rank under a shared label, by direction."""
    return {
        direction_report.direction: {
            "recall": np.round(curve.recall, 4).tolist(),
            "precision": np.round(curve.precision, 4).tolist(),
        }
        for direction_report in report.directions
        for curve in direction_report.curves
        if (curve.by, curve.relevance) == ("rank", "shared_label")
        and np.isfinite(curve.recall).all()  # it isn't where no query has an answer
    }
