"""What every kind of index must do, whatever it is made of."""

import os
import re
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modalhash.codes import Codes, Signs, pack, unpack
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    NewerFormatError,
    ShapeError,
)
from modalhash.index import (
    KINDS,
    HashIndex,
    Hits,
    IdKind,
    Ids,
    QueryHits,
    RadiusHits,
    open_index,
)
from modalhash.index import build_index as build_index_of_kind
from tests.oracles.contract_kinds import APPROXIMATE, INDEX_KINDS
from tests.oracles.plain_search import Found, plain_search, plain_search_radius

pytestmark = pytest.mark.parametrize("kind", INDEX_KINDS)

ALL_CELLS = {"n_cells": 2, "n_probes": 2}
PARAMETERS: dict[str, dict[str, Any]] = {"ivf": ALL_CELLS}
"""With these, a kind that is approximate by default misses nothing."""


def needs_exact(kind: str) -> None:
    """Skip a test of answers to the last id; approximate kinds are measured in their own tests."""
    if kind in APPROXIMATE:
        pytest.skip("approximate kinds promise no order among equal distances")


TEXT_IDS = [
    "a",
    "",
    "Straße",
    "犬",
    "🐕 dog",
    "a\x00b",
    "1",
    "-1",
    "images/x y.jpg",
    "e\u0301",
    "é",
]
INTEGER_IDS = [0, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 7]


def build_index(ids: Any, codes: Codes, n_bits: int, *, kind: str, **given: Any) -> HashIndex:
    """Build an index of a kind so that it misses nothing."""
    return build_index_of_kind(
        ids, codes, n_bits, kind=kind, parameters=PARAMETERS.get(kind), **given
    )


def random_signs(n: int, n_bits: int, seed: int, n_distinct: int | None = None) -> Signs:
    generator = np.random.default_rng(seed)
    distinct = generator.choice(np.array([-1, 1], np.int8), size=(n_distinct or n, n_bits))
    return distinct if n_distinct is None else distinct[generator.integers(0, n_distinct, n)]


def random_codes(n: int, n_bits: int, seed: int, n_distinct: int | None = None) -> Codes:
    return pack(random_signs(n, n_bits, seed, n_distinct))


def found(hits: Hits | RadiusHits, ids: Ids) -> Found:
    """Return hits as the plain search writes them: (distance, position)."""
    position = {item_id: row for row, item_id in enumerate(list(ids))}
    return [
        [
            (int(distance), position[item_id])
            for distance, item_id in zip(one.distances, one.ids, strict=True)
        ]
        for one in (hits[query] for query in range(len(hits)))
    ]


def assert_same(hits: Hits, others: Hits) -> None:
    np.testing.assert_array_equal(hits.distances, others.distances)
    np.testing.assert_array_equal(hits.ids, others.ids)
    assert hits.ids.dtype == others.ids.dtype


def assert_same_index(index: HashIndex, other: HashIndex, queries: Codes) -> None:
    """Compare all that can be asked of two indexes."""
    assert len(index) == len(other)
    assert index.ids.tolist() == other.ids.tolist()
    assert index.id_kind == other.id_kind
    for k in (1, 5, 10_000):
        assert_same(index.search(queries, k), other.search(queries, k))
    np.testing.assert_array_equal(index.reconstruct(index.ids), other.reconstruct(other.ids))
    assert index.metadata(index.ids) == other.metadata(other.ids)


# --- right answers -----------------------------------------------------------------------------


def test_answers_worked_out_by_hand(kind: str) -> None:
    codes = pack([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1], [1, 1, -1, 1]])
    index = build_index(["all", "last", "none", "third"], codes, 4, kind=kind)
    hits = index.search(pack([[1, 1, 1, 1], [-1, -1, -1, 1]]), 3)
    assert hits.ids.tolist() == [["all", "last", "third"], ["none", "third", "all"]]
    assert hits.distances.tolist() == [[0, 1, 1], [1, 2, 3]]
    near = index.search_radius(pack([[1, 1, 1, 1], [-1, -1, -1, 1]]), 1)
    assert near.starts.tolist() == [0, 3, 4]
    assert near.ids.tolist() == ["all", "last", "third", "none"]
    assert near.distances.tolist() == [0, 1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    n_queries=st.integers(1, 4),
    n_bits=st.sampled_from([1, 2, 7, 8, 9, 12, 16, 31, 32, 33, 64, 65, 100, 128, 256, 511, 512]),
    n_distinct=st.sampled_from([None, 1, 3]),
    k=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_plain_search_ids_included(
    kind: str, n: int, n_queries: int, n_bits: int, n_distinct: int | None, k: int, seed: int
) -> None:
    needs_exact(kind)
    codes = random_codes(n, n_bits, seed, n_distinct)
    queries = np.concatenate([random_codes(n_queries, n_bits, seed + 1), codes[:1]])
    ids = [f"item {row}" for row in range(n)][::-1]
    index = build_index(ids, codes, n_bits, kind=kind)
    hits = index.search(queries, k)
    assert hits.distances.shape == hits.ids.shape == (n_queries + 1, min(k, n))
    assert hits.distances.dtype == np.int32
    assert found(hits, ids) == plain_search(queries, codes, k)
    for radius in (0, n_bits // 3, n_bits, n_bits + 1):
        near = index.search_radius(queries, radius)
        assert near.distances.dtype == np.int32
        assert near.starts.dtype == np.int64
        assert found(near, ids) == plain_search_radius(queries, codes, radius)


@pytest.mark.parametrize("n_distinct", [None, 300, 2])
def test_equals_the_exact_kind_on_many_items(kind: str, n_distinct: int | None) -> None:
    """More items than any block holds, and k-th distances that many items share."""
    needs_exact(kind)
    codes = random_codes(150_000, 24, 1, n_distinct)
    queries = np.concatenate([codes[:70], random_codes(30, 24, 2)])
    index = build_index(np.arange(150_000), codes, 24, kind=kind)
    exact = build_index(np.arange(150_000), codes, 24, kind="exact")
    for k in (1, 10, 1000):
        assert_same(index.search(queries, k), exact.search(queries, k))
    near, exact_near = index.search_radius(queries[65:], 2), exact.search_radius(queries[65:], 2)
    np.testing.assert_array_equal(near.starts, exact_near.starts)
    np.testing.assert_array_equal(near.ids, exact_near.ids)
    np.testing.assert_array_equal(near.distances, exact_near.distances)


def test_one_query_answers_as_in_a_batch(kind: str) -> None:
    codes = random_codes(3000, 16, 3, n_distinct=40)
    index = build_index(np.arange(3000), codes, 16, kind=kind)
    batch = index.search(codes[:20], 25)
    for query in range(20):
        one = index.search(codes[query : query + 1], 25)
        np.testing.assert_array_equal(one.ids[0], batch[query].ids)
        np.testing.assert_array_equal(one.distances[0], batch[query].distances)


# --- laws --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(n_bits=st.sampled_from([5, 8, 24, 64, 77]), seed=st.integers(0, 2**32 - 1))
def test_flipping_the_same_bits_of_all_codes_changes_nothing(
    kind: str, n_bits: int, seed: int
) -> None:
    needs_exact(kind)
    signs, queries = random_signs(60, n_bits, seed), random_signs(5, n_bits, seed + 1)
    mask = random_signs(1, n_bits, seed + 2)
    plain = build_index(np.arange(60), pack(signs), n_bits, kind=kind)
    flipped = build_index(np.arange(60), pack(signs * mask), n_bits, kind=kind)
    assert_same(plain.search(pack(queries), 20), flipped.search(pack(queries * mask), 20))


@settings(max_examples=25, deadline=None)
@given(n_bits=st.sampled_from([5, 8, 24, 64, 77]), seed=st.integers(0, 2**32 - 1))
def test_permuting_the_bits_of_all_codes_changes_nothing(kind: str, n_bits: int, seed: int) -> None:
    needs_exact(kind)
    signs, queries = random_signs(60, n_bits, seed), random_signs(5, n_bits, seed + 1)
    order = np.random.default_rng(seed).permutation(n_bits)
    plain = build_index(np.arange(60), pack(signs), n_bits, kind=kind)
    permuted = build_index(np.arange(60), pack(signs[:, order]), n_bits, kind=kind)
    assert_same(plain.search(pack(queries), 20), permuted.search(pack(queries[:, order]), 20))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), is_text=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_delete_then_search_equals_rebuild(
    kind: str, data: st.DataObject, is_text: bool, seed: int
) -> None:
    needs_exact(kind)
    n = data.draw(st.integers(1, 30))
    gone = data.draw(st.sets(st.integers(0, n - 1)))
    codes = random_codes(n, 12, seed, n_distinct=8)
    ids: list[Any] = [f"犬{row}" if is_text else row * 3 - 40 for row in range(n)]
    metadata = [{"row": row} for row in range(n)]
    index = build_index(ids, codes, 12, metadata=metadata, kind=kind)
    index.delete([ids[row] for row in gone])
    kept = [row for row in range(n) if row not in gone]
    rebuilt = build_index(
        [ids[row] for row in kept],
        codes[kept],
        12,
        metadata=[metadata[row] for row in kept],
        kind=kind,
    )
    queries = random_codes(3, 12, seed + 1)
    if kept:
        assert_same_index(index, rebuilt, queries)
    else:
        assert len(index) == 0
        assert index.search(queries, 3).distances.shape == (3, 0)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_adding_in_any_chunks_gives_the_same_index(kind: str, cuts: list[int], seed: int) -> None:
    needs_exact(kind)
    codes = random_codes(30, 20, seed, n_distinct=10)
    ids = [f"{row}" for row in range(30)]
    metadata = [{"row": row} for row in range(30)]
    whole = build_index(ids, codes, 20, metadata=metadata, kind=kind)
    chunked = build_index([], codes[:0], 20, kind=kind)
    bounds = [0, *sorted(cuts), 30]
    for start, end in pairwise(bounds):
        chunked.add(ids[start:end], codes[start:end], metadata[start:end])
    assert_same_index(whole, chunked, random_codes(4, 20, seed + 1))


def test_an_item_deleted_and_added_again_comes_last(kind: str) -> None:
    codes = pack([[1, 1], [1, 1], [1, 1]])
    index = build_index(["a", "b", "c"], codes, 2, kind=kind)
    index.delete(["a"])
    index.add(["a"], codes[:1])
    assert index.search(codes[:1], 3).ids.tolist() == [["b", "c", "a"]]
    index.delete(["a", "c"])  # the last numbers are free again
    index.add(["d", "a"], codes[:2])
    assert index.search(codes[:1], 3).ids.tolist() == [["b", "d", "a"]]


# --- ids and metadata --------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [TEXT_IDS, INTEGER_IDS], ids=["text", "integer"])
def test_ids_survive(kind: str, ids: list[Any], tmp_path: Path) -> None:
    codes = random_codes(len(ids), 16, 4)
    index = build_index(ids, codes, 16, metadata=[{"id": value} for value in ids], kind=kind)
    index.save(tmp_path)
    for one in (index, open_index(tmp_path)):
        assert one.ids.tolist() == ids
        assert [type(value) for value in one.ids.tolist()] == [type(value) for value in ids]
        assert one.search(codes, 1).ids[:, 0].tolist() == ids
        assert one.metadata(ids[::-1]) == [{"id": value} for value in ids[::-1]]
        np.testing.assert_array_equal(one.reconstruct(ids[::-1]), codes[::-1])
        one.delete(ids[::2])
        assert one.ids.tolist() == ids[1::2]
        assert one.search(codes[1::2], 1).ids[:, 0].tolist() == ids[1::2]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 1, 2], np.int16),
        np.array([3, 1, 2], np.uint64),
        [np.int32(3), 1, np.uint8(2)],
        range(3),
        np.array(["x", "yy", "z"]),
        np.array(["x", "yy", "z"], np.object_),
        ("x", "yy", "z"),
        [np.str_("x"), "yy", "z"],
    ],
    ids=str,
)
def test_ids_may_come_in_any_sequence(kind: str, ids: Any) -> None:
    index = build_index(ids, random_codes(3, 8, 5), 8, kind=kind)
    expected = [value.item() if isinstance(value, np.generic) else value for value in ids]
    assert index.ids.tolist() == expected
    assert index.id_kind is (IdKind.TEXT if isinstance(expected[0], str) else IdKind.INTEGER)


def test_the_index_keeps_its_own_copy(kind: str) -> None:
    ids, codes = np.array([5, 6]), random_codes(2, 8, 6)
    before = codes.copy()
    index = build_index(ids, codes, 8, kind=kind)
    ids[:], codes[:] = 0, 0
    assert index.ids.tolist() == [5, 6]
    np.testing.assert_array_equal(index.reconstruct([5, 6]), before)
    index.reconstruct([5])[:] = 255
    index.ids[:] = 9
    assert index.ids.tolist() == [5, 6]
    np.testing.assert_array_equal(index.reconstruct([5, 6]), before)


def test_metadata_of_any_json_comes_back(kind: str, tmp_path: Path) -> None:
    metadata: list[dict[str, Any]] = [
        {"caption": 'Ein Hund\n"läuft" 犬 🐕', "year": 2020, "score": -0.5, "is_new": True},
        {},
        {"tags": ["dog", "snow"], "nested": {"a": None}, "": "", "large": 2**70},
    ]
    index = build_index(["a", "b", "c"], random_codes(3, 8, 7), 8, metadata=metadata, kind=kind)
    index.add(["d"], random_codes(1, 8, 8))
    index.save(tmp_path)
    for one in (index, open_index(tmp_path)):
        assert one.metadata(["a", "b", "c", "d"]) == [*metadata, {}]
        assert one.metadata(["c", "a", "c"]) == [metadata[2], metadata[0], metadata[2]]
        assert one.metadata([]) == []


# --- empty and edge ----------------------------------------------------------------------------


def test_an_empty_index_gives_no_hits(kind: str, tmp_path: Path) -> None:
    index = build_index([], np.empty((0, 2), np.uint8), 12, kind=kind)
    index.save(tmp_path)
    for one in (index, open_index(tmp_path)):
        assert (len(one), one.id_kind, one.ids.tolist()) == (0, None, [])
        hits = one.search(np.zeros((3, 2), np.uint8), 5)
        assert (hits.ids.shape, hits.distances.shape, len(hits)) == ((3, 0), (3, 0), 3)
        assert len(hits[2]) == 0
        near = one.search_radius(np.zeros((3, 2), np.uint8), 5)
        assert (near.starts.tolist(), near.ids.shape, len(near)) == ([0, 0, 0, 0], (0,), 3)
        assert one.reconstruct([]).shape == (0, 2)
        one.delete([])
        one.add(["first"], np.zeros((1, 2), np.uint8))
        assert one.search(np.zeros((1, 2), np.uint8), 5).ids.tolist() == [["first"]]


def test_no_queries_give_no_rows(kind: str) -> None:
    index = build_index([1, 2], random_codes(2, 8, 9), 8, kind=kind)
    hits = index.search(np.empty((0, 1), np.uint8), 5)
    assert (hits.ids.shape, hits.distances.shape) == ((0, 2), (0, 2))
    assert index.search_radius(np.empty((0, 1), np.uint8), 5).starts.tolist() == [0]


def test_queries_may_be_any_view(kind: str) -> None:
    codes = random_codes(50, 24, 10)
    index = build_index(np.arange(50), codes, 24, kind=kind)
    wide = np.asfortranarray(codes)
    assert_same(index.search(wide[::-2], 3), index.search(codes[::-2].copy(), 3))
    again = build_index(np.arange(25), wide[::2], 24, kind=kind)
    np.testing.assert_array_equal(again.reconstruct(np.arange(25)), codes[::2])


def test_radius_hits_are_taken_by_query(kind: str) -> None:
    index = build_index([1, 2], pack([[1, 1], [1, -1]]), 2, kind=kind)
    near = index.search_radius(pack([[-1, -1], [1, -1]]), 1)
    assert isinstance(near[0], QueryHits)
    assert (near[0].ids.tolist(), near[-1].ids.tolist()) == ([2], [2, 1])
    with pytest.raises(IndexError, match=re.escape("query is 2, there are 2 queries")):
        near[2]


# --- bad input ---------------------------------------------------------------------------------


def small_index(kind: str) -> HashIndex:
    return build_index(["a", "b", "c"], random_codes(3, 128, 11), 128, kind=kind)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            np.zeros((1, 8), np.uint8),
            "query codes have 8 bytes per row, the index has 16: encode with 128 bits",
        ),
        (
            np.zeros(16, np.uint8),
            "query codes is uint8 of shape (16,), expected uint8 of shape (n, 16)",
        ),
        (
            np.zeros((1, 16), np.int64),
            "query codes is int64 of shape (1, 16), expected uint8 of shape (n, 16)",
        ),
    ],
)
def test_queries_that_do_not_fit_are_refused(kind: str, codes: NDArray[Any], message: str) -> None:
    index = small_index(kind)
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        index.search(codes, 1)
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        index.search_radius(codes, 1)


def test_padding_bits_are_refused(kind: str) -> None:
    index = build_index([1], pack([[1, 1, 1]]), 3, kind=kind)
    with pytest.raises(ShapeError, match=re.escape("query codes has bits set beyond 3")):
        index.search(np.array([[255]], np.uint8), 1)
    with pytest.raises(ShapeError, match=re.escape("codes has bits set beyond 3")):
        index.add([2], np.array([[255]], np.uint8))


def test_k_and_radius_out_of_range_are_refused(kind: str) -> None:
    index, query = small_index(kind), np.zeros((1, 16), np.uint8)
    with pytest.raises(InputError, match=f"^{re.escape('k is 0, expected at least 1')}$"):
        index.search(query, 0)
    with pytest.raises(InputError, match=f"^{re.escape('radius is -1, expected 0 or more')}$"):
        index.search_radius(query, -1)


ONE_KIND = "ids are all texts or all integers, so make them texts with str()"
BAD_ADDS: list[tuple[Any, int, Any, str]] = [
    (
        ["d", "a", "e"],
        3,
        None,
        (
            "the index already has 'a': nothing was added; take their place with upsert (on the "
            "command line --upsert), or leave them out"
        ),
    ),
    (["d", "e", "d"], 3, None, "ids holds 'd' more than once: nothing was added"),
    ([1, 2], 2, None, "ids are of kind integer, the index has text ids: an index has one kind"),
    (["d", 2], 2, None, "ids holds 'd' (str): " + ONE_KIND),
    ([1.5], 1, None, "ids holds 1.5 (float): " + ONE_KIND),
    ([True], 1, None, "ids holds True (bool): " + ONE_KIND),
    ([2**63], 1, None, f"ids holds {2**63}, beyond 64 bits: make the ids texts with str()"),
    (["\ud800"], 1, None, "ids holds '\\ud800', which is no valid Unicode"),
    (["d", "e"], 1, None, "2 ids for 1 codes: each item has one of both"),
    ("d", 1, None, "ids is the text 'd', expected a sequence of ids: ['d']"),
    (np.array([["d"]]), 1, None, "ids has shape (1, 1), expected one axis (n,)"),
    (["d", "e"], 2, [{}], "metadata has 1 mappings for 2 items"),
    (
        ["d", "e"],
        2,
        [{}, {"x": float("nan")}],
        (
            "metadata of item 'e' can't be stored as JSON (Out of range float values are not JSON "
            "compliant"
        ),
    ),
    (
        ["d"],
        1,
        [{1: 2}],
        (
            "metadata of item 'd' can't be stored as JSON (it has the name 1): names are texts; "
            "values are texts, finite numbers, true, false, null, lists or mappings"
        ),
    ),
    (["d"], 1, ["caption"], "metadata of item 'd' can't be stored as JSON (it is of type str): "),
    (["d"], 1, [{"x": "\ud800"}], "metadata of item 'd' can't be stored as JSON ('utf-8' codec"),
]


@pytest.mark.parametrize(("ids", "n", "metadata", "message"), BAD_ADDS)
def test_a_refused_add_adds_nothing(
    kind: str, ids: Any, n: int, metadata: Any, message: str, tmp_path: Path
) -> None:
    small_index(kind).save(tmp_path)
    for index in (small_index(kind), open_index(tmp_path)):
        with pytest.raises(InputError, match=re.escape(message)):
            index.add(ids, random_codes(n, 128, 12), metadata)
        assert_same_index(index, small_index(kind), random_codes(2, 128, 13))
        index.add(["d"], random_codes(1, 128, 12))
        assert index.ids.tolist() == ["a", "b", "c", "d"]


def test_codes_that_do_not_fit_are_not_added(kind: str) -> None:
    index = small_index(kind)
    message = "codes has 8 bytes per row, 128 bits take 16: check the number of bits"
    with pytest.raises(ShapeError, match=re.escape(message)):
        index.add(["d"], np.zeros((1, 8), np.uint8))
    assert len(index) == 3


def test_unknown_ids_are_named_and_nothing_is_deleted(kind: str) -> None:
    index = small_index(kind)
    message = "the index has no item 'x', 'y': nothing was deleted"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.delete(["a", "x", "b", "y", "x"])
    assert_same_index(index, small_index(kind), random_codes(2, 128, 14))
    many = [f"x{number}" for number in range(9)]
    message = "the index has no item 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.reconstruct(many)
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index.metadata(many)
    with pytest.raises(InputError, match=re.escape("ids are of kind integer, the index has text")):
        index.delete([1])
    empty = build_index([], np.empty((0, 1), np.uint8), 8, kind=kind)
    with pytest.raises(InputError, match=re.escape("the index has no item 7: nothing was deleted")):
        empty.delete([7])


def test_an_id_may_be_deleted_twice_in_one_call(kind: str) -> None:
    index = small_index(kind)
    index.delete(["b", "b"])
    assert index.ids.tolist() == ["a", "c"]


def test_bits_must_be_positive(kind: str) -> None:
    with pytest.raises(InputError, match=re.escape("n_bits is 0, expected a positive number")):
        build_index([], np.empty((0, 1), np.uint8), 0, kind=kind)


# --- persistence -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_text", [False, True], ids=["integer", "text"])
def test_a_saved_index_answers_the_same_and_goes_on_changing(
    kind: str, is_text: bool, tmp_path: Path
) -> None:
    codes, queries = random_codes(200, 30, 15, n_distinct=50), random_codes(5, 30, 16)
    ids: list[Any] = [f"Ü{row}" if is_text else row - 100 for row in range(200)]
    metadata = [{"row": row} for row in range(200)]
    index = build_index(ids[:150], codes[:150], 30, metadata=metadata[:150], kind=kind)
    folder = tmp_path / "ein Ordner #1 %20?" / "index"
    index.save(folder)
    opened = open_index(folder)
    assert opened.kind == kind
    assert opened.n_bits == 30
    assert_same_index(opened, index, queries)
    for one in (index, opened):
        one.delete(ids[20:40])
        one.add([*ids[150:], ids[20]], np.concatenate([codes[150:], codes[20:21]]))
    assert_same_index(opened, index, queries)
    opened.save(folder)
    with open_index(folder) as again:
        assert_same_index(again, index, queries)
        assert_same_index(opened, index, queries)


def test_changes_of_an_opened_index_are_in_its_folder_at_once(kind: str, tmp_path: Path) -> None:
    build_index([1, 2, 3], random_codes(3, 16, 17), 16, kind=kind).save(tmp_path)
    with open_index(tmp_path) as index, open_index(tmp_path) as other:
        index.delete([2])
        assert other.ids.tolist() == [1, 3]
        index.add([4], random_codes(1, 16, 18), [{"caption": "new"}])
        assert other.ids.tolist() == [1, 3, 4]
        assert other.metadata([4]) == [{"caption": "new"}]
    assert open_index(tmp_path).ids.tolist() == [1, 3, 4]


def test_an_index_open_elsewhere_survives_a_new_save(kind: str, tmp_path: Path) -> None:
    codes = random_codes(100, 16, 19)
    metadata = [{"row": row} for row in range(100)]
    build_index(np.arange(100), codes, 16, metadata=metadata, kind=kind).save(tmp_path)
    reader = open_index(tmp_path)
    build_index(["other"], codes[:1], 16, kind=kind).save(tmp_path)
    assert_same_index(
        reader, build_index(np.arange(100), codes, 16, metadata=metadata, kind=kind), codes[:5]
    )
    assert open_index(tmp_path).ids.tolist() == ["other"]


def test_another_model_is_refused(kind: str, tmp_path: Path) -> None:
    codes = random_codes(2, 8, 20)
    build_index([1, 2], codes, 8, kind=kind, model_fingerprint="abc").save(tmp_path / "abc")
    build_index([1, 2], codes, 8, kind=kind).save(tmp_path / "unknown")
    assert open_index(tmp_path / "abc").model_fingerprint == "abc"
    assert len(open_index(tmp_path / "abc", expect_model="abc")) == 2
    message = (
        f"the codes of the index {tmp_path / 'abc'} were made by model abc, the queries come from "
        "model xyz: search with the index's model, or build the index again with this one"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path / "abc", expect_model="xyz")
    with pytest.raises(ArtifactError, match=re.escape("don't say which model made them")):
        open_index(tmp_path / "unknown", expect_model="xyz")


def files_of(folder: Path) -> list[Path]:
    """Return what an index consists of; the lock file says nothing of it."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "writer.lock"
    )


def test_a_flipped_bit_in_any_file_is_noticed(kind: str, tmp_path: Path) -> None:
    codes = random_codes(20, 16, 21)
    ids = [f"item {row}" for row in range(20)]
    build_index(ids, codes, 16, metadata=[{"n": 1}] * 20, kind=kind).save(tmp_path)
    generator = np.random.default_rng(22)
    for path in files_of(tmp_path):
        whole = path.read_bytes()
        for place in generator.choice(len(whole), min(40, len(whole)), replace=False).tolist():
            flipped = bytearray(whole)
            flipped[place] ^= 1 << int(generator.integers(0, 8))
            path.write_bytes(flipped)
            with pytest.raises((DamagedArtifactError, NewerFormatError), match=path.name):
                open_index(tmp_path)
        path.write_bytes(whole)
    assert len(open_index(tmp_path)) == 20


def test_a_file_cut_short_or_missing_is_named(kind: str, tmp_path: Path) -> None:
    build_index([1, 2], random_codes(2, 16, 23), 16, kind=kind).save(tmp_path)
    for path in files_of(tmp_path):
        whole = path.read_bytes()
        for length in (0, 1, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:length])
            with pytest.raises(DamagedArtifactError, match=re.escape(str(path))):
                open_index(tmp_path)
        path.unlink()
        with pytest.raises(DamagedArtifactError, match=re.escape(path.name)):
            open_index(tmp_path)
        path.write_bytes(whole)


FORKED_SAVES = """
import os, sys
from pathlib import Path
import numpy as np
import tests.oracles.contract_kinds
from modalhash.index import build_index, open_index
from tests.oracles.kill_steps import kill_at

kind, folder = sys.argv[1], Path(sys.argv[2])

def state(size):
    codes = (np.arange(size * 2) * 37 % 256).astype(np.uint8).reshape(size, 2)
    metadata = [{"size": size, "row": row} for row in range(size)]
    return build_index([f"{size}:{row}" for row in range(size)], codes, 16, metadata=metadata,
                       kind=kind)

def die_at(step):
    # Every call that changes the folder is a step; the process is killed before or after one.
    watched = kill_at(step)
    os.fsync = watched(os.fsync)
    Path.replace, Path.unlink, Path.chmod = map(watched, (Path.replace, Path.unlink, Path.chmod))

state(3).save(folder)
old, new, step, outcomes = 3, 4, 0, []
while True:
    child = os.fork()
    if child == 0:
        index = state(new)
        die_at(step)
        index.save(folder)
        os._exit(0)
    finished = os.waitpid(child, 0)[1] == 0
    with open_index(folder) as index:
        size = len(index)
        assert size in (old, new), (step, size)
        expected = state(size)
        assert index.ids.tolist() == expected.ids.tolist()
        assert index.metadata(index.ids) == expected.metadata(expected.ids)
        assert (index.reconstruct(index.ids) == expected.reconstruct(expected.ids)).all()
    outcomes.append(size == new)
    if finished:
        break
    old, new, step = size, (4 if size == 3 else 3), step + 1
assert outcomes[-1] and outcomes == sorted(outcomes), outcomes
print(len(outcomes), sum(outcomes), sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
def test_killed_at_any_step_of_a_save_the_folder_holds_one_of_the_states(
    kind: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED_SAVES, kind, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    n_steps, n_new, files = done.stdout.split(" ", 2)
    assert int(n_steps) > (5 if kind == "plain" else 30)
    assert 1 < int(n_new) < int(n_steps)
    if kind in KINDS:
        assert len(files.split(",")) == 4  # and what the kills left lying is gone


REPEATED_SAVES = """
import sys
import numpy as np
import tests.oracles.contract_kinds
from modalhash.index import build_index, open_index
kind, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
index = open_index(folder)
while True:
    size += 1
    index.add([size], np.full((1, 2), size % 256, np.uint8), [{"size": size}])
    index.save(folder)
    print(size, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_killed_at_random_no_finished_save_is_lost(kind: str, tmp_path: Path) -> None:
    build_index([0], np.zeros((1, 2), np.uint8), 16, metadata=[{"size": 0}], kind=kind).save(
        tmp_path
    )
    generator, size = np.random.default_rng(24), 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", REPEATED_SAVES, kind, str(tmp_path), str(size)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        time.sleep(float(generator.uniform(0, 0.1)))
        child.kill()
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        with open_index(tmp_path) as index:
            size = len(index) - 1
            assert acknowledged <= size <= acknowledged + 1
            assert index.ids.tolist() == list(range(size + 1))
            expected = np.arange(size + 1) % 256
            np.testing.assert_array_equal(index.reconstruct(index.ids)[:, 0], expected)
            assert index.metadata([size]) == [{"size": size}]


# --- threads -----------------------------------------------------------------------------------


def test_searches_go_on_while_another_thread_changes_the_index(kind: str) -> None:
    """Batches of 10 equal codes come and go whole, so no search may see part of one."""
    base = pack([[1] * 32])
    index = build_index([-1], pack([[-1] * 32]), 32, kind=kind)
    stop, problems = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            hits = index.search_radius(base, 0)
            batches = {item_id // 10 for item_id in hits.ids.tolist()}
            if len(hits.ids) != 10 * len(batches):
                problems.append(hits.ids.tolist())

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for batch in range(60):
        index.add(range(batch * 10, batch * 10 + 10), np.repeat(base, 10, axis=0))
        if batch >= 3:
            index.delete(range((batch - 3) * 10, (batch - 3) * 10 + 10))
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(index) == 31


def test_codes_are_what_pack_made(kind: str) -> None:
    signs = random_signs(10, 13, 25)
    index = build_index(np.arange(10), pack(signs), 13, kind=kind)
    np.testing.assert_array_equal(unpack(index.reconstruct([3, 1]), 13), signs[[3, 1]])
