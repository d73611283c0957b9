"""The folder that people write by hand: every defect, with its file, line and text."""

import logging
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modalhash.data import COLLECTIONS, check_collection, load_collection
from modalhash.errors import CollectionError, InputError, UnknownNameError
from tests.oracles.photo_folder import write_folder, write_picture

Found = tuple[str, str, str, tuple[str, ...]]
HEAD = "image\tcaption\n"
SOUND = "a.jpg\tred\nb.jpg\tblue\n"


def found_in(folder: Path) -> list[Found]:
    """Return all defects, files relative to the folder."""
    return [
        (defect.kind, defect.where.replace(f"{folder}/", ""), defect.problem, defect.items)
        for defect in check_collection(folder).defects
    ]


def test_a_sound_folder_has_no_defects(tmp_path: Path) -> None:
    report = check_collection(write_folder(tmp_path))
    assert (report.is_sound, report.is_curable) == (True, True)
    assert (report.n_items, report.n_captions, report.n_pictures) == (2, 3, 2)


def test_no_captions_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    problem = (
        f"{folder}: has no captions file: write captions.tsv (or .csv, .jsonl, .parquet) with the "
        "columns image and caption"
    )
    with pytest.raises(CollectionError, match=f"^{re.escape(problem)}$"):
        load_collection(folder)
    report = check_collection(folder)
    assert (report.n_items, report.is_sound, report.is_curable) == (0, False, False)
    assert report.kinds == {"no-caption-file": 1}


def test_two_captions_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "captions.csv").write_text("image,caption\n")
    problem = "has captions.tsv and captions.csv: it isn't clear which one counts; keep one"
    assert found_in(folder) == [("two-caption-files", str(folder), problem, ())]


def test_no_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "captions.tsv").write_text(HEAD + SOUND)
    problem = "has no folder images/; put the pictures there"
    assert found_in(tmp_path) == [("no-image-folder", str(tmp_path), problem, ())]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ("", ("empty-file", "captions.tsv", "is empty; start it with a header: image ...", ())),
        (HEAD, ("empty-file", "captions.tsv", "has no rows; write one for each picture", ())),
        (
            "image\tCaptoin\na.jpg\tred\n",
            (
                "wrong-column",
                "captions.tsv:1",
                "has no column 'caption', only 'image', 'Captoin'; rename 'Captoin'",
                (),
            ),
        ),
        (
            "bild\tcaption\na.jpg\tred\n",
            (
                "wrong-column",
                "captions.tsv:1",
                "has no column 'image', only 'bild', 'caption'; add it",
                (),
            ),
        ),
        (
            "image\tcaption\tx\tx\na.jpg\tred\t\t\n",
            (
                "wrong-column",
                "captions.tsv:1",
                "the column 'x' comes 2 times; rename the others",
                (),
            ),
        ),
        (
            "image\tcaption\t\na.jpg\tred\t\n",
            ("wrong-column", "captions.tsv:1", "a column has no name; give it one", ()),
        ),
        (
            "i\x00mage\tcaption\n",
            (
                "bad-encoding",
                "captions.tsv:1",
                "holds a NUL character, which is no text; delete it",
                (),
            ),
        ),
        (
            HEAD + SOUND + "\tgreen\n",
            (
                "empty-id",
                "captions.tsv:4",
                "names no image; write its file name, or delete the row",
                (),
            ),
        ),
        (
            HEAD + SOUND + "a.jpg\tgreen\tgrass\n",
            (
                "wrong-column",
                "captions.tsv:4",
                "has 3 columns, the header has 2; is there a tab inside a text, or one missing?",
                ("a.jpg",),
            ),
        ),
        (
            HEAD + SOUND + "./b.jpg\t \n",
            (
                "empty-text",
                "captions.tsv:4",
                "the caption of 'b.jpg' is empty; write one",
                ("b.jpg",),
            ),
        ),
        (
            HEAD + SOUND + "../secret.jpg\tx\n",
            (
                "unsafe-name",
                "captions.tsv:4",
                (
                    "the image '../secret.jpg' isn't a name inside images/; write it relative to "
                    "that folder, without '..'"
                ),
                ("../secret.jpg",),
            ),
        ),
        (
            HEAD + SOUND + "/etc/x.jpg\tx\n",
            (
                "unsafe-name",
                "captions.tsv:4",
                (
                    "the image '/etc/x.jpg' isn't a name inside images/; write it relative to "
                    "that folder, without '..'"
                ),
                ("/etc/x.jpg",),
            ),
        ),
        (
            "image\tcaption\tcaption_id\na.jpg\tred\t1\nb.jpg\tblue\t1\n",
            (
                "duplicate-id",
                "captions.tsv:3",
                "the caption_id '1' is already in line 2; give each caption its own",
                ("b.jpg",),
            ),
        ),
        (
            "image\tcaption\tcaption_id\na.jpg\tred\t1\nb.jpg\tblue\t\n",
            (
                "empty-id",
                "captions.tsv:3",
                "has no caption_id; write one, or delete the column",
                ("b.jpg",),
            ),
        ),
    ],
)
def test_defects_of_the_captions_file(captions: str, expected: Found, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=captions)
    assert found_in(folder) == [expected]
    with pytest.raises(CollectionError, match=re.escape(expected[2])):
        load_collection(folder)


def test_bytes_that_are_not_utf8_are_found_by_line(tmp_path: Path) -> None:
    captions = (HEAD + SOUND + "a.jpg\tna\u00efve\n").encode() + b"a.jpg\tcaf\xe9\n"
    folder = write_folder(tmp_path, captions=captions)
    problem = "isn't UTF-8 text; save the file as UTF-8"
    assert found_in(folder) == [("bad-encoding", "captions.tsv:5", problem, ("a.jpg",))]


def test_utf16_with_its_mark_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=(HEAD + SOUND).encode("utf-16"))
    assert found_in(folder) == []


def test_many_lines_of_another_encoding_are_one_defect(tmp_path: Path) -> None:
    rows = "".join(f"{name}.jpg\tcaf\u00e9 \u00ff\n" for name in "ab")
    folder = write_folder(tmp_path, captions=(HEAD + rows + "a.jpg\tred\n").encode("cp1252"))
    problem = (
        "2 lines aren't UTF-8 text, and this is the first; they look like Windows-1252 (iconv -f "
        "CP1252 -t UTF-8 OLD > NEW makes UTF-8 of it): save the file as UTF-8"
    )
    assert found_in(folder) == [("bad-encoding", "captions.tsv:2", problem, ("a.jpg", "b.jpg"))]


def test_a_nul_in_a_row_is_named_as_such(tmp_path: Path) -> None:
    for name in ("captions.tsv", "captions.csv"):
        captions = (HEAD + SOUND + "b.jpg\tblue\0\n").replace("\t", "\t" if "tsv" in name else ",")
        folder = write_folder(tmp_path / name, captions=captions, captions_name=name)
        problem = "holds a NUL character, which is no text; delete it"
        assert found_in(folder) == [("bad-encoding", f"{name}:4", problem, ("b.jpg",))]


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_a_csv_may_have_another_separator(separator: str, tmp_path: Path) -> None:
    rows = f"image{separator}caption\na.jpg{separator}red\nb.jpg{separator}'blue'\n"
    folder = write_folder(tmp_path, captions=rows, captions_name="captions.csv")
    assert found_in(folder) == []


def test_a_tsv_with_semicolons_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions="image;caption\na.jpg;red\nb.jpg;blue\n")
    assert found_in(folder) == []


def test_an_open_quote_in_csv_is_found(tmp_path: Path) -> None:
    captions = 'image,caption\na.jpg,red\nb.jpg,"blue\n'
    folder = write_folder(tmp_path, captions=captions, captions_name="captions.csv")
    problem = "isn't CSV from here on (unexpected end of data); is a quote missing?"
    assert found_in(folder) == [("bad-csv", "captions.csv:3", problem, ())]


def test_a_csv_row_is_found_at_its_first_line(tmp_path: Path) -> None:
    captions = 'image,caption\na.jpg,"red\nas fire"\nb.jpg,blue,sky\nb.jpg,blue\n'
    folder = write_folder(tmp_path, captions=captions, captions_name="captions.csv")
    problem = "has 3 columns, the header has 2; quote texts that hold a comma"
    assert found_in(folder) == [("wrong-column", "captions.csv:4", problem, ("b.jpg",))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"image": "a.jpg"}',
            (
                "wrong-column",
                "captions.jsonl:3",
                "has no 'caption', only 'image'; add it",
                ("a.jpg",),
            ),
        ),
        (
            '["a.jpg", "red"]',
            (
                "bad-json",
                "captions.jsonl:3",
                "isn't a JSON object; write {...} in each line",
                (),
            ),
        ),
        (
            '{"image": "a.jpg", "image": "b.jpg"}',
            (
                "bad-json",
                "captions.jsonl:3",
                "isn't JSON (a key comes twice); write one object a line",
                (),
            ),
        ),
        (
            '{"image": "a.jpg", "caption": "x", "n": NaN}',
            (
                "bad-json",
                "captions.jsonl:3",
                "isn't JSON (NaN is no JSON number; write null); write one object a line",
                (),
            ),
        ),
        (
            '{"image": 7, "caption": "x"}',
            (
                "wrong-column",
                "captions.jsonl:3",
                "the image must be a file name, not of type int",
                (),
            ),
        ),
        (
            '{"image": "a.jpg", "caption": ["x", "y"]}',
            (
                "wrong-column",
                "captions.jsonl:3",
                (
                    "the caption of 'a.jpg' must be text, not of type list; "
                    "write each in a row of its own"
                ),
                ("a.jpg",),
            ),
        ),
        (
            '{"image": "a.jpg", "caption": null}',
            (
                "empty-text",
                "captions.jsonl:3",
                "the caption of 'a.jpg' is empty; write one",
                ("a.jpg",),
            ),
        ),
        (
            r'{"image": "a.jpg", "caption": "\ud800"}',
            (
                "bad-encoding",
                "captions.jsonl:3",
                (
                    "holds half a character (an escape such as \\ud83d without its other half), as "
                    "where an emoji was cut; write it whole"
                ),
                ("a.jpg",),
            ),
        ),
    ],
)
def test_defects_of_json_lines(line: str, expected: Found, tmp_path: Path) -> None:
    captions = (
        '{"image": "a.jpg", "caption": "red"}\n{"image": "b.jpg", "caption": "blue"}\n' + line
    )
    folder = write_folder(tmp_path, captions=captions, captions_name="captions.jsonl")
    assert found_in(folder) == [expected]


def test_defects_of_parquet_give_the_row(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=None)
    table = pa.table({"image": ["a.jpg", "b.jpg", "b.jpg"], "caption": ["red", "blue", None]})
    pq.write_table(table, folder / "captions.parquet")
    problem = "the caption of 'b.jpg' is empty; write one"
    assert found_in(folder) == [("empty-text", "captions.parquet:3", problem, ("b.jpg",))]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=b"PAR1 not", captions_name="captions.parquet")
    [(kind, where, problem, items)] = found_in(folder)
    assert (kind, where, items) == ("unreadable-file", "captions.parquet", ())
    assert problem.startswith("can't be read as Parquet: ")


def test_pictures_and_captions_that_miss_each_other(tmp_path: Path) -> None:
    captions = HEAD + SOUND + "c.jpg\tx\nd.jpg\ty\nA.PNG\tz\nd.jpg\ty2\nfilm.tga\tw\n"
    folder = write_folder(
        tmp_path, captions=captions, pictures=("a.jpg", "b.jpg", "sub/d.jpg", "a.png", "film.tga")
    )
    images = folder / "images"
    assert found_in(folder) == [
        (
            "missing-picture",
            "captions.tsv:4",
            f"picture 'c.jpg' isn't in {images}; add it to the folder, or delete the row",
            ("c.jpg",),
        ),
        (
            "missing-picture",
            "captions.tsv:5",
            (
                f"picture 'd.jpg' isn't in {images}; there is 'sub/d.jpg': write that, "
                "or delete the row"
            ),
            ("d.jpg",),
        ),
        (
            "missing-picture",
            "captions.tsv:6",
            f"picture 'A.PNG' isn't in {images}; there is 'a.png': write that, or delete the row",
            ("A.PNG",),
        ),
        (
            "unsupported-picture",
            "captions.tsv:8",
            "picture 'film.tga' is no jpg, png or webp; convert it",
            ("film.tga",),
        ),
        (
            "picture-without-caption",
            "images/a.png",
            "has no caption in captions.tsv; write one, or move it away",
            ("a.png",),
        ),
        (
            "picture-without-caption",
            "images/sub/d.jpg",
            "has no caption in captions.tsv; write one, or move it away",
            ("sub/d.jpg",),
        ),
    ]


def test_defects_of_labels(tmp_path: Path) -> None:
    labels = "image\tred\tsky\na.jpg\t1\tyes\nx.jpg\t0\t0\na.jpg\t1\t0\n"
    folder = write_folder(tmp_path, labels=labels)
    assert found_in(folder) == [
        (
            "bad-label",
            "labels.tsv:2",
            "the label 'sky' of 'a.jpg' is 'yes'; write 0 or 1",
            ("a.jpg",),
        ),
        (
            "label-without-picture",
            "labels.tsv:3",
            "there is no picture 'x.jpg' with a caption; delete the row",
            ("x.jpg",),
        ),
        (
            "duplicate-id",
            "labels.tsv:4",
            "'a.jpg' is already in line 2; delete one of the two",
            ("a.jpg",),
        ),
        (
            "picture-without-label",
            "labels.tsv",
            "has no row for picture 'b.jpg'; add one (all 0 if nothing applies)",
            ("b.jpg",),
        ),
    ]


def test_labels_without_concepts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, labels="image\na.jpg\nb.jpg\n")
    problem = "has no concept; add a 0/1 column for each"
    assert found_in(folder) == [("wrong-column", "labels.tsv:1", problem, ())]


def test_defects_of_splits(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path,
        splits={
            "dev": "a.jpg\n",
            "test": "\n",
            "train": "b.jpg\nx.jpg\na.jpg\nb.jpg\n",
            "all": "a.jpg\n",
        },
    )
    assert found_in(folder) == [
        (
            "reserved-split",
            "splits/all.txt",
            "no split may be called 'all', which means every item; rename the file",
            (),
        ),
        (
            "empty-split",
            "splits/test.txt",
            "has no names; fill it with one item id a line, or delete it",
            (),
        ),
        (
            "unknown-in-split",
            "splits/train.txt:2",
            "'x.jpg' is no item of this collection; delete the line",
            ("x.jpg",),
        ),
        (
            "duplicate-id",
            "splits/train.txt:4",
            "'b.jpg' is already in line 1; delete one of the two",
            ("b.jpg",),
        ),
        (
            "item-in-two-splits",
            "splits/train.txt:3",
            "'a.jpg' is also in dev.txt, line 1; take it out of one",
            ("a.jpg",),
        ),
    ]


def write_defective(tmp_path: Path) -> Path:
    names = [f"{letter}.jpg" for letter in "abcdefgh"]
    folder = write_folder(
        tmp_path / "photos",
        captions=HEAD
        + "".join(f"{name}\t{name} is nice\n" for name in names)
        + "b.jpg\t\ngone.jpg\tx\n",
        pictures=[*names, "extra.jpg"],
        labels="image\tnice\n" + "".join(f"{name}\t1\n" for name in names) + "gone.jpg\t1\n",
        splits={"train": "a.jpg\nb.jpg\nc.jpg\nnot-here.jpg\n", "test": "d.jpg\ne.jpg\ngone.jpg\n"},
    )
    content = write_picture(folder / "images" / "c.jpg", "blue", 256).read_bytes()
    (folder / "images" / "c.jpg").write_bytes(content[: len(content) // 2])
    return folder


def test_check_finds_everything_at_once(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    report = check_collection(
        write_defective(tmp_path),
        progress=lambda stage, done, total, values=None: steps.append((stage, done, total)),
    )
    assert report.kinds == {
        "missing-picture": 1,
        "empty-text": 1,
        "picture-without-caption": 1,
        "unknown-in-split": 1,
        "truncated-picture": 1,
    }
    assert report.bad_items == ("b.jpg", "gone.jpg", "extra.jpg", "not-here.jpg", "c.jpg")
    assert report.is_curable
    assert steps == [("check pictures", 0, 9), ("check pictures", 9, 9)]
    assert report.n_pictures == 8


def test_skip_bad_leaves_out_the_listed_items_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_defective(tmp_path)
    with caplog.at_level(logging.WARNING):
        collection = load_collection(folder, skip_bad=True)
    assert collection.item_ids == ("a.jpg", "d.jpg", "e.jpg", "f.jpg", "g.jpg", "h.jpg")
    assert collection.split("train").tolist() == [0]
    assert collection.split("test").tolist() == [1, 2]
    assert collection.captions is not None
    assert collection.captions[1] == "d.jpg is nice"
    assert collection.pictures is not None
    assert collection.pictures.path(1) == folder / "images" / "d.jpg"
    assert collection.labels is not None
    assert collection.labels.shape == (6, 1)
    assert (
        "photos: left out 5 bad items, 6 are used: b.jpg, c.jpg, extra.jpg, gone.jpg, not-here.jpg"
        in caplog.messages
    )
    assert (
        f"{folder}/captions.tsv:10: the caption of 'b.jpg' is empty; write one" in caplog.messages
    )


def test_without_skip_bad_a_defect_stops(tmp_path: Path) -> None:
    folder = write_defective(tmp_path)
    problem = (
        f"{folder}/captions.tsv:10: the caption of 'b.jpg' is empty; write one "
        "(and 3 more: `modalhash data check` lists all)"
    )
    with pytest.raises(CollectionError, match=f"^{re.escape(problem)}$"):
        load_collection(folder)


def test_skip_bad_stops_where_leaving_out_does_not_help(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=HEAD + SOUND + "a.jpg\t\n\tx\n")
    with pytest.raises(CollectionError, match=re.escape("captions.tsv:5: names no image")):
        load_collection(folder, skip_bad=True)


def test_skip_bad_stops_where_nothing_is_left(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, captions=HEAD + "x.jpg\tx\ny.jpg\ty\n", pictures=())
    with pytest.raises(CollectionError) as caught:
        load_collection(folder, skip_bad=True)
    assert caught.value.defects[-1].problem == "has no item that can be used"
    folder = write_folder(tmp_path / "empty", captions=HEAD + "a.jpg\t\nb.jpg\t\n")
    with pytest.raises(CollectionError, match=re.escape("the caption of 'a.jpg' is empty")):
        load_collection(folder, skip_bad=True)


def test_skip_bad_of_a_sound_folder_changes_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    plain, skipped = load_collection(folder), load_collection(folder, skip_bad=True)
    assert skipped.fingerprint() == plain.fingerprint()


def test_a_picture_that_fails_later_names_its_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    collection = load_collection(folder)
    (folder / "images" / "b.jpg").write_bytes(b"no picture")
    assert collection.pictures is not None
    problem = f"{folder}/images/b.jpg: isn't a JPEG, PNG or WebP picture; convert it"
    with pytest.raises(CollectionError, match=f"^{re.escape(problem)}$"):
        collection.pictures.open(1)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"there is no folder {tmp_path}/x: check the")):
        load_collection(tmp_path / "x")
    with pytest.raises(InputError, match=re.escape("there is no folder no/such: check the path")):
        load_collection("no/such")
    file = tmp_path / "captions.tsv"
    file.write_text(HEAD)
    problem = f"{file} is a file: give the folder that holds captions.tsv and images/"
    with pytest.raises(InputError, match=re.escape(problem)):
        load_collection(str(file))
    problem = (
        "unknown collection or folder 'iconz': did you mean 'icons'? "
        f"Known: {', '.join(sorted(COLLECTIONS))}"
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(problem)}$"):
        load_collection("iconz")
    with pytest.raises(InputError, match=re.escape("'wiki' lacks a path: write wiki:PATH")):
        load_collection("wiki")
    with pytest.raises(InputError, match=re.escape("the collection's name is empty: write a")):
        load_collection("")


def test_a_folder_may_have_the_name_of_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "icons")
    monkeypatch.chdir(tmp_path)
    assert load_collection(Path("icons")).n_items == 2
    assert load_collection("./icons").source == str(tmp_path / "icons")


def test_a_misspelt_folder_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    message = (
        "there is no folder and no collection 'phots': did you mean ./photos? `modalhash data "
        "list` names the collections"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_collection("phots")
    message = f"there is no folder {tmp_path / 'phots'}: did you mean {tmp_path / 'photos'}?"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_collection(tmp_path / "phots")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_folder_whose_name_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_folder(folder)
    with pytest.raises(InputError, match=r"caf\\udce9 isn't valid UTF-8"):
        load_collection(folder)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_picture_whose_name_is_not_utf_8_is_a_defect(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "images" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(
        (folder / "images" / "a.jpg").read_bytes()
    )
    [(kind, where, _, items)] = found_in(folder)
    assert (kind, items) == ("picture-without-caption", ("caf\\udce9.jpg",))
    assert where.encode()
