"""Reading all of an index, a block at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.codes import Codes
from modalhash.index import HashIndex, IdKind, ItemBlock, open_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.milvus import MilvusIndex
from tests.oracles.fake_milvus import FakeMilvus


def codes_of(numbers: range) -> Codes:
    return np.array([[number % 256, number // 256] for number in numbers], np.uint8)


def build(kind: str, ids: list[Any], codes: Codes, metadata: Any) -> HashIndex:
    if kind == "milvus":
        return MilvusIndex.build(
            ids, codes, 16, url="http://nowhere:1", metadata=metadata, client=FakeMilvus()
        )
    return EmbeddedIndex.build(ids, codes, 16, metadata=metadata)


def together(blocks: list[ItemBlock]) -> tuple[list[Any], list[int], list[Any]]:
    ids = [value for block in blocks for value in block.ids.tolist()]
    numbers = [int(low) + 256 * int(high) for block in blocks for low, high in block.codes]
    return ids, numbers, [one for block in blocks for one in block.metadata]


@pytest.mark.parametrize("kind", ["embedded", "milvus"])
def test_blocks_hold_what_is_there_in_the_order_of_insertion(kind: str) -> None:
    ids: list[Any] = [f"item {number}" for number in range(300)]
    metadata = [{"n": number} if number % 3 else {} for number in range(300)]
    with build(kind, ids, codes_of(range(300)), metadata) as index:
        index.delete([ids[0], ids[7], ids[299]])
        index.upsert([ids[5]], codes_of(range(999, 1000)), [{"new": 1}])
        index.add(["last"], codes_of(range(1000, 1001)))
        blocks = list(index.blocks(100))
        assert all(0 < len(block) <= 100 for block in blocks)
        kept = [number for number in range(300) if number not in (0, 5, 7, 299)]
        assert together(blocks) == (
            [*(ids[number] for number in kept), ids[5], "last"],
            [*kept, 999, 1000],
            [*(metadata[number] for number in kept), {"new": 1}, {}],
        )
        assert together(list(index.blocks())) == together(blocks)


def test_blocks_are_of_the_moment_of_the_call(tmp_path: Path) -> None:
    ids = list(range(30_000))
    codes = codes_of(range(30_000))
    EmbeddedIndex.build(ids, codes, 16, folder=tmp_path).close()
    with open_index(tmp_path) as reader, open_index(tmp_path) as writer:
        blocks = reader.blocks(1000)
        first = next(blocks)
        writer.delete(ids[500:20_000])
        writer.add([10**6], codes[:1])
        writer.compact()
        assert len(reader) == 30_000 - 19_500 + 1
        found, numbers, _ = together([first, *blocks])
        assert found == ids
        assert numbers == ids
        assert len(together(list(reader.blocks()))[0]) == len(reader)


@pytest.mark.parametrize("kind", ["embedded", "milvus"])
def test_an_empty_index_has_no_blocks(kind: str) -> None:
    with build(kind, [], np.empty((0, 2), np.uint8), None) as index:
        assert list(index.blocks()) == []
        index.add([5], codes_of(range(1)))
        [block] = index.blocks()
        assert block.ids.dtype == np.int64
        assert index.id_kind is IdKind.INTEGER
        index.delete([5])
        assert list(index.blocks()) == []
