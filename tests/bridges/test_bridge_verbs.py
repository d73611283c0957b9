"""Where codes come from and go to, what is refused, and that nothing is left half done."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.bridges import TARGETS
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    MissingExtraError,
    ModalhashError,
    ShapeError,
    StorageError,
    UnknownNameError,
)
from modalhash.index import build_index, open_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.milvus import MilvusIndex
from tests.oracles.bridge_codes import bits_of, packed, sample_index, some_bits
from tests.oracles.command_line import CommandLine
from tests.oracles.fake_milvus import FakeMilvus


def ids_in(folder: Path) -> list[Any]:
    lines = (folder / "items.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["id"] for line in lines]


def small_index(folder: Path, ids: list[Any]) -> Path:
    build_index(ids, packed(some_bits(len(ids), 16)), 16, folder=folder).close()
    return folder


# --- sources ------------------------------------------------------------------------------------


def test_both_sides_of_a_search_index(scene_index: Path, tmp_path: Path) -> None:
    images = mh.export_codes(scene_index, "npy", tmp_path / "images")
    texts = mh.export_codes(scene_index, "npy", tmp_path / "texts", side="texts")
    assert (images.n_items, texts.n_items, images.n_bits) == (60, 300, 12)
    for side in ("images", "texts"):
        with open_index(scene_index / side) as index:
            assert ids_in(tmp_path / side) == index.ids.tolist()
            codes = np.load(tmp_path / side / "codes.npy", allow_pickle=False)
            np.testing.assert_array_equal(codes, index.reconstruct(index.ids))
    first = json.loads((tmp_path / "texts" / "items.jsonl").read_text("utf-8").split("\n")[0])
    assert first["metadata"]["item"] == ids_in(tmp_path / "images")[0]


@pytest.mark.usefixtures("tiny_encoder", "own_cache")
def test_a_folder_of_codes(scene_run: Path, tmp_path: Path) -> None:
    mh.encode(scene_run, "scenes:60", tmp_path / "codes", split="test")
    said = json.loads((tmp_path / "codes" / "codes.json").read_text("utf-8"))
    for side, modality in (("images", "image"), ("texts", "text")):
        made = mh.export_codes(tmp_path / "codes", "npy", tmp_path / side, side=side)
        assert ids_in(made.folder) == said[f"{modality}_ids"]
        np.testing.assert_array_equal(
            np.load(made.folder / "codes.npy", allow_pickle=False),
            np.load(tmp_path / "codes" / f"{modality}_codes.npy", allow_pickle=False),
        )
        with mh.import_codes(tmp_path / "codes", tmp_path / f"{side}.index", side=side) as index:
            assert index.ids.tolist() == said[f"{modality}_ids"]
            assert index.model_fingerprint == said["model_fingerprint"]
            if side == "texts":
                owner = said["image_ids"][said["text_images"][7]]
                assert index.metadata(index.ids[7:8]) == [{"item": owner}]
    (tmp_path / "codes" / "image_codes.npy").write_bytes(b"no array")
    with pytest.raises(DamagedArtifactError, match=r"image_codes\.npy is damaged: "):
        mh.export_codes(tmp_path / "codes", "npy", tmp_path / "again")
    np.save(tmp_path / "codes" / "image_codes.npy", np.zeros((5, 2), np.uint8))
    message = "has 5 codes of images, its codes.json names 6: encode again"
    with pytest.raises(DamagedArtifactError, match=re.escape(message)):
        mh.export_codes(tmp_path / "codes", "npy", tmp_path / "again")


def test_an_index_on_a_server(tmp_path: Path) -> None:
    rows = some_bits(5, 16)
    ids = ["a", "b", "c", "d", "e"]
    index = MilvusIndex.build(
        ids, packed(rows), 16, url="http://nowhere:1", client=FakeMilvus(),
        metadata=[{"n": n} for n in range(5)],
    )  # fmt: skip
    index.delete(["b"])
    mh.export_codes(index, "faiss", tmp_path / "out")
    assert ids_in(tmp_path / "out") == ["a", "c", "d", "e"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    index, *_ = sample_index(16)
    with index:
        mh.export_codes(
            index, "npy", tmp_path / "out",
            progress=lambda stage, done, total, values=None: told.append((stage, done, total)),
        )  # fmt: skip
    assert told[-1] == ("export", 11, 11)


# --- codes of other programs ----------------------------------------------------------------------


def test_packed_codes_of_either_order_and_signs_are_one_index(tmp_path: Path) -> None:
    rows = some_bits(6, 13)
    bits = np.array(rows, np.uint8)
    np.save(tmp_path / "little.npy", packed(rows))
    np.save(tmp_path / "big.npy", np.packbits(bits, axis=1))
    np.save(tmp_path / "signs.npy", bits.astype(np.int8) * 2 - 1)
    (tmp_path / "ids.txt").write_text("a\nb c\n\nd\ne\n007\n", encoding="utf-8")
    made = {
        "little": mh.import_codes(tmp_path / "little.npy", tmp_path / "1", n_bits=13),
        "big": mh.import_codes(tmp_path / "big.npy", tmp_path / "2", n_bits=13, bit_order="big"),
        "signs": mh.import_codes(tmp_path / "signs.npy", tmp_path / "3"),
        "array": mh.import_codes(bits, tmp_path / "4", ids=tmp_path / "ids.txt"),
    }
    for name, index in made.items():
        with index:
            codes = index.reconstruct(index.ids)
            assert [bits_of(bytes(code), 13) for code in codes] == rows, name
            wanted = ["a", "b c", "", "d", "e", "007"] if name == "array" else list(range(6))
            assert index.ids.tolist() == wanted


def test_ids_and_metadata_from_files(tmp_path: Path) -> None:
    bits = np.array(some_bits(3, 16))
    np.save(tmp_path / "ids.npy", np.array([30, 10, 20]))
    np.save(tmp_path / "names.npy", np.array(["x", "y", "zz"]))
    lines = '{"year": 2020}\n{"tag": "a\u2028b"}\n{}\n'
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    with mh.import_codes(
        bits, tmp_path / "1", ids=tmp_path / "ids.npy", metadata=tmp_path / "items.jsonl"
    ) as index:
        assert index.ids.tolist() == [30, 10, 20]
        assert index.metadata([10, 20, 30]) == [{"tag": "a\u2028b"}, {}, {"year": 2020}]
        assert index.search(packed([[0] * 16]), 9, where="year >= 2020").ids.tolist() == [[30]]
    with mh.import_codes(bits, tmp_path / "2", ids=tmp_path / "names.npy") as index:
        assert index.ids.tolist() == ["x", "y", "zz"]
    with mh.import_codes(bits, tmp_path / "3", ids=[5, 6, 7], metadata=[{}, {}, {"a": 1}]) as index:
        assert index.metadata([7]) == [{"a": 1}]


# --- refusals -------------------------------------------------------------------------------------


def test_an_output_that_is_taken(tmp_path: Path) -> None:
    source = small_index(tmp_path / "a.index", ["a", "b"])
    mh.export_codes(source, "npy", tmp_path / "out")
    message = f"{tmp_path / 'out'} exists already: replace it with --overwrite"
    with pytest.raises(InputError, match=re.escape(message)):
        mh.export_codes(source, "npy", tmp_path / "out")
    mh.export_codes(source, "faiss", tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "codes.npy").exists()
    message = "exists already and holds something else: choose another folder"
    with pytest.raises(InputError, match=message):
        mh.export_codes(source, "npy", source, overwrite=True)
    with pytest.raises(InputError, match=message):
        mh.import_codes([[1, 0], [0, 1]], tmp_path / "out", overwrite=True)
    mh.import_codes([[1, 0], [0, 1]], source, overwrite=True).close()
    with open_index(source) as index:
        assert index.n_bits == 2
    with pytest.raises(InputError, match="exists already: replace it with --overwrite"):
        mh.import_codes([[1, 0], [0, 1]], source)
    (tmp_path / "empty").mkdir()
    mh.export_codes(source, "npy", tmp_path / "empty")


def test_a_search_index_is_never_replaced_by_codes(scene_index: Path) -> None:
    with pytest.raises(InputError, match="holds something else"):
        mh.import_codes([[1, 0]], scene_index, overwrite=True)


def test_what_cannot_be_exported_is_named(scene_index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = small_index(tmp_path / "a.index", ["a", "b"])
    with pytest.raises(UnknownNameError) as unknown:
        mh.export_codes(source, "fais", out)
    assert str(unknown.value) == (
        "unknown target 'fais': did you mean 'faiss'? Known: elasticsearch, faiss, milvus, npy, "
        "opensearch, pgvector, qdrant, usearch"
    )
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (source, {"side": "texts"}, f"side is 'texts', but the codes are from {source}, an index"),
        (scene_index, {"side": "videos"}, "side is 'videos', "),
        (source, {"name": 'x"; DROP TABLE y'}, "name is 'x\"; DROP TABLE y', expected a lower-"),
        (source, {"keys": "ids"}, "keys is 'ids', but the ids are texts: number the items"),
        (source, {"keys": "names"}, "keys is 'names', expected ids or rows"),
        (tmp_path / "nothing", {}, "is neither an index folder nor one of codes: give what"),
        (source / "manifest.json", {}, "is a file: make an index of its codes first, with"),
    ]
    for given, options, message in refused:
        with pytest.raises(InputError, match=re.escape(message)):
            mh.export_codes(given, "npy", out, **options)
    with EmbeddedIndex(8) as empty, pytest.raises(InputError, match="has no items to export"):
        mh.export_codes(empty, "npy", out)
    with EmbeddedIndex(8) as empty, pytest.raises(InputError, match="side is 'images', but the"):
        mh.export_codes(empty, "npy", out, side="images")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.index"]


def test_what_a_target_cannot_store_is_named(tmp_path: Path) -> None:
    rows = packed(some_bits(2, 16))
    refused: list[tuple[str, Any, dict[str, Any], str]] = [
        ("pgvector", "a\0b", {}, "item 'a\\x00b' has a NUL character in its id or metadata"),
        ("pgvector", "a", {"x": [{"y\0": 1}]}, "item 'a' has a NUL character"),
        ("milvus", "a" * 65_536, {}, f"id of item '{'a' * 40}' has 65536 bytes, Milvus stores"),
        ("milvus", "a", {"x": "y" * 65_536}, "metadata of item 'a' has 65544 bytes, Milvus"),
        ("elasticsearch", "", {}, "the id '' has 0 bytes, an _id has 1 to 512"),
        ("opensearch", "犬" * 171, {}, "has 513 bytes, an _id has 1 to 512"),
    ]
    for number, (target, value, metadata, message) in enumerate(refused):
        index = build_index(["first", value], rows, 16, metadata=[{}, metadata])
        with index, pytest.raises(InputError, match=re.escape(message)):
            mh.export_codes(index, target, tmp_path / str(number))
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "usearch", None)
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    index, *_ = sample_index(16)
    message = "an export to USearch needs the package 'usearch.index': pip install "
    with index, pytest.raises(MissingExtraError, match=re.escape(message)):
        mh.export_codes(index, "usearch", tmp_path / "out")


@pytest.mark.parametrize("target", TARGETS)
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    pytest.importorskip("usearch")
    index, *_ = sample_index(16)
    mh.export_codes(index, target, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with index, pytest.raises(StorageError, match="No space left"):
        mh.export_codes(index, target, tmp_path / "out", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    out, bits = tmp_path / "out", [[1, 0], [0, 1]]
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n[2]\n')
    (tmp_path / "worse.jsonl").write_text('{"a": 1}\n\n{"a": \n')
    (tmp_path / "deep.jsonl").write_text('{"a": 1}\n' + "[" * 100_000)
    (tmp_path / "latin.txt").write_bytes(b"\xff\n")
    (tmp_path / "some").mkdir()
    np.save(tmp_path / "codes.npy", np.full((2, 2), 200, np.uint8))
    mh.export_codes(small_index(tmp_path / "a.index", [1, 2]), "faiss", tmp_path / "faiss")
    refused: list[tuple[Any, dict[str, Any], type[ModalhashError], str]] = [
        (tmp_path / "no.npy", {}, InputError, f"codes: there is no file {tmp_path / 'no.npy'}"),
        (tmp_path / "codes.npy", {}, InputError, "codes is packed, 2 bytes a row, which hold 9 to"),
        (bits, {"ids": ["a", "a"]}, InputError, "ids holds 'a' more than once"),
        (bits, {"ids": ["a"]}, ShapeError, "1 ids for 2 codes: each item has one of both"),
        (bits, {"metadata": [{}]}, ShapeError, "metadata has 1 mappings for 2 items"),
        (bits, {"metadata": tmp_path / "bad.jsonl"}, InputError,
         f"{tmp_path / 'bad.jsonl'}:2: expected a JSON object, got [2]"),
        (bits, {"metadata": tmp_path / "deep.jsonl"}, InputError,
         f"{tmp_path / 'deep.jsonl'}:2: expected a JSON object: maximum recursion depth exceeded"),
        (bits, {"metadata": tmp_path / "worse.jsonl"}, InputError, "worse.jsonl:3: expected"),
        (bits, {"ids": tmp_path / "latin.txt"}, InputError, "latin.txt isn't UTF-8: "),
        (bits, {"ids": tmp_path / "no.txt"}, InputError, "ids: there is no file"),
        (bits, {"side": "images"}, InputError, "side is 'images', but "),
        (bits, {"kind": "flatt"}, UnknownNameError, "unknown kind of index 'flatt'"),
        (tmp_path / "some", {}, ArtifactError, "is no folder of codes: give a file of codes, or"),
        (tmp_path / "some", {"n_bits": 4}, InputError, "n_bits is given, but "),
        (tmp_path / "faiss", {}, ArtifactError, "is an export to faiss: only those to npy are"),
    ]  # fmt: skip
    for given, options, kind, message in refused:
        with pytest.raises(kind, match=re.escape(message)):
            mh.import_codes(given, out, **options)
        assert not out.exists(), message
    mh.export_codes(tmp_path / "a.index", "npy", tmp_path / "npy")
    (tmp_path / "npy" / "items.jsonl").write_text('{"id": 1, "metadata": {}}\n')
    message = "has 2 codes and 1 items in items.jsonl: export again"
    with pytest.raises(DamagedArtifactError, match=message):
        mh.import_codes(tmp_path / "npy", out)


# --- the command line -----------------------------------------------------------------------------


def test_the_commands(modalhash: CommandLine, tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.packbits(np.array(some_bits(4, 16)), axis=1))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    made = modalhash(
        "import", tmp_path / "codes.npy", "--bits", "16", "--bit-order", "big",
        "--ids", tmp_path / "ids.txt", "-o", tmp_path / "codes.index",
    )  # fmt: skip
    assert (made.code, made.out) == (0, f"4 codes of 16 bits in {tmp_path / 'codes.index'}\n")
    for target in ("pgvector", "npy"):
        ended = modalhash("export", tmp_path / "codes.index", target, "-o", tmp_path / target)
        assert ended.code == 0
        assert ended.out == (
            f"4 codes of 16 bits for {target} in {tmp_path / target}; README.md there says how to "
            "load them\n"
        )
    codes = np.load(tmp_path / "npy" / "codes.npy", allow_pickle=False)
    assert [bits_of(bytes(code), 16) for code in codes] == some_bits(4, 16)
    again = modalhash("export", tmp_path / "codes.index", "npy", "-o", tmp_path / "npy")
    assert again.code == 1
    assert "exists already: replace it with --overwrite" in again.err
    form = modalhash("export", tmp_path / "codes.index", "--format", "faiss")
    assert form.code == 2
    assert "go without --format: modalhash export SOURCE faiss -o FOLDER" in form.err
    unknown = modalhash("export", tmp_path / "codes.index", "solr", "-o", tmp_path / "x")
    assert unknown.code == 1
    assert "unknown target 'solr'" in unknown.err


def test_a_folder_whose_manifest_is_nested_too_deep_is_not_overwritten(tmp_path: Path) -> None:
    index = small_index(tmp_path / "a.index", [1, 2])
    folder = tmp_path / "deep"
    folder.mkdir()
    for name in ("manifest.json", "export.json"):
        (folder / name).write_text('{"a": ' + "[" * 100_000)
    message = f"{folder} exists already and holds something else: choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.export_codes(index, "faiss", folder, overwrite=True)
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.import_codes(np.eye(8), output=folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2
