"""Folders of kinds that are no longer built open, answer exactly, and `compact` renews them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from modalhash.codes import Codes
from modalhash.errors import UnknownNameError
from modalhash.files import sealed, sha256_of_file
from modalhash.index import build_index, open_index, repair_index, verify_index
from modalhash.index.embedded import EmbeddedIndex
from tests.oracles.plain_search import plain_search

IDS = [f"i{row}" for row in range(40)]


def codes_of(n_bits: int) -> Codes:
    return np.random.default_rng(n_bits).integers(0, 256, (40, n_bits // 8), dtype=np.uint8)


@pytest.fixture(params=[64, 40])
def n_bits(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def folder(n_bits: int, tmp_path: Path) -> Path:
    """An index as modalhash 0.1.0 wrote one of the kind `hnsw`: a graph beside the codes."""
    place = tmp_path / "index"
    metadata = [{"n": row} for row in range(40)]
    build_index(IDS, codes_of(n_bits), n_bits, metadata=metadata, folder=place).close()
    document = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    segment = document["segments"][0]
    segment["files"] = [file for file in segment["files"] if file["name"] != "wide_codes.npy"]
    (place / segment["name"] / "wide_codes.npy").unlink(missing_ok=True)
    graph = place / segment["name"] / "graph.faiss"
    graph.write_bytes(b"IBHf" + bytes(60))
    record = {"name": graph.name, "n_bytes": 64, "sha256": sha256_of_file(graph)}
    segment["files"].append(record)
    segment |= {
        "searcher": "hnsw",
        "parameters": {
            "recall": 0.9, "n_links": 8, "build_effort": 40, "search_effort": 16,
            "distinct_codes": 40,
        },
    }  # fmt: skip
    document |= {"kind": "hnsw", "parameters": {"n_links": 8, "recall": 0.9}}
    (place / "manifest.json").write_text(json.dumps(sealed(document)), encoding="utf-8")
    return place


def test_the_codes_of_a_graph_are_scanned_and_the_log_says_so(
    folder: Path, n_bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    codes = codes_of(n_bits)
    with caplog.at_level(logging.WARNING), open_index(folder) as index:
        assert isinstance(index, EmbeddedIndex)
        assert (index.kind, dict(index.parameters), index.is_exact) == (
            "auto",
            {"recall": 0.9},
            True,
        )
        hits = index.search(codes[:5], 7, with_metadata=True)
        expected = plain_search(codes[:5], codes, 7)
        pairs = zip(hits.distances.tolist(), hits.ids.tolist(), strict=True)
        assert [list(zip(distances, ids, strict=True)) for distances, ids in pairs] == [
            [(distance, f"i{row}") for distance, row in row_hits] for row_hits in expected
        ]
        assert index.select("n >= 38").tolist() == ["i38", "i39"]
        assert index.searcher_parameters["reason"] == (
            "kind 'hnsw' is no longer built: its codes are scanned until the index is compacted"
        )
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{folder} was made with the kind 'hnsw', which is no longer built: its codes are scanned, "
        "which finds everything; `modalhash compact` makes it an index of the kind 'auto'"
    )
    verify_index(folder)


def test_changes_beside_a_graph_are_kept(folder: Path, n_bits: int) -> None:
    codes = codes_of(n_bits)
    with open_index(folder) as index:
        index.add(["new"], codes[:1], [{"n": 100}])
        index.delete(["i3"])
        index.checkpoint()
    with open_index(folder) as index:
        assert index.ids.tolist() == [*IDS[:3], *IDS[4:], "new"]
        assert index.search(codes[:1], 2).ids.tolist() == [["i0", "new"]]
        np.testing.assert_array_equal(index.reconstruct(["i5"]), codes[5:6])


def test_compacting_removes_the_graph_though_nothing_was_changed(
    folder: Path, n_bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    with open_index(folder) as index:
        index.compact()
    caplog.clear()
    with open_index(folder) as index:
        assert index.ids.tolist() == IDS
        assert index.metadata(["i9"]) == [{"n": 9}]
        assert index.searcher_parameters["reason"] == "40 codes: few enough to scan"
        generation = sorted(path.name for path in folder.iterdir())
        index.compact()  # is compact already
    assert sorted(path.name for path in folder.iterdir()) == generation
    assert not [*folder.rglob("graph.faiss"), *caplog.records]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["kind"], manifest["segments"][0]["searcher"]) == ("auto", "auto")


def test_repairing_a_damaged_graph_loses_no_item(folder: Path) -> None:
    (graph,) = folder.rglob("graph.faiss")
    graph.write_bytes(bytes(64))
    assert repair_index(folder).n_items == 40
    with open_index(folder) as index:
        assert isinstance(index, EmbeddedIndex)
        assert (index.kind, index.ids.tolist()) == ("auto", IDS)


def test_a_retired_kind_is_not_built() -> None:
    with pytest.raises(UnknownNameError, match="unknown kind of index 'hnsw'"):
        build_index(IDS, codes_of(64), 64, kind="hnsw")
