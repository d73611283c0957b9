"""Code files: read by another library, refused when damaged, and ids that come twice found."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from modalhash.errors import DamagedArtifactError, InputError, NewerFormatError
from modalhash.files import sealed
from modalhash.index.code_files import (
    CodeFile,
    CodeHead,
    check_one_kind,
    code_file_path,
    code_files,
    ids_twice,
    is_code_folder,
    read_code_file,
    read_code_folder,
    read_code_head,
    write_code_file,
    write_code_folder,
)

SHARD = {"name": "a.parquet", "n_bytes": 7, "mtime_ns": 1, "sha256": "0"}
HEAD = CodeHead(12, "model", SHARD, 0, 0)


def code_file(ids: Any, *, rows: Any = None, head: CodeHead = HEAD) -> CodeFile:
    """Item i has picture code (i, 1) and i % 3 texts of codes (i, 2)."""
    n_items = len(ids)
    counts = np.arange(n_items) % 3
    image = np.stack([np.arange(n_items), np.ones(n_items)], axis=1).astype(np.uint8)
    text = np.stack([np.arange(n_items), np.full(n_items, 2)], axis=1).astype(np.uint8)
    return CodeFile.of(
        head, ids, np.arange(n_items) if rows is None else np.asarray(rows),
        image_codes=image, text_codes=text.repeat(counts, axis=0), text_ends=counts.cumsum(),
    )  # fmt: skip


@pytest.mark.parametrize("ids", [["dog", "Katze", "猫", "a"], [7, -3, 2**63 - 1, 0]])
def test_another_library_reads_what_is_written(tmp_path: Path, ids: list[Any]) -> None:
    safetensors = pytest.importorskip("safetensors", reason="the format's own library")
    from safetensors.numpy import load_file

    path = tmp_path / "a.safetensors"
    head = write_code_file(path, code_file(ids, rows=[0, 2, 3, 9]))
    tensors = load_file(path)
    assert_array_equal(tensors["image_codes"], [[0, 1], [1, 1], [2, 1], [3, 1]])
    assert_array_equal(tensors["text_codes"], [[1, 2], [2, 2], [2, 2]])
    assert_array_equal(tensors["text_ends"], [0, 1, 3, 3])
    assert_array_equal(tensors["item_rows"], [0, 2, 3, 9])
    if isinstance(ids[0], str):
        text = bytes(tensors["id_text"]).decode()
        assert text == "".join(ids)
        assert_array_equal(tensors["id_ends"], np.cumsum([len(one.encode()) for one in ids]))
    else:
        assert tensors["ids"].tolist() == ids
    assert sorted(tensors["id_keys"].tolist()) == tensors["id_keys"].tolist()
    with safetensors.safe_open(path, "np") as file:
        stated = json.loads(file.metadata()["modalhash"])
    assert stated["shard"] == SHARD
    assert (stated["n_items"], stated["n_texts"], stated["n_bits"]) == (4, 3, 12)
    assert stated["id_kind"] == ("text" if isinstance(ids[0], str) else "integer")
    read = read_code_file(path)
    assert read.head == head == read_code_head(path)
    assert read.ids is not None
    assert list(read.ids) == ids
    assert read.text_ids() == [f"{ids[1]}#0", f"{ids[2]}#0", f"{ids[2]}#1"]
    assert_array_equal(read.item_rows, [0, 2, 3, 9])


def test_no_items_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_code_file(path, code_file([]))
    read = read_code_file(path)
    assert (read.ids, read.head.n_items, read.head.id_kind, read.text_ids()) == (None, 0, "", [])
    assert list(ids_twice([path, path])) == []
    assert read_code_head(tmp_path / "none") is None


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_code_file(tmp_path / name, code_file(["x", "y"]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_are_left_out_with_their_texts() -> None:
    file = code_file(["a", "b", "c", "d", "e", "f"]).without([1, 5], ["bad b", "bad f"])
    assert file.ids is not None
    assert list(file.ids) == ["a", "c", "d", "e"]
    assert file.text_ids() == ["c#0", "c#1", "e#0"]
    assert file.image_codes is not None
    assert file.text_codes is not None
    assert file.image_codes[:, 0].tolist() == [0, 2, 3, 4]
    assert file.text_codes[:, 0].tolist() == [2, 2, 4]
    assert file.item_rows.tolist() == [0, 2, 3, 4]
    assert (file.head.n_items, file.head.n_texts, file.head.n_left_out) == (4, 3, 2)
    assert file.head.left_out == ("bad b", "bad f")
    many = file.head.leave_out_rows(["x"] * 1000)
    assert (many.n_left_out, len(many.left_out)) == (1002, 100)
    nothing = file.without([0, 1, 2, 3], ["bad"] * 4)
    assert (nothing.ids, nothing.head.n_items, nothing.head.n_texts) == (None, 0, 0)


ID_LISTS = st.lists(
    st.lists(st.integers(-20, 20), unique=True, max_size=12), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(ID_LISTS, st.booleans(), st.integers(1, 40))
def test_ids_that_come_twice_are_those_counted(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]], texts: bool, window: int
) -> None:
    folder = tmp_path_factory.mktemp("codes")
    paths = [folder / str(number) for number in range(len(lists))]
    expected: dict[Any, list[tuple[int, int, int]]] = defaultdict(list)
    for number, (path, ids) in enumerate(zip(paths, lists, strict=True)):
        known: list[Any] = [f"id {value}" for value in ids] if texts else list(ids)
        rows = [10 * row + 1 for row in range(len(ids))]
        write_code_file(path, code_file(known, rows=rows))
        for item, value in enumerate(known):
            expected[value].append((number, item, 10 * item + 1))
    found = [(one.id, one.places) for one in ids_twice(paths, window=window)]
    assert len(found) == len(dict(found))
    assert dict(found) == {
        value: tuple(places) for value, places in expected.items() if len(places) > 1
    }


def test_texts_with_one_key_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modalhash.index.ids import TextIds

    monkeypatch.setattr(TextIds, "keys", lambda self: np.zeros(len(self), np.uint64))
    for name, ids in (("a", ["x", "y"]), ("b", ["z", "y"])):
        write_code_file(tmp_path / name, code_file(ids))
    (twice,) = ids_twice([tmp_path / "a", tmp_path / "b"])
    assert (twice.id, twice.places) == ("y", ((0, 1, 1), (1, 1, 1)))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: content[:-3], r"it has \d+ bytes, expected \d+"),
        (lambda content: content[:40], "it isn't what `modalhash encode --shards` writes"),
        (lambda content: b"", "it isn't what `modalhash encode --shards` writes"),
        (lambda content: content.replace(b"a.parquet", b"b.parquet"), "its header was changed"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: Any, problem: str) -> None:
    path = tmp_path / "a.safetensors"
    write_code_file(path, code_file(["x", "y"]))
    path.write_bytes(damage(path.read_bytes()))
    end = "; delete it and run the same `modalhash encode` again"
    with pytest.raises(
        DamagedArtifactError, match=re.escape(f"{path} is damaged: ") + problem + end
    ):
        read_code_head(path)


def test_any_flipped_byte_of_the_data_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_code_file(path, code_file(["x", "y", "z"]))
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in range(start, len(content)):
        changed = bytearray(content)
        changed[place] ^= 16
        path.write_bytes(changed)
        with pytest.raises(DamagedArtifactError, match="its content isn't what was written"):
            read_code_file(path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_code_file(path, code_file(["x"]))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    document = json.loads(entries["__metadata__"]["modalhash"])
    entries["__metadata__"]["modalhash"] = json.dumps(sealed(document | {"format": 2}))
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    message = f"{path} has format 2, this version reads up to 1: upgrade modalhash"
    with pytest.raises(NewerFormatError, match=re.escape(message)):
        read_code_head(path)


def test_a_folder_says_which_files_belong_to_it(tmp_path: Path) -> None:
    stated: dict[str, Any] = {"n_bits": 12, "model_fingerprint": "model"}
    assert not is_code_folder(tmp_path)
    write_code_folder(tmp_path, None, **stated)
    assert is_code_folder(tmp_path)
    unfinished = (
        f"{tmp_path} holds the codes of a part of the shards: run the same `modalhash encode` "
        "again until it is done"
    )
    with pytest.raises(InputError, match=re.escape(unfinished)):
        list(code_files(tmp_path))
    heads = []
    for name, ids in (("a.parquet", ["x"]), ("b/c.tar", ["y", "z"])):
        head = replace(HEAD, shard={**SHARD, "name": name})
        path = code_file_path(tmp_path, name)
        heads.append(write_code_file(path, code_file(ids, head=head)))
    write_code_folder(tmp_path, heads, left_out=[("d.tar", "is cut off")], **stated)
    assert [file.head for file in code_files(tmp_path)] == heads
    document = read_code_folder(tmp_path)
    assert [(one["shard"], one["n_items"], one["n_texts"]) for one in document["files"]] == [
        ("a.parquet", 1, 0),
        ("b/c.tar", 2, 1),
    ]
    assert document["left_out"] == [{"shard": "d.tar", "problem": "is cut off"}]
    write_code_file(code_file_path(tmp_path, "a.parquet"), code_file(["other"]))
    with pytest.raises(DamagedArtifactError, match=r"it isn't the one that shards\.json names"):
        list(code_files(tmp_path))
    code_file_path(tmp_path, "a.parquet").unlink()
    lacks = f"{tmp_path} lacks a.parquet.safetensors: run the same `modalhash encode` again"
    with pytest.raises(DamagedArtifactError, match=re.escape(lacks)):
        list(code_files(tmp_path))


def test_ids_are_of_one_kind() -> None:
    texts = code_file(["x"], head=replace(HEAD, shard={**SHARD, "name": "t"})).head
    integers = code_file([1], head=replace(HEAD, shard={**SHARD, "name": "i"})).head
    check_one_kind([texts, code_file([]).head, texts])
    message = "there are text ids in t and integer ids in i: give all shards ids of one kind"
    with pytest.raises(InputError, match=message):
        check_one_kind([texts, integers])
