"""What holds for every searcher: true distances, order, rows that don't count, files, threads."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, SettingError, UnknownNameError
from modalhash.index.searcher_table import SEARCHERS, searcher_class
from modalhash.index.searchers import NO_ROW, Neighbours, RaggedNeighbours, Searcher
from tests.oracles.plain_search import plain_distance, plain_search, plain_search_radius
from tests.oracles.searcher_codes import clustered_codes, colliding_codes, uniform_codes

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """A searcher to build, and what it promises."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    is_exact: bool = True

    def build(self, codes: Codes, n_bits: int) -> Searcher:
        return searcher_class(self.kind).build(codes, n_bits, parameters=self.parameters)


RECIPES = {
    "exact": Recipe("exact"),
    "flat": Recipe("flat"),
    "flat-distinct": Recipe("flat", {"distinct": True}),
    "mih": Recipe("mih"),
    "auto": Recipe("auto"),
    "ivf": Recipe("ivf", is_exact=False),
    "ivf-distinct": Recipe("ivf", {"distinct": True}, is_exact=False),
}
EXACT = {name: recipe for name, recipe in RECIPES.items() if recipe.is_exact}
APPROXIMATE = {name: recipe for name, recipe in RECIPES.items() if not recipe.is_exact}
SMALL_CODES = {
    "uniform": uniform_codes(90, 64),
    "clustered": clustered_codes(90, 128, centres=5),
    "one": uniform_codes(1, 32),
    "all equal": np.repeat(uniform_codes(1, 16), 50, axis=0),
    "colliding, 5 bits": colliding_codes(90, 5, distinct=12),
    "colliding, 20 bits": colliding_codes(90, 20, distinct=30),
    "24 bytes": clustered_codes(60, 192, centres=6),
    "37 bytes": uniform_codes(40, 290),
}
N_BITS = {"one": 32, "all equal": 16, "colliding, 5 bits": 5, "colliding, 20 bits": 20} | {
    "uniform": 64,
    "clustered": 128,
    "24 bytes": 192,
    "37 bytes": 290,
}


@pytest.fixture(params=["as it comes", "the other way"])
def other_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searchers take the way that they'd take with many rows, too."""
    if request.param == "the other way":
        monkeypatch.setattr("modalhash.index.post_filter.CHECKED_ROW_COST", 1e12)
        for cost in ("CALL_COST", "LOOKUP_COST", "CANDIDATE_COST"):
            monkeypatch.setattr(f"modalhash.index.multi_index.{cost}", 0)
        monkeypatch.setattr("modalhash.index.multi_index.BLOCK_CANDIDATES", 7)
        monkeypatch.setattr("modalhash.index.folding.EXPANDED_ROWS", 1)


def hits(found: Neighbours) -> list[list[tuple[int, int]]]:
    """Return (distance, position) of the rows found, without the filling."""
    return [
        [pair for pair in zip(*pairs, strict=True) if pair[1] != NO_ROW]
        for pairs in zip(found.distances.tolist(), found.positions.tolist(), strict=True)
    ]


def ragged_hits(found: RaggedNeighbours) -> list[list[tuple[int, int]]]:
    pairs = list(zip(found.distances.tolist(), found.positions.tolist(), strict=True))
    ends = found.starts.tolist()
    return [pairs[start:end] for start, end in pairwise(ends)]


def queries_for(codes: Codes, n_bits: int) -> Codes:
    """Return some of the codes, each with a bit flipped or not, and some random ones."""
    known = codes[:: max(1, len(codes) // 4)][:4].copy()
    known[::2, 0] ^= 1
    return np.concatenate([known, uniform_codes(3, n_bits, seed=9)])


@pytest.mark.parametrize("codes_name", SMALL_CODES)
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.usefixtures("other_way")
def test_exact_searchers_equal_the_plain_loop(name: str, codes_name: str) -> None:
    codes, n_bits = SMALL_CODES[codes_name], N_BITS[codes_name]
    queries = queries_for(codes, n_bits)
    searcher = EXACT[name].build(codes, n_bits)
    assert searcher.is_exact
    for top_k in {1, min(10, len(codes)), len(codes)}:
        found = searcher.nearest(queries, top_k)
        assert found.positions.dtype == np.int64
        assert found.distances.dtype == np.int32
        assert hits(found) == plain_search(queries, codes, top_k)
    for radius in (0, 1, 3, n_bits // 3, n_bits):
        near = searcher.within(queries, radius)
        assert ragged_hits(near) == plain_search_radius(queries, codes, radius)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.97])
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.usefixtures("other_way")
def test_exact_searchers_leave_rows_out_exactly(name: str, share: float) -> None:
    codes = colliding_codes(90, 20, distinct=40)
    allowed = np.random.default_rng(3).random(len(codes)) < share
    rows = np.flatnonzero(allowed)
    queries = queries_for(codes, 20)
    searcher = EXACT[name].build(codes, 20)
    wanted = [
        [(near, int(rows[row])) for near, row in ranking]
        for ranking in plain_search(queries, codes[rows], 8)
    ]
    found = searcher.nearest(queries, 8, allowed=allowed)
    assert found.positions.shape == found.distances.shape == (7, 8)
    assert hits(found) == wanted
    assert (found.distances[found.positions == NO_ROW] > 20).all()
    near = searcher.within(queries, 6, allowed=allowed)
    assert ragged_hits(near) == [
        [(distance, int(rows[row])) for distance, row in ranking]
        for ranking in plain_search_radius(queries, codes[rows], 6)
    ]


@pytest.mark.parametrize("n_bits", [24, 64])
@pytest.mark.parametrize("share", [None, 0.9, 0.3, 0.01, 0.0])
@pytest.mark.parametrize("name", APPROXIMATE)
@pytest.mark.usefixtures("other_way")
def test_approximate_searchers_give_true_distances_in_order(
    name: str, share: float | None, n_bits: int
) -> None:
    codes = clustered_codes(1500, n_bits, centres=30)
    queries = clustered_codes(20, n_bits, centres=30, draw=1)
    allowed = None if share is None else np.random.default_rng(4).random(1500) < share
    rows = np.arange(1500) if allowed is None else np.flatnonzero(allowed)
    searcher = APPROXIMATE[name].build(codes, n_bits)
    found = searcher.nearest(queries, 10, allowed=allowed)
    n_found = min(10, len(rows))
    assert found.positions.shape == (20, 10)
    assert (found.positions[:, n_found:] == NO_ROW).all()
    assert (found.distances[:, n_found:] > n_bits).all()
    for query, ranking in zip(queries, hits(found), strict=True):
        assert ranking == sorted(set(ranking))
        assert len(ranking) == n_found
        assert {row for _, row in ranking} <= set(rows.tolist())
        assert [near for near, _ in ranking] == [
            plain_distance(query, codes[row]) for _, row in ranking
        ]
    if n_found:
        exact = RECIPES["flat"].build(codes, n_bits).nearest(queries, 10, allowed=allowed)
        kth = exact.distances[:, n_found - 1 : n_found]
        assert np.mean(found.distances[:, :n_found] <= kth) > 0.85


@pytest.mark.parametrize("share", [None, 0.5, 0.0])
@pytest.mark.parametrize("name", APPROXIMATE)
@pytest.mark.usefixtures("other_way")
def test_approximate_radius_searches_give_true_distances_up_to_the_radius(
    name: str, share: float | None
) -> None:
    codes = clustered_codes(1500, 64, centres=60)
    queries = codes[:20] ^ np.uint8(1)
    allowed = None if share is None else np.random.default_rng(4).random(1500) < share
    found = APPROXIMATE[name].build(codes, 64).within(queries, 12, allowed=allowed)
    exact = RECIPES["flat"].build(codes, 64).within(queries, 12, allowed=allowed)
    for ranking, all_hits in zip(ragged_hits(found), ragged_hits(exact), strict=True):
        assert ranking == sorted(set(ranking))
        assert set(ranking) <= set(all_hits)
    assert len(found.positions) >= 0.9 * len(exact.positions)


@pytest.mark.parametrize("codes_name", ["uniform", "colliding, 20 bits", "24 bytes", "one"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_searcher_that_was_written_and_opened_answers_the_same(
    name: str, codes_name: str, tmp_path: Path
) -> None:
    codes, n_bits = SMALL_CODES[codes_name], N_BITS[codes_name]
    built = RECIPES[name].build(codes, n_bits)
    names = built.write(tmp_path)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    contents = {name: (tmp_path / name).read_bytes() for name in names}
    for name_ in names:  # mapped files are only read
        (tmp_path / name_).chmod(0o444)
    np.save(tmp_path / "codes.npy", codes)
    mapped = np.asarray(np.load(tmp_path / "codes.npy", mmap_mode="r"))
    opened = type(built).open(tmp_path, mapped, n_bits, parameters=dict(built.parameters))
    assert opened.parameters == built.parameters
    assert opened.is_exact == built.is_exact
    queries = queries_for(codes, n_bits)
    allowed = np.arange(len(codes)) % 3 > 0
    for rows in (None, allowed):
        top_k = min(10, len(codes))
        assert hits(opened.nearest(queries, top_k, allowed=rows)) == hits(
            built.nearest(queries, top_k, allowed=rows)
        )
        assert ragged_hits(opened.within(queries, 9, allowed=rows)) == ragged_hits(
            built.within(queries, 9, allowed=rows)
        )
    assert {name: (tmp_path / name).read_bytes() for name in names} == contents


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_that_is_cut_short_is_noticed(name: str, tmp_path: Path) -> None:
    codes = colliding_codes(200, 20, distinct=90)
    built = RECIPES[name].build(codes, 20)
    for part in built.write(tmp_path):
        content = (tmp_path / part).read_bytes()
        (tmp_path / part).write_bytes(content[: len(content) // 2])
        with pytest.raises(DamagedArtifactError, match=re.escape(str(tmp_path / part))):
            type(built).open(tmp_path, codes, 20, parameters=built.parameters)
        (tmp_path / part).write_bytes(content)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "exact"])
def test_files_of_other_codes_are_refused(name: str, tmp_path: Path) -> None:
    built = RECIPES[name].build(colliding_codes(200, 20, distinct=90), 20)
    if not built.write(tmp_path):
        return
    other = colliding_codes(201, 20, distinct=91)
    with pytest.raises(DamagedArtifactError, match=r"is damaged: .*make the index again"):
        type(built).open(tmp_path, other, 20, parameters=built.parameters)


@pytest.mark.parametrize("name", RECIPES)
def test_inputs_are_not_changed_and_answers_are_the_same_again(name: str) -> None:
    codes = clustered_codes(600, 48, centres=20)
    queries, allowed = codes[:30].copy(), np.arange(600) % 2 == 0
    for array in (codes, queries, allowed):
        array.flags.writeable = False
    searcher, other = RECIPES[name].build(codes, 48), RECIPES[name].build(codes, 48)
    assert searcher.parameters == other.parameters
    for rows in (None, allowed):
        assert hits(searcher.nearest(queries, 5, allowed=rows)) == hits(
            other.nearest(queries, 5, allowed=rows)
        )


@pytest.mark.parametrize("name", RECIPES)
def test_threads_do_not_disturb_each_other(name: str) -> None:
    codes = clustered_codes(800, 64, centres=40)
    searcher = RECIPES[name].build(codes, 64)
    allowed = np.arange(800) % 5 > 0

    def ask(turn: int) -> object:
        queries = np.ascontiguousarray(codes[turn % 8 :: 100])
        rows = allowed if turn % 2 else None
        return (
            hits(searcher.nearest(queries, 3 + turn % 4, allowed=rows)),
            ragged_hits(searcher.within(queries, turn % 12, allowed=rows)),
        )

    alone = [ask(turn) for turn in range(48)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(48))) == alone


@pytest.mark.parametrize("name", RECIPES)
def test_distances_stay_when_bits_are_flipped_or_permuted(name: str) -> None:
    codes = clustered_codes(700, 64, centres=20)
    queries = clustered_codes(10, 64, centres=20, draw=1)
    plain = RECIPES[name].build(codes, 64)
    mask = uniform_codes(1, 64, seed=5)
    bits = np.unpackbits(np.concatenate([codes, queries]), axis=1)
    permuted = np.packbits(bits[:, np.random.default_rng(6).permutation(64)], axis=1)
    permuted = np.ascontiguousarray(permuted)
    changed = {
        "flipped": (codes ^ mask, queries ^ mask),
        "permuted": (permuted[:700], permuted[700:]),
    }
    near = plain.nearest(queries, 10).distances
    for other_codes, other_queries in changed.values():
        found = RECIPES[name].build(other_codes, 64).nearest(other_queries, 10).distances
        if plain.is_exact:
            np.testing.assert_array_equal(found, near)
        else:  # other cells, other links: the recall stays
            assert np.mean(found <= near[:, -1:]) > 0.85


def test_the_table_names_every_kind() -> None:
    assert set(SEARCHERS) == {recipe.kind for recipe in RECIPES.values()}
    for kind in SEARCHERS:
        assert searcher_class(kind).kind == kind
    with pytest.raises(UnknownNameError, match=re.escape("unknown kind of index 'ivff'")):
        searcher_class("ivff")


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("flat", {"probes": 3}, "an index of kind 'flat' takes distinct; got probes"),
        ("flat", {"distinct": 1}, "distinct is 1, expected true or false"),
        ("ivf", {"distinct": "no"}, "distinct is 'no', expected true or false"),
        ("auto", {"n_cells": 8}, "an index of kind 'auto' takes recall; got n_cells"),
        ("auto", {"recall": 95}, "recall is 95, expected a share above 0 and at most 1, such as"),
        ("ivf", {"recall": "high"}, "recall is 'high', expected a number, such as 0.95"),
        ("ivf", {"n_cells": 0}, "n_cells is 0, expected an integer from 1 to 65536"),
        ("ivf", {"n_cells": 8, "n_probes": 9}, "n_probes is 9, expected an integer from 1 to 8"),
        ("mih", {"part_bits": 17}, "part_bits is 17, expected an integer from 4 to 16"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    kind: str, parameters: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        searcher_class(kind).build(uniform_codes(20, 64), 64, parameters=parameters)
