"""Each thing that was seen to go wrong with FAISS and learned codes, and that we avoid."""

import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.index.choosing import AutoSearcher
from modalhash.index.faiss_flat import FlatSearcher
from modalhash.index.faiss_ivf import IvfSearcher, write_faiss
from modalhash.index.faiss_scan import QUICK_WIDTHS, scan_width
from modalhash.index.folding import Folding, distinct_share
from modalhash.index.multi_index import MultiIndexSearcher
from modalhash.index.recall_sample import RecallSample, tie_aware_recall
from tests.oracles.plain_search import plain_search
from tests.oracles.searcher_codes import clustered_codes, colliding_codes, uniform_codes


def test_cells_keep_positions_as_their_own_ids_and_survive_deletes() -> None:
    codes = clustered_codes(2000, 64, centres=50)
    searcher = IvfSearcher.build(codes, 64, parameters={"n_cells": 16, "n_probes": 16})
    assert type(searcher.cells) is faiss.IndexBinaryIVF  # no id map around it
    alive = np.random.default_rng(1).random(2000) < 0.7
    found = searcher.nearest(codes[:50], 5, allowed=alive)
    # Every row that is given is alive and has the distance that is given with it.
    assert alive[found.positions].all()
    exact = FlatSearcher(codes).nearest(codes[:50], 5, allowed=alive)
    np.testing.assert_array_equal(found.distances, exact.distances)


def test_faiss_itself_still_has_the_trap_of_id_maps_over_cells() -> None:
    # The reason of the test above; if this fails, FAISS has mended it.
    codes = uniform_codes(2000, 64)
    mapped: Any = faiss.IndexBinaryIDMap2(
        faiss.IndexBinaryIVF(quantizer := faiss.IndexBinaryFlat(64), 64, 16)
    )
    assert quantizer.ntotal == 0
    inner: Any = faiss.downcast_IndexBinary(mapped.index)
    inner.nprobe = 16
    mapped.train(codes)
    mapped.add_with_ids(codes, np.arange(10_000, 12_000))
    mapped.remove_ids(np.arange(10_000, 10_100))
    ids = mapped.search(codes[200:300], 1)[1][:, 0]
    assert (ids != np.arange(10_200, 10_300)).all()


def test_opened_cells_are_mapped_without_threads_that_read_ahead(tmp_path: Path) -> None:
    codes = clustered_codes(500, 64, centres=10)
    searcher = IvfSearcher.build(codes, 64, parameters={})
    searcher.write(tmp_path)
    opened = IvfSearcher.open(tmp_path, codes, 64, parameters=searcher.parameters)
    # FAISS's on-disk lists are mapped as well, and start threads for each search.
    assert type(faiss.downcast_InvertedLists(opened.cells.invlists)) is faiss.ArrayInvertedLists


@pytest.mark.parametrize("distinct", [False, True])
def test_ties_are_ordered_by_position_like_the_plain_scan(distinct: bool) -> None:
    codes = colliding_codes(300, 8, distinct=6)  # hundreds of rows at each distance
    searcher = FlatSearcher.build(codes, 8, parameters={"distinct": distinct})
    for top_k in (1, 7, 150, 300):
        found = searcher.nearest(codes[:4], top_k)
        assert [
            list(zip(*pairs, strict=True))
            for pairs in zip(found.distances.tolist(), found.positions.tolist(), strict=True)
        ] == plain_search(codes[:4], codes, top_k)


@pytest.mark.parametrize("kind", [FlatSearcher, MultiIndexSearcher, IvfSearcher])
def test_the_radius_is_included_though_faiss_leaves_it_out(
    kind: type[FlatSearcher | MultiIndexSearcher | IvfSearcher],
) -> None:
    code = np.zeros((1, 8), np.uint8)
    codes = np.zeros((4, 8), np.uint8)
    codes[:, 0] = [0b1, 0b11, 0b111, 0b1111]  # at distances 1, 2, 3 and 4
    searcher = kind.build(codes, 64, parameters={})
    for radius in range(6):
        assert searcher.within(code, radius).positions.tolist() == list(range(min(radius, 4)))


def test_auto_scans_random_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.index.choosing.SCANNED_CODES", 1000)
    searcher = AutoSearcher.build(uniform_codes(4000, 128), 128, parameters={"recall": 0.9})
    assert searcher.is_exact
    assert searcher.parameters["chosen"] == {"kind": "flat", "parameters": {}}
    assert re.fullmatch(
        r"4,000 codes: too random for cells, of which \d\d % would have to be looked into for a "
        r"recall of 0\.9, so they are scanned",
        searcher.parameters["reason"],
    )


def test_auto_puts_clustered_codes_into_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.index.choosing.SCANNED_CODES", 1000)
    codes = clustered_codes(20_000, 64, centres=100)
    searcher = AutoSearcher.build(codes, 64, parameters={"recall": 0.9})
    assert not searcher.is_exact
    chosen = searcher.parameters["chosen"]
    assert chosen["kind"] == "ivf"
    assert chosen["parameters"]["n_cells"] == 128
    assert chosen["parameters"]["n_probes"] <= 16
    measured = chosen["parameters"]["measured"]
    assert 0.9 <= measured["recall"] <= 1
    assert (measured["queries"], measured["top_k"]) == (500, 10)
    # It holds for queries that aren't in the index and weren't in the sample.
    queries = clustered_codes(300, 64, centres=100, draw=1)
    kth = FlatSearcher(codes).nearest(queries, 10).distances[:, -1]
    assert tie_aware_recall(searcher.nearest(queries, 10).distances, kth) > 0.85


@pytest.mark.parametrize(
    ("recall", "n_distinct", "reason"),
    [
        (0.9, 400, "8,000 codes: few enough to scan"),
        (0.9, 0, "{n} distinct of 8,000 codes: few enough to scan"),
        (1.0, 2, "{n} distinct of 8,000 codes: only a scan promises a recall of 1"),
    ],
)
def test_auto_says_why(
    recall: float, n_distinct: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "modalhash.index.choosing.SCANNED_CODES", {400: 9000, 2: 50}.get(n_distinct, 4000)
    )
    monkeypatch.setattr("modalhash.index.choosing.FOLDED_ROWS", 100_000 if n_distinct == 400 else 0)
    codes = colliding_codes(8000, 32, distinct=1000)
    n_found = len(np.unique(codes, axis=0))
    searcher = AutoSearcher.build(codes, 32, parameters={"recall": recall})
    assert searcher.parameters["reason"] == reason.format(n=n_found)
    assert searcher.is_exact


def test_distinct_codes_are_in_order_of_first_appearance() -> None:
    codes = np.array([[9], [4], [9], [1], [4], [9]], np.uint8)
    folding = Folding.of(codes)
    assert folding.codes.ravel().tolist() == [9, 4, 1]
    assert folding.starts.tolist() == [0, 3, 5, 6]
    assert folding.rows.tolist() == [0, 2, 5, 1, 4, 3]


@pytest.mark.parametrize("n_bits", [16, 128])
def test_the_share_of_distinct_codes_is_estimated_from_a_slice(
    n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = colliding_codes(40_000, n_bits, distinct=9000)
    exact = len(np.unique(codes, axis=0)) / 40_000
    assert distinct_share(codes) == exact
    monkeypatch.setattr("modalhash.index.folding.COUNTED_CODES", 5000)
    monkeypatch.setattr("modalhash.index.folding.BLOCK_ROWS", 1000)
    assert distinct_share(codes) == pytest.approx(exact, rel=0.25)
    assert distinct_share(uniform_codes(40_000, 64)) == 1


@pytest.mark.parametrize(("n_bits", "radius"), [(64, 7), (128, 15), (20, 4)])
def test_tables_find_all_rows_up_to_the_guaranteed_radius(
    n_bits: int, radius: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cost in ("CALL_COST", "LOOKUP_COST", "CANDIDATE_COST"):
        monkeypatch.setattr(f"modalhash.index.multi_index.{cost}", 0)
    monkeypatch.setattr("modalhash.index.multi_index.scan_within", None)  # no way out
    codes = clustered_codes(3000, n_bits, centres=100, flipped=0.05)
    searcher = MultiIndexSearcher.build(codes, n_bits, parameters={"part_bits": 16})
    found = searcher.within(codes[:40], radius)
    exact = FlatSearcher(codes).within(codes[:40], radius)
    assert len(exact.positions) > 60
    np.testing.assert_array_equal(found.starts, exact.starts)
    np.testing.assert_array_equal(found.positions, exact.positions)
    np.testing.assert_array_equal(found.distances, exact.distances)


def test_the_probes_are_those_that_reach_the_recall() -> None:
    codes = clustered_codes(6000, 64, centres=60, flipped=0.15)
    sample = RecallSample.draw(codes)
    few = IvfSearcher.build(codes, 64, parameters={"n_cells": 64, "recall": 0.6})
    many = IvfSearcher.build(codes, 64, parameters={"n_cells": 64, "recall": 0.99})
    assert few.n_probes < many.n_probes
    for searcher, target in ((few, 0.6), (many, 0.99)):
        recall = sample.recall(searcher.nearest)
        # What is measured leaves out the scan for queries whose cells hold too few codes.
        assert target <= searcher.parameters["measured"]["recall"] <= recall + 1e-4
    all_cells = IvfSearcher.build(codes, 64, parameters={"n_cells": 64, "recall": 1.0})
    assert all_cells.parameters["measured"]["recall"] == 1


def test_a_sample_counts_ties_and_leaves_the_query_out() -> None:
    codes = np.array([[0b0], [0b1], [0b11], [0b111], [0b1111]], np.uint8)
    sample = RecallSample.draw(codes)
    assert sample.rows.tolist() == [0, 1, 2, 3, 4]
    assert sample.top_k == 4
    assert sample.kth_distances.tolist() == [4, 3, 2, 3, 4]
    assert sample.recall(lambda queries, k: FlatSearcher(codes).nearest(queries, k)) == 1
    far = np.array([[2, 4], [3, 3]])
    assert tie_aware_recall(far, np.array([2, 3])) == 3 / 4


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 9, 12, 15, 17, 20, 21, 24, 25, 31, 33, 40])
def test_odd_widths_are_scanned_in_a_quick_one(width: int) -> None:
    wide = scan_width(width)
    assert wide == width if width in QUICK_WIDTHS or width > 32 else wide in QUICK_WIDTHS
    codes = uniform_codes(50, 8 * width)
    searcher = FlatSearcher.build(codes, 8 * width, parameters={})
    assert searcher.scanned.shape == (50, wide)
    assert np.shares_memory(searcher.scanned, codes) == (wide == width)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    searcher = IvfSearcher.build(uniform_codes(100, 64), 64, parameters={})
    with pytest.raises(StorageError, match=re.escape(f"can't write {tmp_path / 'no' / 'x'}")):
        write_faiss(tmp_path / "no" / "x", searcher.cells)


def test_a_file_of_another_width_is_refused(tmp_path: Path) -> None:
    searcher = IvfSearcher.build(uniform_codes(100, 64), 64, parameters={})
    searcher.write(tmp_path)
    with pytest.raises(
        DamagedArtifactError,
        match=re.escape(
            f"{tmp_path / 'cells.faiss'} is damaged: it holds 100 codes of 64 bits, expected 100 "
            "of 128; make the index again"
        ),
    ):
        IvfSearcher.open(tmp_path, uniform_codes(100, 128), 128, parameters=searcher.parameters)
