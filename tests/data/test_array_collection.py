"""Precomputed features and the Wikipedia set, in every layout, and what can be wrong with them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from numpy.typing import NDArray

from modalhash.data import check_collection, describe, load_collection
from modalhash.errors import CollectionError

IMAGE = np.arange(8, dtype=np.float64).reshape(4, 2) / 8
TEXT = np.arange(15, dtype=np.float32).reshape(5, 3)
ITEMS = np.array([0, 1, 1, 2, 3])
LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.uint8)
BASE: Mapping[str, NDArray[Any]] = {
    "image": IMAGE,
    "text": TEXT,
    "caption_items": ITEMS,
    "labels": LABELS,
}


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.mark.parametrize("form", ["folder", "npz", "mat", "mat-sparse", "mat-7.3", "h5"])
def test_every_form_reads_the_same(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"made.{form.partition('-')[0]}"
    if form == "folder":
        write_arrays(path, BASE)
        (path / "item_ids.txt").write_text("a\nb\nc\nd\n")
        (path / "captions.txt").write_text("A\nB\nBB\nC\nD\n")
    texts = {"item_ids": list("abcd"), "captions": ["A", "B", "BB", "C", "D"]}
    if form == "npz":
        np.savez(path, **BASE, **texts)  # type: ignore[arg-type]
    if form.startswith("mat"):
        cells = {name: np.array(values, object) for name, values in texts.items()}
        image = scipy.sparse.csc_matrix(IMAGE) if form == "mat-sparse" else IMAGE
        scipy.io.savemat(path, {**BASE, "image": image, **cells})
    if form in ("h5", "mat-7.3"):
        with h5py.File(path, "w", userblock_size=512 if form == "mat-7.3" else 0) as file:
            for name, array in BASE.items():
                file[name] = array.T if form == "mat-7.3" else array
            for name, values in texts.items():
                file[name] = values
            file.create_group("left_aside")
        if form == "mat-7.3":
            with path.open("r+b") as raw:
                raw.write(b"MATLAB 7.3 MAT-file, made for a test".ljust(512))
    collection = load_collection(f"features:{path}", split_seed=2)
    assert collection.item_ids == ("a", "b", "c", "d")
    assert collection.captions == ("A", "B", "BB", "C", "D")
    assert collection.caption_items.tolist() == ITEMS.tolist()
    assert collection.features["image"].dtype == np.float32
    np.testing.assert_allclose(collection.features["image"], IMAGE, rtol=0, atol=0)
    np.testing.assert_allclose(collection.features["text"], TEXT, rtol=0, atol=0)
    assert collection.labels is not None
    assert collection.labels.tolist() == LABELS.tolist()
    assert collection.label_names == ("label 0", "label 1")
    assert collection.pictures is None
    assert collection.split_note == "made by modalhash: seed 2, 80/10/10"
    assert load_collection(collection.source).fingerprint() == collection.fingerprint()
    assert describe(collection).features == {"image": (4, 2), "text": (5, 3)}


def test_float32_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    write_arrays(tmp_path, {"image": IMAGE.astype(np.float32), "text": TEXT[:4]})
    collection = load_collection(f"features:{tmp_path}")
    assert isinstance(collection.features["image"], np.memmap)


def test_split_files_name_items(tmp_path: Path) -> None:
    write_arrays(tmp_path, {"image": IMAGE, "text": TEXT[:4]})
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("3\n1\n")
    assert load_collection(f"features:{tmp_path}").split("train").tolist() == [3, 1]


def test_split_arrays_give_positions(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **BASE, split_test=[3], split_train=[[0.0], [2.0]])  # type: ignore[arg-type]
    collection = load_collection(f"features:{tmp_path / 'x.npz'}")
    assert collection.split("train").tolist() == [0, 2]
    assert collection.split("test").tolist() == [3]
    assert collection.split_note == "given in x.npz: test, train"


def test_parts_follow_each_other_and_are_splits(tmp_path: Path) -> None:
    parts: dict[str, NDArray[Any]] = {
        "image_train": IMAGE[:3],
        "text_train": TEXT[:4],
        "caption_items_train": np.array([0, 0, 1, 2]),
        "labels_train": LABELS[:3],
        "image_test": IMAGE[3:],
        "text_test": TEXT[4:],
        "caption_items_test": np.array([0]),
        "labels_test": LABELS[3:],
    }
    collection = load_collection(f"features:{write_arrays(tmp_path, parts)}")
    assert collection.caption_items.tolist() == [0, 0, 1, 2, 3]
    assert collection.split("train").tolist() == [0, 1, 2]
    assert collection.split("test").tolist() == [3]
    np.testing.assert_allclose(collection.features["text"], TEXT, rtol=0, atol=0)


def test_classes_become_columns(tmp_path: Path) -> None:
    write_arrays(
        tmp_path, {"image": IMAGE, "text": TEXT[:4], "labels": np.array([[2], [5], [2], [9]])}
    )
    collection = load_collection(f"features:{tmp_path}")
    assert collection.label_names == ("class 2", "class 5", "class 9")
    assert collection.labels is not None
    assert collection.labels.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_arrays_that_are_not_read_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_collection(f"features:{write_arrays(tmp_path, {**BASE, 'lables': LABELS})}")
    assert caplog.messages == [f"{tmp_path}: arrays that aren't read: lables"]


def changed(**arrays: object) -> dict[str, NDArray[Any]]:
    return {**BASE, **{name: np.asarray(array) for name, array in arrays.items()}}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"image": IMAGE},
            ("missing-array", "text.npy", "is missing; there is image"),
        ),
        (
            {"image": IMAGE, "text": TEXT},
            (
                "missing-array",
                "caption_items.npy",
                "is missing: 5 texts for 4 items need the item of each text",
            ),
        ),
        (
            changed(image=IMAGE[0]),
            ("wrong-shape", "image.npy", "is float64 (2,); expected numbers of shape (n, d)"),
        ),
        (
            changed(image=IMAGE[:, :0]),
            ("wrong-shape", "image.npy", "is empty: its shape is (4, 0)"),
        ),
        (
            changed(text=np.array([["a", "b"]])),
            ("wrong-shape", "text.npy", "is <U1 (1, 2); expected numbers of shape (n, d)"),
        ),
        (
            changed(caption_items=[0, 1, 2, 3]),
            (
                "wrong-shape",
                "caption_items.npy",
                "has shape (4,); expected 5 whole numbers, the item of each text",
            ),
        ),
        (
            changed(caption_items=[0, 0, 1, 1, 2]),
            (
                "wrong-shape",
                "caption_items.npy",
                "must name every item from 0 to 3 at least once, and no other",
            ),
        ),
        (
            changed(caption_items=[1, 0, 1, 2, 3]),
            (
                "wrong-shape",
                "caption_items.npy",
                "isn't sorted: put the texts of one item together, in the order of the items",
            ),
        ),
        (
            changed(item_ids=["a", "b", "a", "c"]),
            ("duplicate-id", "item_ids.npy", "'a' is empty or comes twice; ids must be distinct"),
        ),
        (
            changed(item_ids=["a", "b"]),
            ("wrong-shape", "item_ids.npy", "has 2 ids; expected 4"),
        ),
        (
            changed(captions=["a", "b"]),
            ("wrong-shape", "captions.npy", "has 2 texts; expected 5, one a row of text"),
        ),
        (
            changed(labels=LABELS * 3),
            ("bad-label", "labels.npy", "holds 3; expected 0 and 1 only"),
        ),
        (
            changed(labels=[0, 1, 0.5, 0]),
            (
                "bad-label",
                "labels.npy",
                "has shape (4,); expected (4, c) of 0/1 or 4 classes",
            ),
        ),
        (
            changed(labels=[0, 1, 2, 0], label_names=["x", "y"]),
            (
                "bad-label",
                "labels.npy",
                "has classes outside 0 to 1, for which there are names",
            ),
        ),
        (
            changed(label_names=["x", "y", "z"]),
            ("wrong-shape", "label_names.npy", "has 3 names for 2 columns of labels"),
        ),
        (
            changed(split_train=[0, 4]),
            ("unknown-in-split", "split_train.npy", "must hold distinct positions from 0 to 3"),
        ),
        (
            changed(split_train=np.empty(0)),
            ("empty-split", "split_train.npy", "holds no whole numbers; expected positions from 0"),
        ),
        (
            {"image_train": IMAGE, "image_test": IMAGE, "text_train": TEXT},
            ("missing-array", "text_test.npy", "is missing beside image_test"),
        ),
        (
            {"image_a": IMAGE, "image_b": TEXT, "text_a": TEXT, "text_b": TEXT},
            ("wrong-shape", "image_a.npy", "doesn't fit the other parts: (4, 2) and (5, 3)"),
        ),
    ],
)
def test_defects_that_stop(
    arrays: Mapping[str, NDArray[Any]], expected: tuple[str, str, str], tmp_path: Path
) -> None:
    folder = write_arrays(tmp_path / "made", arrays)
    report = check_collection(f"features:{folder}")
    found = [
        (defect.kind, defect.where.replace(f"{folder}/", ""), defect.problem)
        for defect in report.defects
    ]
    assert found == [expected]
    assert not report.is_curable
    with pytest.raises(CollectionError, match=re.escape(expected[2])):
        load_collection(f"features:{folder}", skip_bad=True)


def test_rows_that_are_not_finite_can_be_left_out(tmp_path: Path) -> None:
    image, text = IMAGE.copy(), TEXT.copy()
    image[0, 1] = 1e300  # infinite in float32
    text[2, 0] = np.nan
    folder = write_arrays(tmp_path, changed(image=image, text=text, item_ids=list("abcd")))
    report = check_collection(f"features:{folder}")
    assert [(d.kind, d.where, d.problem, d.items) for d in report.defects] == [
        (
            "nan-feature",
            f"{folder}/image.npy",
            "row 0 (from 0), item 'a', holds inf; features are finite",
            ("a",),
        ),
        (
            "nan-feature",
            f"{folder}/text.npy",
            "row 2 (from 0), item 'b', holds nan; features are finite",
            ("b",),
        ),
    ]
    collection = load_collection(f"features:{folder}", skip_bad=True)
    assert collection.item_ids == ("c", "d")
    np.testing.assert_allclose(collection.features["text"], TEXT[3:], rtol=0, atol=0)


def test_an_empty_text_is_a_defect(tmp_path: Path) -> None:
    folder = write_arrays(tmp_path, changed(captions=["a", "b", " ", "d", "e"]))
    [defect] = check_collection(f"features:{folder}").defects
    assert (defect.kind, defect.items) == ("empty-text", ("1",))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.npz", b"nothing", "can't be read: "),
        ("x.mat", b"nothing", "can't be read: "),
        ("x.h5", b"nothing", "can't be read: "),
        ("x.csv", b"a,b", "is neither a folder nor one of .npz, .mat, .h5, .hdf5, .h5py"),
        (None, b"", "there is no such file or folder; check the path"),
    ],
)
def test_files_that_can_not_be_read(
    name: str | None, content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / (name or "gone.npz")
    if name:
        path.write_bytes(content)
    [defect] = check_collection(f"features:{path}").defects
    assert (defect.kind, defect.where) == ("unreadable-file", str(path))
    assert defect.problem.startswith(problem)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    [defect] = check_collection(f"features:{tmp_path}").defects
    assert defect.where == str(tmp_path / "image.npy")
    assert defect.problem.startswith("can't be read: ")


WIKI_NAMES = np.array(["art", "sport"])


def write_wiki_npz(path: Path) -> Path:
    np.savez(
        path,
        image_train=IMAGE[:3],
        text_train=TEXT[:3],
        label_train=np.array([1, 0, 1]),
        image_test=IMAGE[3:],
        text_test=TEXT[3:4],
        label_test=np.array([0]),
        class_names=WIKI_NAMES,
    )
    return path


def write_wiki_mat(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    scipy.io.savemat(
        folder / "raw_features.mat",
        {"I_tr": IMAGE[:3], "T_tr": TEXT[:3], "I_te": IMAGE[3:], "T_te": TEXT[3:4]},
    )
    (folder / "trainset_txt_img_cat.list").write_text("t1\tp1\t2\nt2\tp2\t1\nt3\tp3\t2\n")
    (folder / "testset_txt_img_cat.list").write_text("t4\tp4\t1\n")
    (folder / "categories.list").write_text("art\nsport\n")
    return folder


def test_wiki_from_npz_and_from_the_original(tmp_path: Path) -> None:
    from_npz = load_collection(f"wiki:{write_wiki_npz(tmp_path / 'wiki.npz')}")
    from_mat = load_collection(f"wiki:{write_wiki_mat(tmp_path / 'original')}")
    assert load_collection(f"wiki:{tmp_path}").source == from_npz.source
    assert from_npz.item_ids == ("train-0000", "train-0001", "train-0002", "test-0000")
    assert from_mat.item_ids == ("train/p1", "train/p2", "train/p3", "test/p4")
    assert from_mat.caption_ids == ("train/t1", "train/t2", "train/t3", "test/t4")
    for collection in (from_npz, from_mat):
        assert collection.name == "wiki"
        assert collection.label_names == ("art", "sport")
        assert collection.labels is not None
        assert collection.labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
        assert collection.split("train").tolist() == [0, 1, 2]
        assert collection.split("test").tolist() == [3]
        np.testing.assert_allclose(collection.features["image"], IMAGE, rtol=0, atol=0)
        np.testing.assert_allclose(collection.features["text"], TEXT[:4], rtol=0, atol=0)


def test_wiki_without_a_file(tmp_path: Path) -> None:
    [defect] = check_collection(f"wiki:{tmp_path}").defects
    problem = "has neither wiki.npz nor raw_features.mat; give the folder that holds one"
    assert (defect.kind, defect.where, defect.problem) == ("missing-file", str(tmp_path), problem)


def test_wiki_lists_with_defects(tmp_path: Path) -> None:
    folder = write_wiki_mat(tmp_path)
    (folder / "trainset_txt_img_cat.list").write_text("t1\tp1\t2\nt2 p2 1\n")
    (folder / "testset_txt_img_cat.list").unlink()
    assert [str(defect) for defect in check_collection(f"wiki:{folder}").defects] == [
        (
            f"{folder}/trainset_txt_img_cat.list:2: isn't text, picture and class number with tabs "
            "between"
        ),
        f"{folder}/testset_txt_img_cat.list: can't be read: No such file or directory",
    ]
