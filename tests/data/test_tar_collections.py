"""Tars as collections: in folders, compressed, by pattern, with fields and members of any name."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modalhash.data import check_collection, load_collection
from modalhash.data.path_patterns import expand_braces, expand_pattern
from modalhash.data.shards import find_shards
from modalhash.errors import InputError
from tests.oracles import table_layouts as tables
from tests.oracles.official_layouts import N_ITEMS, text_of
from tests.oracles.table_layouts import picture_bytes


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    is_packed = path.name.endswith(("gz", "GZ"))
    path.write_bytes(gzip.compress(content.getvalue()) if is_packed else content.getvalue())


def pair(folder: Path, key: str, item: int, **fields: object) -> dict[str, bytes]:
    document = {"caption": text_of(item), "key": key, "status": "success", **fields}
    return {
        f"{key}.jpg": picture_bytes(folder, item),
        f"{key}.json": json.dumps(document).encode(),
        f"{key}.txt": text_of(item).encode(),
    }


def test_tars_in_folders_compressed_and_divided(tmp_path: Path) -> None:
    write_tar(tmp_path / "train" / "00000.tar", pair(tmp_path, "0", 0, width=32))
    write_tar(tmp_path / "train" / "00001.tar.gz", pair(tmp_path, "1", 1, width=33))
    write_tar(tmp_path / "val" / "00000.TGZ", pair(tmp_path, "0", 2, width=34))
    collection = load_collection(f"webdataset:{tmp_path}")
    assert collection.item_ids == ("train/0", "train/1", "val/0")
    assert collection.captions == (text_of(0), text_of(1), text_of(2))
    assert collection.metadata == {"width": (32, 33, 34)}
    assert {split: items.tolist() for split, items in collection.splits.items()} == {
        "train": [0, 1], "dev": [2]
    }  # fmt: skip
    assert collection.pictures is not None
    reds = []
    for place in (2, 1, 0, 1):
        pixel = collection.pictures.open(place).getpixel((16, 16))
        assert isinstance(pixel, tuple)
        reds.append(pixel[0])
    expected = [20, 130, 60, 130]
    assert all(abs(red - want) < 12 for red, want in zip(reds, expected, strict=True))


def test_a_pattern_names_tars(tmp_path: Path) -> None:
    for number in range(4):
        write_tar(tmp_path / f"{number:05d}.tar", pair(tmp_path, str(number), number))
    collection = load_collection(f"webdataset:{tmp_path}/{{00001..00003}}.tar")
    assert collection.item_ids == ("1", "2", "3")
    report = check_collection(f"webdataset:{tmp_path}/{{00003..00005}}.tar")
    assert [defect.kind for defect in report.defects] == ["unreadable-file", "unreadable-file"]
    assert report.defects[0].where == f"{tmp_path}/00004.tar"


def test_members_and_fields_have_any_name(tmp_path: Path) -> None:
    picture = picture_bytes(tmp_path, 0)
    members = {
        "a.left.jpg": picture,
        "a.prompt": b"one\ntwo",
        "a.json": json.dumps({"TEXT": ["three", "four"], "n": 5}).encode(),
    }
    write_tar(tmp_path / "t.tar", members)
    given = "image=left.jpg,caption=prompt"
    assert load_collection(f"webdataset:{tmp_path / 't.tar'}#{given}").captions == ("one", "two")
    given = "image=left.jpg,caption=TEXT"
    collection = load_collection(f"webdataset:{tmp_path / 't.tar'}#{given}")
    assert collection.captions == ("three", "four")
    assert collection.metadata == {"n": (5,)}


def test_a_damaged_compressed_tar_is_an_error_of_ours(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar.gz", pair(tmp_path, "0", 0))
    whole = (tmp_path / "t.tar.gz").read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 4):
        (tmp_path / "t.tar.gz").write_bytes(whole[:length])
        kinds = [
            one.kind for one in check_collection(f"webdataset:{tmp_path / 't.tar.gz'}").defects
        ]
        assert kinds == ["unreadable-file", "no-items"]


def test_a_tar_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODALHASH_MAX_EXPANDED_GB", "0.001")
    (tmp_path / "t.tar.gz").write_bytes(gzip.compress(bytes(1 << 23)))
    defects = check_collection(f"webdataset:{tmp_path / 't.tar.gz'}").defects
    assert [one.kind for one in defects] == ["too-large-array", "no-items"]


def test_files_of_img2dataset(tmp_path: Path) -> None:
    tables.write_img2dataset_files(tmp_path)
    collection = load_collection(f"text-files:{tmp_path}")
    assert collection.n_items == N_ITEMS
    assert collection.metadata["width"] == (32,) * N_ITEMS
    first = tmp_path / "00000" / "000000000.txt"
    first.write_text("one\n\ntwo\n", encoding="utf-8-sig")
    (tmp_path / "00000" / "000000001.txt").unlink()
    (tmp_path / "00000" / "000000001.json").write_text("{")
    report = check_collection(f"text-files:{tmp_path}")
    assert report.n_captions == N_ITEMS
    assert [(defect.kind, defect.items) for defect in report.defects] == [
        ("unreadable-file", ("00000/000000001.jpg",))
    ]
    (tmp_path / "00000" / "000000001.json").unlink()
    report = check_collection(f"text-files:{tmp_path}")
    assert report.notes == (f"{tmp_path}: 1 pictures without a text are left out",)


def test_another_field_of_the_files_json_is_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.json").write_text(json.dumps({"prompt": ["one", "two"], "n": 1}))
    report = check_collection(f"text-files:{tmp_path}#caption=prompt")
    assert (report.n_items, report.n_captions) == (1, 2)


def describe(path: Path) -> None:
    rows = [{"key": "0", "status": "success", "url": "http://host.example/0", "caption": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_tables_that_describe_tars_or_folders_are_no_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", pair(tmp_path, "0", 0))
    write_tar(tmp_path / "deep" / "00001.tar.gz", pair(tmp_path, "1", 1))
    describe(tmp_path / "00000.parquet")
    describe(tmp_path / "deep" / "00001.parquet")
    describe(tmp_path / "deep" / "00002.parquet")
    names = [shard.name for shard in find_shards(tmp_path)]
    assert names == ["00000.tar", "deep/00001.tar.gz", "deep/00002.parquet"]
    names = [shard.name for shard in find_shards(f"{tmp_path}/{{00000,00009}}.{{tar,parquet}}")]
    assert names == ["00000.tar"]


def test_a_folder_of_files_is_told_to_be_a_collection(tmp_path: Path) -> None:
    tables.write_img2dataset_files(tmp_path)
    with pytest.raises(InputError) as raised:
        find_shards(tmp_path)
    assert f"which are a collection: text-files:{tmp_path}, without --shards" in str(raised.value)


def test_braces() -> None:
    assert expand_braces("{8..10}") == ["8", "9", "10"]
    assert expand_braces("{08..10}{a,b}") == ["08a", "08b", "09a", "09b", "10a", "10b"]
    assert expand_braces("{3..1}") == ["3", "2", "1"]
    assert expand_braces("{a}") == ["{a}"]
    with pytest.raises(InputError, match="names more than 10,000,000 files"):
        expand_braces("{0..99999999999}")


def test_system_folders_trash_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in (
        "a.jpg", "@eaDir/a.jpg", ".trash/b.jpg", "sub/.hidden.jpg", "sub/c.jpg", "Thumbs.db",
        "$RECYCLE.BIN/d.jpg", "__MACOSX/a.jpg", ".Trash-1000/files/e.jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    root, files = expand_pattern(tmp_path)
    assert [file.relative_to(root).as_posix() for file in files] == ["a.jpg", "sub/c.jpg"]


def test_shards_have_columns_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--columns names columns of a collection, and shards"):
        find_shards(f"{tmp_path}#image=a,caption=b")
