"""One training of a quantiser and its measurement: rows of the board, or the reason of none."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.api.learning import train
from modalhash.benchmarking.faiss_quantizers import FAISS_QUANTIZERS, FaissSearch, train_faiss
from modalhash.benchmarking.quantizer_rows import FLOAT_QUERY, HAMMING, RESCORED, QuantizerRow
from modalhash.benchmarking.quantizer_searches import (
    DEPTH,
    HAMMING_DEPTH,
    Int8Copies,
    QueryValues,
    Searches,
    measure_rate,
    measure_searches,
)
from modalhash.benchmarking.sign_quantizers import (
    SIGN_QUANTIZERS,
    SideNumbers,
    SignSearch,
    project_space,
)
from modalhash.benchmarking.tasks import load_place
from modalhash.benchmarking.vector_inputs import name_direction, read_features
from modalhash.benchmarking.vector_spaces import FLOAT_TOP, Floats, VectorSpace, read_space
from modalhash.errors import ModalhashError, SettingError
from modalhash.machine import forget_peak, installed_version, peak_mib
from modalhash.progress import silent

__all__ = ["NESTED", "RATE_ITEMS", "QuantizerTask", "attempt_task", "make_failures", "needed_gib"]

logger = logging.getLogger(__name__)
NESTED: Final = "nested"
RATE_ITEMS: Final = 50_000
"""Items that rates are measured on, where a collection has fewer."""
LEARNING_GIB: Final = 1.5
"""What a training of `nested` takes beside the vectors."""
Measured = tuple[QuantizerRow, QueryValues]


@dataclass(frozen=True)
class QuantizerTask:
    """One quantiser at one size (of `nested`: at all prefixes of one model), with one seed.

    Attributes:
        space_file: where the vectors are.
        space_name: of the space.
        fingerprint: of the vectors.
        quantizer: its name.
        sizes: bytes an item; 0 is the natural size.
        n_bits: of the model; 0 but for `nested`.
        seed: of the training.
        shortlist: items that rescoring ranks again.
        memory_gib: that it may take; None doesn't count.
        has_rate: whether the rate is measured.
        cache: folder that keeps features.
    """

    space_file: str
    space_name: str
    fingerprint: str
    quantizer: str
    sizes: tuple[int, ...]
    n_bits: int
    seed: int
    shortlist: int
    memory_gib: float | None = None
    has_rate: bool = True
    cache: str | None = None

    @property
    def key(self) -> str:
        """Name of its result: readable, and a hash of all that decides it."""
        decisive = asdict(self)
        for name in ("space_file", "cache"):
            del decisive[name]
        versions = [version("modalhash"), installed_version("faiss-cpu")]
        document = json.dumps([decisive, versions], sort_keys=True)
        sizes = "-".join(map(str, self.sizes))
        words = f"{self.space_name} {self.quantizer} {sizes} {self.seed}"
        readable = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        return f"{readable}-{hashlib.sha256(document.encode()).hexdigest()[:10]}"


@lru_cache(maxsize=1)
def open_space(path: str) -> VectorSpace:
    """Read a space, once a process."""
    return read_space(Path(path))


def needed_gib(space: VectorSpace, quantizer: str) -> float:
    """Estimate the memory of a task: vectors of all sides, and three copies of the largest."""
    sides = [rows.nbytes for rows in (*space.items.values(), *space.queries.values())]
    learning = LEARNING_GIB if quantizer == NESTED else 0.0
    return (sum(sides) + 3 * max(sides)) / 2**30 + learning


def attempt_task(task: QuantizerTask) -> list[Measured]:
    """Run one task; what goes wrong with it becomes its rows."""
    try:
        return list(run_task(task))
    except Exception as error:
        logger.debug("%s failed", task.key, exc_info=True)
        reason = str(error)
        if not isinstance(error, ModalhashError):
            reason = f"{type(error).__name__}: {reason}"
        return make_failures(task, reason)


def make_failures(task: QuantizerTask, reason: str) -> list[Measured]:
    """Make the rows of a task that went wrong."""
    row = QuantizerRow(task.quantizer, task.space_name, FLOAT_QUERY, 0, task.seed, error=reason)
    return [(replace(row, asked_bytes=size), {}) for size in task.sizes]


def run_task(task: QuantizerTask) -> Iterator[Measured]:
    """Train once, and yield what every scoring gives.

    Raises:
        SettingError: if there is no such quantiser of that size, or memory is too little.
    """
    space = open_space(task.space_file)
    needed = needed_gib(space, task.quantizer)
    if task.memory_gib is not None and needed > task.memory_gib:
        raise SettingError(
            f"it needs about {needed:.2f} GiB, and memory is {task.memory_gib:g} GiB (--memory)"
        )
    forget_peak()
    if task.quantizer in FAISS_QUANTIZERS:
        yield from run_faiss(task, space)
    elif task.quantizer == NESTED:
        yield from run_nested(task, space)
    else:
        (size,) = task.sizes
        started = time.process_time()
        numbers = project_space(SIGN_QUANTIZERS[task.quantizer], space, 8 * size, task.seed)
        yield from measure_signs(task, space, size, numbers, time.process_time() - started)


def run_faiss(task: QuantizerTask, space: VectorSpace) -> Iterator[Measured]:
    """Train an index of FAISS for each item side, and measure it."""
    (size,) = task.sizes
    n_bytes = size or natural_size(task.quantizer, space.width)
    started = time.process_time()
    trained: dict[str, FaissSearch] = {}
    for side in dict.fromkeys(side for _, side in space.directions):
        rows = space.items[side]
        index, _ = train_faiss(task.quantizer, rows, n_bytes, space.metric, task.seed)
        trained[side] = FaissSearch(index, rows, space.metric)
    seconds = time.process_time() - started
    searches = {}
    for direction in space.directions:
        truth = space.pairs.get(name_direction(direction))
        search = trained[direction[1]]
        pair_search = None if truth is None else search.with_items(truth.items)
        searches[direction] = Searches(space.queries[direction[0]], search, pair_search)
    whole = task.quantizer in ("float32", "float16", "int8")
    yield from measure_scorings(
        task, space, size, {FLOAT_QUERY: searches}, seconds, is_rescored=not whole
    )


def natural_size(quantizer: str, width: int) -> int:
    """Look up the one size that a quantiser of whole vectors has.

    Raises:
        SettingError: if it has many.
    """
    natural = FAISS_QUANTIZERS[quantizer].natural
    if natural is None:
        raise SettingError(f"{quantizer} has no natural size: name bytes")
    return natural(width)


def run_nested(task: QuantizerTask, space: VectorSpace) -> Iterator[Measured]:
    """Train one model on the pairs of a collection, and measure its prefixes.

    Raises:
        SettingError: if there is no collection to train on.
    """
    if space.origin is None:
        raise SettingError(
            "it learns from pairs of pictures and texts; there are none, so shared-space serves"
        )
    started = time.process_time()
    model = train(
        load_place(space.origin.collection), method=NESTED, n_bits=task.n_bits,
        encoder=space.origin.encoder, seed=task.seed, cache=task.cache, progress=silent,
    )  # fmt: skip
    vectors = read_features(space.origin, task.cache)
    towers: Mapping[str, Any] = {
        side: getattr(model.hasher_in_torch, side) for side in ("image", "text")
    }
    queries = {side: towers[side].relaxed(part) for side, (part, _) in vectors.items()}
    numbers = SideNumbers(
        queries,
        {side: towers[side].relaxed(rest) for side, (_, rest) in vectors.items()},
        {name: queries[name.rpartition("_to_")[2]] for name in space.pairs},
    )
    seconds = time.process_time() - started
    for size in task.sizes:
        cut = numbers.first_bits(8 * size)
        by_side = dict.fromkeys(space.items, cut)
        yield from measure_signs(task, space, size, by_side, seconds)


def measure_signs(
    task: QuantizerTask,
    space: VectorSpace,
    size: int,
    numbers: Mapping[str, SideNumbers],
    seconds: float,
) -> Iterator[Measured]:
    """Measure signs of numbers by the query's numbers, rescored, and by Hamming distance."""
    searches: dict[str, dict[tuple[str, str], Searches]] = {FLOAT_QUERY: {}, HAMMING: {}}
    for scoring, by_direction in searches.items():
        is_asymmetric = scoring == FLOAT_QUERY
        for direction in space.directions:
            of_side, name = numbers[direction[1]], name_direction(direction)
            pair_numbers = of_side.pair_items.get(name)
            by_direction[direction] = Searches(
                of_side.queries[direction[0]],
                SignSearch(of_side.items[direction[1]], is_asymmetric=is_asymmetric),
                None
                if pair_numbers is None
                else SignSearch(pair_numbers, is_asymmetric=is_asymmetric),
                depth=DEPTH if is_asymmetric else HAMMING_DEPTH,
            )
    yield from measure_scorings(task, space, size, searches, seconds)


def measure_scorings(
    task: QuantizerTask,
    space: VectorSpace,
    size: int,
    searches: Mapping[str, Mapping[tuple[str, str], Searches]],
    seconds: float,
    *,
    is_rescored: bool = True,
) -> Iterator[Measured]:
    """Measure every scoring, and the one by floats rescored too."""
    all_searches = dict(searches)
    if is_rescored:
        all_searches[RESCORED] = {
            direction: add_copies(part, space, direction, task.shortlist)
            for direction, part in searches[FLOAT_QUERY].items()
        }
    for scoring, by_direction in all_searches.items():
        values: QueryValues = {}
        for direction, part in by_direction.items():
            values |= measure_searches(part, space, direction)
        first = next(iter(by_direction.items()))
        copies = first[1].copies
        n_bytes = first[1].items.n_bytes
        row = QuantizerRow(
            task.quantizer,
            task.space_name,
            scoring,
            size,
            task.seed,
            {name: round(float(np.nanmean(rows)), 5) for name, rows in values.items()},
            n_bytes=n_bytes,
            total_bytes=n_bytes + (0 if copies is None else copies.n_bytes),
            cpu_seconds=round(seconds, 2),
            items_per_second=find_rate(first, space, task) if task.has_rate else 0.0,
            peak_mib=round(peak_mib(), 1),
        )
        yield row, values


def add_copies(
    searches: Searches, space: VectorSpace, direction: tuple[str, str], shortlist: int
) -> Searches:
    """Add int8 copies of the vectors to searches."""
    items = space.items[direction[1]]
    truth = space.pairs.get(name_direction(direction))
    return replace(
        searches,
        copies=Int8Copies(items, items, space.metric),
        pair_copies=None if truth is None else Int8Copies(items, truth.items, space.metric),
        shortlist=shortlist,
    )


def find_rate(
    first: tuple[tuple[str, str], Searches], space: VectorSpace, task: QuantizerTask
) -> float:
    """Measure the rate of a row's first direction on `RATE_ITEMS` items at least."""
    direction, searches = first
    items = space.items[direction[1]]
    n_items = max(len(items), RATE_ITEMS)
    search = searches.items
    if n_items > len(items):
        if isinstance(search, SignSearch):
            search = search.scale_up(n_items, task.seed)
        elif isinstance(search, FaissSearch):
            search = search.scale_up(items, n_items)
    vectors = np.resize(space.queries[direction[0]], (64, items.shape[1]))
    copies = searches.copies
    if copies is None:
        return measure_rate(
            lambda batch: search.search(batch, FLOAT_TOP), searches.queries, n_items
        )

    def search_twice(batch: Floats) -> None:
        lists = search.search(batch, task.shortlist)
        rows = lists.rows % len(items)  # copies of items that stand for more have the same bytes
        copies.rescore(replace(lists, rows=rows), vectors)

    return measure_rate(search_twice, searches.queries, n_items)
