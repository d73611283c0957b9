"""Feature files that are passed on between papers, in their exact layouts."""

import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from modalhash.data import check_collection, load_collection
from modalhash.data.clip_folders import read_clip_folder
from modalhash.errors import CollectionError, MissingExtraError
from tests.oracles.feature_layouts import (
    DATABASE,
    N_UCCH,
    QUERY,
    TRAIN,
    nine_arrays,
    ragged_texts,
    write_clip_folder,
    write_coco_87k,
    write_coco_122k,
    write_dgcpn,
    write_iall,
    write_matlab73,
    write_nine_array,
    write_tars,
    write_text_lists,
    write_three_files,
    write_three_files_73,
    write_three_nine_array_files,
    write_torchcmh,
    write_ucch,
    write_ucch_iapr,
    write_ucmfh,
)
from tests.oracles.official_layouts import (
    N_ITEMS,
    image_features,
    label_matrix,
    text_features,
    text_of,
)

Write = Callable[[Path], str]


@pytest.mark.parametrize(
    ("source", "write", "has_image", "has_text"),
    [
        ("clip-retrieval", write_clip_folder, True, True),
        ("coco-122k", write_coco_122k, True, True),
        ("coco-87k", write_coco_87k, True, True),
        ("dgcpn", write_dgcpn, True, True),
        ("iall-yall-lall", write_iall, False, True),
        ("nine-array", write_nine_array, True, True),
        ("nine-array", write_three_nine_array_files, True, True),
        ("three-file", write_three_files, False, False),
        ("three-file", write_torchcmh, False, True),
        ("ucch", write_ucch_iapr, True, True),
        ("ucmfh", write_ucmfh, True, True),
        ("vtm-uch", write_text_lists, False, False),
        ("webdataset", write_tars, False, False),
    ],
)
def test_features_texts_and_labels_are_those_of_the_files(
    source: str, write: Write, has_image: bool, has_text: bool, tmp_path: Path
) -> None:
    name = f"{source}:{write(tmp_path)}"
    report = check_collection(name)
    assert report.defects == ()
    assert report.n_items == N_ITEMS
    collection = load_collection(name)
    tolerance = 2e-3 if source == "clip-retrieval" else 1e-6
    for side, there, rows in (
        ("image", has_image, image_features()),
        ("text", has_text, text_features()),
    ):
        assert (side in collection.features) == there
        if there:
            found = collection.features["image" if side == "image" else "text"]
            np.testing.assert_allclose(found, rows, rtol=0, atol=tolerance)
    assert (collection.pictures is None) == has_image
    if collection.labels is not None:
        np.testing.assert_array_equal(collection.labels[:, :3], label_matrix())
    if collection.captions is not None:
        assert collection.captions == tuple(text_of(item) for item in range(N_ITEMS))
    again = load_collection(collection.source)
    assert again.fingerprint() == collection.fingerprint()


@pytest.mark.parametrize(
    ("source", "write", "names"),
    [
        ("coco-87k", write_coco_87k, {"test", "database"}),
        ("nine-array", write_nine_array, {"train", "test", "database"}),
        ("nine-array", write_three_nine_array_files, {"train", "test", "database"}),
        ("ucmfh", write_ucmfh, {"train", "test", "database"}),
    ],
)
def test_parts_are_splits_and_shared_rows_are_one_item(
    source: str, write: Write, names: set[str], tmp_path: Path
) -> None:
    collection = load_collection(f"{source}:{write(tmp_path)}")
    expected = {"train": list(TRAIN), "test": list(QUERY), "database": list(DATABASE)}
    splits = {name: rows.tolist() for name, rows in collection.splits.items()}
    assert splits == {name: expected[name] for name in names}


def test_training_rows_outside_the_database_become_items(tmp_path: Path) -> None:
    arrays = nine_arrays()
    arrays["I_tr"] = arrays["I_tr"].copy()
    arrays["I_tr"][3] += 1
    path = tmp_path / "mir_cnn.mat"
    scipy.io.savemat(path, arrays)
    collection = load_collection(f"nine-array:{path}")
    assert collection.n_items == N_ITEMS + 1
    assert collection.split("train").tolist() == [0, 1, 2, 18, 4, 5, 6, 7, 8, 9, 10, 11]
    assert collection.item_ids[18] == "train-3"
    note = f"{path}: 11 of 12 training rows are rows of the database and count once"
    assert note in check_collection(f"nine-array:{path}").notes


def test_without_a_database_the_training_part_is_it(tmp_path: Path) -> None:
    arrays = {key: rows for key, rows in nine_arrays().items() if not key.endswith("db")}
    scipy.io.savemat(tmp_path / "x.mat", arrays)
    collection = load_collection(f"nine-array:{tmp_path / 'x.mat'}")
    assert {name: len(rows) for name, rows in collection.splits.items()} == {"train": 12, "test": 6}


def test_dgcpn_splits_are_its_index_files(tmp_path: Path) -> None:
    collection = load_collection(f"dgcpn:{write_dgcpn(tmp_path)}")
    splits = {name: rows.tolist() for name, rows in collection.splits.items()}
    assert splits == {
        "train": list(TRAIN),
        "dev": [22, 23],
        "test": [18, 19, 20, 21],
        "database": list(DATABASE),
    }
    assert collection.name == "wiki"


def test_indices_from_one_are_noticed_and_said(tmp_path: Path) -> None:
    write_dgcpn(tmp_path)
    for file in tmp_path.glob("*_num.npy"):
        np.save(file, np.load(file) + 1)
    report = check_collection(f"dgcpn:{tmp_path}")
    assert report.is_sound
    assert load_collection(f"dgcpn:{tmp_path}").split("train").tolist() == list(TRAIN)
    [note] = report.notes
    assert note.endswith(
        "the indices go from 1 to 24, the number of items, so they are counted from 1"
    )


def test_indices_that_fit_neither_count_are_a_defect(tmp_path: Path) -> None:
    write_dgcpn(tmp_path)
    np.save(tmp_path / "test_num.npy", np.array([0, 24]))
    [defect] = check_collection(f"dgcpn:{tmp_path}").defects
    where = tmp_path / "test_num.npy"
    assert str(defect) == f"{where}: must hold distinct positions from 0 to 23"


def test_the_last_2000_rows_are_ucchs_queries(tmp_path: Path) -> None:
    collection = load_collection(f"ucch:{write_ucch(tmp_path)}")
    first = N_UCCH - 2000
    assert collection.split("test").tolist() == list(range(first, N_UCCH))
    assert collection.split("train").tolist() == list(range(first))
    assert collection.split("database").tolist() == list(range(first))


def test_ucch_without_enough_rows_says_so(tmp_path: Path) -> None:
    report = check_collection(f"ucch:{write_coco_122k(tmp_path)}")
    name = tmp_path / "MSCOCO_deep_doc2vec_data_rand.h5py"
    note = (
        f"{name}: UCCH's queries are the last rows (2,000 of mirflickr, 2,100 of nus, 5,000 of "
        "coco, 2,000 of iapr), which doesn't fit 24 rows of 'MSCOCO_deep_doc2vec_data_rand'; "
        "other splits are made"
    )
    assert report.notes == (note,)


def test_pixels_of_matlab_are_turned_upright(tmp_path: Path) -> None:
    collection = load_collection(f"iall-yall-lall:{write_iall(tmp_path)}")
    assert collection.pictures is not None
    picture = collection.pictures.open(1)
    assert picture.size == (12, 8)
    assert picture.getpixel((11, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 7)) == (0, 200, 0)
    assert collection.pictures.digest(1) != collection.pictures.digest(2)


@pytest.mark.parametrize("turned", [False, True])
def test_pixels_of_older_mat_files_are_read_in_both_orders(turned: bool, tmp_path: Path) -> None:
    write_iall(tmp_path)
    rows = np.zeros((N_ITEMS, 3, 8, 12), np.uint8)
    rows[:, 1] = 9
    stored = rows.transpose(2, 3, 1, 0) if turned else rows
    scipy.io.savemat(tmp_path / "mirflickr25k-iall.mat", {"IAll": stored})
    pictures = load_collection(f"iall-yall-lall:{tmp_path}").pictures
    assert pictures is not None
    assert pictures.open(3).size == (12, 8)
    assert pictures.open(3).getpixel((0, 0)) == (0, 9, 0)


def test_several_data_sets_in_a_folder_must_be_chosen(tmp_path: Path) -> None:
    write_ucch(tmp_path)
    scipy.io.savemat(tmp_path / "nus-wide-tc10-yall.mat", {"YAll": text_features()})
    [defect] = check_collection(f"iall-yall-lall:{tmp_path}").defects
    problem = "holds files of mirflickr25k and nus-wide-tc10: add one of these names to the path"
    assert str(defect) == f"{tmp_path}: {problem}"
    assert load_collection(f"iall-yall-lall:{tmp_path}/mirflickr25k").n_items == N_UCCH


@pytest.mark.parametrize("other", ["nus_query.mat", "nus_cnn.mat"])
def test_arrays_of_two_data_sets_are_not_mixed(other: str, tmp_path: Path) -> None:
    """CIRH's folder with the files of two data sets, whole or in part."""
    arrays = nine_arrays()
    for short, name in (("tr", "train"), ("te", "query"), ("db", "database")):
        part = {key: array for key, array in arrays.items() if key.endswith(short)}
        scipy.io.savemat(tmp_path / f"mir_{name}.mat", part)
    assert load_collection(f"nine-array:{tmp_path}").n_items == N_ITEMS
    own = arrays if "cnn" in other else {k: a for k, a in arrays.items() if k.endswith("te")}
    scipy.io.savemat(tmp_path / other, own)
    [defect] = check_collection(f"nine-array:{tmp_path}").defects
    second = "nus_cnn" if "cnn" in other else "nus"
    problem = f"holds files of mir and {second}: add one of these names to the path"
    assert str(defect) == f"{tmp_path}: {problem}"
    assert load_collection(f"nine-array:{tmp_path}/mir").n_items == N_ITEMS


def test_a_file_of_another_data_set_in_place_of_ones_own_is_found(tmp_path: Path) -> None:
    arrays = nine_arrays()
    for short, name in (("tr", "mir_train"), ("te", "nus_query"), ("db", "mir_database")):
        part = {key: array for key, array in arrays.items() if key.endswith(short)}
        scipy.io.savemat(tmp_path / f"{name}.mat", part)
    [defect] = check_collection(f"nine-array:{tmp_path}").defects
    assert (defect.kind, defect.problem) == (
        "two-sets", "holds files of mir and nus: add one of these names to the path"
    )  # fmt: skip


def test_two_files_of_features_are_not_chosen_among(tmp_path: Path) -> None:
    write_ucch(tmp_path)
    scipy.io.savemat(tmp_path / "mirflickr25k-iall-clip.mat", {"XAll": image_features(N_UCCH)})
    [defect] = check_collection(f"iall-yall-lall:{tmp_path}").defects
    assert str(defect) == (
        f"{tmp_path}: mirflickr25k-iall-clip.mat and mirflickr25k-iall-vgg.mat hold the same "
        "array; keep one of them"
    )


def test_turned_matrices_are_turned_back_and_said(tmp_path: Path) -> None:
    arrays = nine_arrays()
    arrays["I_db"] = arrays["I_db"].T
    path = tmp_path / "mir_cnn.mat"
    scipy.io.savemat(path, arrays)
    note = f"{path}:I_db: has shape (6, 18) and is turned: an item is a row, and the others have 18"
    assert note in check_collection(f"nine-array:{path}").notes
    collection = load_collection(f"nine-array:{path}")
    np.testing.assert_allclose(collection.features["image"], image_features(), rtol=0, atol=1e-6)


def test_a_part_of_another_width_or_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mir_cnn.mat"
    arrays = nine_arrays()
    scipy.io.savemat(path, {**arrays, "I_te": arrays["I_te"][:, :5]})
    [defect] = check_collection(f"nine-array:{path}").defects
    problem = f"has shape (6, 5); expected (6,) behind the rows, as {path}:I_tr has"
    assert str(defect) == f"{path}:I_te: {problem}"
    scipy.io.savemat(path, {**arrays, "L_te": arrays["L_te"][:4]})
    [defect] = check_collection(f"nine-array:{path}").defects
    problem = "has shape (4, 3); expected 6 rows, as many as the image features"
    assert str(defect) == f"{path}:L_te: {problem}"
    scipy.io.savemat(path, {key: rows for key, rows in arrays.items() if key != "T_te"})
    [defect] = check_collection(f"nine-array:{path}").defects
    assert defect.problem == (
        f"lacks the text features of this part; it has {path}:I_te, {path}:L_te"
    )


def test_labels_that_are_not_0_and_1_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mir_cnn.mat"
    scipy.io.savemat(path, {**nine_arrays(), "L_te": np.full((6, 3), -1)})
    [defect] = check_collection(f"nine-array:{path}").defects
    assert str(defect) == f"{path}:L_te: holds -1; expected 0 and 1 only"


def test_zero_rows_are_said(tmp_path: Path) -> None:
    write_dgcpn(tmp_path)
    tags = text_features()
    tags[[4, 9]] = 0
    np.save(tmp_path / "tags.npy", tags)
    report = check_collection(f"dgcpn:{tmp_path}")
    assert report.is_sound
    note = "2 of 24 rows are all zero: row 4, 9 (from 0); each should hold something, and they stay"
    assert report.notes == (f"{tmp_path / 'tags.npy'}: {note} in",)


def test_a_file_without_the_arrays_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"images": np.eye(2)})
    [defect] = check_collection(f"nine-array:{path}").defects
    problem = "has none of the arrays I_tr, T_tr, L_tr, I_te, ...; it has x.mat:images"
    assert str(defect) == f"{path}: {problem}"
    scipy.io.savemat(tmp_path / "a-yall.mat", {"tags": np.eye(2)})
    scipy.io.savemat(tmp_path / "a-xall.mat", {"XAll": np.eye(2)})
    [defect] = check_collection(f"iall-yall-lall:{tmp_path}").defects
    assert str(defect) == f"{tmp_path / 'a-yall.mat'}: has no array YAll; it has tags"


def test_paths_of_another_machine_are_looked_up_and_said(tmp_path: Path) -> None:
    report = check_collection(f"three-file:{write_three_files(tmp_path)}")
    assert report.is_sound
    first = tmp_path / "images" / "im1.jpg"
    assert report.notes == (f"{tmp_path}: pictures are looked up as {first}, ...",)


def test_ragged_captions_of_matlab_73_are_kept_and_said(tmp_path: Path) -> None:
    name = f"three-file:{write_three_files_73(tmp_path)}"
    collection = load_collection(name)
    assert collection.captions == tuple(text for own in ragged_texts() for text in own)
    file = tmp_path / "caption.mat"
    note = f"{file}: the numbers of captions differ: 12 pictures have 1, 12 pictures have 2"
    assert note in check_collection(name).notes


def test_ragged_cells_of_older_mat_files_are_kept(tmp_path: Path) -> None:
    write_three_files(tmp_path)
    cells = np.empty((N_ITEMS, 1), object)
    for row, own in enumerate(ragged_texts()):
        cells[row, 0] = np.array(own, object)
    scipy.io.savemat(tmp_path / "caption.mat", {"caption": cells})
    collection = load_collection(f"three-file:{tmp_path}")
    assert collection.captions == tuple(text for own in ragged_texts() for text in own)


def test_a_caption_file_of_lines_is_read(tmp_path: Path) -> None:
    write_three_files(tmp_path)
    (tmp_path / "caption.mat").unlink()
    file = tmp_path / "caption.txt"
    file.write_text("".join(f"{text_of(item)}\n" for item in range(N_ITEMS)))
    assert load_collection(f"three-file:{tmp_path}").n_captions == N_ITEMS
    file.write_text("one\n")
    [defect] = check_collection(f"three-file:{tmp_path}").defects
    assert str(defect) == f"{file}: has 1 entries, expected 24, one a picture in index.mat"


def test_three_file_labels_must_be_0_and_1(tmp_path: Path) -> None:
    write_three_files(tmp_path)
    scipy.io.savemat(tmp_path / "label.mat", {"category": 2 * label_matrix()})
    [defect] = check_collection(f"three-file:{tmp_path}").defects
    assert str(defect) == f"{tmp_path / 'label.mat'}: holds 2; expected 0 and 1 only"


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    collection = load_collection(f"ucmfh:{write_ucmfh(tmp_path, protocol)}")
    np.testing.assert_array_equal(collection.features["image"], image_features())
    np.testing.assert_array_equal(collection.features["text"], text_features())


def test_text_lists_of_other_lengths_or_labels_are_named(tmp_path: Path) -> None:
    write_text_lists(tmp_path)
    file = tmp_path / "all_labels.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(["1 0 2", *lines[1:]]))
    [defect] = check_collection(f"vtm-uch:{tmp_path}").defects
    assert str(defect) == f"{file}:1: holds '1 0 2', expected 3 times 0 or 1"
    file.write_text("\n".join(lines[1:]))
    [defect] = check_collection(f"vtm-uch:{tmp_path}").defects
    assert str(defect) == f"{file}: has 23 lines, expected 24, one a picture"


def test_clip_folders_must_match_row_by_row(tmp_path: Path) -> None:
    write_clip_folder(tmp_path)
    file = tmp_path / "text_emb" / "text_emb_10.npy"
    np.save(file, np.ones((3, 5), np.float16))
    [defect] = check_collection(f"clip-retrieval:{tmp_path}").defects
    assert str(defect) == f"{file}: has 3 rows, the pictures' part 10 14"
    file.unlink()
    [defect] = check_collection(f"clip-retrieval:{tmp_path}").defects
    problem = "part 10 is in only one of img_emb and text_emb; copy the other one too"
    assert str(defect) == f"{tmp_path}: {problem}"


def test_columns_of_clip_folders_are_metadata(tmp_path: Path) -> None:
    write_clip_folder(tmp_path)
    for number, items in ((2, range(10)), (10, range(10, N_ITEMS))):
        file = tmp_path / "metadata" / f"metadata_{number}.parquet"
        n, table = len(items), pq.read_table(file)
        more = {
            "url": ["same"] * n, "width": list(items), "nsfw": [None, *[True] * (n - 1)],
            "similarity": [float("nan"), *[0.25] * (n - 1)], "exif": [["a"]] * n,
        }  # fmt: skip
        for name, cells in more.items():
            table = table.append_column(name, pa.array(cells))
        if number == 10:
            table = table.append_column("late", pa.array([1] * n))
        pq.write_table(table, file)
    reading = read_clip_folder(str(tmp_path), split_seed=0)
    collection = reading.collection
    assert collection is not None
    assert list(collection.item_ids) == [f"photos/{item}.jpg" for item in range(N_ITEMS)]
    assert collection.metadata["width"] == tuple(range(N_ITEMS))
    assert set(collection.metadata) == {"url", "width", "nsfw", "similarity"}
    assert collection.metadata["nsfw"][9:12] == (True, None, True)
    assert collection.metadata["similarity"][9:12] == (0.25, None, 0.25)
    note = (
        "columns of the metadata that are left out, as they aren't in every part or hold more than "
        "texts and numbers: exif, late"
    )
    assert note in reading.notes


def test_a_damaged_tar_and_one_name_twice_are_named(tmp_path: Path) -> None:
    write_tars(tmp_path)
    (tmp_path / "00002.tar").write_bytes((tmp_path / "00000.tar").read_bytes())
    (tmp_path / "00003.tar").write_bytes(b"no tar" * 200)
    defects = check_collection(f"webdataset:{tmp_path}").defects
    first = tmp_path / "00000.tar"
    assert str(defects[0]) == (
        f"{tmp_path / '00002.tar'}: sample '000000000' is also in {first}; give every sample its "
        "own name"
    )
    assert defects[-1].where == str(tmp_path / "00003.tar")
    assert defects[-1].problem.startswith("can't be read as a tar: ")


def test_samples_without_picture_or_text_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "one.tar"
    write_tars(tmp_path)
    with tarfile.open(tmp_path / "00000.tar") as old, tarfile.open(path, "w") as new:
        for entry in old:
            if not entry.name.startswith("000000003") or entry.name.endswith("json"):
                new.addfile(entry, old.extractfile(entry))
    report = check_collection(f"webdataset:{path}")
    assert (report.n_items, report.n_pictures) == (9, 9)
    assert report.notes == (f"{path}: 1 samples without picture or text are left out",)


def test_hdf5_without_matlabs_header_is_not_turned_blindly(tmp_path: Path) -> None:
    path = tmp_path / "made.mat"
    arrays = {"image": image_features(), "text": text_features()}
    with h5py.File(path, "w") as file:
        for name, rows in arrays.items():
            file[name] = rows
    assert load_collection(f"features:{path}").features["image"].shape == (N_ITEMS, 6)
    write_matlab73(path, arrays)
    assert load_collection(f"features:{path}").features["image"].shape == (N_ITEMS, 6)


def test_coco_87k_names_what_is_missing(tmp_path: Path) -> None:
    write_coco_87k(tmp_path)
    path = tmp_path / "COCO.mat"
    with h5py.File(path, "a") as file:
        del file["param/indexQuery"]
    expected = f"{path}: has no array param/indexQuery; it has LAll, XAll, param"
    with pytest.raises(CollectionError, match=f"^{re.escape(expected)}$"):
        load_collection(f"coco-87k:{tmp_path}")


def test_matlab_73_without_hdf5_support_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_three_nine_array_files(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    message = "reading .mat and .h5 files needs the package 'h5py': pip install 'modalhash[matlab]'"
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        check_collection(f"nine-array:{tmp_path}")
