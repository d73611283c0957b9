"""The folder that people write by hand: what is read from a sound one."""

import datetime as dt
import decimal
import json
import logging
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modalhash.data import (
    check_collection,
    convert_collection,
    describe,
    load_collection,
    read_split_file,
    write_splits,
)
from tests.oracles.photo_folder import write_folder

ROWS = [("b.jpg", "blue"), ("sub/a.jpg", "red"), ("b.jpg", 'sky, "so" blue'), ("sub/a.jpg", "né")]
PICTURES = ("sub/a.jpg", "b.jpg")


def as_tsv(ending: str = "\n") -> bytes:
    lines = ["image\tcaption", *(f"{name}\t{text}" for name, text in ROWS)]
    return (ending.join(lines) + ending).encode()


def as_csv() -> bytes:
    quoted = ((name, text.replace('"', '""')) for name, text in ROWS)
    return ("image,caption\n" + "".join(f'{name},"{text}"\n' for name, text in quoted)).encode()


def as_json_lines() -> bytes:
    return "".join(
        json.dumps({"image": name, "caption": text}, ensure_ascii=False) + "\n"
        for name, text in ROWS
    ).encode()


def as_parquet(tmp_path: Path) -> bytes:
    path = tmp_path / "made.parquet"
    pq.write_table(pa.table({"image": [n for n, _ in ROWS], "caption": [t for _, t in ROWS]}), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "form", ["tsv", "tsv-crlf", "tsv-bom", "tsv-blank-lines", "csv", "csv-bom", "jsonl", "parquet"]
)
def test_every_form_of_captions_reads_the_same(form: str, tmp_path: Path) -> None:
    content = {
        "tsv": as_tsv(),
        "tsv-crlf": as_tsv("\r\n"),
        "tsv-bom": b"\xef\xbb\xbf" + as_tsv(),
        "tsv-blank-lines": as_tsv("\n\n"),
        "csv": as_csv(),
        "csv-bom": b"\xef\xbb\xbf" + as_csv(),
        "jsonl": as_json_lines(),
        "parquet": as_parquet(tmp_path),
    }[form]
    name = f"captions.{form.partition('-')[0]}"
    folder = write_folder(
        tmp_path / "photos", captions=content, captions_name=name, pictures=PICTURES
    )
    collection = load_collection(folder)
    assert collection.name == "photos"
    assert collection.item_ids == ("b.jpg", "sub/a.jpg")
    assert collection.captions == ("blue", 'sky, "so" blue', "red", "né")
    assert collection.caption_ids == ("b.jpg#0", "b.jpg#1", "sub/a.jpg#0", "sub/a.jpg#1")
    assert collection.caption_items.tolist() == [0, 0, 1, 1]
    assert collection.source == str(folder)


def test_a_csv_text_may_span_lines_and_hold_commas(tmp_path: Path) -> None:
    captions = 'image,caption\na.jpg,"one,\ntwo"\nb.jpg,three\n'
    folder = write_folder(tmp_path, captions=captions, captions_name="captions.csv")
    assert load_collection(folder).captions == ("one,\ntwo", "three")


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions='image\tcaption\na.jpg\t"A dog\nb.jpg\tit\'s"\n')
    assert load_collection(folder).captions == ('"A dog', "it's\"")


def test_line_breaks_of_unicode_do_not_end_a_row(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions="image\tcaption\na.jpg\tx\x0by\nb.jpg\tu\u2028v\n")
    assert load_collection(folder).captions == ("x\x0by", "u\u2028v")


def test_caption_ids_are_taken_where_given(tmp_path: Path) -> None:
    captions = "caption_id\timage\tcaption\n7\ta.jpg\tred\n3\tb.jpg\tblue\n5\ta.jpg\tfire\n"
    collection = load_collection(write_folder(tmp_path, captions=captions))
    assert collection.caption_ids == ("7", "5", "3")
    assert not collection.metadata


def test_a_name_may_start_with_a_dot_slash(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path,
        captions="image\tcaption\n./a.jpg\tred\nb.jpg\tblue\na.jpg\tfire\n",
        splits={"train": "./b.jpg\na.jpg\n"},
        labels="image\tred\na.jpg\t1\n./b.jpg\t0\n",
    )
    collection = load_collection(folder)
    assert collection.item_ids == ("a.jpg", "b.jpg")
    assert collection.split("train").tolist() == [1, 0]


def test_metadata_gets_the_type_that_fits_all_values(tmp_path: Path) -> None:
    captions = (
        "image\tcaption\tyear\tscore\tzip\tplace\tnumber\n"
        "a.jpg\tred\t1999\t0.5\t007\tRome\t1234567890123456789\n"
        "b.jpg\tblue\t\t2\t10\t\t2\n"
    )
    collection = load_collection(write_folder(tmp_path, captions=captions))
    assert collection.metadata == {
        "year": (1999, None),
        "score": (0.5, 2.0),
        "zip": ("007", "10"),
        "place": ("Rome", ""),
        "number": ("1234567890123456789", "2"),
    }
    assert [type(value) for value in collection.metadata["score"]] == [float, float]


def test_metadata_of_json_keeps_its_types(tmp_path: Path) -> None:
    rows = [
        {"image": "a.jpg", "caption": "x", "good": True, "n": 1, "mixed": 1},
        {"image": "b.jpg", "caption": "y", "n": 2.5, "mixed": "b"},
    ]
    folder = write_folder(
        tmp_path, captions="\n".join(map(json.dumps, rows)), captions_name="captions.jsonl"
    )
    assert load_collection(folder).metadata == {
        "good": (True, None),
        "n": (1.0, 2.5),
        "mixed": ("1", "b"),
    }


def test_parquet_metadata_becomes_plain_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
            "caption": pa.array(["x", "y"], pa.large_string()),
            "day": [dt.date(2020, 2, 1), None],
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.25")],
            "score": [float("nan"), 0.25],
        }
    )
    folder = write_folder(tmp_path, captions=None)
    pq.write_table(table, folder / "captions.parquet")
    assert load_collection(folder).metadata == {
        "day": ("2020-02-01", None),
        "price": (1.5, 2.25),
        "score": (None, 0.25),
    }


def test_columns_that_can_not_be_per_picture_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"image": "a.jpg", "caption": "x", "writer": "Ann", "boxes": [1, 2]},
        {"image": "a.jpg", "caption": "y", "writer": "Bob", "boxes": None},
        {"image": "b.jpg", "caption": "z", "writer": "Ann", "boxes": None},
    ]
    folder = write_folder(
        tmp_path, captions="\n".join(map(json.dumps, rows)), captions_name="captions.jsonl"
    )
    with caplog.at_level(logging.WARNING):
        collection = load_collection(folder)
    assert not collection.metadata
    path = folder / "captions.jsonl"
    assert caplog.messages == [
        (
            f"column 'writer' of {path} is left out: it differs between the captions of 'a.jpg', "
            "and metadata belongs to pictures"
        ),
        (
            f"column 'boxes' of {path} is left out: it holds lists, objects or bytes, and "
            "metadata is a text, a number or true/false"
        ),
    ]


def test_labels_follow_the_items_and_not_their_own_order(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, labels="image\tred\tsky\nb.jpg\t0\t1\na.jpg\t1\t0\n")
    collection = load_collection(folder)
    assert collection.label_names == ("red", "sky")
    assert collection.labels is not None
    assert collection.labels.dtype == np.uint8
    assert collection.labels.tolist() == [[1, 0], [0, 1]]


def test_splits_are_read_in_the_order_of_their_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, splits={"train": "b.jpg\r\n\r\na.jpg", "database": "a.jpg\n"})
    collection = load_collection(folder)
    assert collection.split("train").tolist() == [1, 0]
    assert collection.split("database").tolist() == [0]
    assert collection.split_note == "read from splits/database.txt, splits/train.txt"


def test_items_in_no_split_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path, splits={"train": "b.jpg\n"})
    load_collection(folder)
    assert caplog.messages == [f"1 items of {folder} are in no split; only 'all' has them"]


def test_missing_splits_are_made_written_and_read_again(tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(30)]
    captions = "image\tcaption\n" + "".join(f"{name}\ttext {name}\n" for name in names)
    folder = write_folder(tmp_path / "photos", captions=captions, pictures=names)
    made = load_collection(folder, split_seed=4)
    assert {name: len(items) for name, items in made.splits.items()} == {
        "train": 24,
        "dev": 3,
        "test": 3,
    }
    assert made.split_note == "made by modalhash: seed 4, 80/10/10"
    paths = write_splits(made, folder / "splits")
    assert [path.name for path in paths] == ["train.txt", "dev.txt", "test.txt"]
    again = load_collection(folder, split_seed=99)
    for name, items in made.splits.items():
        assert again.split(name).tolist() == items.tolist()


def test_other_files_among_the_pictures_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path)
    (folder / "images" / "notes.txt").write_text("x")
    (folder / "images" / ".hidden").mkdir()
    (folder / "images" / ".hidden" / "c.jpg").write_text("x")
    (folder / "images" / "._a.jpg").write_text("x")
    load_collection(folder)
    assert caplog.messages == [
        f"1 files in {folder / 'images'} are no jpg, png or webp and aren't read: 'notes.txt'"
    ]


def test_pictures_may_be_links(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", pictures=("b.jpg",))
    write_folder(tmp_path / "other", pictures=("a.jpg",))
    (folder / "images" / "linked").symlink_to(tmp_path / "other" / "images")
    captions = "image\tcaption\nlinked/a.jpg\tred\nb.jpg\tblue\n"
    (folder / "captions.tsv").write_text(captions)
    assert load_collection(folder).item_ids == ("linked/a.jpg", "b.jpg")


def test_pictures_open_by_position(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, pictures=("b.png", "a.webp"), captions=None)
    (folder / "captions.tsv").write_text("image\tcaption\na.webp\tblue\nb.png\tred\n")
    pictures = load_collection(folder).pictures
    assert pictures is not None
    assert pictures.open(1).getpixel((3, 3)) == (255, 0, 0)
    assert pictures.path(0) == folder / "images" / "a.webp"


def test_describe_counts(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "photos",
        captions="image\tcaption\tyear\na.jpg\tx\t1\nb.jpg\ty\t2\na.jpg\tz\t1\n",
        labels="image\tred\tsky\na.jpg\t1\t0\nb.jpg\t0\t0\n",
        splits={"train": "b.jpg\n"},
    )
    summary = describe(load_collection(folder))
    assert (summary.name, summary.n_items, summary.n_captions) == ("photos", 2, 3)
    assert summary.captions_per_item == (1, 1.5, 2)
    assert [(label.name, label.n_items, label.share) for label in summary.labels] == [
        ("red", 1, 0.5),
        ("sky", 0, 0.0),
    ]
    assert (summary.n_unlabelled, summary.n_in_no_split) == (1, 1)
    assert summary.splits == {"train": 1}
    assert summary.metadata == {"year": "int"}
    assert (summary.has_pictures, summary.has_texts, summary.features) == (True, True, {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b"image,sky,sea\nb.jpg,1,0\nsub/a.jpg,0,1\n"),
        ("labels.csv", b"image;sky;sea\nb.jpg;1.0;0.0\nsub/a.jpg;0.0;1.0\n"),
        ("labels.TSV", b"image\tsky\tsea\nb.jpg\tTrue\tFalse\nsub/a.jpg\tfalse\ttrue\n"),
        ("labels.tsv", b"\xef\xbb\xbfimage\tsky\tsea\nb.jpg\t1\t0\nsub/a.jpg\t0\t1\n"),
        (
            "labels.jsonl",
            b'{"image":"b.jpg","sky":true,"sea":0}\n{"image":"sub/a.jpg","sky":0.0,"sea":1}',
        ),
    ],
)
def test_labels_may_be_in_any_table_in_any_words(name: str, content: bytes, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    (folder / name).write_bytes(content)
    collection = load_collection(folder)
    assert collection.label_names == ("sky", "sea")
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 0], [0, 1]]


def test_labels_in_parquet_are_numbers_or_truth_values(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    table = {"image": ["b.jpg", "sub/a.jpg"], "sky": [True, False], "sea": [0.0, 1.0]}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    labels = load_collection(folder).labels
    assert labels is not None
    assert labels.tolist() == [[1, 0], [0, 1]]


def test_one_label_is_one_column(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    (folder / "labels.csv").write_text("image,dog\nb.jpg,1\nsub/a.jpg,0\n")
    collection = load_collection(folder)
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1], [0]]


def test_two_tables_of_labels_are_a_defect(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    for name in ("labels.csv", "labels.tsv"):
        (folder / name).write_text("image\tdog\nb.jpg\t1\nsub/a.jpg\t0\n")
    [defect] = check_collection(folder).defects
    problem = "has labels.tsv and labels.csv: it isn't clear which one counts; keep one"
    assert (defect.kind, defect.where, defect.problem) == (
        "two-label-files", str(folder), problem
    )  # fmt: skip


def test_names_may_hold_any_kind_of_space_and_emoji(tmp_path: Path) -> None:
    names = (
        "Screenshot at 9.41.00\u202fAM.jpg",
        "\u5199\u771f\u3000\u4e00.jpg",
        "\u0645\u06cc\u200c\u062e.jpg",
        "v\u00a013.jpg",
        "\U0001f468\u200d\U0001f469.jpg",
    )
    captions = "image\tcaption\n" + "".join(f"{name}\ta picture\n" for name in names)
    folder = write_folder(tmp_path / "photos", captions=captions, pictures=names)
    assert check_collection(folder).defects == ()
    assert load_collection(folder).item_ids == names
    convert_collection(load_collection(folder), tmp_path / "copy")
    assert check_collection(tmp_path / "copy").defects == ()


def test_a_backslash_in_a_name_is_pointed_at(tmp_path: Path) -> None:
    captions = "image\tcaption\nsub\\a.jpg\tred\nb.jpg\tblue\n"
    folder = write_folder(tmp_path / "photos", captions=captions, pictures=PICTURES)
    missing = check_collection(folder).defects[0]
    assert missing.problem == (
        f"picture 'sub\\\\a.jpg' isn't in {folder / 'images'}; there is 'sub/a.jpg': write that, "
        "or delete the row"
    )


@pytest.mark.parametrize("n_items", [1, 2])
def test_a_tiny_collection_has_no_empty_split_files(n_items: int, tmp_path: Path) -> None:
    names = PICTURES[:n_items]
    captions = "image\tcaption\n" + "".join(f"{name}\tred\n" for name in names)
    folder = write_folder(tmp_path / "photos", captions=captions, pictures=names)
    collection = load_collection(folder)
    assert [path.name for path in write_splits(collection, tmp_path / "run")] == ["train.txt"]
    again = read_split_file(collection, tmp_path / "run")
    assert again.split("train").tolist() == list(range(n_items))
    convert_collection(collection, tmp_path / "copy")
    assert check_collection(tmp_path / "copy").defects == ()
    (tmp_path / "run" / "test.txt").write_text("")  # as older versions wrote it
    assert read_split_file(collection, tmp_path / "run").splits.keys() == {"train"}


def test_split_files_may_end_in_upper_case(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    (folder / "splits").mkdir()
    (folder / "splits" / "TRAIN.TXT").write_text("b.jpg\n")
    assert load_collection(folder).split("TRAIN").tolist() == [0]


def test_infinite_metadata_is_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", captions=None, pictures=PICTURES)
    table = {"image": list(PICTURES), "caption": ["a", "b"], "similarity": [float("inf"), 0.5]}
    pq.write_table(pa.table(table), folder / "captions.parquet")
    assert load_collection(folder).metadata["similarity"] == (None, 0.5)


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "photos", captions=as_tsv(), pictures=PICTURES)
    monkeypatch.chdir(tmp_path)
    pictures = load_collection("photos").pictures
    monkeypatch.chdir("/")
    assert pictures is not None
    assert pictures.open(0).size == (8, 8)


@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_in_another_unicode_form_are_the_same(
    written: Literal["NFC", "NFD"], tmp_path: Path
) -> None:
    stored: Literal["NFC", "NFD"] = "NFD" if written == "NFC" else "NFC"
    name, file = (unicodedata.normalize(form, "caf\u00e9.jpg") for form in (written, stored))
    folder = write_folder(tmp_path / "photos", pictures=(file,), captions=None)
    (folder / "captions.tsv").write_text(f"image\tcaption\n{name}\tred\n")
    assert check_collection(folder).is_sound
    collection = load_collection(folder)
    assert collection.item_ids == (name,)
    assert collection.pictures is not None
    assert collection.pictures.path(0) == folder / "images" / file


def test_thumbnails_trash_and_system_folders_are_passed_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", pictures=("a.jpg",), captions=None)
    (folder / "captions.tsv").write_text("image\tcaption\na.jpg\tred\n")
    for name in ("@eaDir/a.jpg", ".trash/b.jpg", "__MACOSX/a.jpg"):
        (folder / "images" / name).parent.mkdir()
        (folder / "images" / name).write_bytes(b"no picture")
    assert check_collection(folder).is_sound
