"""Write the input files that public programs read: CIRH, UCCH, UCMFH and DGCPN.

One function a layout, each a plain statement of what its program loads: file names, keys, types and
the order of rows. None of the programs is here; `run_checkout.py`, which the export copies beside
the files, runs a checkout of one, and fits the sizes that it states to those of the files.

    cirh   https://github.com/XizeWu/CIRH         nine arrays in three .mat files
    ucch   https://github.com/penghu-cs/UCCH      all rows in three .mat files, the last are queries
    ucmfh  https://github.com/XinyuXia97/UCMFH    three pickled dicts of arrays
    dgcpn  https://github.com/Atmegal/DGCPN       features once as .npy, positions of each split
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.bridges.pickled_arrays import write_pickled_arrays
from modalhash.errors import InputError, UnknownNameError
from modalhash.extras import import_optional
from modalhash.files import write_array, write_with

__all__ = ["LAYOUTS", "GivenRows", "PublicInputs", "WrittenInputs", "write_public_inputs"]

Rows = NDArray[np.int64]
Part = dict[str, NDArray[Any]]
LARGEST_OLD_MAT: Final = 1 << 31
"""Bytes of an array that every reader of .mat files of version 5 takes."""
UCMFH_BATCH, UCMFH_TRAIN, UCMFH_WIDTH = 128, 4992, 512
CIRH_BATCHES: Final = (512, 384, 256, 192, 128, 64, 32)
RELEASED_TRAIN: Final = 5000
"""Training items that the released settings of CIRH and DGCPN are for."""
UCCH_QUERIES: Final = {"mirflickr": 2000, "coco": 5000}
DGCPN_WIDTH: Final = 4096


@dataclass(frozen=True)
class PublicInputs:
    """Features, labels and the division of the items that take part.

    Attributes:
        image: (n, d) float32.
        text: (n, e) float32, one text an item.
        labels: (n, c) of 0 and 1.
        train: positions of training items.
        query: positions of queries.
        database: positions of what is searched.
        validation: positions of what a program that stops early judges itself by; no queries.
    """

    image: NDArray[np.float32]
    text: NDArray[np.float32]
    labels: NDArray[np.uint8]
    train: Rows
    query: Rows
    database: Rows
    validation: Rows

    def part(self, rows: Rows) -> Part:
        """Select the arrays of some items."""
        return {
            "image": self.image[rows],
            "text": self.text[rows],
            "labels": self.labels[rows].astype(np.int64),
        }


@dataclass(frozen=True)
class GivenRows:
    """Which rows of the codes that a program gives belong to the items of one part, in order.

    Attributes:
        n_rows: rows that it gives.
        n_items: items of the part; image codes are those of the first rows.
        text_start: row of the first item's text code.
    """

    n_rows: int
    n_items: int
    text_start: int = 0


@dataclass(frozen=True)
class WrittenInputs:
    """What was written for a program.

    Attributes:
        query: the rows of query codes.
        database: the rows of database codes.
        database_order: positions within the given database in the order that was written.
        n_trained: items that the program learns from.
        image_width: columns of image features in the files.
        command: what starts the program, with N for the number of bits.
        notes: what the program does differently with these sizes.
    """

    query: GivenRows
    database: GivenRows
    database_order: Rows
    n_trained: int
    image_width: int
    command: str
    notes: tuple[str, ...] = ()


def write_public_inputs(
    program: str, layout: str | None, folder: Path, inputs: PublicInputs
) -> WrittenInputs:
    """Write the files that a program reads.

    Args:
        program: a name in `LAYOUTS`.
        layout: one of the program's layouts; None is the first.
        folder: where they go, in the folders that the program looks for.
        inputs: what to write.

    Raises:
        UnknownNameError: if there is no such program or layout.
        InputError: if the program can't run on so few items, or the layout can't hold so many.
        MissingExtraError: if writing .mat files needs a package that isn't installed.
        StorageError: if the file system refuses.
    """
    if program not in LAYOUTS:
        raise UnknownNameError("program", program, LAYOUTS)
    known = LAYOUTS[program]
    chosen = next(iter(known)) if layout is None else layout
    if chosen not in known:
        raise UnknownNameError(f"layout of {program}", chosen, known)
    return known[chosen](folder, inputs)


def write_cirh(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `datasets/MIRFlickr/mir_{train,query,database}.mat`, one row an item."""
    place = folder / "datasets" / "MIRFlickr"
    for name, short, rows in list_cirh_parts(inputs):
        write_old_mat(place / f"mir_{name}.mat", make_nine_arrays(inputs, short, rows))
    return describe_cirh_files(inputs, "main_mir.py")


def write_cirh_coco(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `datasets/MSCOCO/COCO_*.mat`: the database is HDF5, one column an item."""
    place = folder / "datasets" / "MSCOCO"
    for name, short, rows in list_cirh_parts(inputs):
        arrays = make_nine_arrays(inputs, short, rows)
        if name == "database":
            write_hdf5(place / f"COCO_{name}.mat", {key: array.T for key, array in arrays.items()})
        else:
            write_old_mat(place / f"COCO_{name}.mat", arrays)
    return describe_cirh_files(inputs, "main_coco.py")


def list_cirh_parts(inputs: PublicInputs) -> tuple[tuple[str, str, Rows], ...]:
    """List the name of each part's file, the end of its keys, and its rows."""
    return (
        ("train", "tr", inputs.train),
        ("query", "te", inputs.query),
        ("database", "db", inputs.database),
    )


def make_nine_arrays(inputs: PublicInputs, short: str, rows: Rows) -> Part:
    """Make the three arrays of a part under CIRH's keys."""
    part = inputs.part(rows)
    keys = {"I": "image", "T": "text", "L": "labels"}
    return {f"{letter}_{short}": part[side] for letter, side in keys.items()}


def describe_cirh_files(inputs: PublicInputs, script: str) -> WrittenInputs:
    """Describe CIRH's files; its sizes must fit its batches.

    Raises:
        InputError: if there are too few training items for any batch.
    """
    n_train, notes = len(inputs.train), []
    # It divides by the number of whole batches, and takes the fourth nearest item of each batch.
    fitting = [size for size in CIRH_BATCHES if size <= n_train and n_train % size not in (1, 2, 3)]
    if not fitting:
        raise InputError(
            f"CIRH needs at least {CIRH_BATCHES[-1]} training items, there are {n_train}"
        )
    options = ["--TRAIN 1", "--HASH_BIT N", "--GPU_ID 0"]
    if fitting[0] != CIRH_BATCHES[0]:
        options.append(f"--BATCH_SIZE {fitting[0]}")
        notes.append(
            f"CIRH's batches of 512 don't fit {n_train} training items: --BATCH_SIZE {fitting[0]}"
        )
    if n_train != RELEASED_TRAIN:
        n_zeroed = count_zeroed(n_train)
        options.append(f"--K {n_zeroed}")
        notes.append(
            "CIRH sets the K smallest similarities of each training item to zero, 3,000 of 5,000 "
            f"as released: --K {n_zeroed} is the same share of {n_train}"
        )
    return WrittenInputs(
        GivenRows(len(inputs.query), len(inputs.query)),
        GivenRows(len(inputs.database), len(inputs.database)),
        np.arange(len(inputs.database)),
        n_train,
        inputs.image.shape[1],
        f"python {script} {' '.join(options)}",
        tuple(notes),
    )


def count_zeroed(n_train: int) -> int:
    """Count the similarities of a training item that CIRH and DGCPN set to zero: 3 of 5."""
    return n_train * 3 // 5


def write_ucch(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `data/MIRFLICKR25K/mirflickr25k-{iall-vgg,yall,lall}.mat`: database, then queries."""
    place, (arrays, order) = folder / "data" / "MIRFLICKR25K", make_ucch_arrays(inputs)
    for key, name in (("XAll", "iall-vgg"), ("YAll", "yall"), ("LAll", "lall")):
        write_old_mat(place / f"mirflickr25k-{name}.mat", {key: arrays[key]})
    return describe_ucch_files(inputs, order, "mirflickr")


def write_ucch_coco(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `data/MSCOCO/MSCOCO_deep_doc2vec_data_rand.h5py`: database, then queries."""
    arrays, order = make_ucch_arrays(inputs)
    write_hdf5(folder / "data" / "MSCOCO" / "MSCOCO_deep_doc2vec_data_rand.h5py", arrays)
    return describe_ucch_files(inputs, order, "coco")


def make_ucch_arrays(inputs: PublicInputs) -> tuple[Part, Rows]:
    """Make UCCH's arrays, and the order of the database in them: training items first.

    Images must be float32, as its network is: it converts texts only.
    """
    is_train = np.isin(inputs.database, inputs.train)
    order = np.concatenate([np.flatnonzero(is_train), np.flatnonzero(~is_train)])
    part = inputs.part(np.concatenate([inputs.database[order], inputs.query]))
    return {"XAll": part["image"], "YAll": part["text"], "LAll": part["labels"]}, order


def describe_ucch_files(inputs: PublicInputs, order: Rows, layout: str) -> WrittenInputs:
    """Describe UCCH's files."""
    n_queries, n_database, notes = len(inputs.query), len(inputs.database), []
    name = {"mirflickr": "mirflickr25k_fea", "coco": "mscoco_fea"}[layout]
    if n_queries != UCCH_QUERIES[layout]:
        notes.append(
            f"the last {n_queries} rows are the queries; UCCH itself states "
            f"{UCCH_QUERIES[layout]:,}, and run.py replaces that"
        )
    n_trained = int(np.isin(inputs.database, inputs.train).sum())
    if 0 < n_trained < n_database:
        notes.append(
            f"UCCH itself trains on its whole database, {n_database} items; run.py gives it the "
            f"{n_trained} training items among them, which are the first rows"
        )
    if n_trained != len(inputs.train):
        notes.append(
            f"{len(inputs.train) - n_trained} training items aren't in the database, where UCCH "
            "takes its training items from: it doesn't see them"
        )
    n_trained = n_trained or n_database
    batch = min(256, n_trained)
    notes.append(
        "UCCH keeps the epoch that is best by labels on its first 2,000 database items, which it "
        "trains on"
    )
    return WrittenInputs(
        GivenRows(n_queries, n_queries),
        GivenRows(n_database, n_database),
        order,
        n_trained,
        inputs.image.shape[1],
        f"python UCCH.py --data_name {name} --bit N --alpha 0.7 --num_hiden_layers 3 2 "
        f"--margin 0.2 --max_epochs 20 --train_batch_size {batch} --shift 0.1 --lr 0.0001 "
        "--optimizer Adam --num_workers 0",
        tuple(notes),
    )


def write_ucmfh(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `mirflickr/{train,query,retrieval}.pkl`; queries and database in whole batches."""
    return write_pickles(folder, inputs, is_blank=False)


def write_ucmfh_blank(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write the same, but all queries and database items without texts, then all without pictures.

    UCMFH makes codes of both modalities of a pair; so each is made of one of them only.
    """
    return write_pickles(folder, inputs, is_blank=True)


def write_pickles(folder: Path, inputs: PublicInputs, *, is_blank: bool) -> WrittenInputs:
    """Write UCMFH's pickles.

    Both sides are as wide as the wider one, filled up with zeros, which changes no cosine.

    Raises:
        InputError: if there are fewer training items than one batch.
    """
    n_train = len(inputs.train)
    if n_train < UCMFH_BATCH:
        raise InputError(f"UCMFH trains on batches of {UCMFH_BATCH}, there are {n_train} items")
    widest = max(inputs.image.shape[1], inputs.text.shape[1], UCMFH_WIDTH)
    width, notes = widest + widest % 2, list[str]()
    if width != UCMFH_WIDTH:
        notes.append(
            f"features are {width} wide, where UCMFH itself states {UCMFH_WIDTH}: run.py builds "
            "its networks as wide"
        )
    if inputs.image.shape[1] != inputs.text.shape[1] or widest != width:
        notes.append(f"the narrower features are filled up with zeros to a width of {width}")
    if n_train > UCMFH_TRAIN:
        notes.append(
            f"UCMFH trains on the first {UCMFH_TRAIN:,} of {n_train} training items only: its "
            "loader cuts the others off"
        )
    elif n_train % UCMFH_BATCH:
        notes.append(
            f"each epoch leaves {n_train % UCMFH_BATCH} of {n_train} training items out, others "
            "each time: UCMFH takes whole batches of 128"
        )
    place, rows = folder / "mirflickr", {}
    for name, items in (
        ("train", inputs.train),
        ("query", inputs.query),
        ("retrieval", inputs.database),
    ):
        part = inputs.part(items)
        for side in ("image", "text"):
            part[side] = widen_array(part[side], width)
        part["label"] = part.pop("labels")
        if name != "train":
            part, rows[name] = fill_batches(part, len(items), is_blank=is_blank)
            if (n_added := rows[name].n_rows - (1 + is_blank) * len(items)) and not is_blank:
                notes.append(
                    f"{name}.pkl has {n_added} rows more, the first once again, as UCMFH drops a "
                    "last batch of less than 128; the import leaves their codes out"
                )
        write_pickled_arrays(place / f"{name}.pkl", part)
    if is_blank:
        notes.append("each item is there twice, so what UCMFH prints means nothing: import codes")
    return WrittenInputs(
        rows["query"],
        rows["retrieval"],
        np.arange(len(inputs.database)),
        min(n_train, UCMFH_TRAIN),
        width,
        "python demo.py --dataset mirflickr --task 1 --hash_lens N --epoch 100 --device cpu",
        tuple(notes),
    )


def widen_array(array: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Widen an array with columns of zeros."""
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))


def fill_batches(part: Part, n_items: int, *, is_blank: bool) -> tuple[Part, GivenRows]:
    """Fill whole batches with a part, its first rows once again at the end where some are missing.

    Args:
        part: image, text and label of the items.
        n_items: of the part.
        is_blank: give all items without texts, then all without pictures.
    """
    n_rows = -(-n_items // UCMFH_BATCH) * UCMFH_BATCH
    item_rows = np.resize(np.arange(n_items), n_rows)
    filled = {name: array[item_rows] for name, array in part.items()}
    if not is_blank:
        return filled, GivenRows(n_rows, n_items)
    nothing = {side: np.zeros_like(filled[side]) for side in ("image", "text")}
    both = {
        "image": np.concatenate([filled["image"], nothing["image"]]),
        "text": np.concatenate([nothing["text"], filled["text"]]),
        "label": np.concatenate([filled["label"]] * 2),
    }
    return both, GivenRows(2 * n_rows, n_items, n_rows)


def write_dgcpn(folder: Path, inputs: PublicInputs) -> WrittenInputs:
    """Write `flickr/{flickr_vgg19,tags,label,test_num,val_num,train_num,database_num}.npy`."""
    place, notes = folder / "flickr", list[str]()
    whole = inputs.part(np.arange(len(inputs.image)))
    arrays = {"flickr_vgg19": whole["image"], "tags": whole["text"], "label": whole["labels"]}
    arrays |= {
        "test_num": inputs.query,
        "val_num": inputs.validation,
        "train_num": inputs.train,
        "database_num": inputs.database,
    }
    for name, array in arrays.items():
        write_array(place / f"{name}.npy", array)
    if inputs.image.shape[1] != DGCPN_WIDTH:
        notes.append(
            f"image features are {inputs.image.shape[1]} wide, where DGCPN itself states "
            f"{DGCPN_WIDTH}: run.py builds its first layer as wide"
        )
    n_train, options = len(inputs.train), ["--data_name flickr", "--bit N"]
    if n_train != RELEASED_TRAIN:
        n_zeroed = count_zeroed(n_train)
        scale = 2 * (n_train - n_zeroed)
        options += [f"--knn_number {n_zeroed}", f"--scale {scale}"]
        notes.append(
            "DGCPN as released keeps 2,000 of 5,000 items as neighbours, and scales coherence by "
            f"twice that number: --knn_number {n_zeroed} --scale {scale} is the same for {n_train}"
        )
    if np.isin(inputs.validation, inputs.train).any():
        notes.append(
            f"there is no split for validation: val_num.npy names {len(inputs.validation)} "
            "training items, by whose labels DGCPN decides when to stop"
        )
    return WrittenInputs(
        GivenRows(len(inputs.query), len(inputs.query)),
        GivenRows(len(inputs.database), len(inputs.database)),
        np.arange(len(inputs.database)),
        n_train,
        inputs.image.shape[1],
        f"python train.py {' '.join(options)}",
        tuple(notes),
    )


def write_old_mat(path: Path, arrays: Part) -> None:
    """Write a .mat file of version 5, the one that `scipy.io.loadmat` reads.

    Raises:
        InputError: if an array is too large for it.
        MissingExtraError: if scipy isn't installed.
    """
    for name, array in arrays.items():
        if array.nbytes >= LARGEST_OLD_MAT:
            raise InputError(
                f"{name} has {array.nbytes:,} bytes, and a .mat file of version 5 holds less than "
                "2 GiB an array: take the layout 'coco', whose database is HDF5"
            )
    io = import_optional("scipy.io", extra="matlab", feature="writing .mat files")
    write_with(path, lambda file: io.savemat(file, arrays))


def write_hdf5(path: Path, arrays: Part) -> None:
    """Write arrays as data sets at the top of an HDF5 file.

    HDF5 wants a path: the folder around it appears whole or not at all.

    Raises:
        MissingExtraError: if h5py isn't installed.
    """
    h5py = import_optional("h5py", extra="matlab", feature="writing HDF5 files")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as stored:
        for name, array in arrays.items():
            stored[name] = array


LAYOUTS: Final[Mapping[str, Mapping[str, Callable[[Path, PublicInputs], WrittenInputs]]]] = {
    "cirh": {"mirflickr": write_cirh, "coco": write_cirh_coco},
    "ucch": {"mirflickr": write_ucch, "coco": write_ucch_coco},
    "ucmfh": {"pairs": write_ucmfh, "blank-partner": write_ucmfh_blank},
    "dgcpn": {"flickr": write_dgcpn},
}
"""Program to its layouts by name, the usual one first."""
