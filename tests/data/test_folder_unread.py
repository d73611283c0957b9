"""What looks like labels or splits in a folder and isn't read as such is said."""

from pathlib import Path

import pytest

from modalhash.data import check_collection
from tests.oracles.photo_folder import write_picture

NAMES = ("a.jpg", "b.jpg", "c.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "images").mkdir(exist_ok=True)
        write_picture(tmp_path / "images" / name)
    return tmp_path


def write_captions(folder: Path, column: str, values: tuple[str, str, str]) -> None:
    rows = [f"{name},a thing,{value}\n" for name, value in zip(NAMES, values, strict=True)]
    (folder / "captions.csv").write_text(f"image,caption,{column}\n" + "".join(rows))


@pytest.mark.parametrize("column", ["label", "Labels", "class", "category"])
def test_a_column_of_labels_is_named(folder: Path, column: str) -> None:
    write_captions(folder, column, ("cat", "dog", "cat"))
    report = check_collection(str(folder))
    assert not report.defects
    [note] = report.notes
    assert note == (
        f"column {column!r} of the captions file is metadata, so there are no labels: for labels, "
        "write labels.csv with the column image and a column of 0 and 1 for each concept"
    )
    (folder / "labels.csv").write_text("image,cat\na.jpg,1\nb.jpg,0\nc.jpg,1\n")
    assert check_collection(str(folder)).notes == ()


def test_a_column_of_splits_is_named(folder: Path) -> None:
    write_captions(folder, "split", ("train", "train", "test"))
    [note] = check_collection(str(folder)).notes
    assert note == (
        "column 'split' of the captions file is metadata, and the split is made by chance: for a "
        "split of your own, write splits/NAME.txt with a picture a line"
    )
    (folder / "splits").mkdir()
    (folder / "splits" / "train.txt").write_text("a.jpg\nb.jpg\n")
    (folder / "splits" / "test.txt").write_text("c.jpg\n")
    assert check_collection(str(folder)).notes == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("label.csv", "labels are in labels.tsv, .csv, .jsonl or .parquet"),
        ("Labels.tsv", "labels are in labels.tsv, .csv, .jsonl or .parquet"),
        ("labels.json", "labels are in labels.tsv, .csv, .jsonl or .parquet"),
        ("captions.json", "captions are in captions.tsv, .csv, .jsonl or .parquet"),
    ],
)
@pytest.mark.parametrize("has_captions", [True, False])
def test_a_file_under_another_name_is_named(
    folder: Path, name: str, reason: str, has_captions: bool
) -> None:
    if has_captions:
        write_captions(folder, "place", ("x", "y", "z"))
    (folder / name).write_text("{}")
    assert f"{folder / name} isn't read: {reason}" in check_collection(str(folder)).notes


@pytest.mark.parametrize("name", ["splits.csv", "split.json", "train.txt", "Test.txt"])
def test_a_list_in_another_place_is_named(folder: Path, name: str) -> None:
    write_captions(folder, "place", ("x", "y", "z"))
    (folder / name).write_text("a.jpg\n")
    [note] = check_collection(str(folder)).notes
    reason = "and the split is made by chance: lists are in splits/NAME.txt"
    assert note == f"{folder / name} isn't read, {reason}"
