"""What the code files of shards put into an index."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import HashModel
from modalhash.codes import Codes, code_width
from modalhash.codes.fingerprints import are_comparable
from modalhash.errors import ArtifactError, InputError
from modalhash.index import Metadata
from modalhash.index.code_files import CodeFile, code_files, read_code_folder
from modalhash.index.ids import IdColumn, IntegerIds, TextIds
from modalhash.modalities import Side
from modalhash.search.contents import SideContent

__all__ = ["shard_contents"]


class NoMetadata(Sequence[Metadata]):
    """So many items of which nothing is known but code and id."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, place: Any) -> Any:
        return {} if not isinstance(place, slice) else [{} for _ in range(self.n_items)[place]]

    def __iter__(self) -> Iterator[Metadata]:
        return repeat({}, self.n_items)


class OwnItems(Sequence[Metadata]):
    """The item of each text; made when asked for, as there may be many.

    Args:
        ids: of the items.
        owners: (t,) the item that each text belongs to.
    """

    def __init__(self, ids: IdColumn, owners: NDArray[np.int64]) -> None:
        self.ids, self.owners = ids, owners

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, place: Any) -> Any:
        items = self.ids.take(np.atleast_1d(self.owners[place])).tolist()
        entries = [{"item": value} for value in items]
        return entries if isinstance(place, slice) else entries[0]

    def __iter__(self) -> Iterator[Metadata]:
        repeats = np.bincount(self.owners, minlength=len(self.ids)).tolist()
        for value, count in zip(self.ids, repeats, strict=True):
            for _ in range(count):
                yield {"item": value}


def shard_contents(model: HashModel, folder: Path | str) -> dict[Side, SideContent]:
    """Read what a folder of `modalhash encode --shards` puts into both sides of an index.

    Codes are gathered in memory once; pictures' metadata is empty, texts' names their item.

    Args:
        model: that made the codes, or one that is compatible with it.
        folder: with its `shards.json`.

    Raises:
        ArtifactError: if another model made the codes, and neither is compatible with the other,
            or a file is damaged.
        InputError: if shards are missing, or there are no items.
        StorageError: if it can't be read.
    """
    document = read_code_folder(folder)
    if not are_comparable(
        model.fingerprint,
        document["model_fingerprint"],
        first_compatible=model.compatible_fingerprints,
        second_compatible=document.get("compatible_with", ()),
    ):
        raise ArtifactError(
            f"the codes in {folder} were made by another model: give the run they were encoded "
            "with, or encode the shards again"
        )
    files = [file for file in code_files(folder) if file.head.n_items]
    if not files:
        raise InputError(f"{folder} holds no items to index")
    sides: dict[Side, SideContent] = {}
    pictured = [file for file in files if file.image_codes is not None]
    if pictured:
        ids: Any = join_ids(pictured)
        codes = gather_codes([file.image_codes for file in pictured], model.n_bits)
        sides[Side.IMAGES] = SideContent(ids, codes, NoMetadata(len(codes)))
    worded = [file for file in files if file.text_codes is not None]
    if worded:
        counts = [
            np.diff(file.text_ends, prepend=0) for file in worded if file.text_ends is not None
        ]
        owners = np.concatenate(counts)
        text_ids: Any = TextIds.of([value for file in worded for value in file.text_ids()])
        codes = gather_codes([file.text_codes for file in worded], model.n_bits)
        known = OwnItems(join_ids(worded), np.arange(len(owners)).repeat(owners))
        sides[Side.TEXTS] = SideContent(text_ids, codes, known)
    return sides


def gather_codes(parts: Sequence[Codes | None], n_bits: int) -> Codes:
    """Join the codes of several files, one after the other."""
    nothing = np.zeros((0, code_width(n_bits)), np.uint8)
    return np.concatenate([nothing, *(part for part in parts if part is not None)])


def join_ids(files: Sequence[CodeFile]) -> IdColumn:
    """Join the ids of some files, one file's after the other's."""
    columns = [file.ids for file in files if file.ids is not None]
    integers = [column.ids for column in columns if isinstance(column, IntegerIds)]
    if integers:
        return IntegerIds(np.concatenate(integers))
    texts = [column for column in columns if isinstance(column, TextIds)]
    starts = np.cumsum([0, *(len(column.id_text) for column in texts)])
    ends = [column.id_ends + start for column, start in zip(texts, starts, strict=False)]
    return TextIds(np.concatenate(ends), np.concatenate([column.id_text for column in texts]))
