"""Files from somebody else: none reads other files, waits for ever or fills the memory."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import scipy.sparse

from modalhash.data import check_collection, inspect_file
from modalhash.data.arrays import read_arrays
from modalhash.data.shard_opening import open_shard
from modalhash.data.shards import Shard
from modalhash.errors import CollectionError, SettingError
from tests.oracles.feature_layouts import write_matlab73
from tests.oracles.photo_folder import write_picture

MEGABYTES = 200
"""What a bomb would take; the limit is set below it."""
NO_REGULAR_FILE = "is no regular file (a FIFO, a device or a socket), so it isn't read"


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODALHASH_MAX_EXPANDED_GB", "0.05")


def npy_header(shape: str) -> bytes:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


def npz_of_zeros(path: Path) -> None:
    np.savez_compressed(path, image=np.zeros(MEGABYTES << 17))


def npz_with_a_false_shape(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", npy_header("(1000000, 1000000)") + bytes(80))


def mat_of_zeros(path: Path) -> None:
    scipy.io.savemat(path, {"image": np.zeros(MEGABYTES << 17)}, do_compression=True)


def mat_of_cells_of_zeros(path: Path) -> None:
    cells = np.empty(4, object)
    cells[:] = [np.zeros(MEGABYTES << 15)] * 4
    scipy.io.savemat(path, {"image": cells}, do_compression=True)


def mat_with_a_wide_sparse_matrix(path: Path) -> None:
    scipy.io.savemat(path, {"image": scipy.sparse.csc_matrix((10**8, 100))})


def mat_with_a_false_shape(path: Path) -> None:
    """A char matrix of 4 GB that has no letters, packed."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    flags = element(6, struct.pack("<II", 4, 0))
    matrix = flags + element(5, struct.pack("<ii", 1000, 10**6)) + element(1, b"image")
    matrix += element(16, b"")
    packed = zlib.compress(element(14, matrix))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)


def h5_of_nothing(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", shape=(10**6, 10**4), dtype="f8", chunks=(1000, 100))


def h5_with_a_large_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        size = MEGABYTES << 17
        file.create_dataset(
            "image", data=np.zeros(4), maxshape=(None,), chunks=(size,), compression="gzip"
        )


def h5_of_one_text_many_times(path: Path) -> None:
    """Heaps allow many rows to be one text; this is written so by hand."""
    with h5py.File(path, "w") as file:
        text = h5py.string_dtype("utf-8")
        stored = file.create_dataset("captions", data=np.array(["x" * 10**6], object), dtype=text)
        where, count = stored.id.get_offset(), 300
        row = path_bytes(path, where, 16, file)
        file.create_dataset("image", data=np.zeros((count, 2)))
        many = file.create_dataset("copies", shape=(count,), dtype=text)
        many[:] = ["y"] * count
        place = many.id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(row * count)


def path_bytes(path: Path, start: int, length: int, file: Any) -> bytes:
    file.flush()
    with path.open("rb") as raw:
        raw.seek(start)
        return raw.read(length)


BOMBS: dict[str, Callable[[Path], None]] = {
    "zeros.npz": npz_of_zeros,
    "shape.npz": npz_with_a_false_shape,
    "zeros.mat": mat_of_zeros,
    "cells.mat": mat_of_cells_of_zeros,
    "sparse.mat": mat_with_a_wide_sparse_matrix,
    "shape.mat": mat_with_a_false_shape,
    "nothing.h5": h5_of_nothing,
    "chunk.h5": h5_with_a_large_chunk,
    "copies.h5": h5_of_one_text_many_times,
}


@pytest.mark.usefixtures("low_limit")
@pytest.mark.parametrize("name", BOMBS)
def test_arrays_that_would_fill_the_memory_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    BOMBS[name](path)
    assert path.stat().st_size < 2 << 20
    [defect] = check_collection(f"features:{path}").defects
    assert defect.kind == "too-large-array"
    assert "set MODALHASH_MAX_EXPANDED_GB to the gigabytes it may take" in defect.problem


def test_the_limit_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npz_of_zeros(tmp_path / "a.npz")
    monkeypatch.setenv("MODALHASH_MAX_EXPANDED_GB", "lots")
    message = "MODALHASH_MAX_EXPANDED_GB is 'lots', expected a number of gigabytes"
    with pytest.raises(SettingError, match=f"^{message}$"):
        read_arrays(tmp_path / "a.npz")
    monkeypatch.setenv("MODALHASH_MAX_EXPANDED_GB", "1")
    assert read_arrays(tmp_path / "a.npz")["image"].nbytes == MEGABYTES << 20


N_LONG = 2000


def long_text_table(path: Path) -> None:
    """One text of 50 KB for 2,000 rows: 100 MB out of some kilobytes."""
    names = [f"{row}.jpg" for row in range(N_LONG)]
    table = {"image": names, "id": list(range(N_LONG)), "caption": ["x" * 50_000] * N_LONG}
    pq.write_table(pa.table(table), path, compression="zstd")


@pytest.mark.usefixtures("low_limit")
def test_a_table_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "0.jpg", "red")
    long_text_table(tmp_path / "captions.parquet")
    assert (tmp_path / "captions.parquet").stat().st_size < 1 << 20
    [defect] = check_collection(tmp_path).defects
    assert defect.kind == "too-large-array"


@pytest.mark.usefixtures("low_limit")
def test_a_shard_of_long_texts_is_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    long_text_table(path)
    rows = open_shard(Shard(path, "a.parquet"), {"text": None}).rows()
    assert sum(1 for _ in rows) == N_LONG


def target(path: Path) -> bytes:
    content = np.arange(12.0).tobytes()
    path.write_bytes(content)
    return content


def h5_with_external_storage(path: Path, secret: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", shape=(4, 3), dtype="f8", external=[(str(secret), 0, 96)])


def h5_with_an_external_link(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["image"] = np.zeros((4, 3))
    with h5py.File(path, "w") as file:
        file["image"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/image")


def h5_with_a_link_to_a_link(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["image"] = np.zeros((4, 3))
    with h5py.File(path, "w") as file:
        file["elsewhere"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/")
        file["image"] = h5py.SoftLink("/elsewhere/image")


def h5_that_is_virtual(path: Path, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["image"] = np.zeros((4, 3))
    layout = h5py.VirtualLayout(shape=(4, 3), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "image", shape=(4, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("image", layout)


@pytest.mark.parametrize(
    "write",
    [
        h5_with_external_storage,
        h5_with_an_external_link,
        h5_with_a_link_to_a_link,
        h5_that_is_virtual,
    ],
)
def test_hdf5_never_reads_other_files(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    target(tmp_path / "secret")
    path = tmp_path / "a.h5"
    write(path, tmp_path / "secret")
    with h5py.File(path, "r+") as file:
        file["text"] = np.zeros((4, 3))
    [defect] = check_collection(f"features:{path}").defects
    assert defect.kind == "foreign-content"
    assert defect.problem.endswith("store the array itself")


def test_cells_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    write_matlab73(path, {"image": np.zeros((4, 3)), "text": np.zeros((4, 3))})
    with h5py.File(path, "r+") as file:
        cell = file.create_dataset("#refs#/a", shape=(1, 4), dtype=h5py.ref_dtype)
        cell[0, :] = [cell.ref] * 4
        file.create_dataset("captions", data=np.array([[cell.ref] * 4], dtype=h5py.ref_dtype))
    [defect] = check_collection(f"features:{path}").defects
    assert str(defect) == f"{path}:captions: its cells contain themselves, or nothing"


def test_lists_in_a_pickle_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """Ten lists of ten times the list before: ten thousand million numbers."""
    value: Any = 0.5
    for _ in range(10):
        value = [value] * 10
    for name in ("train", "query", "retrieval"):
        document = {"image": value, "text": value, "label": np.zeros((3, 2))}
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(document))
    [defect] = check_collection(f"ucmfh:{tmp_path}").defects
    assert defect.kind == "too-large-array"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("features", "a.npz"),
        ("features", "a.mat"),
        ("features", "a.h5"),
        ("features", "folder/image.npy"),
        ("features", "folder/captions.txt"),
        ("nine-array", "a.mat"),
        ("ucmfh", "folder/train.pkl"),
        ("webdataset", "a.tar"),
        ("flickr8k", "folder/dataset_flickr8k.json"),
        ("flickr8k", "folder/Flickr8k.token.txt"),
        ("vtm-uch", "folder/all_imgs.txt"),
        ("table", "a.csv"),
        ("table", "a.parquet"),
        ("table", "a.json"),
        ("coco", "folder/annotations/instances_train2014.json"),
        ("iapr", "folder/annotations_complete_eng/00/1.eng"),
        ("", "folder/captions.tsv"),
        ("", "folder/captions.parquet"),
    ],
)
def test_a_fifo_in_place_of_a_file_is_refused(source: str, name: str, tmp_path: Path) -> None:
    """A reader that opened it would wait for ever."""
    path = tmp_path / name
    (path.parent / "images").mkdir(parents=True)
    if source == "ucmfh":
        for other in ("query", "retrieval"):
            (path.parent / f"{other}.pkl").write_bytes(pickle.dumps({}))
    if source == "vtm-uch":
        for other in ("all_labels", "all_tags"):
            (path.parent / f"{other}.txt").write_text("")
    os.mkfifo(path)
    argument = tmp_path / name.split("/", maxsplit=1)[0]
    report = check_collection(f"{source}:{argument}" if source else str(argument))
    assert any(NO_REGULAR_FILE in defect.problem for defect in report.defects)
    if path.suffix in (".npz", ".mat", ".h5", ".npy", ".pkl", ".tar", ".json", ".parquet"):
        with pytest.raises(CollectionError, match="is no regular file"):
            inspect_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
@pytest.mark.parametrize("name", ["labels.tsv", "splits/train.txt", "images/a.jpg"])
def test_a_fifo_beside_captions_is_refused(name: str, tmp_path: Path) -> None:
    for picture in ("a.jpg", "b.jpg"):
        write_picture(tmp_path / "images" / picture, "red")
    (tmp_path / "captions.tsv").write_text("image\tcaption\na.jpg\tone\nb.jpg\ttwo\n")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    report = check_collection(tmp_path)
    assert any(NO_REGULAR_FILE in defect.problem for defect in report.defects)


def test_deeply_nested_json_is_a_defect(tmp_path: Path) -> None:
    path = tmp_path / "dataset_flickr8k.json"
    path.write_text("[" * 200_000)
    [defect] = check_collection(f"flickr8k:{tmp_path}").defects
    assert defect.problem.startswith("isn't valid JSON: ")


def test_a_tar_that_is_cut_off_is_a_defect(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("0.txt", b"a dog"), ("0.jpg", bytes(5000))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(path.read_bytes()[:3000])
    defects = check_collection(f"webdataset:{path}").defects
    assert defects[0].problem == "can't be read as a tar: unexpected end of data"
