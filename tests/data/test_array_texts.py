"""Texts and labels of arrays, in every form that programs store them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from numpy.typing import NDArray

from modalhash.data import check_collection, load_collection
from tests.oracles.feature_layouts import write_matlab73

IMAGE = np.arange(12, dtype=np.float32).reshape(4, 3)
TEXTS = ["a dog", "café", "two boats", "x"]


def write_npz(path: Path, **arrays: Any) -> str:
    np.savez(path, image=IMAGE, text=IMAGE[::-1], **arrays)
    return f"features:{path}"


@pytest.mark.parametrize("kind", ["U", "S", "h5", "h5-fixed", "bom"])
def test_captions_are_texts_however_they_are_stored(kind: str, tmp_path: Path) -> None:
    encoded = np.array([text.encode() for text in TEXTS])
    if kind.startswith("h5"):
        source = f"features:{tmp_path / 'a.h5'}"
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["image"], file["text"] = IMAGE, IMAGE
            data = encoded if kind == "h5-fixed" else np.array(TEXTS, dtype=object)
            file.create_dataset(
                "captions",
                data=data,
                dtype=None if kind == "h5-fixed" else h5py.string_dtype("utf-8"),
            )
    else:
        stored = {"U": np.array(TEXTS), "S": encoded}.get(kind)
        if stored is None:
            stored = np.array([b"\xef\xbb\xbf" + text for text in encoded])
        source = write_npz(tmp_path / "a.npz", captions=stored)
    assert load_collection(source).captions == tuple(TEXTS)


def test_byte_strings_that_are_not_utf_8_are_a_defect(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "a.npz", captions=np.array([b"a", b"caf\xe9", b"c", b"d"]))
    [defect] = check_collection(source).defects
    assert "can't decode byte 0xe9" in defect.problem


def test_captions_must_be_texts(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "a.npz", captions=np.arange(4.0))
    [defect] = check_collection(source).defects
    assert str(defect) == (
        f"{tmp_path / 'a.npz'}:captions: holds numbers (float64); expected texts"
    )


def test_ids_of_matlab_are_whole_numbers(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "a.npz", item_ids=np.array([[7.0, 8.0, 9.0, 10.0]]))
    assert load_collection(source).item_ids == ("7", "8", "9", "10")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([[0], [1], [0], [1]]), [[0], [1], [0], [1]]),
        (np.array([[0.0], [1.0], [0.0], [1.0]]), [[0], [1], [0], [1]]),
        (np.array([False, True, False, True]), [[0], [1], [0], [1]]),
        (np.array([["True"], ["False"], ["true"], ["FALSE"]]), [[1], [0], [1], [0]]),
        (np.array(["1 0", "0 1", "1 1", "0.0 1.0"]), [[1, 0], [0, 1], [1, 1], [0, 1]]),
        (np.array([0, 1, 0, 1]), [[1, 0], [0, 1], [1, 0], [0, 1]]),
        (np.array(["dog", "cat", "dog", "dog"]), [[0, 1], [1, 0], [0, 1], [0, 1]]),
        (np.array([["3"], ["5"], ["3"], ["5"]]), [[1, 0], [0, 1], [1, 0], [0, 1]]),
        (np.array([b"dog", b"cat", b"dog", b"dog"]), [[0, 1], [1, 0], [0, 1], [0, 1]]),
    ],
)
def test_labels_are_columns_or_classes(
    labels: NDArray[Any], expected: list[list[int]], tmp_path: Path
) -> None:
    found = load_collection(write_npz(tmp_path / "a.npz", labels=labels)).labels
    assert found is not None
    assert found.tolist() == expected


def test_one_column_is_two_classes_where_both_have_names(tmp_path: Path) -> None:
    column = np.array([[0], [1], [0], [1]])
    collection = load_collection(
        write_npz(tmp_path / "a.npz", labels=column, label_names=np.array(["cat", "dog"]))
    )
    assert collection.label_names == ("cat", "dog")
    [note] = check_collection(write_npz(tmp_path / "b.npz", labels=column)).notes
    assert note == (
        f"{tmp_path / 'b.npz'}:labels: one column of 0 and 1 is one label; for two classes, give a "
        "vector or the names of both"
    )


def write_cells(path: Path, texts: list[list[str]]) -> str:
    """Write captions as MATLAB's cells of char, older than 7.3, beside features."""
    cells = np.empty((len(texts), 1), object)
    for row, own in enumerate(texts):
        cells[row, 0] = own[0] if len(own) == 1 else np.array(own, object)
    scipy.io.savemat(path, {"image": IMAGE, "captions": cells})
    return f"features:{path}"


def test_an_entry_with_several_texts_has_several_captions(tmp_path: Path) -> None:
    source = write_cells(tmp_path / "a.mat", [["a", "b"], ["c"], ["d"], ["e", "f", "g"]])
    collection = load_collection(source)
    assert collection.captions == tuple("abcdefg")
    assert collection.caption_items.tolist() == [0, 0, 1, 2, 3, 3, 3]


def test_an_empty_cell_is_an_empty_text(tmp_path: Path) -> None:
    [defect] = check_collection(
        write_cells(tmp_path / "a.mat", [["a"], [""], ["c"], ["d"]])
    ).defects
    assert (defect.kind, defect.items) == ("empty-text", ("1",))


@pytest.mark.parametrize("by_matlab", [True, False])
def test_sparse_matrices_become_dense(by_matlab: bool, tmp_path: Path) -> None:
    dense = np.array([[0, 2.0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 7]])
    path = tmp_path / "a.mat"
    if by_matlab:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["image"] = IMAGE.T
            packed = scipy.sparse.csc_matrix(dense)
            group = file.create_group("text")
            group.attrs["MATLAB_sparse"] = np.uint64(4)
            group["data"], group["ir"], group["jc"] = packed.data, packed.indices, packed.indptr
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, made for a test".ljust(512))
    else:
        scipy.io.savemat(path, {"image": IMAGE, "text": scipy.sparse.csc_matrix(dense)})
    np.testing.assert_array_equal(load_collection(f"features:{path}").features["text"], dense)


def test_a_matlab_struct_is_named_where_an_array_should_be(tmp_path: Path) -> None:
    path = tmp_path / "mir_cnn.mat"
    scipy.io.savemat(path, {"I_tr": {"x": 1.0}, "T_tr": IMAGE, "I_te": IMAGE, "T_te": IMAGE})
    [defect] = check_collection(f"nine-array:{path}").defects
    assert str(defect) == (
        f"{path}:I_tr: is a MATLAB struct or object: save its fields as variables (string: cellstr)"
    )


def test_a_matlab_string_object_is_no_matrix_of_numbers(tmp_path: Path) -> None:
    """MATLAB stores `string` as six numbers that point elsewhere."""
    path = tmp_path / "a.mat"
    write_matlab73(path, {"image": IMAGE, "text": IMAGE, "captions": np.zeros((1, 6), np.uint32)})
    with h5py.File(path, "r+") as file:
        file["captions"].attrs["MATLAB_class"] = np.bytes_("string")
        file["captions"].attrs["MATLAB_object_decode"] = np.int32(3)
    [defect] = check_collection(f"features:{path}").defects
    assert str(defect) == (
        f"{path}:captions: is a MATLAB object of class string: save it as a cell of char or a "
        "matrix"
    )
