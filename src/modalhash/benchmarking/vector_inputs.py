"""Spaces of vectors from what users have: collections, arrays of any program, HDF5 benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.api.learning import extract_features, train
from modalhash.benchmarking.tasks import load_place, usual_encoder, usual_split
from modalhash.benchmarking.vector_spaces import (
    FLOAT_TOP,
    Floats,
    Origin,
    PairTruth,
    VectorSpace,
    check_vectors,
    find_nearest_rows,
    unit_rows,
)
from modalhash.data import Collection
from modalhash.data.arrays import read_arrays, stored_shapes
from modalhash.data.hdf5_files import open_hdf5
from modalhash.errors import InputError, ShapeError
from modalhash.metrics import read_labels
from modalhash.options import CROSS_MODAL
from modalhash.progress import silent
from modalhash.scoring import open_array

__all__ = [
    "ArrayInputs",
    "is_hdf5_benchmark",
    "name_direction",
    "read_array_space",
    "read_collection_space",
    "read_features",
    "read_hdf5_space",
]

HDF5_SUFFIXES: Final = (".hdf5", ".h5")
HDF5_PARTS: Final = ("train", "test", "neighbors", "distances")
METRICS: Final = {
    "angular": "cosine",
    "cosine": "cosine",
    "normalized": "cosine",
    "euclidean": "euclidean",
    "ip": "inner product",
    "dot": "inner product",
}
"""What ann-benchmarks and VIBE call a distance, to what we call it."""
BARELY_TRAINED: Final = {"epochs": 1, "least_steps": 0, "hidden_width": 0}
"""Settings of a model of which only the common space is taken."""
COMMON_BITS: Final = 16


@dataclass(frozen=True)
class ArrayInputs:
    """Arrays, or files of them as `score` takes them, that make a space.

    Attributes:
        queries: (q, d) vectors.
        items: (m, d) vectors.
        query_labels: (q, c) of 0 and 1, or (q,) classes, or None.
        item_labels: the same of the items, or None.
        query_targets: (q,) or (q, t) rows of the items that are the queries' own, -1 fills up.
        pairs: item i is query i's own.
        metric: "cosine", "inner product" or "euclidean".
    """

    queries: Any
    items: Any
    query_labels: Any = None
    item_labels: Any = None
    query_targets: Any = None
    pairs: bool = False
    metric: str = "cosine"


def name_direction(direction: tuple[str, str]) -> str:
    """Name a direction.

    Example:
        >>> name_direction(("text", "image"))
        'text_to_image'
    """
    return f"{direction[0]}_to_{direction[1]}"


def choose_rows(n_rows: int, most: int | None) -> NDArray[np.int64]:
    """Choose rows, evenly spaced: all, or `most`."""
    if most is None or n_rows <= most:
        return np.arange(n_rows)
    return np.linspace(0, n_rows - 1, most).astype(np.int64)


def read_collection_space(
    source: str,
    *,
    encoder: str = "auto",
    split: str = "auto",
    space: str = "auto",
    n_queries: int | None = None,
    cache: Path | str | None = None,
) -> VectorSpace:
    """Read the vectors of a collection: its features, or the common space of its two towers.

    Args:
        source: what `load_collection` takes.
        encoder: makes the features; "auto" is `offline`, or `precomputed`.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        space: "features", "common", or "auto": features where both sides have one width.
        n_queries: at most so many.
        cache: folder that keeps features.

    Raises:
        InputError: if features of two widths are to be one space, or the split has no items.
    """
    collection = load_place(source)
    encoder, split = usual_encoder(collection, encoder), usual_split(collection, split)
    if not len(collection.caption_items):
        raise InputError(
            f"{collection.name} has no texts, so nothing asks for its pictures: add captions, or "
            "give vectors of queries and of items (--queries, --items)"
        )
    origin = Origin(source, encoder, split, n_queries)
    queries, database = collection_rows(collection, origin)
    vectors = read_features(origin, cache)
    widths = {side: part.shape[1] for side, (part, _) in vectors.items()}
    is_shared = widths["image"] == widths["text"]
    if space == "features" and not is_shared:
        raise InputError(
            f"pictures have {widths['image']} dimensions and texts {widths['text']}, which is no "
            "one space: take --space common, which learns one from the training pairs, or an "
            "encoder of a shared space, such as clip:FOLDER or offline-shared"
        )
    kind = "features" if is_shared and space != "common" else "common space"
    if kind == "common space":
        vectors = common_space(collection, encoder, vectors, cache)
    unit = {side: (unit_rows(part), unit_rows(rest)) for side, (part, rest) in vectors.items()}
    labels = collection.labels
    directions = (*((d.query, d.database) for d in CROSS_MODAL), ("image", "image"))
    targets = np.arange(len(queries))
    suffix = "" if encoder in ("offline", "precomputed") else f" {encoder.partition(':')[0]}"
    vector_space = VectorSpace(
        name=f"{collection.name} {split}{suffix}" + (" common" if space == "common" else ""),
        kind=kind,
        metric="cosine",
        queries={side: part for side, (part, _) in unit.items()},
        items={side: rest for side, (_, rest) in unit.items()},
        directions=directions,
        pairs={
            name_direction(direction): PairTruth(unit[direction[1]][0], targets)
            for direction in directions
            if direction[0] != direction[1]
        },
        query_labels=None if labels is None else labels[queries].astype(np.uint8),
        item_labels=None if labels is None else labels[database].astype(np.uint8),
        has_training_pairs=True,
        origin=origin,
        notes=(describe_kind(kind, encoder, next(iter(unit.values()))[0].shape[1]),),
    )
    return with_nearest(vector_space)


def collection_rows(
    collection: Collection, origin: Origin
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose positions of queries and of stored items, the latter shuffled."""
    positions = collection.split(origin.split)
    queries = positions[choose_rows(len(positions), origin.n_queries)]
    return queries, np.random.default_rng(0).permutation(collection.split("train"))


def read_features(
    origin: Origin, cache: Path | str | None = None
) -> dict[str, tuple[Floats, Floats]]:
    """Read the features of queries and stored items by side, one text an item."""
    collection = load_place(origin.collection)
    store = extract_features(collection, origin.encoder, cache=cache, progress=silent)
    queries, database = collection_rows(collection, origin)
    first_texts = collection.caption_starts[:-1]
    return {
        "image": (store.image.pooled(queries), store.image.pooled(database)),
        "text": (store.text.pooled(first_texts[queries]), store.text.pooled(first_texts[database])),
    }


def describe_kind(kind: str, encoder: str, width: int) -> str:
    """Describe what the float vectors of a collection are."""
    if kind == "features":
        return f"the float vectors are the {width} features of the encoder {encoder}"
    return (
        f"the float vectors are the common space of nested, {width} numbers learned from the "
        f"training pairs of the encoder {encoder}"
    )


def common_space(
    collection: Collection,
    encoder: str,
    vectors: Mapping[str, tuple[Floats, Floats]],
    cache: Path | str | None,
) -> dict[str, tuple[Floats, Floats]]:
    """Compute the points of the common space that the bits of `nested` are made from."""
    from modalhash.layers import KernelHead

    model = train(
        collection, method="nested", n_bits=COMMON_BITS, encoder=encoder, settings=BARELY_TRAINED,
        cache=cache, progress=silent,
    )  # fmt: skip
    points = {}
    for side, parts in vectors.items():
        tower = getattr(model.hasher_in_torch, side)
        head = tower.head
        assert isinstance(head, KernelHead)

        def project(rows: Floats, tower: Any = tower, head: KernelHead = head) -> Floats:
            floats: Floats = tower.apply_by_rows(
                lambda features: head.common(tower.prepared(features)), head.weights.shape[1], rows
            )
            return floats

        points[side] = (project(parts[0]), project(parts[1]))
    return points


def with_nearest(space: VectorSpace) -> VectorSpace:
    """Add the nearest float items of every direction."""
    nearest = {
        name_direction(direction): find_nearest_rows(
            space.queries[direction[0]], space.items[direction[1]], space.metric
        )
        for direction in space.directions
    }
    return replace(space, nearest=nearest)


def read_array_space(inputs: ArrayInputs, name: str, n_queries: int | None = None) -> VectorSpace:
    """Read vectors of any program.

    Raises:
        ShapeError: if they aren't vectors, or queries and items differ in width.
        InputError: if a file can't be read, the metric isn't known, or targets aren't rows.
    """
    if inputs.metric not in METRICS.values():
        known = ", ".join(sorted(set(METRICS.values())))
        raise InputError(f"metric is {inputs.metric!r}, expected one of {known}")
    queries = check_vectors(open_array(inputs.queries, "queries"), "queries")
    items = check_vectors(open_array(inputs.items, "items"), "items")
    if queries.shape[1] != items.shape[1]:
        raise ShapeError(
            f"queries have {queries.shape[1]} dimensions and items {items.shape[1]}, which is no "
            "one space: encode both with one model, or give the pairs of both as a collection "
            "(features:FILE), whose common space is learned"
        )
    if inputs.metric == "cosine":
        queries, items = unit_rows(queries), unit_rows(items)
    query_labels, item_labels = array_labels(inputs, len(queries), len(items))
    targets = array_targets(inputs, len(queries), len(items))
    rows = choose_rows(len(queries), n_queries)
    order = np.random.default_rng(0).permutation(len(items))
    pairs = {}
    if targets is not None:
        places = np.append(np.argsort(order), -1)  # a target of -1 stays -1
        pairs["query_to_item"] = PairTruth(items[order], places[targets[rows]])
    return with_nearest(
        VectorSpace(
            name=name,
            kind="vectors",
            metric=inputs.metric,
            queries={"query": queries[rows]},
            items={"item": items[order]},
            directions=(("query", "item"),),
            pairs=pairs,
            query_labels=None if query_labels is None else query_labels[rows],
            item_labels=None if item_labels is None else item_labels[order],
            notes=("the float vectors are arrays as they came",),
        )
    )


def array_labels(
    inputs: ArrayInputs, n_queries: int, n_items: int
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """Read the labels of both sides, or None for both.

    Raises:
        InputError: if one side's are missing.
    """
    both = (inputs.query_labels, inputs.item_labels)
    if all(labels is None for labels in both):
        return None, None
    if any(labels is None for labels in both):
        missing = "query_labels" if inputs.query_labels is None else "item_labels"
        raise InputError(f"{missing} is missing: relevance by labels needs both sides' labels")
    of_queries, of_items, _ = read_labels(
        open_array(inputs.query_labels, "query_labels"),
        open_array(inputs.item_labels, "item_labels"),
        n_queries=n_queries,
        n_database=n_items,
    )
    return of_queries.astype(np.uint8), of_items.astype(np.uint8)


def array_targets(inputs: ArrayInputs, n_queries: int, n_items: int) -> NDArray[np.int64] | None:
    """Read the rows of the queries' own items, or None.

    Raises:
        InputError: if they aren't rows, or pairs of unequal numbers are claimed.
    """
    if inputs.query_targets is None:
        if not inputs.pairs:
            return None
        if n_queries != n_items:
            raise InputError(
                f"pairs means that item i answers query i, but there are {n_queries} queries and "
                f"{n_items} items: give the rows in query_targets (--targets)"
            )
        return np.arange(n_queries)
    rows = open_array(inputs.query_targets, "query_targets")
    is_whole = rows.dtype.kind in "iuf" and (rows == np.floor(rows)).all()
    if len(rows) != n_queries or not is_whole or rows.min() < -1 or rows.max() >= n_items:
        raise InputError(
            f"query_targets is {rows.dtype} of shape {rows.shape}, expected rows of the items from "
            f"0 to {n_items - 1}, one for each of the {n_queries} queries, -1 for none"
        )
    return rows.astype(np.int64)


def is_hdf5_benchmark(source: str) -> bool:
    """Tell whether a source is an HDF5 file with the parts of a public benchmark of vectors.

    Raises:
        InputError: if the name is that of an HDF5 file, and nothing is there.
    """
    path = Path(source)
    if path.suffix.lower() not in HDF5_SUFFIXES:
        return False
    if not path.exists():
        raise InputError(f"there is no file {source}: check the path")
    if not path.is_file():
        return False
    return bool({"train", "test", "neighbors"} & set(stored_shapes(path)))


def read_hdf5_space(
    source: str, n_queries: int | None = None, memory_gib: float | None = None
) -> VectorSpace:
    """Read a file of ann-benchmarks or VIBE as it comes.

    Args:
        source: path of the file: `train` are the items, `test` the queries, `neighbors` and
            `distances` the nearest items of each query.
        n_queries: at most so many.
        memory_gib: that its vectors may take.

    Raises:
        InputError: if a part is missing, parts don't fit, the distance isn't one of floats, or the
            vectors take more memory.
        CollectionError: if the file can't be read.
    """
    path = Path(source)
    shapes = stored_shapes(path)
    if missing := [part for part in HDF5_PARTS if part not in shapes]:
        raise InputError(
            f"{path} lacks {' and '.join(missing)}; it has {', '.join(shapes) or 'nothing'}: files "
            f"of ann-benchmarks and VIBE have {', '.join(HDF5_PARTS)}; give other files as arrays "
            f"(--queries {path.name}:NAME --items {path.name}:NAME)"
        )
    metric = read_hdf5_metric(path)
    needed = 4 * sum(int(np.prod(shapes[part])) for part in ("train", "test")) / 2**30
    if memory_gib is not None and 2 * needed > memory_gib:
        raise InputError(
            f"the vectors of {path} take {2 * needed:.1f} GiB with a copy, and memory is "
            f"{memory_gib:g} GiB: give more (--memory)"
        )
    arrays = read_arrays(path, HDF5_PARTS)
    if unread := sorted(set(HDF5_PARTS) & set(arrays.unread)):
        raise InputError(f"{path}:{unread[0]} can't be read: it {arrays.unread[unread[0]]}")
    items = check_vectors(arrays["train"], f"{path}:train")
    queries = check_vectors(arrays["test"], f"{path}:test")
    if queries.shape[1] != items.shape[1]:
        raise ShapeError(
            f"{path}: test has {queries.shape[1]} dimensions and train {items.shape[1]}: they must "
            "be of one space"
        )
    nearest = read_neighbours(path, arrays, len(queries), len(items))
    if metric == "cosine":
        queries, items = unit_rows(queries), unit_rows(items)
    rows = choose_rows(len(queries), n_queries)
    order = np.random.default_rng(0).permutation(len(items))
    places = np.append(np.argsort(order), -1)
    return VectorSpace(
        name=path.stem,
        kind="vectors",
        metric=metric,
        queries={"query": queries[rows]},
        items={"item": items[order]},
        directions=(("query", "item"),),
        nearest={"query_to_item": places[nearest[rows]]},
        notes=(f"the float top {FLOAT_TOP} is what the file itself says",),
    )


def read_hdf5_metric(path: Path) -> str:
    """Read the metric of a benchmark's file.

    Raises:
        InputError: if the file says none, or one that isn't of floats.
    """
    with open_hdf5(path) as file:
        distance = file.file.attrs.get("distance", "")
    name = distance.decode("ascii", "replace") if isinstance(distance, bytes) else str(distance)
    if name not in METRICS:
        raise InputError(
            f"{path} has the distance {name!r}, expected one of {', '.join(METRICS)}: quantisers "
            "compress float vectors"
        )
    return METRICS[name]


def read_neighbours(
    path: Path, arrays: Mapping[str, NDArray[Any]], n_queries: int, n_items: int
) -> NDArray[np.int64]:
    """Read the nearest items of each query, with those that tie with the last of the float top.

    Raises:
        InputError: if they aren't rows of the items, or too few.
    """
    rows, distances = arrays["neighbors"], np.asarray(arrays["distances"], np.float64)
    top = min(FLOAT_TOP, n_items)
    if rows.ndim != 2 or rows.shape != distances.shape or len(rows) != n_queries:
        raise InputError(
            f"{path}: neighbors has shape {rows.shape} and distances {distances.shape}, expected "
            f"one row for each of the {n_queries} of test, in both"
        )
    if rows.shape[1] < top or rows.min() < 0 or rows.max() >= n_items:
        raise InputError(
            f"{path}: neighbors has {rows.shape[1]} columns with rows from {rows.min()} to "
            f"{rows.max()}, expected at least {top} columns of rows from 0 to {n_items - 1}"
        )
    order = np.argsort(distances, axis=1, kind="stable")
    rows, distances = (np.take_along_axis(part, order, axis=1) for part in (rows, distances))
    nearest: NDArray[np.int64] = np.where(
        distances <= distances[:, top - 1 : top], rows.astype(np.int64), -1
    )
    return nearest
