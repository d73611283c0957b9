"""Tables of captions as spreadsheets export them: separators, encodings and columns are found."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from modalhash.data import check_collection, load_collection
from modalhash.data.loading import read_source
from modalhash.data.text_encodings import guess_encoding

ROWS = [
    ("a.jpg", "Ein Hund in Z\u00fcrich"),
    ("b.jpg", "Zwei Hunde; im \u201eSchnee\u201c"),
    ("c.jpg", 'ein "Caf\u00e9", 5 \u20ac'),
]


def write_export(
    folder: Path,
    *,
    table: str = "captions.csv",
    columns: tuple[str, str] = ("image", "caption"),
    separator: str = ";",
    encoding: str = "utf-8",
    before: str = "",
) -> Path:
    """Write a folder of three pictures and a table of their captions."""
    (folder / "images").mkdir(parents=True)
    for place, (name, _) in enumerate(ROWS):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(folder / "images" / name)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(columns)
    writer.writerows(ROWS)
    (folder / table).write_bytes((before + text.getvalue()).encode(encoding))
    return folder


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("separator", [";", ","])
def test_encodings_and_separators_are_found(encoding: str, separator: str, tmp_path: Path) -> None:
    folder = write_export(tmp_path / "p", separator=separator, encoding=encoding)
    assert check_collection(folder).defects == ()
    collection = load_collection(folder)
    assert dict(zip(collection.item_ids, collection.captions or (), strict=True)) == dict(ROWS)
    guessed = [note for note in read_source(folder).notes if "isn't UTF-8 and is read as" in note]
    assert len(guessed) == (encoding in ("cp1252", "utf-16-le", "utf-16-be"))


@pytest.mark.parametrize(
    "columns",
    [
        ("Image", "CAPTION"), ("File_Name", "Text"), ("filename", "title"),
        ("Image Path", "Description"),
    ],
)  # fmt: skip
def test_columns_are_found_in_any_case_and_by_usual_names(
    columns: tuple[str, str], tmp_path: Path
) -> None:
    collection = load_collection(write_export(tmp_path / "p", columns=columns))
    assert dict(zip(collection.item_ids, collection.captions or (), strict=True)) == dict(ROWS)
    assert collection.metadata == {}


def test_an_exact_name_goes_before_a_usual_one(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "p")
    lines = ["title,caption,image,filename", "T,C,a.jpg,x", "T,D,b.jpg,y", "T,E,c.jpg,z"]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    collection = load_collection(folder)
    assert collection.captions == ("C", "D", "E")
    assert collection.metadata == {"title": ("T",) * 3, "filename": ("x", "y", "z")}


def test_usual_names_of_jsonl_and_parquet(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "p")
    (folder / "captions.csv").unlink()
    (folder / "captions.jsonl").write_text(
        "".join(f'{{"File": "{name}", "text": "x"}}\n' for name, _ in ROWS)
    )
    assert load_collection(folder).captions == ("x",) * 3
    (folder / "captions.jsonl").unlink()
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"File": [name for name, _ in ROWS], "Text": ["y"] * 3})
    parquet.write_table(table, folder / "captions.parquet")
    assert load_collection(folder).captions == ("y",) * 3


def test_labels_by_usual_names(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "p", encoding="cp1252")
    (folder / "labels.csv").write_text(
        "Filename;dog;caf\u00e9\na.jpg;1;0\nb.jpg;1;0\nc.jpg;0;1\n", "cp1252"
    )
    collection = load_collection(folder)
    assert collection.label_names == ("dog", "caf\u00e9")
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_the_line_that_names_the_separator(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "p", before="sep=;\r\n", encoding="utf-8-sig")
    assert load_collection(folder).captions == tuple(text for _, text in ROWS)
    lines = (folder / "captions.csv").read_text("utf-8-sig").splitlines()
    (folder / "captions.csv").write_text("\n".join([*lines, "a.jpg"]) + "\n")
    [defect] = check_collection(folder).defects
    assert defect.where.endswith("captions.csv:6")


def test_a_table_beside_pictures_is_found_by_its_columns(tmp_path: Path) -> None:
    folder = write_export(
        tmp_path / "p", table="fotos.csv", columns=("Filename", "Title"), encoding="cp1252"
    )
    collection = load_collection(folder)
    assert collection.captions == tuple(text for _, text in ROWS)
    assert any("is read as Windows-1252" in note for note in read_source(folder).notes)


def test_columns_and_an_encoding_that_are_named(tmp_path: Path) -> None:
    folder = write_export(
        tmp_path / "p", table="fotos.csv", columns=("Bild", "Satz"), encoding="mac-roman"
    )
    source = f"{folder}#image=Bild,caption=Satz,separator=semicolon,encoding=mac-roman"
    assert load_collection(source).captions == tuple(text for _, text in ROWS)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", None),
        (b"plain text", None),
        ("caf\u00e9".encode(), None),
        (b"caf\xe9 \x84quoted\x93 5 \x80", "cp1252"),
        (b"caf\xe9 and \xc3\xa9", None),  # broken UTF-8
        (b"broken \xff byte", None),
        (b"undefined \x81", None),
        (b"nul \0 caf\xe9", None),
        ("caf\u00e9 au lait".encode("utf-16-le"), "utf-16-le"),
        ("caf\u00e9 au lait".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_guesses(content: bytes, encoding: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert guess_encoding(tmp_path / "a.csv") == encoding


def test_a_guess_looks_at_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * (1 << 20) + "\u00e9".encode() + b"y" * (1 << 20))
    assert guess_encoding(path) is None
    path.write_bytes(b"x" * ((1 << 20) - 1) + "\u00e9".encode())  # across the border of two reads
    assert guess_encoding(path) is None
    path.write_bytes(b"x" * (1 << 21) + b"caf\xe9")
    assert guess_encoding(path) == "cp1252"
