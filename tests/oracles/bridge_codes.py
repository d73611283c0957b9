"""Codes whose bits tell their order, and what a search over them must answer."""

from typing import Any

import numpy as np

from modalhash.codes import Codes
from modalhash.index.embedded import EmbeddedIndex

__all__ = [
    "METADATA",
    "TEXT_IDS",
    "bits_of",
    "code_of",
    "nearest",
    "packed",
    "sample_index",
    "some_bits",
]

TEXT_IDS = [
    "plain", "two\twords", "back\\slash", 'quo"te', "it's", "line\nbreak", "犬", r"\.", r"\N",
    "a,b", "{}", "7",
]  # fmt: skip
METADATA: list[dict[str, Any]] = [
    {}, {"year": 2020, "tag": "dog"}, {"path": "c:\\x\ty", "list": [1, "a", None]},
    {"quote": "it's \"so\""}, {"deep": {"er": 1.5}}, {"text": "two\nlines \\."},
    {"犬": "ü"}, {"no": None}, {"yes": True}, {}, {"n": -1}, {},
]  # fmt: skip


def some_bits(n: int, n_bits: int, seed: int = 0) -> list[list[int]]:
    """Return distinct codes as lists of bits; the first has bit 0 alone, the second bit 1."""
    generator = np.random.default_rng(seed)
    rows = [[int(bit == place) for bit in range(n_bits)] for place in range(2)]
    while len(rows) < n:
        row = generator.integers(0, 2, n_bits).tolist()
        if row not in rows:
            rows.append(row)
    return rows


def code_of(bits: list[int]) -> bytes:
    """Pack bits one by one: bit j is bit j % 8 of byte j // 8, from the low end."""
    packed = bytearray(-(-len(bits) // 8))
    for place, bit in enumerate(bits):
        packed[place // 8] |= bit << place % 8
    return bytes(packed)


def bits_of(code: bytes, n_bits: int) -> list[int]:
    """Undo `code_of`; what is left over must be zero."""
    bits = [code[place // 8] >> place % 8 & 1 for place in range(8 * len(code))]
    assert not any(bits[n_bits:])
    return bits[:n_bits]


def packed(rows: list[list[int]]) -> Codes:
    """Return bits as an array of codes."""
    return np.array([list(code_of(row)) for row in rows], np.uint8)


def nearest(rows: dict[Any, list[int]], query: list[int]) -> dict[Any, int]:
    """Return the distance of each id, counted bit by bit."""
    return {
        value: sum(one != other for one, other in zip(row, query, strict=True))
        for value, row in rows.items()
    }


def sample_index(
    n_bits: int, ids: list[Any] = TEXT_IDS
) -> tuple[EmbeddedIndex, dict[Any, list[int]], dict[Any, dict[str, Any]]]:
    """Return an index with an item deleted and one replaced, its codes and its metadata."""
    rows = some_bits(len(ids), n_bits)
    index = EmbeddedIndex.build(
        ids, packed(rows), n_bits, metadata=METADATA[: len(ids)], model_fingerprint="abc"
    )
    index.delete(ids[3:4])
    new = [1 - bit for bit in rows[5]]
    index.upsert(ids[5:6], packed([new]), [METADATA[5]])
    codes = dict(zip(ids, rows, strict=True))
    metadata = dict(zip(ids, METADATA, strict=False))
    for place in (3, 5):
        del codes[ids[place]], metadata[ids[place]]
    codes[ids[5]], metadata[ids[5]] = new, METADATA[5]  # comes last
    return index, codes, metadata
