"""Input files of public programs: read as those programs read them, they hold what was given."""

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from modalhash.bridges import public_inputs
from modalhash.bridges.pickled_arrays import write_pickled_arrays
from modalhash.bridges.public_inputs import LAYOUTS, PublicInputs, write_public_inputs
from modalhash.data import load_collection
from modalhash.data.array_pickles import read_array_pickle
from modalhash.errors import InputError, ShapeError, UnknownNameError
from tests.oracles import public_loaders
from tests.oracles.public_loaders import Loaded

N_ITEMS = 420


def make_inputs(image_width: int = 6, text_width: int = 4, n_train: int = 200) -> PublicInputs:
    """Row i's features begin with i; half of the training items aren't first in the database."""
    rows = np.arange(N_ITEMS)
    generator = np.random.default_rng(3)
    image = generator.normal(size=(N_ITEMS, image_width)).astype(np.float32)
    text = generator.normal(size=(N_ITEMS, text_width)).astype(np.float32)
    image[:, 0], text[:, 0] = rows, -rows
    labels = (generator.random((N_ITEMS, 5)) < 0.4).astype(np.uint8)
    order = generator.permutation(N_ITEMS)
    query, database = order[:70], order[70:]
    return PublicInputs(
        image, text, labels, train=database[-n_train:], query=query, database=database,
        validation=database[:10],
    )  # fmt: skip


def assert_loaded(
    found: Loaded, inputs: PublicInputs, parts: tuple[str, ...] = ("train", "query", "database")
) -> None:
    for part in parts:
        rows = getattr(inputs, part)
        expected = (inputs.image[rows], inputs.text[rows], inputs.labels[rows])
        for given, wanted in zip(found[part], expected, strict=True):
            np.testing.assert_array_equal(given, wanted)
        # MATLAB's labels are multiplied as they are: bytes would overflow at 256 common labels
        assert found[part][2].dtype == np.int64


def test_cirh_loads_nine_arrays(tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("cirh", None, tmp_path, inputs)
    assert_loaded(public_loaders.cirh(tmp_path), inputs)
    assert (written.query.n_rows, written.database.n_rows) == (70, 350)
    # 200 training items: one whole batch of 192 would leave 8; K keeps 3,000 of 5,000
    command = "python main_mir.py --TRAIN 1 --HASH_BIT N --GPU_ID 0 --BATCH_SIZE 192 --K 120"
    assert written.command == command


@pytest.mark.parametrize(
    ("n_train", "option"), [(4999, "--K 2999"), (5000, ""), (9000, "--K 5400")]
)
def test_cirh_zeroes_the_released_share_whatever_the_size(n_train: int, option: str) -> None:
    inputs = replace(make_inputs(), train=np.zeros(n_train, np.int64))
    command = public_inputs.describe_cirh_files(inputs, "main_mir.py").command
    assert ("--K" in command) == bool(option)
    assert option in command


def test_cirh_loads_a_turned_hdf5_database(tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("cirh", "coco", tmp_path, inputs)
    assert_loaded(public_loaders.cirh_coco(tmp_path), inputs)
    assert written.command.startswith("python main_coco.py ")


def test_our_reader_of_nine_arrays_reads_them_too(tmp_path: Path) -> None:
    inputs = make_inputs()
    write_public_inputs("cirh", None, tmp_path, inputs)
    found = load_collection(f"nine-array:{tmp_path / 'datasets' / 'MIRFlickr'}")
    assert {name: len(rows) for name, rows in found.splits.items()} == {
        "train": 200, "test": 70, "database": 350,
    }  # fmt: skip


def test_cirh_takes_no_batch_that_leaves_less_than_four_items(tmp_path: Path) -> None:
    written = write_public_inputs("cirh", None, tmp_path, make_inputs(n_train=195))
    assert "--BATCH_SIZE 128" in written.command  # 195 % 192 is 3
    with pytest.raises(InputError, match=re.escape("CIRH needs at least 32 training items, there")):
        write_public_inputs("cirh", None, tmp_path / "few", make_inputs(n_train=20))


@pytest.mark.parametrize("layout", ["mirflickr", "coco"])
def test_ucch_loads_the_last_rows_as_queries(layout: str, tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("ucch", layout, tmp_path, inputs)
    load = {"mirflickr": public_loaders.ucch, "coco": public_loaders.ucch_coco}[layout]
    found = load(tmp_path, 70)
    assert_loaded(found, inputs, ("query",))
    ordered = inputs.database[written.database_order]
    np.testing.assert_array_equal(found["database"][0], inputs.image[ordered])
    np.testing.assert_array_equal(found["database"][1], inputs.text[ordered])
    # training items first, each part in the database's own order: no item twice, none lost
    np.testing.assert_array_equal(ordered[:200], inputs.train)
    np.testing.assert_array_equal(np.sort(ordered), np.sort(inputs.database))
    assert written.n_trained == 200
    assert sum("the last 70 rows are the queries" in note for note in written.notes) == 1
    assert sum("run.py gives it the 200 training items" in note for note in written.notes) == 1
    assert "--train_batch_size 200 " in written.command


def test_ucmfh_loads_whole_batches_of_equal_widths(tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("ucmfh", None, tmp_path, inputs)
    found = public_loaders.ucmfh(tmp_path)
    for part, n_items, n_rows in (("query", 70, 128), ("database", 350, 384)):
        image, text, labels = found[part]
        rows = getattr(inputs, part)
        assert image.shape == text.shape == (n_rows, 512)
        assert [str(one.dtype) for one in (image, text, labels)] == ["float32", "float32", "int64"]
        np.testing.assert_array_equal(image[:n_items, :6], inputs.image[rows])
        np.testing.assert_array_equal(text[:n_items, :4], inputs.text[rows])
        np.testing.assert_array_equal(labels[:n_items], inputs.labels[rows])
        assert not image[:, 6:].any()
        assert not text[:, 4:].any()
    np.testing.assert_array_equal(found["train"][0][:, :6], inputs.image[inputs.train])
    assert (written.query.n_items, written.query.n_rows, written.query.text_start) == (70, 128, 0)
    assert (written.database.n_items, written.database.n_rows) == (350, 384)


def test_ucmfh_gets_one_modality_at_a_time(tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("ucmfh", "blank-partner", tmp_path, inputs)
    image, text, _ = public_loaders.ucmfh(tmp_path)["query"]
    assert len(image) == 256
    np.testing.assert_array_equal(image[:70, :6], inputs.image[inputs.query])
    assert not text[:128].any()
    start = written.query.text_start
    assert start == 128
    np.testing.assert_array_equal(text[start : start + 70, :4], inputs.text[inputs.query])
    assert not image[128:].any()


def test_ucmfh_is_told_of_wide_features_and_of_many_items(tmp_path: Path) -> None:
    inputs = make_inputs(image_width=601, n_train=200)
    written = write_public_inputs("ucmfh", None, tmp_path, inputs)
    image, text, _ = public_loaders.ucmfh(tmp_path)["train"]
    assert image.shape == text.shape == (200, 602)  # twice the width, divided among 4 heads
    told = (
        "features are 602 wide, where UCMFH itself states 512: run.py builds its networks as wide"
    )
    assert told in written.notes
    expected = "UCMFH trains on batches of 128, there are 100 items"
    with pytest.raises(InputError, match=re.escape(expected)):
        write_public_inputs("ucmfh", None, tmp_path / "few", make_inputs(n_train=100))


def test_dgcpn_loads_positions_from_zero(tmp_path: Path) -> None:
    inputs = make_inputs()
    written = write_public_inputs("dgcpn", None, tmp_path, inputs)
    found, validation = public_loaders.dgcpn(tmp_path)
    assert_loaded(found, inputs)
    np.testing.assert_array_equal(validation, inputs.validation)
    assert any("image features are 6 wide" in note for note in written.notes)
    # 3 of 5 of 200 items aren't neighbours; twice the 80 that are
    assert (
        written.command == "python train.py --data_name flickr --bit N --knn_number 120 --scale 160"
    )
    ours = load_collection(f"dgcpn:{tmp_path / 'flickr'}")
    np.testing.assert_array_equal(ours.splits["test"], inputs.query)
    np.testing.assert_array_equal(ours.features["image"], inputs.image)


def test_an_array_beyond_matlabs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_inputs, "LARGEST_OLD_MAT", 1000)
    expected = "I_tr has 4,800 bytes, and a .mat file of version 5 holds less than 2 GiB an array"
    with pytest.raises(InputError, match=re.escape(expected)):
        write_public_inputs("cirh", None, tmp_path, make_inputs())


def test_an_unknown_program_or_layout_lists_the_known(tmp_path: Path) -> None:
    expected = "unknown program 'cihr': did you mean 'cirh'? Known: cirh, dgcpn, ucch, ucmfh"
    with pytest.raises(UnknownNameError, match=re.escape(expected)):
        write_public_inputs("cihr", None, tmp_path, make_inputs())
    expected = "unknown layout of dgcpn 'coco'; known: flickr"
    with pytest.raises(UnknownNameError, match=re.escape(expected)):
        write_public_inputs("dgcpn", "coco", tmp_path, make_inputs())


@pytest.mark.parametrize("program", LAYOUTS)
def test_files_are_the_same_each_time(program: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_public_inputs(program, None, tmp_path / name, make_inputs())
    for file in (file for file in (tmp_path / "a").rglob("*") if file.is_file()):
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        if file.suffix == ".mat":  # its head states the time
            first, second = (scipy.io.loadmat(path) for path in (file, other))
            for key in first.keys() - {"__header__"}:
                np.testing.assert_array_equal(first[key], second[key])
        else:
            assert file.read_bytes() == other.read_bytes()


def test_pickled_arrays_are_those_of_pickle(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "image": np.arange(6, dtype=np.float32).reshape(2, 3),
        "turned": np.arange(6).reshape(2, 3).T,
        "big": np.arange(4, dtype=">f8"),
        "none": np.zeros((0, 3), np.float16),
        "scalar": np.array(7, np.int8),
        "näme": np.array([-(2**40), 2**40]),
    }
    write_pickled_arrays(tmp_path / "arrays.pkl", arrays)
    content = (tmp_path / "arrays.pkl").read_bytes()
    for found in (pickle.loads(content), read_array_pickle(tmp_path / "arrays.pkl")):
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].shape == array.shape
            assert found[name].dtype == array.dtype.newbyteorder("=")
    with pytest.raises(ShapeError, match=re.escape("a is <U1, expected numbers: only these are")):
        write_pickled_arrays(tmp_path / "text.pkl", {"a": np.array(["b"])})
