"""The index on a real Milvus server.

The wheel `milvus` is started for it, or the server at MODALHASH_TEST_MILVUS_URL is asked.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.codes import Codes
from modalhash.index import build_index, open_index
from modalhash.index.filters import parse_filter
from tests.oracles.plain_filter import plain_holds

pytestmark = pytest.mark.slow

SERVER = """
import sys, time
from milvus import MilvusServer
server = MilvusServer()
server.set_base_dir(sys.argv[1])
server.start()
print(server.listen_port, flush=True)
sys.stdin.read()
server.stop()
"""
PATIENT = {"timeout": 120.0, "patience": 300.0}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("pymilvus")
    if given := os.environ.get("MODALHASH_TEST_MILVUS_URL"):
        yield given
        return
    pytest.importorskip("milvus")
    folder = tmp_path_factory.mktemp("milvus")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert port, "the server didn't start"
        yield f"http://127.0.0.1:{port}"
        assert server.stdin is not None
        server.stdin.close()


def random_codes(n: int, seed: int) -> Codes:
    generator = np.random.default_rng(seed)
    distinct = generator.integers(0, 2, (40, 13), dtype=np.uint8)
    return np.packbits(distinct[generator.integers(0, 40, n)], axis=1, bitorder="little")


VALUES: list[Any] = [None, True, 0, 7.5, "a", 'q"u', "犬", ["a", 1, 1.0, True], [], {"b": 1}, 2**70]
FILTERS = [
    "a == true", "a != true", "a < true", "a >= 0", "not a >= 0", 'a == "q\\"u"', 'a > "a"',
    'a in ("a", 7.5, true)', '"a" in a', "1 in a", "1 not in a", "a is null", "a is not null",
    "a.b == 1", 'a like "a%"', 'a like "%u"', 'not a like "_"', "row >= 10 and row < 14",
]  # fmt: skip


def test_a_real_server_answers_as_the_embedded_index(url: str, tmp_path: Path) -> None:
    codes = random_codes(300, 1)
    ids: list[Any] = [f'{row} "犬"\\' for row in range(300)]
    metadata = [{"row": row, "a": VALUES[row % len(VALUES)]} for row in range(300)]
    given: dict[str, Any] = {"metadata": metadata, "model_fingerprint": "abc"}
    plain = build_index(ids, codes, 13, kind="exact", **given)
    build_index(
        ids, codes, 13, kind="milvus", parameters={"url": url, **PATIENT},
        folder=tmp_path, **given,
    ).close()  # fmt: skip
    with open_index(tmp_path, expect_model="abc") as index:
        for step in range(2):
            assert len(index) == len(plain)
            assert index.ids.tolist() == plain.ids.tolist()
            for where in (None, "row < 40", 'a like "%u"'):
                one = index.search(codes[:5], 20, where, with_metadata=True)
                other = plain.search(codes[:5], 20, where, with_metadata=True)
                np.testing.assert_array_equal(one.distances, other.distances)
                np.testing.assert_array_equal(one.ids, other.ids)
                assert one.metadata == other.metadata
                near = index.search_radius(codes[:5], 2, where)
                np.testing.assert_array_equal(
                    near.ids, plain.search_radius(codes[:5], 2, where).ids
                )
            if not step:
                for changed in (index, plain):
                    changed.delete(ids[50:80])
                    changed.upsert(ids[:3], codes[7:10], [{"row": 1000}] * 3)
        rows = dict(zip(plain.ids, plain.metadata(plain.ids), strict=True))
        for where in FILTERS:
            tree = parse_filter(where)
            expected = [one for one, found in rows.items() if plain_holds(tree, found)]
            assert index.select(where).tolist() == expected, where
        np.testing.assert_array_equal(index.reconstruct(ids[90:95]), codes[90:95])
        index.discard()
