"""Example queries of a report: the best, the worst and some drawn by seed, with what they find."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.api.measured_directions import encode_relaxed, encode_rows
from modalhash.artifacts import CollectionCodes
from modalhash.choices import Scoring
from modalhash.codes import Codes, hamming_distances
from modalhash.codes.asymmetric import WeightedQueries, weighted_distances
from modalhash.data import Collection, Positions
from modalhash.errors import CollectionError, FeatureError, ModelUnavailableError
from modalhash.index import build_index
from modalhash.metrics import DirectionReport
from modalhash.modalities import Direction
from modalhash.notebook_html import picture_url
from modalhash.reports.pages import QUALITY, THUMBNAIL

__all__ = ["Examples", "Latency", "query_latency"]

SHOWN_LABELS = 3
TIMED_QUERIES = 15


@dataclass(frozen=True)
class Examples:
    """Makes the views of example queries.

    Attributes:
        codes: of the collection.
        queries: items that ask.
        ranked: items that are ranked by labels; none if only pairs count.
        seed: decides which queries are shown besides the best and the worst.
        n_drawn: how many those are.
        n_hits: how many answers are shown.
    """

    codes: CollectionCodes
    queries: Positions
    ranked: Positions
    seed: int = 0
    n_drawn: int = 3
    n_hits: int = 8

    def of(self, report: DirectionReport) -> dict[str, Any] | None:
        """Make the examples of one direction; None if it has no MAP to choose them by."""
        place = choose_measure(report)
        if place is None:
            return None
        measure, values = report.measures[place], report.per_query[place]
        direction = Direction(report.direction)
        query_side, ranked_side = direction.query, direction.database
        is_pair = measure.relevance == "pair"
        query_codes, query_owners = encode_rows(self.codes, query_side, self.queries)
        candidates = self.queries if is_pair else self.ranked
        ranked_codes, ranked_owners = encode_rows(self.codes, ranked_side, candidates)
        relaxed = None
        if report.scoring == Scoring.ASYMMETRIC:
            n_bits = self.codes.model.n_bits
            queries = encode_relaxed(self.codes, query_side, self.queries)
            relaxed = WeightedQueries.of(queries, n_bits, name="queries")
        side = Ranked(
            query_side, ranked_side, query_codes, query_owners, ranked_codes, ranked_owners, relaxed
        )
        chosen = list(self.choose_queries(values, self.answerable(query_owners, is_pair)))
        return {
            "direction": report.direction,
            "measure": measure,
            "queries": [
                self.view(side, row, why, float(values[row]), is_pair) for row, why in chosen
            ],
        }

    def answerable(self, owners: Positions, is_pair: bool) -> NDArray[np.int64]:
        """List the rows of queries that have something relevant to find."""
        labels = self.codes.collection.labels
        if is_pair or labels is None:
            return np.arange(len(owners))
        candidates = labels[self.ranked].any(axis=0)
        return np.flatnonzero((labels[owners] & candidates).any(axis=1))

    def choose_queries(
        self, values: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, str]]:
        """Yield rows of queries and why they are shown; the seed decides between equals."""
        order = np.random.default_rng(self.seed).permutation(rows)
        if not len(order):
            return
        by_value = order[np.argsort(-values[order], kind="stable")]
        ends = [(int(by_value[0]), "best")]
        if len(by_value) > 1:
            ends.append((int(by_value[-1]), "worst"))
        yield ends[0]
        shown_rows = {row for row, _ in ends}
        for row in [int(row) for row in order if int(row) not in shown_rows][: self.n_drawn]:
            yield row, "drawn by seed"
        yield from ends[1:]

    def view(
        self, side: "Ranked", row: int, why: str, value: float, is_pair: bool
    ) -> dict[str, Any]:
        """Describe one query for the page."""
        item = int(side.query_owners[row])
        distances = hamming_distances(side.query_codes[row : row + 1], side.ranked_codes)[0]
        ranked_by = distances
        if side.relaxed is not None:
            query = side.relaxed.take(slice(row, row + 1))
            ranked_by = weighted_distances(query, side.ranked_codes)[0]
        nearest = np.argsort(ranked_by, kind="stable")[: self.n_hits]
        hits = []
        for place in nearest:
            other = int(side.ranked_owners[place])
            shared = [] if is_pair else self.shared_labels(item, other)
            text_row = self.text_row(side, int(place), is_pair)
            is_right = other == item if is_pair else bool(shared)
            hits.append(
                {
                    "picture": load_picture(self.codes.collection, other),
                    "caption": self.caption(
                        other, text_row if side.ranked_side == "text" else None
                    ),
                    "distance": int(distances[place]),
                    "is_right": is_right,
                    "why": self.reason(is_right, shared, is_pair),
                }
            )
        asked_text = None
        if side.query_side == "text":
            asked_text = int(self.codes.texts_of(self.queries)[row])
        return {
            "why": why,
            "value": value,
            "kind": side.query_side,
            "picture": load_picture(self.codes.collection, item),
            "caption": self.caption(item, asked_text),
            "has_text": self.codes.collection.captions is not None,
            "labels": self.label_names(item),
            "hits": hits,
        }

    def text_row(self, side: "Ranked", place: int, is_pair: bool) -> int | None:
        """Find the collection's text behind a ranked row."""
        if side.ranked_side != "text":
            return None
        return int(self.codes.texts_of(self.queries if is_pair else self.ranked)[place])

    def caption(self, item: int, text: int | None) -> str:
        """Choose a text, or an item's first; without texts, its id."""
        collection = self.codes.collection
        if collection.captions is None:
            return collection.item_ids[item]
        row = int(collection.caption_starts[item]) if text is None else text
        return collection.captions[row]

    def shared_labels(self, item: int, other: int) -> list[str]:
        """List the names of the labels that two items have in common."""
        collection = self.codes.collection
        assert collection.labels is not None
        both = collection.labels[item] & collection.labels[other]
        return [collection.label_names[place] for place in np.flatnonzero(both)]

    def label_names(self, item: int) -> list[str]:
        """List the names of an item's labels."""
        collection = self.codes.collection
        if collection.labels is None:
            return []
        return [collection.label_names[place] for place in np.flatnonzero(collection.labels[item])]

    @staticmethod
    def reason(is_right: bool, shared: list[str], is_pair: bool) -> str:
        """Explain why a hit is right or wrong."""
        if is_pair:
            return "its own" if is_right else "another's"
        if not is_right:
            return "no label in common"
        more = f" +{len(shared) - SHOWN_LABELS}" if len(shared) > SHOWN_LABELS else ""
        return ", ".join(shared[:SHOWN_LABELS]) + more


@dataclass(frozen=True)
class Ranked:
    """What asks and what is ranked in one direction.

    Attributes:
        query_side: "image" or "text".
        ranked_side: "image" or "text".
        query_codes: (q, p) uint8.
        query_owners: (q,) items behind them.
        ranked_codes: (m, p) uint8.
        ranked_owners: (m,) items behind them.
        relaxed: the queries' own numbers, where these rank; else None.
    """

    query_side: str
    ranked_side: str
    query_codes: Codes
    query_owners: Positions
    ranked_codes: Codes
    ranked_owners: Positions
    relaxed: WeightedQueries | None = None


def choose_measure(report: DirectionReport) -> int | None:
    """Choose the MAP that examples are selected by: by shared label, or by pair."""
    for relevance in ("shared_label", "pair"):
        for place, measure in enumerate(report.measures):
            if (measure.measure, measure.relevance) == ("map", relevance):
                return place
    return None


def load_picture(collection: Collection, item: int) -> str:
    """Load an item's thumbnail as a data URL; "" if there is none to show."""
    if collection.pictures is None:
        return ""
    try:
        return picture_url(collection.pictures.open(item), THUMBNAIL, QUALITY)
    except CollectionError:
        return ""


@dataclass(frozen=True)
class Latency:
    """Median times of single queries, in milliseconds, where this ran.

    Attributes:
        encode: seconds from a text or a picture to its code, by modality; empty if the encoder
            isn't there.
        search: from a code to its ten nearest.
        n_queries: how many were timed.
        n_items: how many were searched.
    """

    encode: dict[str, float]
    search: float
    n_queries: int
    n_items: int


def query_latency(codes: CollectionCodes, queries: Positions, ranked: Positions) -> Latency:
    """Time single queries: texts and pictures to codes, codes to the ten nearest pictures.

    Args:
        codes: of the collection.
        queries: items that ask; some are taken.
        ranked: items that are searched.

    Returns:
        Medians; a first query, which loads weights, isn't counted.
    """
    collection, model = codes.collection, codes.model
    some = queries[np.linspace(0, len(queries) - 1, min(TIMED_QUERIES, len(queries))).astype(int)]
    rows = {"text": collection.caption_starts[some], "image": some}
    encode: dict[str, float] = {}
    for modality, places in rows.items():
        try:
            if modality == "text" and collection.captions is not None:
                texts = [collection.captions[row] for row in places]
                encode["text"] = measure_median_time(lambda text: model.encode_texts([text]), texts)
            elif modality == "image" and collection.pictures is not None:
                pictures = [collection.pictures.open(int(item)) for item in places]
                encode["image"] = measure_median_time(
                    lambda value: model.encode_images([value]), pictures
                )
        except (FeatureError, ModelUnavailableError, CollectionError):
            continue
    index = build_index(np.arange(len(ranked)), codes.image(ranked), model.n_bits)
    text_codes = codes.text(rows["text"])
    search = measure_median_time(
        lambda row: index.search(text_codes[row : row + 1], 10), range(len(text_codes))
    )
    return Latency(encode, search, len(some), len(ranked))


def measure_median_time(work: Any, inputs: Any) -> float:
    """Measure the median milliseconds of a task over inputs, without the first time."""
    work(inputs[0])
    times = []
    for value in inputs:
        started = perf_counter()
        work(value)
        times.append(1000 * (perf_counter() - started))
    return float(np.median(times))
