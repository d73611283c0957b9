"""Vectors of a space that quantisers compress: queries, stored items, and what is relevant.

The float vectors are the reference: what their exact ranking finds is what a quantiser can find
again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, InputError, ShapeError
from modalhash.files import write_with

__all__ = [
    "FLOAT_TOP",
    "Floats",
    "Origin",
    "PairTruth",
    "VectorSpace",
    "check_vectors",
    "exact_scores",
    "find_nearest_rows",
    "read_space",
    "unit_rows",
    "write_space",
]

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
FLOAT_TOP: Final = 10
"""The nearest items of the float vectors that are to be found again."""
MOST_TIED: Final = 100
"""Items at the last distance of the float top that are kept, at most."""
BLOCK_CELLS: Final = 1 << 24
METRICS: Final = ("cosine", "inner product", "euclidean")


@dataclass(frozen=True)
class Origin:
    """Where features come from whose collection our methods can be trained on.

    Attributes:
        collection: what `load_collection` takes.
        encoder: makes the features.
        split: the queries.
        n_queries: evenly spaced ones of the split, at most; None takes all.
    """

    collection: str
    encoder: str
    split: str
    n_queries: int | None = None


@dataclass(frozen=True)
class PairTruth:
    """Items among which each query looks for its own.

    Attributes:
        items: (p, d) float32 vectors.
        targets: (q,) or (q, t) int64 rows of `items`, -1 fills up.
    """

    items: Floats
    targets: Rows


@dataclass(frozen=True)
class VectorSpace:
    """Float vectors of queries and stored items.

    Attributes:
        name: for people.
        kind: "features", "common space" or "vectors": what the float vectors are.
        metric: "cosine" (rows have length 1), "inner product" or "euclidean".
        queries: side ("image", "text", or "query") to (q, d) float32.
        items: side to (m, d) float32; their rows are shuffled, so that ties are broken at random.
        directions: pairs of query side and item side that are measured.
        pairs: direction by `name_direction` to its items and targets.
        query_labels: (q, c) uint8, or None.
        item_labels: (m, c) uint8, or None.
        nearest: direction to (q, t) rows of the nearest float items, -1 fills up.
        has_training_pairs: whether row i of `items` is one pair on both sides.
        origin: of the features, where our methods can be trained.
        notes: what a reader must know.
    """

    name: str
    kind: str
    metric: str
    queries: Mapping[str, Floats]
    items: Mapping[str, Floats]
    directions: tuple[tuple[str, str], ...]
    pairs: Mapping[str, PairTruth] = field(default_factory=dict)
    query_labels: NDArray[np.uint8] | None = None
    item_labels: NDArray[np.uint8] | None = None
    nearest: Mapping[str, Rows] = field(default_factory=dict)
    has_training_pairs: bool = False
    origin: Origin | None = None
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Dimensions d of the vectors."""
        return int(next(iter(self.items.values())).shape[1])

    @property
    def n_items(self) -> int:
        """Stored items m of a side."""
        return max(len(rows) for rows in self.items.values())

    @property
    def n_queries(self) -> int:
        """Queries q of a side."""
        return max(len(rows) for rows in self.queries.values())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides a measurement, 16 digits of it."""
        digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
        for _, array in sorted(self.arrays().items()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Describe all but the arrays, as JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "metric": self.metric,
            "directions": [list(direction) for direction in self.directions],
            "has_training_pairs": self.has_training_pairs,
            "origin": None if self.origin is None else vars(self.origin),
            "notes": list(self.notes),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """List all arrays by name."""
        arrays: dict[str, NDArray[Any]] = {}
        arrays |= {f"queries/{side}": rows for side, rows in self.queries.items()}
        arrays |= {f"items/{side}": rows for side, rows in self.items.items()}
        arrays |= {f"nearest/{name}": rows for name, rows in self.nearest.items()}
        for name, truth in self.pairs.items():
            arrays |= {f"pair_items/{name}": truth.items, f"pair_targets/{name}": truth.targets}
        if self.query_labels is not None and self.item_labels is not None:
            arrays |= {"query_labels": self.query_labels, "item_labels": self.item_labels}
        return arrays


def unit_rows(rows: NDArray[Any]) -> Floats:
    """Scale rows to length 1; rows of zeros stay."""
    floats = np.asarray(rows, np.float32)
    lengths = np.linalg.norm(floats, axis=1, keepdims=True)
    unit: Floats = floats / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def exact_scores(queries: Floats, items: Floats, metric: str) -> Floats:
    """Compute (q, m) scores of float vectors, larger is nearer: products, or -distance^2."""
    products: Floats = queries @ items.T
    if metric != "euclidean":
        return products
    squares = np.square(items).sum(axis=1)
    own = np.square(queries).sum(axis=1, keepdims=True)
    scores: Floats = 2 * products - squares - own
    return scores


def find_nearest_rows(queries: Floats, items: Floats, metric: str) -> Rows:
    """Find the nearest items of each query, exactly, with all that tie with the last of them.

    Args:
        queries: (q, d).
        items: (m, d).
        metric: of `METRICS`.

    Returns:
        (q, t) int64 rows, nearest first, -1 fills up; at most `MOST_TIED`.

    Example:
        >>> find_nearest_rows(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), "cosine")
        array([[0, 1],
               [1, 0]])
    """
    top = min(FLOAT_TOP, len(items))
    n_rows = max(1, BLOCK_CELLS // len(items))
    parts = []
    for start in range(0, len(queries), n_rows):
        scores = exact_scores(queries[start : start + n_rows], items, metric)
        last = np.partition(scores, len(items) - top, axis=1)[:, len(items) - top]
        block = np.full((len(scores), min(MOST_TIED, len(items))), -1, np.int64)
        for row, of_query in enumerate(scores):
            near = np.flatnonzero(of_query >= last[row])
            near = near[np.argsort(-of_query[near], kind="stable")][: block.shape[1]]
            block[row, : len(near)] = near
        parts.append(block)
    nearest = np.concatenate(parts)
    return nearest[:, : max(top, int((nearest >= 0).sum(axis=1).max()))]


def write_space(space: VectorSpace, path: Path) -> None:
    """Write a space to one .npz file."""
    arrays: dict[str, Any] = dict(space.arrays())
    arrays["about"] = np.array(json.dumps(space.describe()))
    write_with(path, lambda file: np.savez(file, **arrays))


def read_space(path: Path) -> VectorSpace:
    """Read a space that `write_space` wrote.

    Raises:
        DamagedArtifactError: if it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        origin = about.pop("origin")
        pairs = {
            name: PairTruth(arrays[f"pair_items/{name}"], arrays[f"pair_targets/{name}"])
            for name in parts_of(arrays, "pair_items")
        }
        return VectorSpace(
            queries=parts_of(arrays, "queries"),
            items=parts_of(arrays, "items"),
            nearest=parts_of(arrays, "nearest"),
            pairs=pairs,
            query_labels=arrays.get("query_labels"),
            item_labels=arrays.get("item_labels"),
            origin=None if origin is None else Origin(**origin),
            directions=tuple((first, second) for first, second in about.pop("directions")),
            notes=tuple(about.pop("notes")),
            **about,
        )
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise DamagedArtifactError(
            f"{path} isn't a file of vectors: delete it, and it is made again ({error})"
        ) from error


def parts_of(arrays: Mapping[str, NDArray[Any]], group: str) -> dict[str, NDArray[Any]]:
    """Select the arrays of a group by the rest of their names."""
    return {
        name.partition("/")[2]: array
        for name, array in arrays.items()
        if name.partition("/")[0] == group
    }


def check_vectors(rows: NDArray[Any], name: str) -> Floats:
    """Check that an array is vectors, one a row, and convert it to float32.

    Raises:
        ShapeError: if it isn't real numbers of two axes.
        InputError: if a number is NaN or infinite.
    """
    if rows.ndim != 2 or rows.dtype.kind not in "iuf" or not rows.size:
        raise ShapeError(
            f"{name} is {rows.dtype} of shape {rows.shape}, expected real numbers of two axes, one "
            "vector a row"
        )
    floats = np.ascontiguousarray(rows, np.float32)
    if not np.isfinite(floats).all():
        first = int(np.flatnonzero(~np.isfinite(floats).all(axis=1))[0])
        raise InputError(f"{name} has NaN or infinity in row {first}: leave such rows out")
    return floats
