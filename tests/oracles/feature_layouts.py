"""Write small feature files in the exact layouts that are passed on between papers.

As in `official_layouts`, each writer fills a folder and returns what follows the source's name and
a colon.
"""

import json
import pickle
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from tests.oracles.official_layouts import (
    N_ITEMS,
    draw,
    image_features,
    label_matrix,
    text_features,
    text_of,
    write_lines,
)

N_UCCH = 2030
TRAIN, QUERY, DATABASE = range(12), range(18, 24), range(18)
"""Items of the parts: training items are database items, as in most papers."""


def write_matlab73(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write HDF5 as MATLAB does: a header of 512 bytes, dimensions turned around."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, made for a test".ljust(512))


def write_matlab73_texts(path: Path, name: str, cells: list[list[str]]) -> None:
    """Write a cell array of texts, or of cells of texts where an entry has several, as MATLAB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:

        def text(letters: str, place: str) -> Any:
            codes = np.frombuffer(letters.encode("utf-16-le"), "<u2")[:, None]
            stored = file.create_dataset(f"#refs#/{place}", data=codes)
            stored.attrs["MATLAB_class"] = np.bytes_(b"char")
            return stored.ref

        references = []
        for number, texts in enumerate(cells):
            own = [text(one, f"{number}_{place}") for place, one in enumerate(texts)]
            if len(own) == 1:
                references.append(own[0])
                continue
            inner = file.create_dataset(
                f"#refs#/{number}", data=np.array([own], dtype=h5py.ref_dtype)
            )
            references.append(inner.ref)
        file.create_dataset(name, data=np.array([references], dtype=h5py.ref_dtype))
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, made for a test".ljust(512))


def nine_arrays() -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for short, items in (("tr", TRAIN), ("te", QUERY), ("db", DATABASE)):
        arrays[f"I_{short}"] = image_features()[items]
        arrays[f"T_{short}"] = text_features()[items].astype(np.float64)
        arrays[f"L_{short}"] = label_matrix()[items]
    return arrays


def write_nine_array(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "mir_cnn.mat", nine_arrays())
    return str(folder / "mir_cnn.mat")


def write_three_nine_array_files(folder: Path) -> str:
    """CIRH's three files; its COCO database is HDF5 by MATLAB."""
    arrays = nine_arrays()
    folder.mkdir(parents=True, exist_ok=True)
    for short, name in (("tr", "train"), ("te", "query")):
        part = {key: array for key, array in arrays.items() if key.endswith(short)}
        scipy.io.savemat(folder / f"coco_{name}.mat", part)
    database = {key: array for key, array in arrays.items() if key.endswith("db")}
    write_matlab73(folder / "coco_database.mat", database)
    return str(folder)


def pixels() -> NDArray[np.uint8]:
    """Return pictures (n, 3, w, h), as they lie in MATLAB's HDF5: wider than high, one dot."""
    array = np.zeros((N_ITEMS, 3, 12, 8), np.uint8)
    array[np.arange(N_ITEMS), np.arange(N_ITEMS) % 3] = 200
    array[:, :, 11, 0] = 255  # right upper corner: w is 11, h is 0
    return array


def write_iall(folder: Path) -> str:
    """The DCMH family's pixels, words and labels."""
    write_matlab73(folder / "mirflickr25k-iall.mat", {"IAll": pixels().T})
    scipy.io.savemat(folder / "mirflickr25k-yall.mat", {"YAll": text_features()})
    scipy.io.savemat(folder / "mirflickr25k-lall.mat", {"LAll": label_matrix().astype(float)})
    return str(folder)


def write_ucch(folder: Path) -> str:
    """More rows than the 2,000 queries, which are the last ones."""
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / "mirflickr25k"
    scipy.io.savemat(f"{name}-iall-vgg.mat", {"XAll": image_features(N_UCCH)})
    scipy.io.savemat(f"{name}-yall.mat", {"YAll": text_features(N_UCCH)})
    scipy.io.savemat(f"{name}-lall.mat", {"LAll": label_matrix(N_UCCH)})
    return str(folder)


def write_ucch_iapr(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "VDatabase": image_features()[DATABASE], "YDatabase": text_features()[DATABASE],
        "databaseL": label_matrix()[DATABASE], "VTest": image_features()[QUERY],
        "YTest": text_features()[QUERY], "testL": label_matrix()[QUERY],
    }  # fmt: skip
    scipy.io.savemat(folder / "iapr-tc12-rand.mat", arrays)
    return str(folder)


def write_coco_122k(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "MSCOCO_deep_doc2vec_data_rand.h5py"
    with h5py.File(path, "w") as file:
        file["XAll"], file["YAll"] = image_features(), text_features()
        file["LAll"] = label_matrix()
    return str(path)


def write_coco_87k(folder: Path) -> str:
    """Labels with 91 rows, one row a label; indices from 1 in a group."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "COCO.mat", "w") as file:
        file["XAll"] = image_features()
        file["LAll"] = label_matrix(n_labels=91).T
        file["param/indexQuery"] = np.array(QUERY, np.float64)[None] + 1
        file["param/indexDatabase"] = np.array(DATABASE, np.float64)[None] + 1
    np.save(folder / "COCO_BoW.npy", text_features())
    return str(folder)


def write_three_files(folder: Path) -> str:
    """DCHMT's files: paths of another machine, one text each, padded as char matrices are."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"/data/of/someone/mirflickr/im{item + 1}.jpg" for item in range(N_ITEMS)]
    scipy.io.savemat(folder / "index.mat", {"index": names})
    texts = np.array([text_of(item) for item in range(N_ITEMS)])
    scipy.io.savemat(folder / "caption.mat", {"caption": texts})
    scipy.io.savemat(folder / "label.mat", {"category": label_matrix()})
    for item in range(N_ITEMS):
        draw(folder / "images" / f"im{item + 1}.jpg", item)
    return str(folder)


def ragged_texts() -> list[list[str]]:
    return [[text_of(item, number) for number in range(1 + item % 2)] for item in range(N_ITEMS)]


def write_three_files_73(folder: Path) -> str:
    """The same as HDF5 by MATLAB, with one or two captions a picture."""
    names = [[f"im{item + 1}.jpg"] for item in range(N_ITEMS)]
    write_matlab73_texts(folder / "index.mat", "index", names)
    write_matlab73_texts(folder / "caption.mat", "caption", ragged_texts())
    write_matlab73(folder / "label.mat", {"LAll": label_matrix()})
    for item in range(N_ITEMS):
        draw(folder / "images" / f"im{item + 1}.jpg", item)
    return str(folder)


def write_torchcmh(folder: Path) -> str:
    """torchcmh's names: tags are a matrix of words."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.array([f"im{item + 1}.jpg" for item in range(N_ITEMS)], object)
    scipy.io.savemat(folder / "imgList.mat", {"FAll": names[:, None]})
    scipy.io.savemat(folder / "tagList.mat", {"YAll": text_features()})
    scipy.io.savemat(folder / "labelList.mat", {"LAll": label_matrix()})
    for item in range(N_ITEMS):
        draw(folder / "images" / f"im{item + 1}.jpg", item)
    return str(folder)


def write_ucmfh(folder: Path, protocol: int = 4) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in (("train", TRAIN), ("query", QUERY), ("retrieval", DATABASE)):
        document = {
            "image": image_features()[items],
            "text": np.asfortranarray(text_features()[items]),
            "label": label_matrix()[items].astype(np.int64),
        }
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(document, protocol))
    return str(folder)


def write_dgcpn(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "wiki_vgg19.npy", image_features())
    np.save(folder / "tags.npy", text_features())
    np.save(folder / "label.npy", label_matrix())
    np.save(folder / "test_num.npy", np.arange(18, 22))
    np.save(folder / "val_num.npy", np.arange(22, 24))
    np.save(folder / "train_num.npy", np.array(TRAIN))
    np.save(folder / "database_num.npy", np.array(DATABASE))
    return str(folder)


def write_text_lists(folder: Path) -> str:
    write_lines(folder / "all_imgs.txt", [f"mirflickr/im{i + 1}.jpg" for i in range(N_ITEMS)])
    rows = [" ".join(map(str, row)) for row in label_matrix()]
    write_lines(folder / "all_labels.txt", rows)
    write_lines(folder / "all_tags.txt", [text_of(i).replace(" ", ",") for i in range(N_ITEMS)])
    for item in range(N_ITEMS):
        draw(folder / "images" / f"im{item + 1}.jpg", item)
    return str(folder)


def write_clip_folder(folder: Path) -> str:
    """Two parts; number 10 comes after number 2."""
    for number, items in ((2, range(10)), (10, range(10, N_ITEMS))):
        for name, rows in (("img_emb", image_features()), ("text_emb", text_features())):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{name}_{number}.npy", rows[items].astype(np.float16))
        (folder / "metadata").mkdir(exist_ok=True)
        table = pa.table(
            {
                "image_path": [f"photos/{item}.jpg" for item in items],
                "caption": [text_of(item) for item in items],
            }
        )
        pq.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
    return str(folder)


def write_tars(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for number, items in enumerate((range(10), range(10, N_ITEMS))):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for item in items:
                picture = BytesIO()
                Image.new("RGB", (8, 8), (10 * item, 0, 0)).save(picture, "JPEG")
                caption = {"caption": text_of(item), "url": "x"}
                members = {
                    "jpg": picture.getvalue(),
                    "json": json.dumps(caption).encode(),
                    **({"txt": text_of(item).encode()} if number else {}),
                }
                for suffix, content in members.items():
                    entry = tarfile.TarInfo(f"{item:09d}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, BytesIO(content))
    return str(folder)
