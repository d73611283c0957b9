"""Features of pictures and captions a split, as VSE++, SCAN and their followers pass them on.

`precomp:PATH` reads a folder (`f30k_precomp`, `coco_precomp`) with

- `train_ims.npy`, `dev_ims.npy`, `test_ims.npy`: (n, d) features of pictures, or (n, regions, d),
  whose mean over the regions is the pooled feature, and the regions the tokens;
- `train_caps.txt`, ...: a caption a line. Of n pictures and k * n captions each picture has the
  next k. Where there are as many rows as captions, equal rows behind each other are one picture;
- `train_ids.txt`, optional: the id of each picture.

COCO's `testall` stands for `test`, whose pictures are among its own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.arrays import read_arrays
from modalhash.data.collection import Modality, Positions, TokenArrays
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import missing_file
from modalhash.data.reading import Reading
from modalhash.data.text_lines import clean_lines
from modalhash.errors import CollectionError, Defect

__all__ = ["read_precomp"]

_FILES: Final = {"train": ("train",), "dev": ("dev", "val"), "test": ("testall", "test")}
_MOST_TOKEN_BYTES: Final = 4 << 30
"""Regions that take more memory aren't kept as tokens."""
_ROWS_AT_ONCE: Final = 1024


def read_precomp(argument: str, *, split_seed: int) -> Reading:
    """Read features and captions a split; see `SourceReader` and the module's description."""
    path = Path(argument)
    arrays: dict[str, NDArray[Any]] = {}
    origins: dict[str, str] = {}
    regions: list[NDArray[Any]] = []
    notes: list[str] = []
    try:
        for split, names in _FILES.items():
            present = [name for name in names if (path / f"{name}_ims.npy").exists()]
            if present:
                regions += _add_part(path, present[0], split, arrays)
                origins[f"image_{split}"] = str(path / f"{present[0]}_ims.npy")
            notes += [
                f"{path}: {name}_ims.npy isn't read: its pictures are among those of {present[0]}"
                for name in present[1:]
            ]
    except CollectionError as error:
        return Reading(None, error.defects)
    if not arrays:
        return missing_file(path / "train_ims.npy", "the features of the pictures")
    name, source = path.absolute().name, f"precomp:{path.absolute()}"
    reading = collect_arrays(
        arrays, name=name, path=path, source=source, split_seed=split_seed, origins=origins
    )
    if reading.collection is not None and regions:
        collection = replace(reading.collection, tokens=_tokens(regions, path, notes))
        reading = replace(reading, collection=collection)
    return replace(reading, notes=(*notes, *reading.notes))


def _add_part(
    path: Path, name: str, split: str, arrays: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Add the arrays of a split; return its regions, in a list of one, if there are some.

    Raises:
        CollectionError: if a file can't be read, or pictures and captions don't fit.
    """
    file, defects = path / f"{name}_ims.npy", list[Defect]()
    images = read_arrays(path, [file.stem])[file.stem]
    captions = [text for _, text in clean_lines(path / f"{name}_caps.txt", defects)]
    if defects:
        raise CollectionError(defects)
    owners = _caption_owners(images, len(captions), file)
    rows = np.flatnonzero(np.diff(owners, prepend=-1)) if len(owners) == len(images) else None
    images = images if rows is None else images[rows]
    ids_file = path / f"{name}_ids.txt"
    ids = [text.strip() for _, text in clean_lines(ids_file, defects)] if ids_file.exists() else []
    ids = [ids[row] for row in rows] if rows is not None and len(ids) == len(owners) else ids
    if len(ids) != len(images) or len(set(ids)) < len(ids):
        ids = [str(row) for row in range(len(images))]
    arrays[f"image_{split}"] = _pooled(images)
    arrays[f"captions_{split}"] = np.array(captions)
    arrays[f"caption_items_{split}"] = owners
    arrays[f"item_ids_{split}"] = np.array([f"{split}/{item}" for item in ids])
    return [images] if images.ndim == 3 else []


def _caption_owners(images: NDArray[Any], n_captions: int, file: Path) -> Positions:
    """Compute which picture each caption belongs to, counted from 0.

    Raises:
        CollectionError: if the numbers of pictures and captions don't fit, or it is no such array.
    """
    if images.ndim not in (2, 3) or not len(images):
        problem = f"has shape {images.shape}; expected (n, d) or (n, regions, d)"
        raise CollectionError([Defect("wrong-shape", str(file), problem)])
    if n_captions == len(images):
        is_new = [True] + [
            not np.array_equal(images[row], images[row - 1]) for row in range(1, len(images))
        ]
        return np.cumsum(is_new, dtype=np.int64) - 1
    if n_captions % len(images):
        problem = (
            f"has {len(images)} pictures for {n_captions} captions; expected as many captions "
        )
        problem += "for each picture"
        raise CollectionError([Defect("wrong-shape", str(file), problem)])
    return np.arange(len(images), dtype=np.int64).repeat(n_captions // len(images))


def _pooled(images: NDArray[Any]) -> NDArray[Any]:
    """Compute the mean over the regions of each picture, (n, d) float32."""
    if images.ndim == 2:
        return images
    blocks = (images[row : row + _ROWS_AT_ONCE] for row in range(0, len(images), _ROWS_AT_ONCE))
    return np.concatenate([block.mean(axis=1, dtype=np.float64) for block in blocks]).astype("f4")


def _tokens(
    regions: list[NDArray[Any]], path: Path, notes: list[str]
) -> dict[Modality, TokenArrays]:
    """Convert the regions to tokens, unless they take too much memory."""
    n_bytes = sum(array.size for array in regions) * 4
    if n_bytes > _MOST_TOKEN_BYTES:
        notes.append(
            f"{path}: regions would take {n_bytes / 2**30:.0f} GB; only their mean is read"
        )
        return {}
    vectors = np.concatenate([array.reshape(-1, array.shape[-1]) for array in regions])
    counts = np.repeat([array.shape[1] for array in regions], [len(array) for array in regions])
    notes.append(f"{path}: a picture's feature is the mean over its regions, which are its tokens")
    return {"image": TokenArrays(vectors.astype(np.float32, copy=False), np.cumsum(counts))}
