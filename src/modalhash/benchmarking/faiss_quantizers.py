"""FAISS's quantisers as rows of a board: what is made for a size, and why some sizes can't be.

FAISS trains, encodes and searches; nothing is done in its stead. Training rows come in an order
that the seed draws, and random rotations are drawn by it, so that seeds give other quantisers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np

from modalhash.benchmarking.ranked_lists import RankedLists
from modalhash.benchmarking.vector_spaces import Floats
from modalhash.errors import SettingError

__all__ = [
    "FAISS_QUANTIZERS",
    "FaissQuantizer",
    "FaissSearch",
    "require",
    "train_faiss",
]

kernels: Any = faiss  # what SWIG makes has no types
Index = Any
TRAINING_ROWS: Final = 65_536
"""Rows that a quantiser is trained on, at most."""
ADDITIVE_ROWS: Final = 16_384
"""The same for additive quantisers, which take longest."""
MOST_BYTES: Final = {
    "opq": 32, "residual": 8, "local-search": 4, "product-residual": 16, "product-local-search": 8,
}  # fmt: skip
"""Largest sizes of quantisers whose training would take longer than that of all others together."""


@dataclass(frozen=True)
class FaissQuantizer:
    """A row of the board that FAISS makes.

    Attributes:
        make: from dimensions, bytes an item, FAISS's metric and seed to an untrained index.
        is_seeded: whether seeds give other quantisers.
        natural: from dimensions to the one size it has; None for those with many.
        training_rows: rows it is trained on, at most.
    """

    make: Callable[[int, int, int, int], Index]
    is_seeded: bool = True
    natural: Callable[[int], int] | None = None
    training_rows: int = TRAINING_ROWS


def require(condition: bool, reason: str) -> None:
    """Refuse a size.

    Raises:
        SettingError: with the reason, unless the condition holds.
    """
    if not condition:
        raise SettingError(reason)


def check_natural(name: str, d: int, n_bytes: int, size: int) -> None:
    """Refuse all sizes but the one that a quantiser of whole vectors has."""
    require(n_bytes == size, f"{name} of {d} dimensions takes {size:,} bytes, no more and no less")


def make_flat(d: int, n_bytes: int, metric: int, _seed: int) -> Index:
    """Make float32 vectors as they are."""
    check_natural("float32", d, n_bytes, 4 * d)
    return kernels.IndexFlat(d, metric)


def scalar(name: str, kind: str, bits: int) -> Callable[[int, int, int, int], Index]:
    """Make a scalar quantiser of whole vectors."""

    def make(d: int, n_bytes: int, metric: int, _seed: int) -> Index:
        check_natural(name, d, n_bytes, -(-d * bits // 8))
        return kernels.IndexScalarQuantizer(d, getattr(kernels.ScalarQuantizer, kind), metric)

    return make


def reduced_scalar(kind: str, bits: int) -> Callable[[int, int, int, int], Index]:
    """Make a scalar quantiser of the first principal components."""

    def make(d: int, n_bytes: int, metric: int, _seed: int) -> Index:
        n_kept = 8 * n_bytes // bits
        require(
            n_kept <= d,
            f"{d} dimensions of {bits} bits take {-(-d * bits // 8):,} bytes, and there are no more"
        )  # fmt: skip
        inner = kernels.IndexScalarQuantizer(n_kept, getattr(kernels.ScalarQuantizer, kind), metric)
        return chain(kernels.PCAMatrix(d, n_kept), inner)

    return make


def chain(transform: Any, index: Index) -> Index:
    """Put a transform before an index, which then belongs to the whole."""
    return kernels.IndexPreTransform(transform, index)


def make_product(d: int, n_bytes: int, metric: int, seed: int) -> Index:
    """Make a product quantiser of one byte a subspace."""
    require(2 * n_bytes <= d, f"a byte for each of {d} dimensions is what int8 does")
    require(
        d % n_bytes == 0,
        f"{d} dimensions aren't divisible into {n_bytes} subspaces of a byte each",
    )
    index = kernels.IndexPQ(d, n_bytes, 8, metric)
    set_clustering(index.pq.cp, seed)
    return index


def make_rotated_product(d: int, n_bytes: int, metric: int, seed: int) -> Index:
    """Make an optimised product quantiser, whose rotation may leave the last dimensions out."""
    require(n_bytes <= d, f"{d} dimensions give {d} subspaces of a byte each, and no more")
    check_cost("opq", n_bytes)
    n_kept = d - d % n_bytes
    rotation = kernels.OPQMatrix(d, n_bytes, n_kept)
    product = kernels.ProductQuantizer(n_kept, n_bytes, 8)
    set_clustering(product.cp, seed)
    rotation.pq, rotation.referenced_objects = product, [product]
    index = kernels.IndexPQ(n_kept, n_bytes, 8, metric)
    set_clustering(index.pq.cp, seed)
    return chain(rotation, index)


def make_fast_product(d: int, n_bytes: int, metric: int, seed: int) -> Index:
    """Make a product quantiser of 4 bits a subspace, which FAISS scans fastest."""
    require(
        d % (2 * n_bytes) == 0,
        f"{d} dimensions aren't divisible into {2 * n_bytes} subspaces of 4 bits each",
    )
    index = kernels.IndexPQFastScan(d, 2 * n_bytes, 4, metric)
    set_clustering(index.pq.cp, seed)
    return index


def set_clustering(parameters: Any, seed: int) -> None:
    """Let k-means begin by the seed, and be content with few rows."""
    parameters.seed, parameters.min_points_per_centroid = seed + 1234, 1


def rabitq(bits: int) -> Callable[[int, int, int, int], Index]:
    """Make RaBitQ codes: a random rotation, bits, and factors, which are counted.

    Where the size is too small for all dimensions, the first principal components are kept.
    """

    def make(d: int, n_bytes: int, metric: int, seed: int) -> Index:
        sizes = [kernels.IndexRaBitQ(n, metric, bits).code_size for n in (8, d)]
        require(
            n_bytes >= sizes[0],
            f"its factors leave no room: 8 dimensions take {sizes[0]} bytes already",
        )
        smaller = n_bytes // 2
        require(
            smaller < sizes[1],
            f"all {d} dimensions take {sizes[1]} bytes, which is a row of its own",
        )
        n_kept = d
        while kernels.IndexRaBitQ(n_kept, metric, bits).code_size > n_bytes:
            n_kept -= 8 if n_kept % 8 == 0 else n_kept % 8
        index = kernels.IndexRaBitQ(n_kept, metric, bits)
        rotation = kernels.RandomRotationMatrix(n_kept, n_kept)
        rotation.init(seed + 1234)
        rotated = chain(rotation, index)
        if n_kept == d:
            return rotated
        return chain(kernels.PCAMatrix(d, n_kept), rotated)

    return make


def make_residual(d: int, n_bytes: int, metric: int, seed: int) -> Index:
    """Make a residual quantiser of one byte a stage."""
    check_cost("residual", n_bytes)
    index = kernels.IndexResidualQuantizer(d, n_bytes, 8, metric, additive_search(metric))
    set_clustering(index.rq.cp, seed)
    return index


def make_local_search(d: int, n_bytes: int, metric: int, seed: int) -> Index:
    """Make a local-search quantiser of one byte a codebook."""
    check_cost("local-search", n_bytes)
    index = kernels.IndexLocalSearchQuantizer(d, n_bytes, 8, metric, additive_search(metric))
    index.lsq.random_seed = seed + 1234
    return index


def check_cost(name: str, n_bytes: int) -> None:
    """Refuse sizes whose training takes too long."""
    most = MOST_BYTES[name]
    require(n_bytes <= most, f"beyond {most} bytes its training takes too long to be compared")


def additive_search(metric: int) -> int:
    """Choose how FAISS scans additive codes: by tables, where no norms are needed for it."""
    kinds = kernels.AdditiveQuantizer
    return int(
        kinds.ST_LUT_nonorm if metric == kernels.METRIC_INNER_PRODUCT else kinds.ST_decompress
    )


def product_additive(name: str, kind: str) -> Callable[[int, int, int, int], Index]:
    """Make additive quantisers of two bytes for each part of the dimensions."""

    def make(d: int, n_bytes: int, metric: int, seed: int) -> Index:
        check_cost(name, n_bytes)
        require(n_bytes >= 4, "it begins at 4 bytes: of 2 it would be one quantiser, not a product")
        n_parts = n_bytes // 2
        require(
            n_bytes % 2 == 0 and d % n_parts == 0,
            f"{d} dimensions aren't divisible into {n_parts} parts of two bytes each",
        )
        index = getattr(kernels, kind)(d, n_parts, 2, 8, metric, additive_search(metric))
        for part in range(n_parts):
            quantizer = kernels.downcast_AdditiveQuantizer(parts_of(index).subquantizer(part))
            if isinstance(quantizer, kernels.ResidualQuantizer):
                set_clustering(quantizer.cp, seed)
            else:
                quantizer.random_seed = seed + 1234
        return index

    return make


def parts_of(index: Index) -> Any:
    """Look up the product of quantisers that an index has."""
    return index.prq if hasattr(index, "prq") else index.plsq


FAISS_QUANTIZERS: Final[Mapping[str, FaissQuantizer]] = {
    "float32": FaissQuantizer(make_flat, is_seeded=False, natural=lambda d: 4 * d),
    "float16": FaissQuantizer(
        scalar("float16", "QT_fp16", 16), is_seeded=False, natural=lambda d: 2 * d
    ),
    "int8": FaissQuantizer(scalar("int8", "QT_8bit", 8), is_seeded=False, natural=lambda d: d),
    "int6": FaissQuantizer(
        scalar("int6", "QT_6bit", 6), is_seeded=False, natural=lambda d: -(-d * 6 // 8)
    ),
    "int4": FaissQuantizer(
        scalar("int4", "QT_4bit", 4), is_seeded=False, natural=lambda d: -(-d // 2)
    ),
    "pca-int8": FaissQuantizer(reduced_scalar("QT_8bit", 8), is_seeded=False),
    "pca-int4": FaissQuantizer(reduced_scalar("QT_4bit", 4), is_seeded=False),
    "pq": FaissQuantizer(make_product),
    "opq": FaissQuantizer(make_rotated_product),
    "pq-4bit": FaissQuantizer(make_fast_product),
    "rabitq-1": FaissQuantizer(rabitq(1)),
    "rabitq-2": FaissQuantizer(rabitq(2)),
    "rabitq-4": FaissQuantizer(rabitq(4)),
    "residual": FaissQuantizer(make_residual, training_rows=ADDITIVE_ROWS),
    "local-search": FaissQuantizer(make_local_search, training_rows=ADDITIVE_ROWS),
    "product-residual": FaissQuantizer(
        product_additive("product-residual", "IndexProductResidualQuantizer"),
        training_rows=ADDITIVE_ROWS,
    ),
    "product-local-search": FaissQuantizer(
        product_additive("product-local-search", "IndexProductLocalSearchQuantizer"),
        training_rows=ADDITIVE_ROWS,
    ),
}
"""Name of a row to what makes it."""


def faiss_metric(metric: str) -> int:
    """Look up FAISS's number of a metric."""
    return int(kernels.METRIC_L2 if metric == "euclidean" else kernels.METRIC_INNER_PRODUCT)


class FaissSearch:
    """A trained index of FAISS that ranks by the query's floats.

    Args:
        index: trained; items are added here.
        items: (m, d) float32.
        metric: as spaces name it.
    """

    def __init__(self, index: Index, items: Floats, metric: str) -> None:
        self.index, self.metric = index, metric
        self.index.reset()
        self.index.add(items)

    @property
    def n_items(self) -> int:
        """Items that are searched."""
        return int(self.index.ntotal)

    @property
    def n_bytes(self) -> int:
        """Bytes that an item takes, factors included."""
        return code_bytes(self.index)

    def search(self, queries: Floats, k: int) -> RankedLists:
        """Find the k best items of each query; scores are products, or distances turned around."""
        scores, rows = self.index.search(queries, min(k, self.n_items))
        if self.metric == "euclidean":
            scores = -scores
        return RankedLists(rows.astype(np.int64), scores, self.n_items)

    def with_items(self, items: Floats) -> "FaissSearch":
        """Make a search of other items by the same trained index."""
        return FaissSearch(kernels.clone_index(self.index), items, self.metric)

    def scale_up(self, items: Floats, n_items: int) -> "FaissSearch":
        """Make a search of more items: copies of those there are.

        Args:
            items: (m, d) those there are.
            n_items: how many there shall be.
        """
        inner = find_inner(self.index)
        if isinstance(inner, kernels.IndexFastScan):
            return self.with_items(np.resize(items, (n_items, items.shape[1])))
        larger = self.with_items(items[:0])
        codes = kernels.vector_to_array(inner.codes).reshape(-1, inner.code_size)
        codes = np.resize(codes, (n_items, inner.code_size))
        find_inner(larger.index).add_sa_codes(codes)
        larger.index.ntotal = n_items
        return larger


def find_inner(index: Index) -> Index:
    """Find the index behind all transforms."""
    while isinstance(index, kernels.IndexPreTransform):
        index = kernels.downcast_index(index.index)
    return index


def code_bytes(index: Index) -> int:
    """Count the bytes of a code."""
    return int(find_inner(index).code_size)


def train_components(index: Index, rows: Floats) -> None:
    """Train the principal components that an index begins with, if it does, and keep the mean in.

    Centred vectors have other inner products than vectors, by an amount that differs from item to
    item; so what is projected is vectors as they are.
    """
    if not isinstance(index, kernels.IndexPreTransform):
        return
    first = kernels.downcast_VectorTransform(index.chain.at(0))
    if isinstance(first, kernels.PCAMatrix):
        first.train(rows)
        kernels.copy_array_to_vector(np.zeros(first.d_out, np.float32), first.b)


def train_faiss(
    name: str, rows: Floats, n_bytes: int, metric: str, seed: int
) -> tuple[Index, FaissQuantizer]:
    """Make and train an index of FAISS.

    Args:
        name: of `FAISS_QUANTIZERS`.
        rows: (m, d) what it is trained on.
        n_bytes: bytes an item, at most.
        metric: as spaces name it.
        seed: of rotations and of the order of rows.

    Returns:
        The trained index, without items, and the row it is of.

    Raises:
        SettingError: if there is none of that size, or too few rows.
    """
    quantizer = FAISS_QUANTIZERS[name]
    try:
        index = quantizer.make(rows.shape[1], n_bytes, faiss_metric(metric), seed)
    except (AttributeError, TypeError) as error:
        raise SettingError(
            f"faiss-cpu {faiss.__version__} has none: install 1.15 or newer"
        ) from error
    order = np.random.default_rng(seed).permutation(len(rows))[: quantizer.training_rows]
    training_rows = np.ascontiguousarray(rows[order])
    try:
        train_components(index, training_rows)
        index.train(training_rows)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].strip()
        raise SettingError(f"FAISS can't train it on {len(order):,} rows: {reason}") from error
    return index, quantizer
