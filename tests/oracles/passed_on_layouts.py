"""Write small data sets in further layouts that programs pass on: see `official_layouts`."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from tests.oracles.feature_layouts import pixels, write_matlab73
from tests.oracles.official_layouts import (
    N_ITEMS,
    draw,
    image_features,
    karpathy_split,
    label_matrix,
    text_features,
    text_of,
    write_lines,
    write_msrvtt_frames,
)

N_TEST = 8


def array_of_arrays(whole: NDArray[Any], n_parts: int) -> NDArray[Any]:
    parts = np.empty(n_parts, object)
    for place, part in enumerate(np.array_split(whole, n_parts)):
        parts[place] = part
    return parts


def write_dgcpn_wiki(folder: Path, n_items: int = N_ITEMS, n_test: int = N_TEST) -> str:
    """Arrays of arrays, which numpy pickles, with the class of each item as a number."""
    folder.mkdir(parents=True, exist_ok=True)
    whole: dict[str, NDArray[Any]] = {
        "feature_vgg19": image_features(n_items),
        "txt": text_features(n_items),
        "label": np.arange(n_items) % 3,
    }
    for name, array in whole.items():
        for part, rows in (("train", array[:-n_test]), ("test", array[-n_test:])):
            np.save(folder / f"{part}_{name}.npy", array_of_arrays(rows, 2), allow_pickle=True)
    return str(folder)


def dcmh_arrays() -> dict[str, NDArray[Any]]:
    """Arrays as MATLAB has them: pixels (h, w, 3, n), tags (n, d), labels (n, c)."""
    return {
        "images": pixels().T,
        "YAll": text_features().astype(np.float64),
        "LAll": label_matrix().astype(np.float64),
    }


def write_dcmh_mat(folder: Path) -> str:
    """HDF5 by MATLAB: every dimension turned around."""
    folder.mkdir(parents=True, exist_ok=True)
    write_matlab73(folder / "FLICKR-25K.mat", dcmh_arrays())
    return str(folder)


def write_dcmh_mat_of_h5py(folder: Path) -> str:
    """HDF5 by a program that kept the pixels as they were, and tags and labels row by row."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dcmh_arrays()
    with h5py.File(folder / "FLICKR-25K.mat", "w") as file:
        file["images"] = arrays["images"].T
        file["YAll"], file["LAll"] = arrays["YAll"], arrays["LAll"]
    return str(folder)


def write_msrvtt_1ka(folder: Path) -> str:
    """The captions and frames of MSR-VTT with the two lists of its division 1k-A."""
    source = write_msrvtt_frames(folder)
    test = [item for item in range(N_ITEMS) if item % 5 == 2]
    train = [f"video{item}" for item in range(N_ITEMS) if item not in test]
    write_lines(folder / "MSRVTT_train.9k.csv", ["video_id", *train])
    lines = ["key,vid_key,video_id,sentence"]
    lines += [f'ret{n},msr{n},video{item},"{text_of(item)}, asked"' for n, item in enumerate(test)]
    write_lines(folder / "MSRVTT_JSFUSION_test.csv", lines)
    return source


def write_wiki_articles(folder: Path) -> str:
    """`texts/ID.xml`, not well-formed and some in Latin-1, and `images/CLASS/ID.jpg`."""
    classes = ("art", "biology", "geography")
    write_lines(folder / "categories.list", list(classes))
    lists: dict[str, list[str]] = {"trainset": [], "testset": []}
    for item in range(N_ITEMS):
        draw(folder / "images" / classes[item % 3] / f"{item:032x}.jpg", item)
        lines = [
            "<document>", "<title>A & B</title>", "<text>", f"{text_of(item)} &amp; caf\u00e9.",
            "A second line < the first.", "</text>", "</document>",
        ]  # fmt: skip
        file = folder / "texts" / f"{item:032x}-{item % 4}.xml"
        write_lines(file, lines, encoding="utf-8" if item % 2 else "latin-1")
        part = "testset" if karpathy_split(item) == "test" else "trainset"
        lists[part].append(f"{item:032x}-{item % 4}\t{item:032x}\t{item % 3 + 1}")
    for part, lines in lists.items():
        write_lines(folder / f"{part}_txt_img_cat.list", lines)
    return str(folder)


PRECOMP_SPLITS = (("train", range(16)), ("dev", range(16, 20)), ("test", range(20, N_ITEMS)))


def write_precomp(folder: Path) -> str:
    """VSE++'s features: each picture's row as often as it has captions."""
    for split, items in PRECOMP_SPLITS:
        captions = [text_of(item, number) for item in items for number in range(5)]
        write_lines(folder / f"{split}_caps.txt", captions)
        np.save(folder / f"{split}_ims.npy", image_features()[list(items)].repeat(5, axis=0))
    return str(folder)


def region_features() -> NDArray[np.float32]:
    """Return (n, 3, d): regions whose mean is the picture's row of `image_features`."""
    whole = image_features()
    return np.stack([whole - 1, whole, whole + 1], axis=1)


def write_precomp_regions(folder: Path) -> str:
    """SCAN's features: regions of each picture once, ids, and COCO's larger test part."""
    for split, items in PRECOMP_SPLITS:
        for name in [split] if split != "test" else ["test", "testall"]:
            own = list(items)[:2] if name == "test" else list(items)
            captions = [text_of(item, number) for item in own for number in range(5)]
            write_lines(folder / f"{name}_caps.txt", captions)
            write_lines(folder / f"{name}_ids.txt", [str(900 + item) for item in own])
            np.save(folder / f"{name}_ims.npy", region_features()[own])
    return str(folder)


def write_ucmfh_tensors(folder: Path) -> str:
    """UCMFH's three files with PyTorch's tensors, in its newer and its older form."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"query": range(6), "train": range(6, 18), "retrieval": range(6, N_ITEMS)}
    for name, items in parts.items():
        rows = list(items)
        tensors = {
            "image": torch.from_numpy(image_features()[rows]),
            "text": torch.from_numpy(text_features()[rows].T.copy()).T,
            "label": torch.from_numpy(label_matrix()[rows].astype(np.int64)),
        }
        torch.save(tensors, folder / f"{name}.pkl", _use_new_zipfile_serialization=name != "train")
    return str(folder)
