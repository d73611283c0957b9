"""Texts in tars: their encoding, their lines, and names that come twice."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from modalhash.data import check_collection, load_collection
from modalhash.data.shard_opening import open_shard
from modalhash.data.shards import BadRow, Shard, ShardRow
from modalhash.errors import Defect


def picture(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def write_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def rows_of(path: Path) -> list[ShardRow | BadRow]:
    return list(open_shard(Shard(path, path.name), {"image": None, "text": None}).rows())


def defects_of(path: Path) -> tuple[Defect, ...]:
    return check_collection(f"webdataset:{path}").defects


FIVE = b"a dog\na dog runs\n\nbrown dog\r\nit runs\nfast dog\n"


def test_each_line_of_a_text_is_a_caption(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", ("0.jpg", picture()), ("0.txt", FIVE))
    texts = ("a dog", "a dog runs", "brown dog", "it runs", "fast dog")
    collection = load_collection(f"webdataset:{path}")
    assert collection.captions == texts
    assert collection.caption_ids == tuple(f"0#{number}" for number in range(5))
    [note] = check_collection(f"webdataset:{path}").notes
    assert note == f"{path}: 1 samples have several captions: each line of a .txt is one"
    [row] = rows_of(path)
    assert isinstance(row, ShardRow)
    assert row.texts == texts


def test_a_caption_with_a_line_break_stays_one_where_the_json_says_so(tmp_path: Path) -> None:
    """img2dataset writes the caption of the web into both files, line breaks and all."""
    document = json.dumps({"caption": "a dog\nthat runs", "url": "x"}).encode()
    path = write_tar(
        tmp_path / "a.tar",
        ("0.jpg", picture()),
        ("0.txt", b"a dog\nthat runs"),
        ("0.json", document),
    )
    assert load_collection(f"webdataset:{path}").captions == ("a dog that runs",)


def test_a_list_of_captions_in_the_json_is_read(tmp_path: Path) -> None:
    document = json.dumps({"caption": ["one", "two", "", 3]}).encode()
    path = write_tar(tmp_path / "a.tar", ("0.jpg", picture()), ("0.json", document))
    assert load_collection(f"webdataset:{path}").captions == ("one", "two")


@pytest.mark.parametrize("names", [("0.JPG", "0.TXT"), ("0.JPEG", "0.Json"), ("0.Png", "0.txt")])
def test_suffixes_may_be_upper_case(names: tuple[str, str], tmp_path: Path) -> None:
    text = b'{"caption": "a dog"}' if names[1].lower().endswith("json") else b"a dog"
    path = write_tar(tmp_path / "A.TAR", (names[0], picture()), (names[1], text))
    assert load_collection(f"webdataset:{tmp_path}").captions == ("a dog",)
    [row] = rows_of(path)
    assert isinstance(row, ShardRow)
    assert len(row.images) == 1
    assert row.texts == ("a dog",)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    marked = b"\xef\xbb\xbf"
    path = write_tar(
        tmp_path / "a.tar",
        ("0.jpg", picture()),
        ("0.txt", marked + b"dog"),
        ("1.jpg", picture()),
        ("1.json", marked + b'{"caption": "cat"}'),
    )
    assert load_collection(f"webdataset:{path}").captions == ("dog", "cat")


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_a_text_that_is_not_utf_8_is_a_defect(suffix: str, tmp_path: Path) -> None:
    text = "café" if suffix == "txt" else '{"caption": "café"}'
    path = write_tar(
        tmp_path / "a.tar",
        ("0.jpg", picture()),
        (f"0.{suffix}", text.encode("latin-1")),
        ("1.jpg", picture()),
        ("1.txt", b"dog"),
    )
    [defect] = defects_of(path)
    problem = "isn't UTF-8 text; save it as UTF-8"
    assert defect == Defect("bad-encoding", f"{path}:0.{suffix}", problem, ("0",))
    assert load_collection(f"webdataset:{path}", skip_bad=True).item_ids == ("1",)
    bad, good = rows_of(path)
    assert isinstance(bad, BadRow)
    assert bad.defect.kind == "bad-encoding"
    assert isinstance(good, ShardRow)


def test_a_key_that_comes_twice_is_a_defect(tmp_path: Path) -> None:
    members = []
    for colour, text in (("red", b"red"), ("blue", b"blue")):
        members += [("0.jpg", picture(colour)), ("0.txt", text)]
    path = write_tar(tmp_path / "a.tar", *members, ("1.jpg", picture()), ("1.txt", b"one"))
    [defect] = defects_of(path)
    assert (defect.kind, defect.items) == ("duplicate-id", ("0",))
    assert defect.problem == (
        "sample '0' comes twice: there is a second '0.jpg'; give every sample its own name"
    )
    assert load_collection(f"webdataset:{path}", skip_bad=True).item_ids == ("1",)
    bad, _ = rows_of(path)
    assert isinstance(bad, BadRow)
    assert bad.defect.kind == "duplicate-id"


def test_several_pictures_of_a_sample_are_said(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", ("0.jpg", picture()), ("0.png", picture()), ("0.txt", b"dog")
    )
    [note] = check_collection(f"webdataset:{path}").notes
    assert note == f"{path}: 1 samples have several pictures; the first is read"
