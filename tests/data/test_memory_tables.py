"""Collections from data frames and from data sets of Hugging Face: the real packages make them."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.data import Collection
from modalhash.errors import CollectionError, InputError, UnknownNameError

pandas = pytest.importorskip("pandas")


def colour(number: int) -> tuple[int, int, int]:
    return (40 * number, 255 - 40 * number, 0)


def draw(number: int) -> Image.Image:
    return Image.new("RGB", (8, 6), colour(number))


def png(number: int) -> bytes:
    file = io.BytesIO()
    draw(number).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six files, 0.png to 4.png and sub/5.png."""
    (tmp_path / "sub").mkdir()
    for number in range(6):
        draw(number).save(tmp_path / name_of(number))
    return tmp_path


def name_of(number: int) -> str:
    return f"{'sub/' if number == 5 else ''}{number}.png"


def shown(collection: Collection) -> list[tuple[int, int, int]]:
    """The colour of each picture."""
    assert collection.pictures is not None
    opened = [collection.pictures.open(item) for item in range(collection.n_items)]
    assert all((picture.size, picture.mode) == ((8, 6), "RGB") for picture in opened)
    return [picture.getpixel((3, 3)) for picture in opened]  # type: ignore[misc]


def test_a_frame_of_paths(photos: Path) -> None:
    """Rows of one picture belong together; what is missing is no value."""
    frame = pandas.DataFrame({
        "File_Name": [photos / name_of(row // 2) for row in range(12)],
        "text": [f"text {row}" for row in range(12)],
        "year": pandas.array([2000 + row // 2 if row < 10 else None for row in range(12)], "Int64"),
        "weight": [row // 2 / 4 if row < 10 else float("nan") for row in range(12)],
        "taken": pandas.to_datetime(["2021-07-14 10:22:05"] * 10 + [None] * 2),
        "split": ["train"] * 8 + ["valid"] * 2 + ["test"] * 2,
        "labels": [["red", "green"] if row < 2 else ["blue"] for row in range(12)],
    })  # fmt: skip
    collection = mh.load_collection(frame)
    assert collection.item_ids == tuple(map(name_of, range(6)))
    assert collection.captions == tuple(f"text {row}" for row in range(12))
    assert shown(collection) == [colour(number) for number in range(6)]
    assert collection.pictures is not None
    assert collection.pictures.path(5) == photos / "sub/5.png"
    assert collection.metadata == {
        "year": (2000, 2001, 2002, 2003, 2004, None),
        "weight": (0.0, 0.25, 0.5, 0.75, 1.0, None),
        "taken": ("2021-07-14T10:22:05",) * 5 + (None,),
    }
    assert {name: own.tolist() for name, own in collection.splits.items()} == {
        "train": [0, 1, 2, 3], "dev": [4], "test": [5],
    }  # fmt: skip
    assert collection.label_names == ("red", "green", "blue")
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 1, 0], *([[0, 0, 1]] * 5)]


def test_relative_paths_are_below_the_named_folder(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pandas.DataFrame({"where": ["1.png", "sub/5.png"], "what": ["one", "five"]})
    columns = f"image=where,caption=what,images={photos}"
    collection = mh.load_collection(frame, columns=columns)
    assert collection.item_ids == ("1.png", "sub/5.png")
    assert collection.captions == ("one", "five")
    monkeypatch.chdir(photos / "sub")
    here = mh.load_collection(pandas.DataFrame({"path": ["5.png", "../2.png"]}))
    assert shown(here) == [colour(5), colour(2)]
    assert not here.has_texts


@pytest.mark.parametrize(
    "make", [png, draw, lambda number: np.asarray(draw(number)), lambda n: {"bytes": png(n)}]
)
def test_a_frame_of_pictures(make: Any) -> None:
    frame = pandas.DataFrame(
        {"picture": [make(number) for number in range(5)], "text": [f"text {n}" for n in range(5)]}
    )
    collection = mh.load_collection(frame)
    assert shown(collection) == [colour(number) for number in range(5)]
    assert collection.item_ids[0] == "DataFrame/0000001"
    assert collection.pictures is not None
    assert collection.pictures.path(0) is None
    stamps = [collection.pictures.stamp(item) for item in range(5)]
    assert len(set(stamps)) == 5
    assert stamps == [collection.pictures.digest(item) for item in range(5)]


def test_a_column_of_ids_names_items(photos: Path) -> None:
    frame = pandas.DataFrame({"id": [7, 8, 9], "image": [png(1), png(2), png(3)]})
    assert mh.load_collection(frame).item_ids == ("7", "8", "9")


def test_what_is_wrong_is_named_by_row(photos: Path) -> None:
    frame = pandas.DataFrame(
        {"image": [str(photos / "1.png"), str(photos / "no.png"), None], "text": ["a", "b", "c"]}
    )
    with pytest.raises(CollectionError) as raised:
        mh.load_collection(frame)
    assert [str(defect) for defect in raised.value.defects] == [
        "DataFrame:3: the picture is missing: write its file name, or delete the row",
        f"DataFrame:2: there is no picture {photos}/no.png: correct the path",
    ]
    empty = pandas.DataFrame({"image": [str(photos / "1.png")], "text": [float("nan")]})
    with pytest.raises(CollectionError, match=r"^DataFrame:1: .*caption of .*is empty"):
        mh.load_collection(empty)


def test_pictures_that_cannot_be_decoded_are_defects() -> None:
    frame = pandas.DataFrame(
        {"image": [png(1), b"no picture", np.zeros((3, 8, 9), np.uint8)], "text": list("abc")}
    )
    collection = mh.load_collection(frame, skip_bad=True)
    assert collection.captions == ("a",)


@pytest.mark.parametrize(
    ("source", "columns", "message"),
    [
        (7, "", "source is of type int, expected a folder, a name such as icons, a data frame"),
        ({}, "", "source is of type dict, expected"),
        (pandas.DataFrame({"x": [1]}), "", "no column of pictures is recognised among 'x': name"),
        (pandas.DataFrame({"x": [1]}), "image=y", "the table has no column 'y', only 'x'"),
        (pandas.DataFrame({"image": []}), "", "DataFrame: has no row"),
        (
            pandas.DataFrame([["a", "b"]], columns=["image", "image"]), "",
            "the column 'image' comes several times: rename the others",
        ),
    ],
)  # fmt: skip
def test_other_tables_are_refused(source: Any, columns: str, message: str) -> None:
    with pytest.raises((InputError, CollectionError), match=f"^{re.escape(message)}"):
        mh.load_collection(source, columns=columns)
    with pytest.raises(UnknownNameError, match="unknown role of a column 'picture'"):
        mh.load_collection(pandas.DataFrame({"image": ["a"]}), columns="picture=image")


def test_columns_of_a_file_are_named_too(photos: Path) -> None:
    table = photos / "table.csv"
    table.write_text("where,what\n1.png,one\n2.png,two\n", encoding="utf-8")
    collection = mh.load_collection(str(table), columns="image=where,caption=what")
    assert collection.captions == ("one", "two")


@pytest.fixture(scope="module")
def datasets() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("datasets")
    package.disable_progress_bars()
    return package


def make_dataset(datasets: Any, pictures: list[Any]) -> Any:
    count = len(pictures)
    return datasets.Dataset.from_dict(
        {
            "image": pictures,
            "caption": [[f"a {row}", f"b {row}"] for row in range(count)],
            "label": [row % 2 for row in range(count)],
            "year": [2000 + row for row in range(count)],
        },
        features=datasets.Features({
            "image": datasets.Image(),
            "caption": datasets.List(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "year": datasets.Value("int32"),
        }),
    )  # fmt: skip


def test_a_dataset_of_stored_pictures(datasets: Any) -> None:
    dataset = make_dataset(datasets, [draw(number) for number in range(6)])
    collection = mh.load_collection(dataset)
    assert collection.item_ids[5] == "Dataset/0000006"
    assert collection.captions is not None
    assert collection.captions[:3] == ("a 0", "b 0", "a 1")
    assert collection.label_names == ("cat", "dog")
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 0], [0, 1]] * 3
    assert collection.metadata == {"year": tuple(range(2000, 2006))}
    assert shown(collection) == [colour(number) for number in range(6)]


def test_a_selection_of_a_dataset_keeps_its_order(datasets: Any) -> None:
    dataset = make_dataset(datasets, [draw(number) for number in range(6)]).select([4, 0, 2])
    collection = mh.load_collection(dataset)
    assert shown(collection) == [colour(4), colour(0), colour(2)]
    assert collection.metadata == {"year": (2004, 2000, 2002)}


def test_a_dataset_of_paths(datasets: Any, photos: Path) -> None:
    dataset = make_dataset(datasets, [str(photos / name_of(number)) for number in range(6)])
    collection = mh.load_collection(dataset)
    assert collection.item_ids == tuple(map(name_of, range(6)))
    assert shown(collection) == [colour(number) for number in range(6)]
    assert collection.pictures is not None
    assert collection.pictures.path(5) == photos / "sub/5.png"


def test_several_datasets_are_splits(datasets: Any) -> None:
    parts = datasets.DatasetDict({
        "train": make_dataset(datasets, [draw(0), draw(1)]),
        "validation": make_dataset(datasets, [draw(2)]),
    })  # fmt: skip
    collection = mh.load_collection(parts)
    assert {name: own.tolist() for name, own in collection.splits.items()} == {
        "train": [0, 1], "dev": [2],
    }  # fmt: skip
    assert collection.item_ids == ("train/0000001", "train/0000002", "validation/0000001")
    assert shown(collection) == [colour(0), colour(1), colour(2)]


def test_a_frame_is_indexed_and_searched(
    scene_run: Path, tiny_encoder: None, own_cache: Path, tmp_path: Path
) -> None:
    """The codes are those of the same pictures in a folder."""
    frame = pandas.DataFrame({"image": [draw(n) for n in range(6)], "text": list("abcdef")})
    with mh.build_index(
        scene_run, mh.load_collection(frame), output=tmp_path / "index", split="all"
    ) as index:
        codes = index.model.encode_images([draw(number) for number in range(6)])
        hits = index.search(image=draw(3), target="images", k=6).hits
    agreed = [np.bitwise_count(code ^ codes[3]).sum() for code in codes]
    assert [hit.distance for hit in hits] == sorted(agreed)
    assert all(hit.image is not None and Path(hit.image).is_file() for hit in hits)
