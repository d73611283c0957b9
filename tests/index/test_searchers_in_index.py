"""Kinds of searchers inside an index: ids, deletes, filters and files, seen from outside."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import SettingError
from modalhash.index import KINDS, build_index, check_kind, open_index, stated_choice
from tests.oracles.searcher_codes import clustered_codes, colliding_codes

N_ITEMS, N_BITS = 3000, 64
CODES = clustered_codes(N_ITEMS, N_BITS, centres=60, flipped=0.05)
QUERIES = clustered_codes(30, N_BITS, centres=60, flipped=0.05, draw=1)


@pytest.mark.parametrize("kind", KINDS)
def test_after_deletes_each_id_still_stands_for_its_code(kind: str, tmp_path: Path) -> None:
    # An id map around FAISS's cells answers with other items' ids here.
    ids = [f"item {number}" for number in range(N_ITEMS)]
    with build_index(ids, CODES, N_BITS, kind=kind, folder=tmp_path) as index:
        index.delete(ids[:900])
        index.add(["new"], QUERIES[:1])
    with open_index(tmp_path) as index:
        assert index.search(QUERIES[:1], 1).ids.tolist() == [["new"]]
        hits = index.search(QUERIES, 20)
        assert not set(hits.ids.ravel()) & set(ids[:900])
        found = index.reconstruct(hits.ids.ravel().tolist()).reshape(30, 20, -1)
        distances = np.bitwise_count(found ^ QUERIES[:, None]).sum(axis=2)
        np.testing.assert_array_equal(hits.distances, distances)


@pytest.mark.parametrize("kind", KINDS)
def test_adding_to_an_opened_index_leaves_mapped_files_alone(kind: str, tmp_path: Path) -> None:
    # FAISS ends the process when something is added to an index that is mapped.
    build_index(np.arange(N_ITEMS), CODES, N_BITS, kind=kind, folder=tmp_path).close()
    with open_index(tmp_path) as index:
        for number in range(5):
            index.add([N_ITEMS + number], QUERIES[number : number + 1])
        assert index.search(QUERIES[:5], 1).ids.ravel().tolist() == list(
            range(N_ITEMS, N_ITEMS + 5)
        )
        index.compact()
        assert index.search(QUERIES[:5], 1).distances.ravel().tolist() == [0] * 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_filter_gives_as_many_hits_as_pass_it(kind: str, share: float) -> None:
    passes = np.random.default_rng(2).random(N_ITEMS) < share
    index = build_index(
        np.arange(N_ITEMS),
        CODES,
        N_BITS,
        kind=kind,
        metadata=[{"chosen": bool(chosen)} for chosen in passes],
    )
    hits = index.search(QUERIES, 10, where="chosen == true")
    assert hits.ids.shape == (30, 10)
    assert passes[hits.ids.astype(int)].all()
    exact = build_index(np.flatnonzero(passes), CODES[passes], N_BITS, kind="exact")
    kth = exact.search(QUERIES, 10).distances[:, -1:]
    assert np.mean(hits.distances <= kth) > 0.9


def test_the_manifest_states_what_was_chosen_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.index.choosing.SCANNED_CODES", 1000)
    build_index(
        np.arange(N_ITEMS), CODES, N_BITS, kind="auto", parameters={"recall": 0.8}, folder=tmp_path
    ).close()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["kind"] == "auto"
    assert manifest["parameters"] == {"recall": 0.8}
    (segment,) = manifest["segments"]
    stated: dict[str, Any] = segment["parameters"]
    assert segment["searcher"] == "auto"
    assert stated["recall"] == 0.8
    assert stated["chosen"]["kind"] == "ivf"
    assert stated["chosen"]["parameters"]["measured"]["recall"] >= 0.8
    assert stated["reason"].startswith("3,000 codes: looking into ")
    with open_index(tmp_path) as index:
        assert index.searcher_parameters == stated
        recall = stated["chosen"]["parameters"]["measured"]["recall"]
        assert stated_choice(index.kind, index.searcher_parameters) == (
            f"ivf ({stated['reason']}; measured recall {recall:.3f} of the 10 nearest, "
            "on 500 items)"
        )


def test_colliding_items_all_come_out_of_an_index_of_distinct_codes(tmp_path: Path) -> None:
    codes = colliding_codes(2000, 16, distinct=50)
    plain = build_index(np.arange(2000), codes, 16, kind="exact")
    folded = {"distinct": True}
    build_index(np.arange(2000), codes, 16, kind="flat", parameters=folded, folder=tmp_path).close()
    with open_index(tmp_path) as index:
        for k in (1, 10, 500, 2000):
            wanted, found = plain.search(codes[:20], k), index.search(codes[:20], k)
            np.testing.assert_array_equal(found.ids, wanted.ids)
            np.testing.assert_array_equal(found.distances, wanted.distances)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recall_is_refused_by_kinds_that_miss_nothing(kind: str) -> None:
    if kind in ("auto", "ivf"):
        check_kind(kind, {"recall": 0.9})
        with pytest.raises(SettingError, match=re.escape("recall is 1.5, expected a share above")):
            check_kind(kind, {"recall": 1.5})
    else:
        with pytest.raises(SettingError, match=rf"an index of kind '{kind}' takes .*; got recall"):
            check_kind(kind, {"recall": 0.9})
