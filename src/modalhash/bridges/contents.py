"""What a bridge carries over: the items of an index or of a folder of codes, block by block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.choices import Scoring
from modalhash.codes import Codes, code_width, read_codes
from modalhash.codes.manifest import CODES_MANIFEST, read_codes_manifest
from modalhash.errors import DamagedArtifactError, InputError, StorageError
from modalhash.files import map_array, own_path, read_json
from modalhash.index import HashIndex, IdKind, ItemBlock, open_index
from modalhash.index.ids import id_column
from modalhash.index.milvus_settings import MILVUS_MANIFEST

__all__ = ["CodeRows", "Content", "Keys", "Source", "Written", "list_keys", "open_source"]

MANIFEST: Final = "manifest.json"
BLOCK_ROWS: Final = 4096
SIDES: Final = {"images": "image", "texts": "text"}
"""Name of a side to the modality in the names of code files."""
NEWEST_INDEX: Final = 1 << 30
"""The format of an index is checked by who opens it."""


class Keys(StrEnum):
    """What identifies an item where only integers can.

    - `ids`: the integer ids themselves.
    - `rows`: 0, 1, ... in the order of insertion.
    """

    IDS = "ids"
    ROWS = "rows"


@dataclass(frozen=True)
class CodeRows:
    """Codes of a folder that `modalhash encode` wrote.

    Attributes:
        codes: (n, p) uint8, mapped.
        n_bits: bits of a code.
        ids: n ids.
        owners: n ids of the pictures that texts belong to; None for pictures.
        model_fingerprint: of the model that made them.
    """

    codes: Codes
    n_bits: int
    ids: list[Any]
    owners: list[Any] | None
    model_fingerprint: str

    def blocks(self, n_rows: int) -> Iterator[ItemBlock]:
        """Yield the items in order; texts say in `item` whose they are."""
        column = id_column(self.ids)
        for start in range(0, len(self.ids), n_rows):
            rows = np.arange(start, min(start + n_rows, len(self.ids)))
            owners = None if self.owners is None else self.owners[start : start + n_rows]
            metadata: list[dict[str, Any]] = [{} for _ in rows]
            if owners is not None:
                metadata = [{"item": owner} for owner in owners]
            assert column is not None
            yield ItemBlock(column.take(rows), self.codes[rows], metadata)


class Source:
    """Items to be carried over.

    Args:
        name: where they are from, for people.
        items: an index, or code files.
        is_own: whether the index was opened here, and is to be closed with the source.
    """

    def __init__(self, name: str, items: HashIndex | CodeRows, *, is_own: bool) -> None:
        self.name, self.items, self.is_own = name, items, is_own
        self.n_bits, self.model_fingerprint = items.n_bits, items.model_fingerprint
        if isinstance(items, HashIndex):
            self.id_kind, self.n_items = items.id_kind, len(items)
        else:
            column = id_column(items.ids)
            self.id_kind = None if column is None else column.kind
            self.n_items = len(items.ids)

    def blocks(self) -> Iterator[ItemBlock]:
        """Yield the items in the order of insertion."""
        return self.items.blocks(BLOCK_ROWS)

    def close(self) -> None:
        """Let go of an index that was opened here."""
        if self.is_own and isinstance(self.items, HashIndex):
            self.items.close()


@dataclass(frozen=True)
class Content:
    """What a target is told to write.

    Attributes:
        source: of the items.
        name: of the table, collection or index that they go to.
        keys: what identifies an item where only integers can.
    """

    source: Source
    name: str
    keys: Keys

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self.source.n_bits

    @property
    def n_padded(self) -> int:
        """Bits of the whole bytes that hold a code; those beyond `n_bits` are zero."""
        return 8 * code_width(self.n_bits)

    @property
    def has_text_ids(self) -> bool:
        """Whether ids are texts."""
        return self.source.id_kind is IdKind.TEXT

    def keyed_blocks(self, lowest: int = 0) -> Iterator[tuple[NDArray[np.int64], ItemBlock]]:
        """Yield blocks with their integer keys.

        Args:
            lowest: key that the target takes.

        Raises:
            InputError: if an id is below, naming it.
        """
        first = 0
        for block in self.source.blocks():
            if self.keys is Keys.ROWS:
                yield np.arange(first, first + len(block)), block
            else:
                keys = np.asarray(block.ids, np.int64)
                if len(keys) and keys.min() < lowest:
                    raise InputError(
                        f"the id {keys.min()} can't be a key there, which are integers from "
                        f"{lowest}: number the items with --keys rows, the ids then stand in "
                        "the file beside"
                    )
                yield keys, block
            first += len(block)


@dataclass(frozen=True)
class Written:
    """What a target wrote.

    Attributes:
        files: names in the folder, in the order in which they are used.
        about: what `export.json` says of the files.
        guide: how to load and ask, for `README.md`.
        scorings: how the target's own engine can rank; nearly all know Hamming distance only.
    """

    files: tuple[str, ...]
    about: Mapping[str, Any]
    guide: str
    scorings: tuple[Scoring, ...] = (Scoring.HAMMING,)


def list_keys(source: Source, keys: str | None) -> Keys:
    """List the keys of items, by default their ids where these are integers.

    Raises:
        InputError: if the ids are wanted but are texts, or there is no such choice.
    """
    if keys is None:
        return Keys.ROWS if source.id_kind is IdKind.TEXT else Keys.IDS
    if keys not in list(Keys):
        raise InputError(f"keys is {keys!r}, expected ids or rows")
    if keys == Keys.IDS and source.id_kind is IdKind.TEXT:
        raise InputError(
            "keys is 'ids', but the ids are texts: number the items (--keys rows, the default "
            "for texts); the texts then stand in the file beside"
        )
    return Keys(keys)


def open_source(source: HashIndex | Path | str, side: str | None = None) -> Source:
    """Open what holds items: an index, its folder, or a folder of codes.

    Args:
        source: an index of any kind; an index folder, of `modalhash index` or of codes alone; or
            what `modalhash encode` wrote.
        side: "images" (the default) or "texts" of a folder that has both.

    Raises:
        ArtifactError: if a folder is damaged or newer.
        InputError: if it is none of these, or hasn't that side.
        StorageError: if it can't be read.
    """
    if isinstance(source, HashIndex):
        refuse_side(side, "an index of one side")
        return Source(f"an index of kind {source.kind}", source, is_own=False)
    folder = Path(source)
    if (folder / CODES_MANIFEST).is_file():
        chosen = check_side(side, list(SIDES), folder)
        return Source(f"{chosen} of {folder.name}", read_code_rows(folder, chosen), is_own=True)
    if (folder / MANIFEST).is_file():
        manifest = read_json(folder / MANIFEST, kind="index", newest_format=NEWEST_INDEX)
        if isinstance(manifest.get("sides"), list) and manifest["sides"]:
            chosen = check_side(side, manifest["sides"], folder)
            index = open_index(own_path(folder, chosen))
            return Source(f"{chosen} of {folder.name}", index, is_own=True)
    if (folder / MANIFEST).is_file() or (folder / MILVUS_MANIFEST).is_file():
        refuse_side(side, f"{folder}, an index of one side")
        return Source(folder.name, open_index(folder), is_own=True)
    if folder.is_file():
        raise InputError(
            f"{folder} is a file: make an index of its codes first, with "
            f"`modalhash import {folder.name} -o FOLDER`, and export that"
        )
    raise InputError(
        f"{folder} is neither an index folder nor one of codes: give what `modalhash index`, "
        "`modalhash import` or `modalhash encode` made"
    )


def check_side(side: str | None, known: list[str], folder: Path) -> str:
    """Check the requested side; pictures by default.

    Raises:
        InputError: if there is none of that name.
    """
    chosen = side or ("images" if "images" in known else known[0])
    if chosen not in known:
        raise InputError(f"side is {chosen!r}, {folder} has {' and '.join(known)}")
    return chosen


def refuse_side(side: str | None, content_name: str) -> None:
    """Refuse a side of what has only one.

    Raises:
        InputError: if one is named.
    """
    if side is not None:
        raise InputError(f"side is {side!r}, but the codes are from {content_name}: leave it out")


def read_code_rows(folder: Path, side: str) -> CodeRows:
    """Read one side of a folder that `modalhash encode` wrote; codes are mapped.

    Raises:
        DamagedArtifactError: if its files don't fit each other.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    manifest = read_codes_manifest(folder)
    path = folder / f"{SIDES[side]}_codes.npy"
    try:
        array = map_array(path)
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise DamagedArtifactError(f"{path} is damaged: {error}; encode again") from error
    images, texts = manifest["image_ids"], manifest.get("text_ids", [])
    ids = images if side == "images" else texts
    if len(ids) != len(array):
        raise DamagedArtifactError(
            f"{folder} has {len(array)} codes of {side}, its {CODES_MANIFEST} names {len(ids)}: "
            "encode again"
        )
    n_bits, order = manifest["n_bits"], manifest["bit_order"]
    codes = array
    if len(array):
        codes = read_codes(array, n_bits=n_bits, bit_order=order, name=path.name).codes
    owners = [images[row] for row in manifest["text_images"]] if side == "texts" else None
    return CodeRows(codes, n_bits, ids, owners, manifest["model_fingerprint"])
