"""An index folder from somebody else: whatever its files say, the worst is an error of ours."""

import json
import os
import random
import re
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import DamagedArtifactError, InputError, ModalhashError, StorageError
from modalhash.files import sealed, sha256_of_file
from modalhash.index import build_index, open_index, verify_index

CODES = np.random.default_rng(0).integers(0, 256, (200, 2), dtype=np.uint8)
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    "",
    "x",
    "..",
    "../x",
    "/x/y",
    "a\0b",
    [],
    [1],
    {},
    {"a": 1},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index with a segment, deleted rows and a log."""
    place = tmp_path / "index"
    metadata = [{"n": row} for row in range(200)]
    with build_index(
        [f"i{row}" for row in range(200)], CODES, 16, metadata=metadata, folder=place
    ) as index:
        index.delete(["i1"])
        index.checkpoint()
        index.add(["new"], CODES[:1], [{"n": 5}])
    return place


def use(place: Path) -> int:
    """Open an index and ask it everything."""
    with open_index(place) as index:
        index.search(CODES[:3], 10, with_metadata=True)
        index.search_radius(CODES[:3], 4)
        index.select("n > 5")
        index.metadata(index.ids[:5])
        index.contains(["i1", "zz"])
        return len(list(index.blocks()))


def use_or_refuse(place: Path) -> bool:
    """Return whether an index could be used; any other error than ours is raised."""
    try:
        use(place)
    except ModalhashError:
        return False
    return True


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of a JSON document stand."""
    yield path
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of(inner, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON document with another value in one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def reseal(place: Path, document: dict[str, Any]) -> None:
    """Write a manifest with checksums that fit."""
    for segment in document["segments"]:
        for file in segment["files"]:
            path = place / segment["name"] / file["name"]
            file |= {"n_bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    (place / "manifest.json").write_text(json.dumps(sealed(document)))


def test_any_value_of_the_manifest_may_be_odd(folder: Path) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    n_refused, generator = 0, random.Random(0)
    cases = [(path, new) for path in paths_of(document) for new in ODD_VALUES if path]
    for path, new in generator.sample(cases, 350):
        changed = replaced(document, path, new)
        (folder / "manifest.json").write_text(json.dumps(sealed(changed)))
        n_refused += not use_or_refuse(folder)
    assert n_refused > 200


@pytest.mark.parametrize(
    "text",
    [
        '{"format": 1, "format": 2}',
        '{"format": NaN}',
        '{"format": 1e999}',
        '{"format": ' + "9" * 5000 + "}",
        '{"format": true}',
        "[" * 100_000,
        '{"a":' * 3000 + "1" + "}" * 3000,
        "",
        "\0" * 100,
    ],
    ids=range(9),
)
def test_a_manifest_that_is_no_plain_json_is_damage(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DamagedArtifactError, match=re.escape(str(folder / "manifest.json"))):
        open_index(folder)


@pytest.mark.parametrize("name", ["../other/000001", "000001/../000001", "/tmp", ".", "0x"])
def test_a_segment_elsewhere_is_damage(folder: Path, name: str) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    document["segments"][0]["name"] = name
    (folder / "manifest.json").write_text(json.dumps(sealed(document)))
    with pytest.raises(DamagedArtifactError, match="the name of a segment"):
        open_index(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["000001", "000001/codes.npy", "log.000002", "manifest.json"])
def test_a_link_in_place_of_a_file_is_never_followed(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModalhashError, match="it is a link"):
        open_index(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("is_hard", [False, True])
def test_the_lock_file_never_writes_through_a_link(
    folder: Path, tmp_path: Path, is_hard: bool
) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    (folder / "writer.lock").unlink()
    if is_hard:
        os.link(victim, folder / "writer.lock")
    else:
        (folder / "writer.lock").symlink_to(victim)
    with open_index(folder) as index, pytest.raises(StorageError, match=re.escape("writer.lock")):
        index.delete(["i2"])
    assert victim.read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
@pytest.mark.parametrize(
    "name", ["manifest.json", "log.000002", "000001/codes.npy", "000001/items.sqlite"]
)
def test_a_fifo_in_place_of_a_file_does_not_hang(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(StorageError, match="is no regular file"):
        open_index(folder)


@pytest.mark.parametrize(
    "script",
    [
        (
            "CREATE VIEW items AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT x AS number, x AS id, '{}' AS metadata FROM c"
        ),
        "CREATE VIEW items AS SELECT 0 AS number, 'i0' AS id, hex(zeroblob(400000000)) AS metadata",
        (
            "CREATE TABLE items (number INTEGER PRIMARY KEY, id, metadata TEXT NOT NULL);"
            "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END"
        ),
        "CREATE TABLE other (x)",
        "",
    ],
)
def test_metadata_that_are_no_plain_table_are_damage(folder: Path, script: str) -> None:
    path = folder / "000001" / "items.sqlite"
    path.unlink()
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    reseal(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(DamagedArtifactError, match=re.escape("items.sqlite is damaged")):
        open_index(folder)


@pytest.mark.parametrize("document", ["nope", "[1]", "[" * 5000 + "]" * 5000, "{'a': 1}"])
def test_metadata_that_are_no_json_object_are_damage(folder: Path, document: str) -> None:
    path = folder / "000001" / "items.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE items SET metadata = ? WHERE number = 0", (document,))
    connection.commit()
    connection.close()
    reseal(folder, json.loads((folder / "manifest.json").read_text()))
    with open_index(folder) as index, pytest.raises(DamagedArtifactError, match=re.escape("items")):
        index.metadata(["i0"])


@pytest.mark.parametrize(
    ("part", "array"),
    [
        ("codes", np.zeros((200, 2))),
        ("codes", np.zeros((200, 2), np.int8)),
        ("codes", np.asfortranarray(CODES)),
        ("codes", CODES[:, :1]),
        ("id_ends", -np.arange(200)),
        ("id_ends", np.arange(200) * 2**40),
        ("id_ends", np.arange(200) * 1.5),
        ("id_text", np.full(690, 255, np.uint8)),
        ("id_order", np.full(200, 10**9)),
        ("id_order", np.full(200, -5)),
        ("id_keys", np.zeros((200, 2), np.uint64)),
    ],
)
def test_arrays_that_do_not_fit_are_damage(folder: Path, part: str, array: Any) -> None:
    np.save(folder / "000001" / f"{part}.npy", array)
    reseal(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(DamagedArtifactError):
        use(folder)


def test_a_header_that_claims_a_huge_array_takes_no_memory(folder: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (200, 8000000000000), }"
    (folder / "000001" / "codes.npy").write_bytes(
        b"\x93NUMPY\x01\0v\0" + header.ljust(117) + b"\n" + bytes(400)
    )
    reseal(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(DamagedArtifactError, match=re.escape("codes.npy is damaged")):
        open_index(folder)


def body(document: Any, codes: bytes = b"") -> bytes:
    """Return the body of a record."""
    text = json.dumps(document).encode()
    return struct.pack("<I", len(text)) + text + codes


BODIES = [
    b"",
    b"\1",
    b"\xff\xff\xff\xff{}",
    struct.pack("<I", 3) + b"zzz",
    struct.pack("<I", 20_000) + b"[" * 20_000,
    body({}),
    body([]),
    body({"op": "x", "ids": [], "metadata": None}),
    body({"op": ["add"], "ids": [], "metadata": None}),
    body({"op": "delete", "ids": 5, "metadata": None}),
    body({"op": "delete", "ids": [None], "metadata": None}),
    body({"op": "delete", "ids": [2**70], "metadata": None}),
    body({"op": "delete", "ids": [1], "metadata": None}),
    body({"op": "add", "ids": ["a", 1], "metadata": None}, bytes(4)),
    body({"op": "add", "ids": ["a"], "metadata": None}),
    body({"op": "add", "ids": ["a"], "metadata": None}, bytes(5)),
    body({"op": "add", "ids": ["a", "a"], "metadata": None}, bytes(4)),
    body({"op": "add", "ids": ["i2"], "metadata": None}, bytes(2)),
    body({"op": "add", "ids": ["a", "b"], "metadata": ["{}"]}, bytes(4)),
    body({"op": "add", "ids": ["a"], "metadata": [5]}, bytes(2)),
    body({"op": "add", "ids": ["a"], "metadata": "{}"}, bytes(2)),
    body({"op": "add", "ids": ["\ud800"], "metadata": None}, bytes(2)),
]


@pytest.mark.parametrize("content", BODIES, ids=range(len(BODIES)))
def test_a_record_that_no_writer_writes_is_damage(folder: Path, content: bytes) -> None:
    head = struct.pack("<4sIQ", b"mhrc", len(content), 3)
    record = head + struct.pack("<I", zlib.crc32(head)) + content
    with (folder / "log.000002").open("ab") as file:
        file.write(record + struct.pack("<I", zlib.crc32(content)))
    with pytest.raises(DamagedArtifactError, match=re.escape("log.000002 is damaged")):
        open_index(folder)
    with pytest.raises(DamagedArtifactError, match=re.escape("log.000002 is damaged")):
        verify_index(folder)


# --- metadata that SQLite reads otherwise ------------------------------------------------------


@pytest.mark.parametrize("depth", [501, 1500, 100_000])
def test_metadata_nested_too_deep_are_refused_when_they_come(folder: Path, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = {"n": deep}
    with open_index(folder) as index:
        message = (
            "metadata of item 'deep' can't be stored as JSON (it is nested more than 500 deep)"
        )
        with pytest.raises(InputError, match=re.escape(message)):
            index.upsert(["deep"], CODES[:1], [deep])
        listed = [{"n": [[[1]]]}]
        index.upsert(["deep"], CODES[:1], listed)
        assert index.metadata(["deep"]) == listed
        assert len(index.select("n >= 0")) == 200
        index.checkpoint()
        assert len(index.select("n >= 0")) == 200


def test_metadata_as_deep_as_may_be_can_be_filtered(folder: Path) -> None:
    deep: Any = {"n": 7}
    for _ in range(499):
        deep = {"n": deep}
    with open_index(folder) as index:
        index.upsert(["deep"], CODES[:1], [deep])
        index.compact()
        assert index.select("n == 5").tolist() == ["i5", "new"]
        assert index.metadata(["deep"]) == [deep]


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_nul_character_ends_no_text(folder: Path, is_saved: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"t": "a", "l": ["a"]},
        {"t": "a\0b", "l": ["a\0b"]},
        {"t": "a\0", "x\0y": 1},
        {"t": "\0", "x": 2},
    ]
    names = ["plain", "inside", "behind", "alone"]
    with open_index(folder) as index:
        index.upsert(names, CODES[:4], rows)
        if is_saved:
            index.compact()
        for where, expected in (
            ('t == "a"', ["plain"]),
            ('t == "a\0b"', ["inside"]),
            ('t in ("a", "zz")', ["plain"]),
            ('t in ("a\0b", "a\0")', ["inside", "behind"]),
            ('t like "a"', ["plain"]),
            ('t like "a%"', ["plain", "inside", "behind"]),
            ('t like "a\0%"', ["inside", "behind"]),
            ('"a" in l', ["plain"]),
            ('"a\0b" in l', ["inside"]),
            ('t > "a"', ["inside", "behind"]),
            ("not x is null", ["alone"]),
        ):
            assert index.select(where).tolist() == expected, where
        assert index.delete_where('t == "a"') == 1
        assert index.contains(names).tolist() == [False, True, True, True]
