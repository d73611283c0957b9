"""Inspection: every layout is recognised, and the command it names loads it."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from modalhash.data import check_collection, inspect_file
from modalhash.data.inspecting import Entry
from modalhash.errors import CollectionError
from tests.oracles import feature_layouts as made
from tests.oracles import official_layouts as official
from tests.oracles import passed_on_layouts as passed_on
from tests.oracles import table_layouts as tables
from tests.oracles.photo_folder import write_folder

FOLDERS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("clip-retrieval", made.write_clip_folder),
    ("coco-122k", made.write_coco_122k),
    ("coco-2014", official.write_coco),
    ("coco-2017", official.write_coco_2017),
    ("coco-karpathy", tables.write_coco_karpathy),
    ("coco-87k", made.write_coco_87k),
    ("dgcpn", made.write_dgcpn),
    ("flickr30k", official.write_flickr30k_json),
    ("flickr30k", official.write_flickr30k_tokens),
    ("flickr8k", official.write_flickr8k_json),
    ("flickr8k", official.write_flickr8k_tokens),
    ("flickr8k", tables.write_kaggle_flickr8k),
    ("flickr30k", tables.write_kaggle_flickr30k),
    ("huggingface", tables.write_imagefolder),
    ("huggingface", tables.write_imagefolder_jsonl),
    ("huggingface", tables.write_huggingface_parquet),
    ("huggingface", tables.write_saved_to_disk),
    ("huggingface", tables.write_img2dataset_parquet),
    ("rsitmd", tables.write_rsitmd),
    ("text-files", tables.write_img2dataset_files),
    ("iall-yall-lall", made.write_iall),
    ("iapr", official.write_iapr),
    ("mirflickr", official.write_mirflickr),
    ("msrvtt", official.write_msrvtt_frames),
    ("msvd", official.write_msvd),
    ("nine-array", made.write_three_nine_array_files),
    ("nuswide-10", official.write_nuswide),
    ("nuswide-21", official.write_nuswide_21),
    ("rsicd", official.write_rsicd),
    ("three-file", made.write_three_files),
    ("three-file", made.write_torchcmh),
    ("ucch", made.write_ucch),
    ("ucch", made.write_ucch_iapr),
    ("ucm", official.write_ucm),
    ("ucmfh", made.write_ucmfh),
    ("vtm-uch", made.write_text_lists),
    ("webdataset", made.write_tars),
    ("dcmh-mat", passed_on.write_dcmh_mat),
    ("dgcpn", passed_on.write_dgcpn_wiki),
    ("msrvtt-1ka", passed_on.write_msrvtt_1ka),
    ("precomp", passed_on.write_precomp),
    ("precomp", passed_on.write_precomp_regions),
    ("ucmfh", passed_on.write_ucmfh_tensors),
    ("wiki-articles", passed_on.write_wiki_articles),
)
FILES: tuple[tuple[str, Callable[[Path], str], str], ...] = (
    ("coco-122k", made.write_coco_122k, "MSCOCO_deep_doc2vec_data_rand.h5py"),
    ("coco-87k", made.write_coco_87k, "COCO.mat"),
    ("coco", official.write_coco, "annotations/captions_val2014.json"),
    ("flickr8k", official.write_flickr8k_json, "dataset_flickr8k.json"),
    ("iall-yall-lall", made.write_iall, "mirflickr25k-yall.mat"),
    ("iall-yall-lall", made.write_iall, "mirflickr25k-iall.mat"),
    ("msrvtt", official.write_msrvtt_features, "MSRVTT_data.json"),
    ("nine-array", made.write_nine_array, "mir_cnn.mat"),
    ("nine-array", made.write_three_nine_array_files, "coco_database.mat"),
    ("rsicd", official.write_rsicd, "dataset_rsicd.json"),
    ("rsitmd", tables.write_rsitmd, "dataset_RSITMD.json"),
    ("coco-karpathy", tables.write_coco_karpathy, "dataset_coco.json"),
    ("flickr8k", tables.write_kaggle_flickr8k, "captions.txt"),
    ("table", tables.write_kaggle_flickr8k, "captions.txt"),
    ("table", tables.write_kaggle_flickr30k, "flickr30k_images/results.csv"),
    ("table", tables.write_imagefolder_jsonl, "metadata.jsonl"),
    ("table", tables.write_huggingface_parquet, "data/test-00000-of-00002.parquet"),
    ("three-file", made.write_three_files, "caption.mat"),
    ("three-file", made.write_three_files_73, "index.mat"),
    ("three-file", made.write_torchcmh, "labelList.mat"),
    ("ucch", made.write_ucch_iapr, "iapr-tc12-rand.mat"),
    ("ucmfh", made.write_ucmfh, "query.pkl"),
    ("ucmfh", passed_on.write_ucmfh_tensors, "train.pkl"),
    ("dcmh-mat", passed_on.write_dcmh_mat_of_h5py, "FLICKR-25K.mat"),
    ("dcmh-mat", passed_on.write_dcmh_mat, "FLICKR-25K.mat"),
    ("webdataset", made.write_tars, "00001.tar"),
)


def sources(path: Path) -> dict[str, str]:
    """Return the likely sources of a path, with what to write for each."""
    return {name.partition(":")[0]: name for name in inspect_file(path).layouts}


@pytest.mark.parametrize(("source", "write"), FOLDERS)
def test_a_folder_is_recognised_and_its_command_works(
    source: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    write(tmp_path)
    likely = sources(tmp_path)
    assert source in likely
    assert check_collection(likely[source]).is_sound


@pytest.mark.parametrize(("source", "write", "file"), FILES)
def test_a_file_is_recognised_and_its_command_works(
    source: str, write: Callable[[Path], str], file: str, tmp_path: Path
) -> None:
    write(tmp_path)
    likely = sources(tmp_path / file)
    assert source in likely
    assert check_collection(likely[source]).is_sound


def test_a_folder_of_ones_own_is_recognised(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    assert inspect_file(folder).commands == (f"modalhash data check {folder}",)


def test_arrays_are_described_by_shape_range_and_what_stands_out(tmp_path: Path) -> None:
    path = tmp_path / "mir_cnn.mat"
    arrays = {**made.nine_arrays(), "note": "of 2020"}
    arrays["T_te"] = np.zeros((6, 5))
    scipy.io.savemat(path, arrays)
    found = inspect_file(str(path))
    entries = {entry.name: entry for entry in found.entries}
    assert found.kind == "MATLAB file"
    assert entries["L_db"] == Entry("L_db", (18, 3), "uint8", 0, 1, "0 and 1 only")
    assert entries["T_te"] == Entry("T_te", (6, 5), "float64", 0, 0, "6 rows are all zero")
    assert entries["note"].dtype == "texts"
    image = official.image_features()[:18]
    assert entries["I_db"].low == float(image.min())
    assert entries["I_db"].high == float(image.max())


def test_hdf5_by_matlab_is_told_from_other_hdf5(tmp_path: Path) -> None:
    made.write_matlab73(tmp_path / "a.mat", {"x": np.eye(3)})
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["x"] = np.eye(3)
        file["group/y"] = np.arange(4000.0)
    assert inspect_file(tmp_path / "a.mat").kind == (
        "MATLAB 7.3 file (HDF5, dimensions turned around)"
    )
    found = inspect_file(tmp_path / "b.mat")
    assert found.kind == "HDF5 file"
    sampled = next(entry for entry in found.entries if entry.name == "group/y")
    assert sampled == Entry("group/y", (4000,), "float64", 0, 999, "of the first 1,000 rows")


def test_other_files_are_described(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.0, np.nan]))
    [entry] = inspect_file(tmp_path / "a.npy").entries
    assert (entry.shape, entry.note) == ((2,), "1 numbers aren't finite")
    (tmp_path / "b.json").write_text(json.dumps({"images": [{"id": 1, "x": 2}], "info": "y"}))
    assert inspect_file(tmp_path / "b.json").entries == (
        Entry("images", (1,), "list", note="each with id, x"),
        Entry("info", (), "str"),
    )
    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "c.parquet")
    assert inspect_file(tmp_path / "c.parquet").entries == (Entry("caption", (1,), "string"),)
    (tmp_path / "d.pkl").write_bytes(pickle.dumps({"a": [1, 2], "b": np.eye(2)}))
    assert inspect_file(tmp_path / "d.pkl").entries == (
        Entry("a", (2,), "list"),
        Entry("b", (2, 2), "float64", 0, 1, "0 and 1 only"),
    )
    made.write_tars(tmp_path / "tars")
    assert inspect_file(tmp_path / "tars" / "00000.tar").entries == (
        Entry(".jpg", (10,), "files"),
        Entry(".json", (10,), "files"),
    )


def test_a_layout_that_is_not_known_has_no_command(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.eye(2))
    assert inspect_file(tmp_path / "x.npz").layouts == {}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.mat", b"nothing of that kind", "can't be read: "),
        ("x.npy", b"nothing", "can't be read: "),
        ("x.json", b"{", "can't be read: "),
        ("x.tar", b"nothing", "can't be read: "),
        ("x.pkl", b"nothing", "isn't a sound pickle: "),
        ("x.docx", b"nothing", "isn't a folder or one of .mat, .h5,"),
    ],
)
def test_what_can_not_be_read_is_named(
    name: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CollectionError, match=f"^{re.escape(f'{path}: {problem}')}"):
        inspect_file(path)
    with pytest.raises(CollectionError, match="there is no such file or folder"):
        inspect_file(tmp_path / "gone")


def test_a_folder_with_many_files_is_summed_up(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text("x")
        (tmp_path / f"{number}.mat").write_bytes(b"x")
    names = [entry.name for entry in inspect_file(tmp_path).entries]
    assert "*.txt" in names
    assert len([name for name in names if name.endswith(".mat")]) == 9


@pytest.mark.parametrize("version", ["older", "compressed", "7.3"])
@pytest.mark.parametrize("length", [0, 3, 100, 127, 130, 200, 600, 1500])
def test_a_cut_mat_file_is_an_error_of_ours(version: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    if version == "7.3":
        made.write_matlab73(path, made.nine_arrays())
    else:
        scipy.io.savemat(path, made.nine_arrays(), do_compression=version == "compressed")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CollectionError, match=re.escape(str(path))):
        inspect_file(path)


def test_sparse_matrices_cells_and_structs_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "label.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("label")
        group.attrs["MATLAB_sparse"] = np.uint64(4)
        group["data"], group["ir"], group["jc"] = [1.0], [2], [0, 1, 1, 1]
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, made for a test".ljust(512))
    inspection = inspect_file(path)
    [entry] = inspection.entries
    assert (entry.name, entry.shape, entry.dtype) == ("label", (4, 3), "sparse matrix")
    assert f"three-file:{tmp_path}" in inspection.layouts
    scipy.io.savemat(tmp_path / "a.mat", {"param": {"x": 1.0}, "I_tr": np.eye(2)})
    entries = {entry.name: entry.note for entry in inspect_file(tmp_path / "a.mat").entries}
    assert entries["param"].startswith("is a MATLAB struct or object")
