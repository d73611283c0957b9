"""What four public programs take from their files, restated as plainly as can be.

Each function returns what the program's networks and measures would get: image, text and labels of
training items, queries and database, in that order, as float64, float64 and int64. Keys, files,
axes, types and what is dropped are facts of the programs' loading code; no line of it is here.
"""

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

Loaded = dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]


class ArraysOnly(pickle.Unpickler):
    """Loads a pickle that wants nothing but what numpy's own pickles of arrays want."""

    ALLOWED = {  # noqa: RUF012
        ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        assert (module, name) in self.ALLOWED, f"{module}.{name}"
        return super().find_class(module, name)


def cirh(root: Path) -> Loaded:
    """MIRFlickr: `loadmat` of three files; nine keys; one row an item."""
    found: Loaded = {}
    for part, file, end in (
        ("train", "mir_train", "tr"),
        ("query", "mir_query", "te"),
        ("database", "mir_database", "db"),
    ):
        stored = scipy.io.loadmat(root / "datasets" / "MIRFlickr" / f"{file}.mat")
        found[part] = (stored[f"I_{end}"], stored[f"T_{end}"], stored[f"L_{end}"])
    return found


def cirh_coco(root: Path) -> Loaded:
    """COCO: the database is HDF5 and is turned after reading; the other two are `loadmat`'s."""
    folder = root / "datasets" / "MSCOCO"
    train = scipy.io.loadmat(folder / "COCO_train.mat")
    query = scipy.io.loadmat(folder / "COCO_query.mat")
    with h5py.File(folder / "COCO_database.mat", "r") as stored:
        image, text, labels = (stored[f"{letter}_db"][()].T for letter in "ITL")
    return {
        "train": (train["I_tr"], train["T_tr"], train["L_tr"]),
        "query": (query["I_te"], query["T_te"], query["L_te"]),
        "database": (image, text, labels),
    }


def ucch(root: Path, test_size: int) -> Loaded:
    """MIRFlickr features: all rows in three files; the last are queries, all others the rest."""
    folder = root / "data" / "MIRFLICKR25K"
    image = scipy.io.loadmat(folder / "mirflickr25k-iall-vgg.mat")["XAll"]
    text = scipy.io.loadmat(folder / "mirflickr25k-yall.mat")["YAll"]
    labels = scipy.io.loadmat(folder / "mirflickr25k-lall.mat")["LAll"]
    assert image.dtype == np.float32  # only texts are turned to the network's type
    return last_are_queries(image, text, labels, test_size)


def ucch_coco(root: Path, test_size: int) -> Loaded:
    """COCO features: three data sets of one HDF5 file, one row an item."""
    with h5py.File(root / "data" / "MSCOCO" / "MSCOCO_deep_doc2vec_data_rand.h5py") as stored:
        image, text, labels = (stored[key][()] for key in ("XAll", "YAll", "LAll"))
    assert image.dtype == np.float32
    return last_are_queries(image, text, labels, test_size)


def last_are_queries(
    image: NDArray[Any], text: NDArray[Any], labels: NDArray[Any], test_size: int
) -> Loaded:
    rest = (image[:-test_size], text[:-test_size], labels[:-test_size])
    queries = (image[-test_size:], text[-test_size:], labels[-test_size:])
    return {"train": rest, "query": queries, "database": rest}


def ucmfh(root: Path) -> Loaded:
    """Pickled dicts; at most 4,992 training rows; queries and database in whole batches of 128."""
    found: Loaded = {}
    for part, file in (("train", "train"), ("query", "query"), ("database", "retrieval")):
        with (root / "mirflickr" / f"{file}.pkl").open("rb") as stored:
            document = ArraysOnly(stored).load()
        n_rows = len(document["text"])
        n_taken = min(n_rows, 4992) if part == "train" else n_rows - n_rows % 128
        found[part] = tuple(document[key][:n_taken] for key in ("image", "text", "label"))
    return found


def dgcpn(root: Path) -> tuple[Loaded, NDArray[Any]]:
    """Features once; rows by four arrays of positions from 0. Also returns validation rows."""
    folder = root / "flickr"
    image, text, labels = (
        np.load(folder / f"{name}.npy") for name in ("flickr_vgg19", "tags", "label")
    )
    positions = {name: np.load(folder / f"{name}_num.npy") for name in ("train", "test", "val")}
    positions["database"] = np.load(folder / "database_num.npy")
    found: Loaded = {
        part: (image[rows], text[rows], labels[rows])
        for part, rows in (
            ("train", positions["train"]),
            ("query", positions["test"]),
            ("database", positions["database"]),
        )
    }
    return found, positions["val"]
