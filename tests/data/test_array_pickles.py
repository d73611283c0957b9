"""A pickle is looked at, never run: plain values and arrays come back, everything else is named."""

import collections
import pickle
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modalhash.data.array_pickles import read_array_pickle
from modalhash.data.pickled_files import read_object_npy, read_pickled_file
from modalhash.errors import CollectionError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
    max_leaves=12,
)


@given(value=plain, protocol=st.integers(2, 5))
def test_plain_values_come_back(
    value: Any, protocol: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("plain") / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    if not holds_bytes(value) or protocol > 2:
        assert read_array_pickle(path) == value


def holds_bytes(value: Any) -> bool:
    """Tell whether protocol 2 would call a function of the codecs module to make some bytes."""
    if isinstance(value, dict):
        return any(map(holds_bytes, value.values()))
    if isinstance(value, list | tuple):
        return any(map(holds_bytes, value))
    return isinstance(value, bytes)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", "|u1", "|b1", "<f2", "<U5"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(protocol: int, dtype: str, order: Any, tmp_path: Path) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype).copy(order=order)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": array, "b": [array, array[0]]}, protocol))
    found = read_array_pickle(path)
    assert found["a"].dtype == array.dtype
    np.testing.assert_array_equal(found["a"], array)
    np.testing.assert_array_equal(found["b"][1], array[0])


class Trap:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    path, trace = tmp_path / "x.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"image": Trap(trace)}, protocol))
    with pytest.raises(CollectionError):
        read_array_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (collections.OrderedDict(a=1), "collections.OrderedDict, which is no numpy array"),
        (np.array([object]), "an array of the dtype 'O8'"),
        (print, "builtins.print"),
        ({1, 2}, "the instruction EMPTY_SET"),
    ],
)
def test_what_is_refused_is_named(value: Any, found: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    expected = (
        f"{path}: holds {found}: only numbers, texts and numpy arrays are read from a pickle; "
        "convert it to .npz where it was made"
    )
    with pytest.raises(CollectionError, match=f"^{re.escape(expected)}$"):
        read_array_pickle(path)


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    value: list[Any] = []
    value.append(value)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(CollectionError, match="holds something that contains itself"):
        read_array_pickle(path)


def test_a_small_pickle_that_would_unfold_without_end_is_no_danger(tmp_path: Path) -> None:
    value: list[Any] = [0]
    for _ in range(60):
        value = [value, value]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    found = read_array_pickle(path)
    assert found[0] is found[1]


@given(content=st.binary(max_size=60))
def test_any_bytes_give_a_value_or_an_error_of_ours(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "x.pkl"
    path.write_bytes(content)
    with suppress(CollectionError):
        read_array_pickle(path)


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_a_cut_pickle_is_damaged(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"image": np.arange(9.0), "label": [1, 2, 3]}, 4)[:length])
    with pytest.raises(CollectionError):
        read_array_pickle(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_of_torch_are_read_and_nothing_is_run(is_zip: bool, tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    value: dict[str, Any] = {
        "image": whole[1:, ::2],
        "text": whole.T,
        "half": whole.half(),
        "whole": torch.arange(3),
        "note": "x",
        "same": whole,
    }
    path = tmp_path / "x.pt"
    torch.save(value, path, _use_new_zipfile_serialization=is_zip)
    found = read_pickled_file(path)
    assert found["note"] == "x"
    for name in ("image", "text", "half", "whole", "same"):
        np.testing.assert_array_equal(found[name], value[name].numpy())
    torch.save({"image": Trap(tmp_path / "trace")}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CollectionError, match="only numbers, texts and numpy arrays are read"):
        read_pickled_file(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("length", [0, 10, 100, 300, 500])
def test_a_cut_file_of_torch_is_an_error_of_ours(is_zip: bool, length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"image": torch.ones(40, 9)}, path, _use_new_zipfile_serialization=is_zip)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CollectionError, match=re.escape(str(path))):
        read_pickled_file(path)


def test_a_zip_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.eye(2))
    (tmp_path / "x.npz").rename(tmp_path / "x.pkl")
    with pytest.raises(CollectionError, match=r"none that torch\.save wrote"):
        read_pickled_file(tmp_path / "x.pkl")


def test_arrays_of_arrays_are_joined(tmp_path: Path) -> None:
    parts = np.empty(2, object)
    parts[0], parts[1] = np.ones((2, 3)), np.zeros((1, 3))
    np.save(tmp_path / "x.npy", parts, allow_pickle=True)
    assert read_object_npy(tmp_path / "x.npy").tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    parts[1] = np.zeros((1, 4))
    np.save(tmp_path / "x.npy", parts, allow_pickle=True)
    with pytest.raises(CollectionError, match="expected arrays of one width"):
        read_object_npy(tmp_path / "x.npy")
