"""Tables as collections: columns, separators, splits, labels, and what is wrong with a row."""

import csv
import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modalhash.data import check_collection, inspect_file, load_collection
from modalhash.errors import CollectionError, InputError, UnknownNameError
from tests.oracles import table_layouts as tables
from tests.oracles.official_layouts import N_ITEMS, draw, text_of, write_lines


def write_pictures(folder: Path, *names: str) -> None:
    for item, name in enumerate(names):
        draw(folder / name, item)


def texts_of(source: str | Path) -> dict[str, list[str]]:
    """Return the texts of each item, by a plain loop."""
    collection = load_collection(str(source))
    texts: dict[str, list[str]] = {item: [] for item in collection.item_ids}
    for text, owner in zip(collection.captions or (), collection.caption_items, strict=True):
        texts[collection.item_ids[owner]].append(text)
    return texts


TWO = {"a.jpg": ["one, two", "three"], "b.jpg": ["four"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'image,caption\na.jpg,"one, two"\na.jpg,three\nb.jpg,four\n'),
        ("t.csv", 'CAPTION,File_Name\r\n"one, two",a.jpg\r\nthree,a.jpg\r\nfour,b.jpg\r\n'),
        ("t.csv", "image;caption\na.jpg;one, two\na.jpg;three\nb.jpg;four\n"),
        ("t.txt", "image\tcaption\na.jpg#0\tone, two\na.jpg#1\tthree\nb.jpg#0\tfour\n"),
        ("t.csv", ("image_name| comment_number| comment\na.jpg| 0| one, two\na.jpg| 1| three\n"
                  "b.jpg| 0| four\n")),
        ("t.csv", ',image,caption\n0,a.jpg,"one, two"\n1,a.jpg,three\n2,b.jpg,four\n'),
        ("t.csv", 'path,caption_0,caption_1\na.jpg,"one, two",three\nb.jpg,four,\n'),
        ("t.jsonl", ('{"text": ["one, two", "three"], "img": "a.jpg"}\n{"text": "four", "img": '
                    '"b.jpg"}\n')),
        ("t.json", ('[{"text": ["one, two", "three"], "img": "a.jpg"}, {"text": "four", "img": '
                   '"b.jpg"}]')),
        ("t.json", '{"a.jpg": ["one, two", "three"], "b.jpg": "four"}'),
        ("t.json", '{"a.jpg": {"caption": ["one, two", "three"]}, "b.jpg": {"caption": "four"}}'),
        ("t.json", ('{"info": {"year": 1}, "annotations": [{"image": "a.jpg", "caption": "one, two"'
                   '}, {"image": "a.jpg", "caption": "three"}, {"image": "b.jpg", "caption": '
                   '"four"}]}')),
        ("t.csv", 'image,caption\n./a.jpg,"one, two"\na.jpg,three\nb,four\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_that_say_the_same(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.jpg", "b.jpg")
    file = tmp_path / name
    file.write_text(content, encoding=encoding, newline="")
    found = {item.removesuffix(".jpg"): texts for item, texts in texts_of(file).items()}
    assert found == {item.removesuffix(".jpg"): texts for item, texts in TWO.items()}


def test_the_encoding_may_be_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,caf\u00e9\n", encoding="cp850")
    assert texts_of(f"{tmp_path}/t.csv#encoding=cp850") == {"a.jpg": ["caf\u00e9"]}
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,\u00fc caf\u00e9\n", encoding="cp850")
    [defect] = check_collection(f"table:{tmp_path}/t.csv").defects
    assert defect.kind == "bad-encoding"
    with pytest.raises(InputError, match="the encoding 'klingon' isn't known: write utf-8"):
        load_collection(f"{tmp_path}/t.csv#encoding=klingon")


def test_columns_are_named_and_pictures_looked_for(tmp_path: Path) -> None:
    write_pictures(tmp_path / "elsewhere" / "deep", "a.jpg", "b.jpg")
    lines = ["FOTO;WORDS, ALL;N", "a.jpg;one;1", "b.jpg;two;2"]
    write_lines(tmp_path / "t.csv", lines)
    given = "image=FOTO,caption=WORDS, ALL,separator=semicolon"
    collection = load_collection(f"table:{tmp_path / 't.csv'}#{given}")
    assert collection.captions == ("one", "two")
    assert collection.metadata == {"N": (1, 2)}
    assert collection.source == f"table:{tmp_path / 't.csv'}#{given}"
    assert load_collection(collection.source).fingerprint() == collection.fingerprint()


@pytest.mark.parametrize(
    ("columns", "error", "problem"),
    [
        ("image=FOTO,caption=WORDZ", CollectionError,
         "the table has no column 'WORDZ', only 'FOTO', 'WORDS'; did you mean 'WORDS'?"),
        ("caption=WORDS", CollectionError,
         ("no column of pictures is recognised among 'FOTO', 'WORDS': name it, such as --columns "
         "image=FOTO,caption=TEXT")),
        ("image=", InputError, "columns: 'image=' isn't ROLE=NAME, such as image=URL_LOCAL"),
        ("image=FOTO,image=WORDS", InputError, "columns: image comes twice"),
        ("image=FOTO,kaption=WORDS", UnknownNameError, "unknown role of a column 'kaption'"),
        ("separator=mark", UnknownNameError, "unknown separator 'mark'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_named_columns(
    columns: str, error: type[Exception], problem: str, tmp_path: Path
) -> None:
    write_lines(tmp_path / "t.csv", ["FOTO,WORDS", "a.jpg,one"])
    with pytest.raises(error) as raised:
        load_collection(f"table:{tmp_path / 't.csv'}#{columns}")
    assert problem in str(raised.value)


def test_only_tables_take_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wiki has columns of its own: columns are named of"):
        load_collection(f"wiki:{tmp_path}#image=a,caption=b")


def test_every_defect_has_its_line(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "b.JPG", "sub/c.jpg", "d.jpg")
    rows = [
        ["image", "caption"],
        ["a.jpg", "one"],
        ["a.jpg", " "],
        ["b.jpg", "two"],
        ["gone.jpg", "three"],
        ["sub\\c.jpg", "four"],
        ["", "five"],
        ["../a.jpg", "six"],
        ["d.jpg", "seven"],
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    file_name = f"{tmp_path / 't.csv'}"
    found = [
        (defect.where.removeprefix(file_name), defect.kind, defect.items)
        for defect in check_collection(f"table:{file_name}").defects
    ]
    assert found == [
        (":3", "empty-text", ("a.jpg",)),
        (":7", "empty-id", ("row 7",)),
        (":8", "unsafe-name", ("../a.jpg",)),
        (":4", "missing-picture", ("b.jpg",)),
        (":5", "missing-picture", ("gone.jpg",)),
        (":6", "missing-picture", ("sub\\c.jpg",)),
    ]
    problems = [defect.problem for defect in check_collection(f"table:{file_name}").defects]
    assert "there is 'b.JPG': write that" in problems[3]
    assert "there is 'sub/c.jpg': write that" in problems[5]
    kept = load_collection(f"table:{file_name}", skip_bad=True)
    assert kept.item_ids == ("d.jpg",)


def test_addresses_are_not_fetched(tmp_path: Path) -> None:
    write_lines(tmp_path / "t.csv", ["image,caption", "https://host.example/a.jpg,one"])
    [defect] = check_collection(f"table:{tmp_path / 't.csv'}").defects
    assert defect.kind == "address"
    assert "addresses aren't read: download" in defect.problem


def test_names_in_another_unicode_form_are_found(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "caf\u00e9.jpg")
    write_pictures(tmp_path, unicodedata.normalize("NFD", composed))
    write_lines(tmp_path / "t.csv", ["image,caption", f"{composed},one"])
    collection = load_collection(f"table:{tmp_path / 't.csv'}")
    assert collection.item_ids == (composed,)
    assert collection.pictures is not None
    assert collection.pictures.open(0).size == (32, 32)


def test_splits_stand_in_a_column_or_in_names_of_files(tmp_path: Path) -> None:
    write_pictures(tmp_path, *(f"{item}.jpg" for item in range(4)))
    lines = ["image,caption,split", "0.jpg,a,train", "1.jpg,b,VAL", "2.jpg,c,test", "3.jpg,d,extra"]
    write_lines(tmp_path / "t.csv", lines)
    collection = load_collection(f"table:{tmp_path / 't.csv'}")
    assert {name: items.tolist() for name, items in collection.splits.items()} == {
        "train": [0], "dev": [1], "test": [2], "extra": [3]
    }  # fmt: skip
    (tmp_path / "t.csv").unlink()
    for split, items in (("train", (0, 3)), ("test", (1, 2))):
        rows = [f"{item}.jpg,text {item}" for item in items]
        write_lines(tmp_path / f"{split}.csv", ["image,caption", *rows])
    collection = load_collection(f"table:{tmp_path}/{{train,test}}.csv")
    assert collection.item_ids == ("1.jpg", "2.jpg", "0.jpg", "3.jpg")
    assert collection.splits["test"].tolist() == [0, 1]
    assert load_collection(f"table:{tmp_path}").fingerprint() == collection.fingerprint()


def test_one_split_is_none(tmp_path: Path) -> None:
    write_pictures(tmp_path, *(f"{item}.jpg" for item in range(10)))
    rows = [f"{item}.jpg,text {item},train" for item in range(10)]
    write_lines(tmp_path / "t.csv", ["image,caption,split", *rows])
    report = check_collection(f"table:{tmp_path / 't.csv'}")
    assert report.notes == ("10 items are of the split train; no other split is named",)
    collection = load_collection(f"table:{tmp_path / 't.csv'}")
    assert {name: len(items) for name, items in collection.splits.items()} == {
        "train": 8, "dev": 1, "test": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("header", "cells", "names", "rows"),
    [
        ("image,caption,label", ("dog", "cat"), ("dog", "cat"), [[1, 0], [0, 1]]),
        ("image,caption,a,b", ("1,0", "True,1.0"), ("a", "b"), [[1, 0], [1, 1]]),
    ],
)
def test_labels(
    header: str,
    cells: tuple[str, str],
    names: tuple[str, ...],
    rows: list[list[int]],
    tmp_path: Path,
) -> None:
    write_pictures(tmp_path, "a.jpg", "b.jpg")
    lines = [header, f"a.jpg,one,{cells[0]}", f"b.jpg,two,{cells[1]}"]
    write_lines(tmp_path / "t.csv", lines)
    given = "#label=a,label=b" if header.endswith("a,b") else ""
    collection = load_collection(f"table:{tmp_path / 't.csv'}{given}")
    assert collection.label_names == names
    assert collection.labels is not None
    assert collection.labels.tolist() == rows


def test_parquet_keeps_pictures_in_the_file(tmp_path: Path) -> None:
    source = tables.write_huggingface_parquet(tmp_path)
    collection = load_collection(f"huggingface:{source}")
    assert (collection.n_items, collection.n_captions) == (N_ITEMS, 2 * N_ITEMS)
    assert collection.label_names == ("sky", "dog", "water")
    assert sum(len(items) for items in collection.splits.values()) == N_ITEMS
    assert collection.pictures is not None
    for place in range(N_ITEMS):
        word = collection.captions[2 * place].split()[0] if collection.captions else ""
        colour = collection.pictures.open(place).getpixel((20, 20))
        expected = {"sky": (60, 120, 220), "dog": (130, 80, 30), "water": (20, 160, 150)}[word]
        assert isinstance(colour, tuple)
        assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) < 12
        assert collection.pictures.path(place) is None
    digests = {collection.pictures.digest(place) for place in range(N_ITEMS)}
    assert len(digests) == N_ITEMS


def test_ids_of_parquet_are_distinct(tmp_path: Path) -> None:
    content = tables.picture_bytes(tmp_path, 0)
    rows = [
        {"id": "x", "image": content, "text": "one"},
        {"id": "x", "image": content, "text": "two"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    [defect] = check_collection(f"table:{tmp_path / 't.parquet'}").defects
    assert (defect.kind, defect.items) == ("duplicate-id", ("x",))
    assert f"the id 'x' is already in {tmp_path / 't.parquet'}:1" in defect.problem


@pytest.mark.parametrize(
    ("column", "owner"), [("id", "row"), ("asset", "picture"), ("imgid", "picture")]
)
def test_an_id_of_two_pictures_is_a_defect(column: str, owner: str, tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "b.jpg")
    table = tmp_path / "t.csv"
    table.write_text(f"{column},image,caption\n7,a.jpg,one\n7,a.jpg,two\n7,b.jpg,three\n")
    [defect] = check_collection(f"table:{table}#id={column}").defects
    assert (defect.kind, defect.items) == ("duplicate-id", ("7",))
    assert defect.problem == f"the id '7' is already in {table}:2; give each {owner} its own"


def test_an_object_on_one_line_is_read_by_what_its_keys_are(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "names.json").write_text('{"a.jpg": "one", "b.jpg": "two"}')
    (tmp_path / "row.json").write_text('{"image": "a.jpg", "caption": "one"}\n')
    (tmp_path / "own.json").write_text('{"Bild": "a.jpg", "Text": "one"}\n')
    (tmp_path / "rows.json").write_text('{"Bild": "a.jpg"}\n{"Bild": "b.jpg"}\n')
    assert texts_of(tmp_path / "names.json") == {"a.jpg": ["one"], "b.jpg": ["two"]}
    assert texts_of(tmp_path / "row.json") == {"a.jpg": ["one"]}
    assert texts_of(f"table:{tmp_path / 'own.json'}#image=Bild,caption=Text") == {"a.jpg": ["one"]}
    rows = load_collection(f"table:{tmp_path / 'rows.json'}#image=Bild")
    assert list(rows.item_ids) == ["a.jpg", "b.jpg"]


def test_a_picture_of_parquet_that_is_none_is_a_defect_of_its_row(tmp_path: Path) -> None:
    content = tables.picture_bytes(tmp_path, 0)
    rows = [
        {"image": {"bytes": content, "path": "a.jpg"}, "text": "one"},
        {"image": {"bytes": b"no picture", "path": "b.jpg"}, "text": "two"},
        {"image": {"bytes": None, "path": None}, "text": "three"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    report = check_collection(f"table:{tmp_path / 't.parquet'}")
    assert [(defect.kind, defect.items) for defect in report.defects] == [
        ("empty-id", ("row 3",)), ("unreadable-picture", ("t/0000002",))
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and more, no table PAR1", b"\0" * 99])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_damaged_binary_tables_are_an_error_of_ours(
    content: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    [defect] = check_collection(f"table:{path}").defects
    assert defect.kind == "unreadable-file"


def test_kaggles_careless_row_is_read_and_told(tmp_path: Path) -> None:
    tables.write_kaggle_flickr30k(tmp_path)
    report = check_collection(f"flickr30k:{tmp_path}")
    assert (report.n_items, report.n_captions) == (N_ITEMS, 2 * N_ITEMS)
    file = tmp_path / "flickr30k_images" / "results.csv"
    assert report.notes == (f"{file}:17: lacks a '|' behind 4; read as if it had",)
    assert texts_of(f"flickr30k:{tmp_path}")[tables.name_of(7)] == [text_of(7), text_of(7, 1)]


def test_lists_beside_kaggles_table_divide_it(tmp_path: Path) -> None:
    tables.write_kaggle_flickr8k(tmp_path)
    names = [tables.name_of(item) for item in range(N_ITEMS)]
    write_lines(tmp_path / "Flickr_8k.trainImages.txt", names[:20])
    write_lines(tmp_path / "Flickr_8k.testImages.txt", names[20:])
    collection = load_collection(f"flickr8k:{tmp_path}")
    assert {split: len(items) for split, items in collection.splits.items()} == {
        "train": 20, "test": 4
    }  # fmt: skip
    write_lines(tmp_path / "Flickr_8k.testImages.txt", [*names[20:], "nowhere.jpg"])
    [defect] = check_collection(f"flickr8k:{tmp_path}").defects
    assert (defect.kind, defect.items) == ("unknown-in-split", ("nowhere.jpg",))


def test_folders_are_read_by_what_they_are(tmp_path: Path) -> None:
    tables.write_kaggle_flickr8k(tmp_path / "kaggle")
    report = check_collection(str(tmp_path / "kaggle"))
    folder = tmp_path / "kaggle"
    assert report.notes == (f"{folder} is read as flickr8k:PATH: it has captions.txt, Images",)
    assert report.n_items == N_ITEMS


def test_a_folder_of_several_tables_asks_which(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_lines(tmp_path / name, ["image,caption", "a.jpg,one"])
    [defect] = check_collection(f"table:{tmp_path}").defects
    assert f"holds several tables (a.csv, b.csv): write table:{tmp_path}/NAME" in defect.problem


@pytest.mark.parametrize(
    "name", ["dataset_ucm.json", "dataset_UCM.json", "dataset.json", "UCM.json"]
)
@pytest.mark.parametrize("folder", ["", "captions"])
def test_karpathys_form_under_any_name(name: str, folder: str, tmp_path: Path) -> None:
    draw(tmp_path / "imgs" / "1.tif", 1)
    image = {"filename": "1.tif", "split": "train", "sentences": [{"raw": "one"}]}
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / name).write_text(json.dumps({"images": [image], "dataset": "x"}))
    assert texts_of(f"ucm:{tmp_path}") == {"1.tif": ["one"]}


@pytest.mark.parametrize("start", ["/of/somebody/data", "C:\\\\data", "{folder}"])
def test_absolute_names_are_looked_for_below_the_table(start: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.jpg", "deep/b.jpg")
    start = start.replace("{folder}", f"{tmp_path}")
    lines = [f"{start}/images/a.jpg,one", f"{start}/images/a.jpg,two", f"{start}/deep/b.jpg,three"]
    write_lines(tmp_path / "t.csv", ["image,caption", *lines])
    found = texts_of(tmp_path / "t.csv")
    assert list(found.values()) == [["one", "two"], ["three"]]
    assert list(found)[1] in ("deep/b.jpg", "b.jpg")


def test_a_saved_dataset_has_every_row_of_every_split(tmp_path: Path) -> None:
    source = tables.write_saved_to_disk(tmp_path)
    collection = load_collection(f"huggingface:{source}")
    assert (collection.n_items, collection.n_captions) == (N_ITEMS, 2 * N_ITEMS)
    assert collection.label_names == ("sky", "dog", "water")
    assert collection.item_ids[0].startswith("test/data-00000-of-00001/")
    counts = {split: len(items) for split, items in collection.splits.items()}
    assert sum(counts.values()) == N_ITEMS
    assert set(counts) == {"train", "dev", "test"}


def test_a_picture_in_two_splits_is_a_defect(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "b.jpg")
    write_lines(tmp_path / "x_train.csv", ["image,caption", "a.jpg,one", "b.jpg,two"])
    write_lines(tmp_path / "x_test.csv", ["image,caption", "a.jpg,three"])
    [defect] = check_collection(f"table:{tmp_path}").defects
    assert (defect.kind, defect.items) == ("item-in-two-splits", ("a.jpg",))
    assert defect.where == f"{tmp_path / 'x_train.csv'}:2"
    assert "is of the split test too" in defect.problem


def test_the_folder_of_pictures_is_found_again_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "work" / "photos", "a.jpg")
    (tmp_path / "tables").mkdir()
    write_lines(tmp_path / "tables" / "t.csv", ["image,caption", "a.jpg,one"])
    monkeypatch.chdir(tmp_path / "work")
    collection = load_collection("table:../tables/t.csv#images=photos")
    monkeypatch.chdir(tmp_path)
    assert load_collection(collection.source).item_ids == ("a.jpg",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x_train.json", '[{"image": "a.jpg", "caption": ["one"]}]'),
        ("list.tsv", "file\ttext\na.jpg\tone\n"),
        ("list.jsonl", '{"file": "a.jpg", "text": "one"}\n'),
    ],
)
def test_a_folder_with_a_table_isnt_taken_for_pictures_only(
    name: str, content: str, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "images", "a.jpg")
    (tmp_path / name).write_text(content)
    assert texts_of(tmp_path) == {"a.jpg": ["one"]}
    assert list(inspect_file(tmp_path).layouts) == [f"table:{tmp_path}"]
    assert check_collection(tmp_path).notes[0] == (
        f"{tmp_path} is read as table:PATH: it has {name}"
    )
