"""Every kind, changed in any order, answers as a plain list of what it holds."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from modalhash.codes import Codes
from modalhash.errors import InputError
from modalhash.index import HashIndex, build_index, open_index, writing
from modalhash.index.filters import parse_filter
from tests.oracles.contract_kinds import APPROXIMATE, INDEX_KINDS
from tests.oracles.plain_filter import plain_holds
from tests.oracles.plain_search import plain_search, plain_search_radius

WHERES = ["n < 2", "n >= 2 and not tag == 'a'", "tag is null", "n == 99", "tag in ('a', 'b')"]
IDS = st.integers(0, 12)
CODE = st.integers(0, 255)


class Changes(RuleBasedStateMachine):
    """Any changes of an index in a folder, beside a reader and a plain list."""

    kind = ""

    @initialize(codes=st.lists(CODE, max_size=6))
    def make(self, codes: list[int]) -> None:
        """Begin with a saved index."""
        self.folder = tempfile.TemporaryDirectory()
        self.held: dict[int, tuple[int, dict[str, Any]]] = {
            20 + row: (code, {"n": row}) for row, code in enumerate(codes)
        }
        build_index(
            list(self.held),
            np.array(codes, np.uint8).reshape(-1, 1),
            8,
            metadata=[{"n": row} for row in range(len(codes))],
            kind=self.kind,
        ).save(self.folder.name)
        self.index = open_index(self.folder.name)
        self.reader = open_index(self.folder.name)

    @rule(
        items=st.dictionaries(IDS, CODE, min_size=1, max_size=4),
        tag=st.sampled_from(["a", "b", None]),
        upsert=st.booleans(),
    )
    def put(self, items: dict[int, int], tag: str | None, upsert: bool) -> None:
        """Add or upsert."""
        metadata = [{"n": item % 4, "tag": tag} for item in items]
        codes = np.array(list(items.values()), np.uint8).reshape(-1, 1)
        if upsert:
            there = sum(item in self.held for item in items)
            assert self.index.upsert(list(items), codes, metadata) == there
        elif set(items) & set(self.held):
            with pytest.raises(InputError, match="nothing was added"):
                self.index.add(list(items), codes, metadata)
            return
        else:
            self.index.add(list(items), codes, metadata)
        for (item, code), one in zip(items.items(), metadata, strict=True):
            self.held.pop(item, None)
            self.held[item] = (code, one)

    @rule(ids=st.sets(IDS, max_size=4))
    def delete(self, ids: set[int]) -> None:
        """Delete by id."""
        gone = ids & set(self.held)
        if gone != ids:
            with pytest.raises(InputError, match="nothing was deleted"):
                self.index.delete(list(ids))
        assert self.index.delete(list(ids), missing="ignore") == len(gone)
        for item in gone:
            del self.held[item]

    @rule(where=st.sampled_from(WHERES))
    def delete_where(self, where: str) -> None:
        """Delete by a filter."""
        gone = self.passing(where)
        assert self.index.delete_where(where) == len(gone)
        for item in gone:
            del self.held[item]

    @rule(is_whole=st.booleans())
    def fold(self, is_whole: bool) -> None:
        """Make a checkpoint, or compact."""
        if is_whole:
            self.index.compact()
        else:
            self.index.checkpoint()

    @rule()
    def open_again(self) -> None:
        """Close the index and open it."""
        self.index.close()
        self.index = open_index(self.folder.name)

    def passing(self, where: str) -> list[int]:
        """Return the ids that pass a filter."""
        tree = parse_filter(where)
        return [item for item, (_, one) in self.held.items() if plain_holds(tree, one)]

    @invariant()
    def answers_are_those_of_the_list(self) -> None:
        """Compare all that can be asked."""
        if not hasattr(self, "index"):
            return
        for index in (self.index, self.reader):
            assert index.ids.tolist() == list(self.held)
            assert len(index) == len(self.held)
            assert index.metadata(list(self.held)) == [one for _, one in self.held.values()]
            self.compare(index, list(self.held), None)
            for where in WHERES[:3]:
                assert index.select(where).tolist() == self.passing(where)
                self.compare(index, self.passing(where), where)

    def compare(self, index: HashIndex, ids: list[int], where: str | None) -> None:
        """Compare searches among some items with the plain search."""
        codes: Codes = np.array([self.held[item][0] for item in ids], np.uint8).reshape(-1, 1)
        queries = np.array([[0], [0b10110]], np.uint8)
        for k in (1, 3, 50):
            hits = index.search(queries, k, where)
            found = [
                [(int(distance), ids.index(item)) for distance, item in zip(row, near, strict=True)]
                for row, near in zip(hits.distances, hits.ids.tolist(), strict=True)
            ]
            expected = plain_search(queries, codes, k)
            if self.kind in APPROXIMATE:
                assert list(map(len, found)) == list(map(len, expected))
                assert all(
                    distance == (int(query[0]) ^ int(codes[place, 0])).bit_count()
                    for query, row in zip(queries, found, strict=True)
                    for distance, place in row
                )
            else:
                assert found == expected
        near = index.search_radius(queries, 2, where)
        if self.kind not in APPROXIMATE:
            counts = [len(row) for row in plain_search_radius(queries, codes, 2)]
            assert np.diff(near.starts).tolist() == counts
        histogram = index.distance_histogram(queries, where)
        for query, row in enumerate(plain_search_radius(queries, codes, 8)):
            assert (
                histogram[query].tolist()
                == np.bincount([distance for distance, _ in row], minlength=9).tolist()
            )

    def teardown(self) -> None:
        """Let go of the folder."""
        if hasattr(self, "index"):
            self.index.close()
            self.reader.close()
            self.folder.cleanup()


@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_changes_in_any_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHECKPOINT_ROWS", 7)
    monkeypatch.setattr(writing, "BULK_ROWS", 4)
    monkeypatch.setattr(writing, "FEW_DEAD", 2)
    machine = type("ChangesOf", (Changes,), {"kind": kind})
    few = settings(max_examples=5, stateful_step_count=15, deadline=None)
    run_state_machine_as_test(machine, settings=few)


@pytest.mark.parametrize("kind", INDEX_KINDS)
@pytest.mark.parametrize("share", [0.002, 0.1, 0.6, 1.0])
def test_a_filter_answers_as_an_index_of_what_passes(
    kind: str, share: float, tmp_path: Path
) -> None:
    """With deleted items, recent ones, and more than a searcher scans by itself."""
    generator = np.random.default_rng(7)
    codes = generator.integers(0, 256, (3000, 3), dtype=np.uint8)
    draws = generator.random(3000)
    metadata = [{"draw": draw} for draw in draws.tolist()]
    index = build_index(range(2800), codes[:2800], 24, metadata=metadata[:2800], kind=kind)
    index.save(tmp_path)
    index = open_index(tmp_path)
    index.add(range(2800, 3000), codes[2800:], metadata[2800:])
    gone = set(generator.choice(3000, 400, replace=False).tolist())
    index.delete(list(gone))
    where = f"draw < {share}"
    kept = [row for row in range(3000) if row not in gone and draws[row] < share]
    exact = build_index(kept, codes[kept], 24, kind="exact")
    queries = generator.integers(0, 256, (20, 3), dtype=np.uint8)
    for k in (1, 10, 3000):
        hits, expected = index.search(queries, k, where), exact.search(queries, k)
        assert hits.distances.shape == expected.distances.shape
        if kind not in APPROXIMATE:
            np.testing.assert_array_equal(hits.distances, expected.distances)
            np.testing.assert_array_equal(hits.ids, expected.ids)
            continue
        true = np.bitwise_count(queries[:, None] ^ codes[hits.ids.astype(np.int64)]).sum(axis=2)
        np.testing.assert_array_equal(true, hits.distances)
        assert (hits.distances <= expected.distances[:, -1:]).mean() > 0.8
        assert set(hits.ids.ravel().tolist()) <= set(kept)
