"""Packed codes in the other bit order, through every call of an index that takes or gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.codes import pack, unpack
from modalhash.errors import UnknownNameError
from modalhash.index import HashIndex, build_index
from tests.oracles.plain_index import PlainIndex

N_BITS = 12
"""Not a multiple of 8, so that padding is at the other end of the last byte."""


def draw(n_rows: int, seed: int) -> tuple[Any, Any]:
    """Draw codes: ours, and those that NumPy packs by itself."""
    signs = np.where(np.random.default_rng(seed).uniform(size=(n_rows, N_BITS)) < 0.5, -1, 1)
    return pack(signs), np.packbits(signs > 0, axis=1)


def make_index(kind: str, codes: Any, folder: Path) -> HashIndex:
    if kind == "plain":  # a class of somebody else's, which knows no bit orders
        return PlainIndex.build(range(len(codes)), codes, N_BITS, kind="plain")
    options: dict[str, Any] = {"folder": folder / "index"} if kind == "kept" else {}
    return build_index(
        range(len(codes)), codes, N_BITS, kind="mih" if kind == "mih" else "flat", **options
    )


@pytest.mark.parametrize("kind", ["flat", "kept", "mih", "plain"])
def test_every_call_knows_both_orders(kind: str, tmp_path: Path) -> None:
    ours, theirs = draw(20, 1)
    query, big_query = draw(3, 2)
    with make_index(kind, ours, tmp_path) as index:
        little = index.search(query, 5)
        big = index.search(big_query, 5, bit_order="big")
        np.testing.assert_array_equal(big.ids, little.ids)
        np.testing.assert_array_equal(big.distances, little.distances)
        near = index.search_radius(query, 4)
        near_big = index.search_radius(big_query, 4, bit_order="big")
        np.testing.assert_array_equal(near_big.ids, near.ids)
        histogram = index.distance_histogram(big_query, bit_order="big")
        signs, others = unpack(query, N_BITS).astype(int), unpack(ours, N_BITS).astype(int)
        distances = (N_BITS - signs @ others.T) // 2
        for row, counts in zip(distances, histogram, strict=True):
            np.testing.assert_array_equal(counts, np.bincount(row, minlength=N_BITS + 1))
        np.testing.assert_array_equal(index.reconstruct([3, 1], bit_order="big"), theirs[[3, 1]])
        read = np.concatenate([block.codes for block in index.blocks(7, bit_order="big")])
        np.testing.assert_array_equal(read, theirs)
        index.add([100], theirs[:1], bit_order="big")
        index.upsert([2], theirs[4:5], bit_order="big")
        np.testing.assert_array_equal(index.reconstruct([100, 2]), ours[[0, 4]])
        numbers = np.random.default_rng(3).standard_normal((2, N_BITS))
        np.testing.assert_array_equal(
            index.search(numbers, 3, bit_order="big").ids, index.search(numbers, 3).ids
        )
        for call in (index.search, index.search_radius):
            with pytest.raises(UnknownNameError, match="bit order"):
                call(query, 3, bit_order="middle")
        with pytest.raises(UnknownNameError, match="bit order"):
            index.add([101], ours[:1], bit_order="middle")


def test_an_index_is_built_of_either_order() -> None:
    ours, theirs = draw(9, 5)
    index = build_index(range(9), theirs, N_BITS, bit_order="big")
    np.testing.assert_array_equal(index.reconstruct(range(9)), ours)
