"""Rows of the board whose items are signs: floors, closed forms, and our own codes.

Items are centred by the mean of the training items of their side, queries by the mean of theirs:
encoders put pictures and texts on two sides of their space. The sign of a number is one bit; a
query is bits too (Hamming distance), or keeps its numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from modalhash.benchmarking.faiss_quantizers import require
from modalhash.benchmarking.ranked_lists import RankedLists
from modalhash.benchmarking.vector_spaces import Floats, VectorSpace
from modalhash.codes import Codes, WeightedQueries, pack
from modalhash.index.faiss_flat import FlatSearcher
from modalhash.methods.cca_itq import CcaItqSettings, itq_rotation
from modalhash.methods.picture_directions import rotated_directions

__all__ = [
    "SIGN_QUANTIZERS",
    "SideNumbers",
    "SignQuantizer",
    "SignSearch",
    "pack_signs",
    "project_space",
]

kernels: Any = faiss  # what SWIG makes has no types
TRAINING_ROWS: Final = 65_536
SHARED_ROWS: Final = 20_000
"""Rows that ITQ of pairs and our closed form are fitted on, as their own methods take them."""


@dataclass(frozen=True)
class SideNumbers:
    """Numbers before the sign.

    Attributes:
        queries: query side to (q, b) float32.
        items: item side to (m, b) float32.
        pair_items: direction to (p, b) float32 of the items of pairs.
    """

    queries: Mapping[str, Floats]
    items: Mapping[str, Floats]
    pair_items: Mapping[str, Floats]

    def first_bits(self, n_bits: int) -> "SideNumbers":
        """Cut all numbers to those of the first bits."""

        def cut(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
            return {name: rows[:, :n_bits] for name, rows in arrays.items()}

        return SideNumbers(cut(self.queries), cut(self.items), cut(self.pair_items))


Project = Callable[[Floats, str], Floats]
"""From (n, d) vectors and their side to (n, b) numbers."""


@dataclass(frozen=True)
class SignQuantizer:
    """A row of the board whose items are signs of projections.

    Attributes:
        fit: from a space, the item side, the number of bits and a seed to a projection.
        is_seeded: whether seeds give other codes.
    """

    fit: Callable[[VectorSpace, str, int, int], Project]
    is_seeded: bool = True


def pack_signs(numbers: Floats) -> Codes:
    """Pack the signs of numbers, (n, p) uint8; zero counts as +1."""
    return pack(np.where(numbers >= 0, 1, -1).astype(np.int8))


def side_means(space: VectorSpace, item_side: str) -> dict[str, Floats]:
    """Compute the mean of each side's training items; queries without any have the items' own."""
    means = {side: rows.mean(axis=0) for side, rows in space.items.items()}
    return {side: means.get(side, means[item_side]) for side in (*space.queries, *space.items)}


def training_rows(space: VectorSpace, side: str, seed: int, most: int) -> Floats:
    """Draw rows of a side to train on, in an order that the seed draws."""
    order = np.random.default_rng(seed).permutation(len(space.items[side]))[:most]
    return np.ascontiguousarray(space.items[side][order])


def fit_transform(make: Callable[[int, int, int], Any]) -> Callable[..., Project]:
    """Fit a linear transform of FAISS on the centred items of a side."""

    def fit(space: VectorSpace, item_side: str, n_bits: int, seed: int) -> Project:
        means = side_means(space, item_side)
        transform = make(space.width, n_bits, seed)
        if not transform.is_trained:
            rows = training_rows(space, item_side, seed, TRAINING_ROWS) - means[item_side]
            transform.train(np.ascontiguousarray(rows))

        def project(rows: Floats, side: str) -> Floats:
            numbers: Floats = transform.apply_py(np.ascontiguousarray(rows - means[side]))
            return numbers

        return project

    return fit


def make_components(d: int, n_bits: int, _seed: int) -> Any:
    """Make principal components."""
    require(n_bits <= d, f"{d} dimensions have {d} principal components, a bit each")
    return kernels.PCAMatrix(d, n_bits)


def make_rotation(d: int, n_bits: int, seed: int) -> Any:
    """Make a random rotation, or, with more bits than dimensions, random directions."""
    rotation = kernels.RandomRotationMatrix(d, n_bits)
    rotation.init(seed + 1234)
    return rotation


def make_itq(d: int, n_bits: int, seed: int) -> Any:
    """Make principal components that are rotated for their signs."""
    require(n_bits <= d, f"{d} dimensions have {d} rotated principal components, a bit each")
    transform = kernels.ITQTransform(d, n_bits, True)
    transform.itq.seed = seed + 1234
    return transform


def fit_pairs(space: VectorSpace, _item_side: str, n_bits: int, seed: int) -> Project:
    """Fit canonical variates of training pairs, rotated by ITQ, as our method `cca-itq` does."""
    import torch

    from modalhash.layers import canonical_maps

    require(space.has_training_pairs, "it learns from pairs of pictures and texts; there are none")
    require(
        n_bits <= space.width, f"{space.width} dimensions have {space.width} canonical variates"
    )
    settings = CcaItqSettings()
    image, text = (torch.from_numpy(space.items[side]) for side in ("image", "text"))
    maps = canonical_maps([(image, text)], n_bits, ridge=settings.ridge)
    maps = maps.weighted(maps.correlations**settings.correlation_power)
    step = -(-len(image) // SHARED_ROWS)
    variates = torch.cat(
        [
            (image[::step].double() - maps.image_mean) @ maps.image_map,
            (text[::step].double() - maps.text_mean) @ maps.text_map,
        ]
    )
    generator = torch.Generator().manual_seed(seed)
    rotation = itq_rotation(variates, settings.rounds, generator)

    def project(rows: Floats, side: str) -> Floats:
        mean, matrix = (
            (maps.image_mean, maps.image_map)
            if side == "image"
            else (maps.text_mean, maps.text_map)
        )
        numbers: Floats = ((torch.from_numpy(rows).double() - mean) @ matrix @ rotation).numpy()
        return numbers.astype(np.float32)

    return project


def fit_shared(space: VectorSpace, item_side: str, n_bits: int, seed: int) -> Project:
    """Fit our closed form of a shared space, which the ready model and `train` on pictures have.

    Rotated principal directions of the pictures, the same for both sides; of vectors without
    sides, those of the items.
    """
    import torch

    require(n_bits <= space.width, f"{space.width} dimensions give {space.width} bits at most")
    side = "image" if "image" in space.items else item_side
    means = side_means(space, item_side)
    rows = space.items[side]
    sample = torch.from_numpy(rows[:: -(-len(rows) // SHARED_ROWS)]).double()
    directions = rotated_directions(sample, n_bits, seed)[1].numpy()

    def project(rows: Floats, side: str) -> Floats:
        numbers: Floats = ((rows - means[side]).astype(np.float64) @ directions).astype(np.float32)
        return numbers

    return project


SIGN_QUANTIZERS: Final[Mapping[str, SignQuantizer]] = {
    "random-signs": SignQuantizer(fit_transform(make_rotation)),
    "pca-signs": SignQuantizer(fit_transform(make_components), is_seeded=False),
    "itq": SignQuantizer(fit_transform(make_itq)),
    "cca-itq": SignQuantizer(fit_pairs),
    "shared-space": SignQuantizer(fit_shared),
}
"""Name of a row to how it is fitted; `shared-space` is ours."""


def project_space(
    quantizer: SignQuantizer, space: VectorSpace, n_bits: int, seed: int
) -> dict[str, SideNumbers]:
    """Compute the numbers of queries and items, by the item side that a projection is fitted on.

    Raises:
        SettingError: if there is no such quantiser of that many bits.
    """
    numbers = {}
    for item_side in dict.fromkeys(side for _, side in space.directions):
        project = quantizer.fit(space, item_side, n_bits, seed)
        numbers[item_side] = SideNumbers(
            {side: project(rows, side) for side, rows in space.queries.items()},
            {item_side: project(space.items[item_side], item_side)},
            {
                name: project(truth.items, item_side)
                for name, truth in space.pairs.items()
                if name.endswith(f"to_{item_side}")
            },
        )
    return numbers


class SignSearch:
    """Items as signs, ranked by Hamming distance or by the query's numbers.

    Args:
        items: (m, b) numbers of the items.
        is_asymmetric: whether queries keep their numbers.
        codes: packed signs of the items; None packs them here.
    """

    def __init__(self, items: Floats, *, is_asymmetric: bool, codes: Codes | None = None) -> None:
        self.n_bits, self.is_asymmetric = items.shape[1], is_asymmetric
        self.codes = pack_signs(items) if codes is None else codes
        self.searcher = FlatSearcher.build(self.codes, self.n_bits, parameters={})

    @property
    def n_items(self) -> int:
        """Items that are searched."""
        return len(self.codes)

    @property
    def n_bytes(self) -> int:
        """Bytes that an item takes."""
        return int(self.codes.shape[1])

    def search(self, queries: Floats, k: int) -> RankedLists:
        """Find the k best items of each query, given by its (q, b) numbers."""
        k = min(k, self.n_items)
        if self.is_asymmetric:
            weighted = WeightedQueries.of(queries, self.n_bits)
            nearest = self.searcher.nearest_relaxed(weighted, k)
            return RankedLists(nearest.positions, weighted.scores(nearest.distances), self.n_items)
        nearest = self.searcher.nearest(pack_signs(queries), k)
        return RankedLists(nearest.positions, -nearest.distances.astype(np.float32), self.n_items)

    def scale_up(self, n_items: int, seed: int) -> "SignSearch":
        """Make a search of more items: those there are, with a twentieth of the bits flipped.

        Copies would be ties, which no real collection has so many of.
        """
        generator = np.random.default_rng(seed)
        rows: NDArray[np.int64] = np.arange(n_items) % self.n_items
        flips = generator.random((n_items, self.n_bits)) < FLIPPED
        codes = self.codes[rows] ^ np.packbits(flips, axis=1, bitorder="little")
        empty = np.zeros((0, self.n_bits), np.float32)
        return SignSearch(empty, is_asymmetric=self.is_asymmetric, codes=codes)


FLIPPED: Final = 0.05
