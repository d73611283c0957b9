"""Exports are read back: by the real library where it runs here, else by a plain parser.

Every target is asked for distances, which must be those counted bit by bit, and for the codes
themselves: a Hamming distance doesn't notice that all codes were turned round.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.bridges import bit_strings, hex_strings, sign_vectors, signed_bytes
from modalhash.codes import asymmetric_scores
from modalhash.errors import InputError
from tests.oracles.bridge_codes import (
    METADATA,
    TEXT_IDS,
    bits_of,
    code_of,
    nearest,
    packed,
    sample_index,
    some_bits,
)

INTEGER_IDS = [70, 2**40, 0, 3, 9, 5, 2**62, 11, 12, 13, 14, 15]
WIDTHS = [13, 64]
IDS = [TEXT_IDS, INTEGER_IDS]
Rows = dict[Any, list[int]]


def exported(
    target: str, folder: Path, n_bits: int, ids: list[Any]
) -> tuple[Path, Rows, dict[Any, dict[str, Any]]]:
    """Export the sample index."""
    index, rows, metadata = sample_index(n_bits, ids)
    with index:
        made = mh.export_codes(index, target, folder / target)
    assert made.n_items == len(rows) == len(ids) - 1
    assert sorted(made.files) == sorted(path.name for path in made.folder.iterdir())
    return made.folder, rows, metadata


def keyed_items(folder: Path) -> dict[int, Any]:
    """Return the lines of `items.jsonl` by their keys."""
    lines = (folder / "items.jsonl").read_text("utf-8").splitlines()
    found = {line["key"]: line for line in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found


def check_items(items: dict[int, Any], rows: Rows, metadata: dict[Any, dict[str, Any]]) -> None:
    assert [line["id"] for line in items.values()] == list(rows)
    assert {line["id"]: line["metadata"] for line in items.values()} == metadata
    if isinstance(next(iter(rows)), int):
        assert list(items) == list(rows)
    else:
        assert list(items) == list(range(len(rows)))


def queries(n_bits: int) -> list[list[int]]:
    return some_bits(5, n_bits, seed=8)


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_faiss_reads_its_file(tmp_path: Path, n_bits: int, ids: list[Any]) -> None:
    faiss = pytest.importorskip("faiss")
    folder, rows, metadata = exported("faiss", tmp_path, n_bits, ids)
    items = keyed_items(folder)
    check_items(items, rows, metadata)
    index = faiss.read_index_binary(str(folder / "codes.faiss"))
    assert isinstance(index, faiss.IndexBinaryIDMap2)
    for query in queries(n_bits):
        distances, keys = index.search(np.array([list(code_of(query))], np.uint8), len(rows))
        found = {items[key]["id"]: int(d) for key, d in zip(keys[0], distances[0], strict=True)}
        assert found == nearest(rows, query)
        assert distances[0].tolist() == sorted(found.values())
    for key, line in items.items():
        assert bits_of(bytes(index.reconstruct(key)), n_bits) == rows[line["id"]]
    gone = list(items)[2]
    assert index.remove_ids(np.array([gone])) == 1
    _, keys = index.search(packed([rows[items[gone]["id"]]]), len(rows) - 1)
    assert set(keys[0].tolist()) == set(items) - {gone}


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_usearch_reads_its_file(tmp_path: Path, n_bits: int, ids: list[Any]) -> None:
    usearch = pytest.importorskip("usearch.index")
    folder, rows, metadata = exported("usearch", tmp_path, n_bits, ids)
    items = keyed_items(folder)
    check_items(items, rows, metadata)
    index = usearch.Index.restore(str(folder / "codes.usearch"))
    assert len(index) == len(rows)
    for query in queries(n_bits):
        code = np.array(list(code_of(query)), np.uint8)
        for is_exact in (True, False):
            matches = index.search(code, len(rows), exact=is_exact)
            found = {
                items[int(key)]["id"]: int(distance)
                for key, distance in zip(matches.keys, matches.distances, strict=True)
            }
            assert found == nearest(rows, query)
    for key, line in items.items():
        assert bits_of(bytes(index.get(key)), n_bits) == rows[line["id"]]


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_qdrant_takes_its_points(tmp_path: Path, n_bits: int, ids: list[Any]) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    folder, rows, metadata = exported("qdrant", tmp_path, n_bits, ids)
    body = json.loads((folder / "collection.json").read_text("utf-8"))
    made = qdrant.models.CreateCollection(**body)
    assert made.quantization_config == qdrant.models.BinaryQuantization(
        binary=qdrant.models.BinaryQuantizationConfig(always_ram=True)
    )
    client = qdrant.QdrantClient(":memory:")
    client.create_collection("codes", vectors_config=made.vectors)
    for file in sorted(folder.glob("points-*.json")):
        points = qdrant.models.PointsList(**json.loads(file.read_text("utf-8"))).points
        client.upsert("codes", points)
    assert json.loads((folder / "export.json").read_text("utf-8"))["scorings"] == [
        "hamming", "asymmetric",
    ]  # fmt: skip
    numbers = np.random.default_rng(3).standard_normal(n_bits)
    scored = client.query_points("codes", query=numbers.tolist(), limit=len(rows)).points
    shares = [point.score / np.abs(numbers).sum() for point in scored]
    expected = asymmetric_scores(numbers[None], packed(list(rows.values())), n_bits)[0]
    np.testing.assert_allclose(shares, np.sort(expected)[::-1], atol=2e-3)
    asked = qdrant.models.QueryRequest(**json.loads((folder / "query.json").read_text("utf-8")))
    assert asked.params.exact
    assert asked.query == [-1.0] * n_bits
    for query in queries(n_bits):
        [vector] = sign_vectors(packed([query]), n_bits).tolist()
        hits = client.query_points("codes", vector, limit=99).points  # exact here
        found = {hit.payload["id"]: (n_bits - hit.score) / 2 for hit in hits}
        assert found == nearest(rows, query)
        assert {hit.payload["id"]: hit.payload["metadata"] for hit in hits} == metadata
    for point in client.scroll("codes", limit=99, with_vectors=True)[0]:
        assert [int(x > 0) for x in point.vector] == rows[point.payload["id"]]
        if ids is INTEGER_IDS:
            assert point.id == point.payload["id"]


def read_copy(script: str) -> dict[str, tuple[str, Any]]:
    """Read the rows between COPY and its end as PostgreSQL does, character by character."""
    body = script.partition("FROM STDIN;\n")[2].partition("\n\\.\n")[0]
    letters = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
    found = {}
    for line in body.split("\n"):
        cells = []
        for cell in line.split("\t"):
            text, characters = "", iter(cell)
            for character in characters:
                if character == "\\":
                    escaped = next(characters)
                    text += letters.get(escaped, escaped)
                else:
                    text += character
            cells.append(text)
        value, code, document = cells
        found[value] = (code, json.loads(document))
    return found


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_a_script_for_pgvector_holds_rows_and_index(
    tmp_path: Path, n_bits: int, ids: list[Any]
) -> None:
    folder, rows, metadata = exported("pgvector", tmp_path, n_bits, ids)
    script = (folder / "load.sql").read_text("utf-8")
    found = read_copy(script)
    assert list(found) == [str(value) for value in rows]
    for value, row in rows.items():
        assert found[str(value)] == ("".join(map(str, row)), metadata[value])
    before, after = re.split(r"COPY.*\n\\\.\n", script, flags=re.DOTALL)
    id_type = "text" if ids is TEXT_IDS else "bigint"
    assert before.splitlines()[-7:] == [
        "BEGIN;",
        "CREATE EXTENSION IF NOT EXISTS vector;",
        'CREATE TABLE "codes" (',
        f"    id {id_type} PRIMARY KEY,",
        f"    code bit({n_bits}) NOT NULL,",
        "    metadata jsonb NOT NULL",
        ");",
    ]
    assert after.splitlines() == [
        'CREATE INDEX "codes_code" ON "codes" USING hnsw (code bit_hamming_ops);',
        "COMMIT;",
        'ANALYZE "codes";',
    ]
    query = (folder / "query.sql").read_text("utf-8")
    assert f"ORDER BY code <~> CAST(:'code' AS bit({n_bits}))\nLIMIT 10;\n" in query


def read_bulk(folder: Path, decode: Callable[[Any], bytes]) -> dict[str, tuple[bytes, Any]]:
    """Read bodies of _bulk requests: an action, a document, an action, a document."""
    found = {}
    for file in sorted(folder.glob("bulk-*.ndjson")):
        text = file.read_text("utf-8")
        assert text.endswith("\n")
        lines = text[:-1].split("\n")
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            body = json.loads(document)
            assert body.keys() == {"code", "metadata"}
            [(verb, said)] = json.loads(action).items()
            assert verb == "index"
            found[said["_id"]] = (decode(body["code"]), body["metadata"])
    return found


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
@pytest.mark.parametrize(
    ("target", "decode"),
    [
        ("elasticsearch", bytes.fromhex),
        ("opensearch", lambda code: bytes(byte % 256 for byte in code)),
    ],
)
def test_bulk_bodies_hold_the_codes(
    tmp_path: Path, n_bits: int, ids: list[Any], target: str, decode: Callable[[Any], bytes]
) -> None:
    folder, rows, metadata = exported(target, tmp_path, n_bits, ids)
    found = read_bulk(folder, decode)
    assert list(found) == [str(value) for value in rows]
    for value, row in rows.items():
        code, document = found[str(value)]
        assert bits_of(code, n_bits) == row
        assert document == metadata[value]
        for query in queries(n_bits):  # as the engines count: xor, then the set bits
            distance = sum(
                (one ^ other).bit_count() for one, other in zip(code, code_of(query), strict=True)
            )
            assert distance == nearest(rows, query)[value]


def test_fields_of_elasticsearch_and_opensearch_are_of_whole_bytes(tmp_path: Path) -> None:
    elastic, *_ = exported("elasticsearch", tmp_path, 13, TEXT_IDS)
    field = json.loads((elastic / "index.json").read_text())["mappings"]["properties"]["code"]
    assert field == {
        "type": "dense_vector", "element_type": "bit", "dims": 16, "index": True,
        "similarity": "l2_norm", "index_options": {"type": "hnsw"},
    }  # fmt: skip
    assert json.loads((elastic / "query.json").read_text())["knn"]["query_vector"] == "0000"
    exact = json.loads((elastic / "query-exact.json").read_text())
    assert exact["query"]["script_score"]["script"]["params"] == {"code": [0, 0]}
    open_, *_ = exported("opensearch", tmp_path, 13, TEXT_IDS)
    body = json.loads((open_ / "index.json").read_text())
    assert body["settings"] == {"index": {"knn": True}}
    assert body["mappings"]["properties"]["code"] == {
        "type": "knn_vector", "dimension": 16, "data_type": "binary",
        "method": {"name": "hnsw", "engine": "faiss", "space_type": "hamming"},
    }  # fmt: skip


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_milvus_rows_hold_the_codes(tmp_path: Path, n_bits: int, ids: list[Any]) -> None:
    folder, rows, metadata = exported("milvus", tmp_path, n_bits, ids)
    [file] = folder.glob("rows-*.json")
    found = json.loads(file.read_text("utf-8"))["rows"]
    assert [row["id"] for row in found] == list(rows)
    for row in found:
        assert row.keys() == {"id", "code", "metadata"}
        assert bits_of(bytes(row["code"]), n_bits) == rows[row["id"]]
        assert row["metadata"] == metadata[row["id"]]
    fields = json.loads((folder / "schema.json").read_text())["schema"]["fields"]
    assert [field["fieldName"] for field in fields] == ["id", "code", "metadata"]
    assert fields[1]["elementTypeParams"] == {"dim": 8 * len(code_of([0] * n_bits))}
    assert fields[0]["dataType"] == ("VarChar" if ids is TEXT_IDS else "Int64")


@pytest.mark.parametrize("n_bits", WIDTHS)
@pytest.mark.parametrize("ids", IDS, ids=["texts", "integers"])
def test_an_array_and_its_way_back(tmp_path: Path, n_bits: int, ids: list[Any]) -> None:
    folder, rows, metadata = exported("npy", tmp_path, n_bits, ids)
    codes = np.load(folder / "codes.npy", allow_pickle=False)
    assert [bits_of(bytes(code), n_bits) for code in codes] == list(rows.values())
    check_items(keyed_items(folder), rows, metadata)
    with mh.import_codes(folder, tmp_path / "again") as index:
        assert index.ids.tolist() == list(rows)
        assert index.metadata(index.ids) == list(metadata.values())
        np.testing.assert_array_equal(index.reconstruct(index.ids), codes)
        assert index.model_fingerprint == "abc"
        [query] = queries(n_bits)[:1]
        hits = index.search(packed([query]), len(rows))[0]
        found = dict(zip(hits.ids.tolist(), hits.distances.tolist(), strict=True))
        assert found == nearest(rows, query)


def test_codes_are_spelt_from_bit_0_on() -> None:
    codes = packed([[1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0]])
    assert bit_strings(codes, 11) == ["10000001010"]
    assert hex_strings(codes) == ["8102"]  # bits 0 and 7 are 1 + 128, bit 9 is 2
    assert signed_bytes(codes) == [[0x81 - 256, 2]]
    assert sign_vectors(codes, 11).tolist() == [[1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1]]
    assert sign_vectors(codes, 11).dtype == np.float32


def test_what_an_export_says_of_itself(tmp_path: Path) -> None:
    folder, *_ = exported("elasticsearch", tmp_path, 13, TEXT_IDS)
    said = json.loads((folder / "export.json").read_text("utf-8"))
    files = said.pop("files")
    assert [file["name"] for file in files] == [
        "index.json", "bulk-00000.ndjson", "query.json", "query-exact.json",
    ]  # fmt: skip
    assert all(file["size"] == (folder / file["name"]).stat().st_size for file in files)
    assert said.items() >= {
        "format": 1, "artifact": "modalhash export", "target": "elasticsearch",
        "model_fingerprint": "abc", "n_items": 11, "n_bits": 13, "n_padded_bits": 16,
        "bit_order": "little", "id_kind": "text", "keys": "rows", "name": "codes",
        "distance": "16 * (1 - _score)",
    }.items()  # fmt: skip
    readme = (folder / "README.md").read_text("utf-8")
    assert readme.startswith("# Codes for elasticsearch\n\n11 codes of 13 bits")
    assert "+1, and the 3 last bits are zero." in readme
    assert said["scorings"] == ["hamming"]
    assert "This engine ranks by Hamming distance." in readme


def test_large_exports_are_divided_between_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("qdrant", "bulk_bodies", "milvus_rows"):
        monkeypatch.setattr(f"modalhash.bridges.{module}.PART_BYTES", 300)
    folder, rows, _ = exported("opensearch", tmp_path, 64, TEXT_IDS)
    assert len(list(folder.glob("bulk-*.ndjson"))) > 3
    assert list(read_bulk(folder, lambda code: bytes(byte % 256 for byte in code))) == list(rows)
    for target, name, key in (("qdrant", "points", "points"), ("milvus", "rows", "rows")):
        folder, rows, _ = exported(target, tmp_path, 64, TEXT_IDS)
        files = sorted(folder.glob(f"{name}-*.json"))
        assert len(files) > 3
        found = [row for file in files for row in json.loads(file.read_text("utf-8"))[key]]
        assert len(found) == len(rows)


def test_metadata_may_be_absent(tmp_path: Path) -> None:
    ids = [1, 2, 3, 4, 5, 6]
    index, rows, _ = sample_index(16, ids)
    with index:
        mh.export_codes(index, "npy", tmp_path / "npy")
    assert len(METADATA) > len(ids) > len(rows)


@pytest.mark.parametrize("target", ["faiss", "usearch", "qdrant"])
def test_negative_ids_are_no_keys_but_rows_are(tmp_path: Path, target: str) -> None:
    pytest.importorskip("usearch")
    ids = [-5, 1, 2, 3, 4, 5]
    index, rows, _ = sample_index(16, ids)
    with index:
        message = (
            "the id -5 can't be a key there, which are integers from 0: number the items with "
            "--keys rows, the ids then stand in the file beside"
        )
        with pytest.raises(InputError, match=re.escape(message)):
            mh.export_codes(index, target, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
        mh.export_codes(index, target, tmp_path / "out", keys="rows")
    if target != "qdrant":
        assert {key: line["id"] for key, line in keyed_items(tmp_path / "out").items()} == dict(
            enumerate(rows)
        )
