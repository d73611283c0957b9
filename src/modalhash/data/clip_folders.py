"""Embeddings that clip-retrieval wrote: `clip-retrieval:PATH`.

PATH is a folder with `img_emb/img_emb_0.npy`, `text_emb/text_emb_0.npy` and
`metadata/metadata_0.parquet`, and so on: rows of the same number belong together. The columns
`caption` and `image_path` (or `key`, `url`) of the metadata become texts and ids, other columns of
texts, numbers and truth values metadata.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Value
from modalhash.data.features import collect_arrays
from modalhash.data.pair_lists import missing_file
from modalhash.data.parquet_files import column_values, open_parquet
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect
from modalhash.files import map_array

__all__ = ["read_clip_folder"]

_NUMBER: Final = re.compile(r"_(\d+)\.\w+$")
_IDS: Final = ("image_path", "key", "url")
_KNOWN: Final = frozenset({"caption", *_IDS})


def read_clip_folder(argument: str, *, split_seed: int) -> Reading:
    """Read clip-retrieval's output; see `SourceReader` and the module's description."""
    path = Path(argument)
    files = {
        name: _number_files(path / name, suffix)
        for name, suffix in (("img_emb", ".npy"), ("text_emb", ".npy"), ("metadata", ".parquet"))
    }
    for name in ("img_emb", "text_emb"):
        if not files[name]:
            return missing_file(path / name, f"the embeddings ({name}_0.npy, ...)")
    if files["img_emb"].keys() != files["text_emb"].keys():
        odd = min(files["img_emb"].keys() ^ files["text_emb"].keys())
        problem = f"part {odd} is in only one of img_emb and text_emb; copy the other one too"
        return Reading(None, (Defect("missing-file", str(path), problem),))
    try:
        arrays, origins = _embeddings(files)
        columns, notes = _add_metadata(files["metadata"], files["img_emb"], arrays)
    except CollectionError as error:
        return Reading(None, error.defects)
    reading = collect_arrays(
        arrays,
        name=path.absolute().name,
        path=path,
        source=f"clip-retrieval:{path.absolute()}",
        split_seed=split_seed,
        origins=origins,
    )
    collection = reading.collection
    if collection is not None:
        collection = replace(collection, metadata={**collection.metadata, **columns})
    return Reading(collection, reading.defects, (*notes, *reading.notes))


def _number_files(folder: Path, suffix: str) -> dict[int, Path]:
    """Map the numbers in the names of a folder's files to the files, in that order."""
    files = {}
    for file in folder.glob(f"*{suffix}"):
        if match := _NUMBER.search(file.name):
            files[int(match[1])] = file
    return dict(sorted(files.items()))


def _embeddings(
    files: dict[str, dict[int, Path]],
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    arrays, origins = {}, {}
    lengths: dict[int, int] = {}
    for side, folder in (("image", "img_emb"), ("text", "text_emb")):
        blocks: list[NDArray[Any]] = []
        for number, file in files[folder].items():
            try:
                block = map_array(file)
            except (OSError, ValueError, EOFError) as error:
                raise _fault("unreadable-file", file, f"can't be read: {error}") from error
            if block.ndim != 2 or block.shape[1:] != (blocks[0] if blocks else block).shape[1:]:
                problem = f"has shape {block.shape}, expected (n, d), d as in the other parts"
                raise _fault("wrong-shape", file, problem)
            if lengths.setdefault(number, len(block)) != len(block):
                problem = f"has {len(block)} rows, the pictures' part {number} {lengths[number]}"
                raise _fault("wrong-shape", file, problem)
            blocks.append(block)
        arrays[side] = np.concatenate(blocks).astype(np.float32)
        origins[side] = str(next(iter(files[folder].values())).parent)
    return arrays, origins


def _add_metadata(
    files: dict[int, Path], embeddings: dict[int, Path], arrays: dict[str, NDArray[Any]]
) -> tuple[dict[str, tuple[Value, ...]], list[str]]:
    """Add captions and ids from the metadata; return its other columns, and notes."""
    if not files:
        return {}, ["there is no metadata: the items have neither texts nor names"]
    if files.keys() != embeddings.keys():
        odd = min(files.keys() ^ embeddings.keys())
        problem = f"the parts don't match those of img_emb: part {odd}"
        raise _fault("missing-file", next(iter(files.values())).parent, problem)
    columns = _read_columns(files)
    n_items = len(arrays["image"])
    for name in sorted(columns.keys() & _KNOWN):
        if len(columns[name]) != n_items:
            n_values = len(columns[name])
            problem = f"column {name!r} has {n_values} values, expected {n_items}, one a row"
            raise _fault("wrong-shape", next(iter(files.values())).parent, problem)
    if "caption" in columns:
        arrays["captions"] = np.array([str(text or "") for text in columns.pop("caption")])
    notes = ["no column of the metadata names every item differently: they are called 0, 1, ..."]
    for name in _IDS:
        cells = [str(cell) for cell in columns.get(name, [])]
        if cells and len(set(cells)) == n_items:
            arrays["item_ids"] = np.array(cells)
            del columns[name]
            notes = []
            break
    converted = {name: _values(cells) for name, cells in columns.items() if len(cells) == n_items}
    values = {name: cells for name, cells in converted.items() if cells is not None}
    if lost := sorted(columns.keys() - values.keys()):
        notes.append(
            f"columns of the metadata that are left out, as they aren't in every part or hold more "
            f"than texts and numbers: {', '.join(lost)}"
        )
    return values, notes


def _read_columns(files: dict[int, Path]) -> dict[str, list[Any]]:
    """Read the columns of all metadata files, one file's values after the other's."""
    columns: dict[str, list[Any]] = {}
    for file in files.values():
        try:
            with open_parquet(file) as rows:
                for batch in rows.batches(rows.names):
                    for name in rows.names:
                        columns.setdefault(name, []).extend(column_values(batch.column(name)))
        except CollectionError:
            raise
        except (OSError, ValueError) as error:
            raise _fault("unreadable-file", file, f"can't be read as Parquet: {error}") from error
    return columns


def _values(cells: list[Any]) -> tuple[Value, ...] | None:
    """Convert a column to metadata; None if it holds more than texts, numbers and truth values."""
    if not all(isinstance(cell, str | int | float | None) for cell in cells):
        return None
    return tuple(
        None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells
    )


def _fault(kind: str, path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect(kind, str(path), problem)])
