"""Code files: the codes and ids of one shard each, and the folder of those of all shards.

A code file is a safetensors file, whole or absent, that states in its header whose shard's codes it
holds; NumPy maps it, the `safetensors` library reads it. Tensors of n items and t texts::

    ids                  (n,) int64; or of texts id_ends (n,) int64 and id_text, all in UTF-8
    id_keys, id_order    (n,) uint64 and uint32: keys of the ids ascending, and the row of each
    item_rows            (n,) uint32, the row in the shard of each item, where rows were left out
    image_codes          (n, p) uint8, if the shard has pictures
    text_codes           (t, p) uint8, if it has texts
    text_ends            (n,) int64 with them: where each item's texts end

The folder's `shards.json` is written last. It names every code file and its checksum, so it says
whether all shards are there, and which belong together.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, InputError, NewerFormatError, StorageError
from modalhash.files import open_regular_file, read_json, sealed, write_json, write_with
from modalhash.index.ids import IdColumn, IntegerIds, TextIds, id_column

__all__ = [
    "CODE_FOLDER",
    "CodeFile",
    "CodeHead",
    "IdTwice",
    "check_one_kind",
    "code_file_path",
    "code_files",
    "ids_twice",
    "is_code_folder",
    "read_code_file",
    "read_code_folder",
    "read_code_head",
    "write_code_file",
    "write_code_folder",
]

FORMAT = 1
ARTIFACT: Final = "modalhash codes of a shard"
CODE_FOLDER: Final = "shards.json"
SUFFIX: Final = ".safetensors"
SHOWN_PLACES: Final = 100
"""So many places of rows that were left out are written down; all are counted."""
WINDOW_KEYS: Final = 1 << 22
"""Keys of ids that are compared at once, of all files together."""
MOST_WINDOWS: Final = 256
"""Every file is opened once a window."""
SAMPLED_KEYS: Final = 1024
LONGEST_HEADER: Final = 100_000_000  # as the safetensors library has it
TYPES: Final = {"I64": np.dtype("<i8"), "U64": np.dtype("<u8"), "U32": np.dtype("<u4"),
                "U8": np.dtype("u1")}  # fmt: skip
NAMES: Final = {dtype: name for name, dtype in TYPES.items()}


@dataclass(frozen=True)
class CodeHead:
    """What a code file says of itself.

    Attributes:
        n_bits: bits of a code.
        model_fingerprint: whose codes these are.
        shard: name, size, time and SHA-256 of the shard.
        n_items: rows of the shard that have codes.
        n_texts: texts of these rows.
        id_kind: of the ids, `text` or `integer`; "" if there are none.
        n_left_out: rows that were left out since something was wrong with them.
        left_out: what was wrong, of the first ones.
        data_sha256: of the file's tensors; "" before it is written.
    """

    n_bits: int
    model_fingerprint: str
    shard: Mapping[str, Any]
    n_items: int
    n_texts: int
    id_kind: str = ""
    n_left_out: int = 0
    left_out: Sequence[str] = ()
    data_sha256: str = ""

    def leave_out_rows(self, problems: Sequence[str]) -> "CodeHead":
        """Make the head of a file with some rows less."""
        shown = (*self.left_out, *problems)[:SHOWN_PLACES]
        return replace(self, n_left_out=self.n_left_out + len(problems), left_out=shown)


@dataclass(frozen=True)
class CodeFile:
    """The codes of one shard.

    Attributes:
        head: what the file says of itself.
        ids: of the n items; None if there are none.
        item_rows: (n,) int64, the row of each in the shard, from 0.
        image_codes: (n, p) uint8; None if the shard has no pictures.
        text_codes: (t, p) uint8; None if the shard has no texts.
        text_ends: (n,) int64, where each item's texts end; None with `text_codes`.
        id_keys: (n,) uint64 ascending, equal for equal ids.
        id_order: (n,) uint32, the row of each key.
    """

    head: CodeHead
    ids: IdColumn | None
    item_rows: NDArray[np.int64]
    image_codes: Codes | None
    text_codes: Codes | None
    text_ends: NDArray[np.int64] | None
    id_keys: NDArray[np.uint64]
    id_order: NDArray[np.uint32]

    @classmethod
    def of(
        cls,
        head: CodeHead,
        ids: Sequence[str] | Sequence[int] | IdColumn,
        item_rows: NDArray[np.int64],
        *,
        image_codes: Codes | None,
        text_codes: Codes | None,
        text_ends: NDArray[np.int64] | None,
    ) -> Self:
        """Join the codes of a shard with the keys of its ids.

        Raises:
            InputError: if ids are of two kinds.
        """
        column = ids if isinstance(ids, IdColumn) else id_column(ids)
        keys = np.zeros(0, np.uint64) if column is None else column.keys().view(np.uint64)
        order = np.argsort(keys, kind="stable")
        n_texts = 0 if text_codes is None else len(text_codes)
        kind = "" if column is None else column.kind.value
        return cls(
            replace(head, n_items=len(order), n_texts=n_texts, id_kind=kind),
            column,
            item_rows,
            image_codes,
            text_codes,
            text_ends,
            np.ascontiguousarray(keys[order]),
            order.astype(np.uint32),
        )

    def without(self, rows: Sequence[int], problems: Sequence[str]) -> "CodeFile":
        """Leave out some rows, and note what was wrong with them."""
        is_kept = np.ones(self.head.n_items, np.bool_)
        is_kept[np.asarray(rows, np.int64)] = False
        assert self.ids is not None
        texts, ends = self.text_codes, self.text_ends
        if texts is not None and ends is not None:
            counts = np.diff(ends, prepend=0)
            texts = texts[np.repeat(is_kept, counts)]
            ends = np.cumsum(counts[is_kept], dtype=np.int64)
        ids: Any = self.ids.keep(is_kept) if is_kept.any() else []
        images = None if self.image_codes is None else self.image_codes[is_kept]
        head, item_rows = self.head.leave_out_rows(problems), self.item_rows[is_kept]
        return CodeFile.of(
            head, ids, item_rows, image_codes=images, text_codes=texts, text_ends=ends
        )

    def text_ids(self) -> list[str]:
        """Make the id of each text: that of its item, `#` and its place among the item's."""
        if self.ids is None or self.text_ends is None:
            return []
        counts = np.diff(self.text_ends, prepend=0).tolist()
        return [
            f"{value}#{place}"
            for value, count in zip(self.ids, counts, strict=True)
            for place in range(count)
        ]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """List the arrays of the file by name; wide numbers first, so that all are aligned."""
        ids: Mapping[str, NDArray[Any]] = (
            {"ids": np.zeros(0, np.int64)} if self.ids is None else self.ids.arrays()
        )
        tensors = {name: array for name, array in ids.items() if array.dtype.itemsize == 8}
        tensors["id_keys"] = self.id_keys
        if self.text_ends is not None:
            tensors["text_ends"] = self.text_ends
        tensors["id_order"] = self.id_order
        if (self.item_rows != np.arange(len(self.item_rows))).any():
            tensors["item_rows"] = self.item_rows.astype(np.uint32)
        tensors |= {name: array for name, array in ids.items() if array.dtype.itemsize == 1}
        for name, codes in (("image_codes", self.image_codes), ("text_codes", self.text_codes)):
            if codes is not None:
                tensors[name] = codes
        return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def code_file_path(folder: Path, shard: str) -> Path:
    """Name the file that holds the codes of a shard."""
    return folder / f"{shard}{SUFFIX}"


def write_code_file(path: Path, content: CodeFile) -> CodeHead:
    """Write the codes of a shard; the file appears when it is complete.

    Equal contents give equal bytes.

    Returns:
        The head with the checksum filled in.

    Raises:
        StorageError: if the file system refuses.
    """
    tensors = content.tensors()
    digest = hashlib.sha256()
    for array in tensors.values():
        digest.update(array.data if array.size else b"")
    head = replace(content.head, data_sha256=digest.hexdigest())
    document = {"format": FORMAT, "artifact": ARTIFACT, "modalhash": version("modalhash")}
    stated = json.dumps(sealed(document | asdict(head)), ensure_ascii=False)
    entries: dict[str, Any] = {"__metadata__": {"modalhash": stated}}
    end = 0
    for name, array in tensors.items():
        start, end = end, end + array.nbytes
        entries[name] = {
            "dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end],
        }  # fmt: skip
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)

    def write(file: Any) -> None:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in tensors.values():
            if array.size:
                file.write(array.data)

    write_with(path, write)
    return head


def read_code_head(path: Path) -> CodeHead | None:
    """Read the head of a code file; None if there is no file.

    The file's size is checked, its tensors aren't read.

    Raises:
        DamagedArtifactError: if it is no code file or is cut off.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    return None if not path.exists() else read_header(path)[0]


def read_code_file(path: Path) -> CodeFile:
    """Read a code file and compare its tensors with its checksum.

    Raises:
        DamagedArtifactError: if it is no code file, is cut off, or was changed.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    head, entries, start = read_header(path)
    try:
        data = np.fromfile(path, np.uint8, offset=start)
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    if hashlib.sha256(data.data if data.size else b"").hexdigest() != head.data_sha256:
        raise damaged(path, "its content isn't what was written")
    arrays = {}
    for name, entry in entries.items():
        first, end = entry["data_offsets"]
        dtype: Any = TYPES[entry["dtype"]]
        array = data[first:end].view(dtype)
        arrays[name] = array.reshape(entry["shape"])
    column: IdColumn = (
        IntegerIds(arrays["ids"]) if "ids" in arrays else TextIds(arrays["id_ends"],
                                                                 arrays["id_text"])
    )  # fmt: skip
    return CodeFile(
        head,
        column if head.n_items else None,
        arrays.get("item_rows", np.arange(head.n_items)).astype(np.int64),
        arrays.get("image_codes"),
        arrays.get("text_codes"),
        arrays.get("text_ends"),
        arrays["id_keys"],
        arrays["id_order"],
    )


def read_header(path: Path) -> tuple[CodeHead, dict[str, Any], int]:
    """Read the head of a code file, its tensors' places, and where its data begins."""
    try:
        with open_regular_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, LONGEST_HEADER))
            size = file.seek(0, 2)
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    try:
        entries = json.loads(header)
        document = json.loads(entries.pop("__metadata__")["modalhash"])
        written, artifact = document["format"], document["artifact"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "it isn't what `modalhash encode --shards` writes") from error
    if artifact == ARTIFACT and isinstance(written, int) and written > FORMAT:
        raise NewerFormatError(
            f"{path} has format {written}, this version reads up to {FORMAT}: upgrade modalhash"
        )
    if artifact != ARTIFACT or sealed(document) != document:
        raise damaged(path, "its header was changed")
    known = {name: document[name] for name in CodeHead.__dataclass_fields__}
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size != 8 + length + end:
        raise damaged(path, f"it has {size} bytes, expected {8 + length + end}")
    known["left_out"] = tuple(known["left_out"])
    return CodeHead(**known), entries, 8 + length


def damaged(path: Path, problem: str) -> DamagedArtifactError:
    """Make the error of a code file that can't be used."""
    return DamagedArtifactError(
        f"{path} is damaged: {problem}; delete it and run the same `modalhash encode` again"
    )


@dataclass(frozen=True)
class IdTwice:
    """An id that comes more than once.

    Attributes:
        id: the id.
        places: file (its place in the list), item, and row in the shard of each, in order; two at
            least.
    """

    id: str | int
    places: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class KeyColumn:
    """The keys of a code file's ids, which stay in the file.

    Attributes:
        path: the file.
        start: the byte at which they begin.
        count: how many there are.
    """

    path: Path
    start: int
    count: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Find the keys of a file."""
        head, entries, start = read_header(path)
        return cls(path, start + entries["id_keys"]["data_offsets"][0], head.n_items)

    def mapped(self) -> NDArray[np.uint64]:
        """Map the keys; the file is open as long as the array lives."""
        if not self.count:
            return np.zeros(0, np.uint64)
        return np.memmap(self.path, "<u8", "r", self.start, (self.count,))

    def between(self, start: int, bound: np.uint64 | None) -> NDArray[np.uint64]:
        """Read the keys from a place on that are below a bound."""
        keys = self.mapped()
        end = self.count if bound is None else int(np.searchsorted(keys, bound))
        return np.array(keys[start : max(start, end)])


def ids_twice(paths: Sequence[Path], *, window: int = WINDOW_KEYS) -> Iterator[IdTwice]:
    """Find the ids that come more than once in some code files.

    Each file's keys are in order already, so all files are gone through side by side in windows of
    keys: what is in memory is a window, or a 256th of all keys.

    Args:
        paths: of files whose ids are distinct within each.
        window: about how many keys are looked at at once.

    Yields:
        Each such id once.
    """
    columns = [KeyColumn.of(path) for path in paths]
    starts = [0] * len(columns)
    for bound in [*window_bounds(columns, window), None]:
        parts = [
            column.between(start, bound) for column, start in zip(columns, starts, strict=True)
        ]
        counts = np.array([len(part) for part in parts], np.int64)
        owners = np.arange(len(parts)).repeat(counts)
        firsts = np.asarray(np.array(starts, np.int64) - (counts.cumsum() - counts), np.int64)
        keys = np.concatenate([np.zeros(0, np.uint64), *parts])
        yield from twice_in(paths, keys, owners, firsts[owners] + np.arange(len(keys)))
        starts = [start + len(part) for start, part in zip(starts, parts, strict=True)]


def window_bounds(columns: Sequence[KeyColumn], window: int) -> list[np.uint64]:
    """Choose keys that divide all keys into parts of about a window each."""
    total = sum(column.count for column in columns)
    n_windows = min(-(-total // window), MOST_WINDOWS)
    if n_windows < 2:
        return []
    step = max(1, min(SAMPLED_KEYS, window // 16))
    sample = np.sort(np.concatenate([np.array(column.mapped()[::step]) for column in columns]))
    places = np.arange(1, n_windows) * len(sample) // n_windows
    return list(np.unique(sample[places]))


def twice_in(
    paths: Sequence[Path],
    keys: NDArray[np.uint64],
    owners: NDArray[np.int64],
    places: NDArray[np.int64],
) -> Iterator[IdTwice]:
    """Yield the ids that come more than once among keys.

    Args:
        paths: of the files.
        keys: (k,) keys of ids.
        owners: (k,) the file that each is from.
        places: (k,) where it stands among the keys of that file.
    """
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    same = np.flatnonzero(in_order[1:] == in_order[:-1])
    near = order[np.union1d(same, same + 1)]
    places_by_id: dict[str | int, list[tuple[int, int, int]]] = {}
    # Equal keys of texts may be of different texts, which happens once in 2^64.
    for owner in np.unique(owners[near]).tolist():
        file = read_code_file(paths[owner])
        assert file.ids is not None
        items = file.id_order[places[near[owners[near] == owner]]].astype(np.int64)
        values, rows = file.ids.take(items).tolist(), file.item_rows[items].tolist()
        for value, item, row in zip(values, items.tolist(), rows, strict=True):
            places_by_id.setdefault(value, []).append((owner, item, row))
    for value, places_of in places_by_id.items():
        if len(places_of) > 1:
            yield IdTwice(value, tuple(places_of))


def is_code_folder(path: Path | str) -> bool:
    """Tell whether `modalhash encode --shards` wrote, or is writing, a folder."""
    return (Path(path) / CODE_FOLDER).is_file()


def write_code_folder(
    folder: Path,
    heads: Sequence[CodeHead] | None,
    *,
    n_bits: int,
    model_fingerprint: str,
    compatible_with: Sequence[str] = (),
    left_out: Iterable[tuple[str, str]] = (),
) -> None:
    """Write a folder's `shards.json`.

    Args:
        folder: where the code files lie.
        heads: of all of them; None says that some are still missing.
        n_bits: bits of a code.
        model_fingerprint: whose codes these are.
        compatible_with: fingerprints of former models that this one is compatible with.
        left_out: shards without a code file, and what was wrong with each.

    Raises:
        StorageError: if the file system refuses.
    """
    files = [
        {
            "shard": head.shard["name"],
            "n_items": head.n_items,
            "n_texts": head.n_texts,
            "n_left_out": head.n_left_out,
            "data_sha256": head.data_sha256,
        }
        for head in heads or ()
    ]
    document = {
        "format": FORMAT,
        "artifact": "modalhash codes of shards",
        "modalhash": version("modalhash"),
        "model_fingerprint": model_fingerprint,
        "compatible_with": list(compatible_with),
        "n_bits": n_bits,
        "bit_order": "little",
        "is_complete": heads is not None,
        "files": files,
        "left_out": [{"shard": name, "problem": problem} for name, problem in left_out],
    }
    write_json(folder / CODE_FOLDER, sealed(document))


def read_code_folder(folder: Path | str) -> dict[str, Any]:
    """Read a folder's `shards.json`.

    Raises:
        InputError: if some shards aren't encoded yet.
        DamagedArtifactError: if it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    folder = Path(folder)
    document = read_json(folder / CODE_FOLDER, kind="codes", newest_format=FORMAT)
    if not document.get("is_complete"):
        raise InputError(
            f"{folder} holds the codes of a part of the shards: run the same `modalhash encode` "
            "again until it is done"
        )
    return document


def code_files(folder: Path | str) -> Iterator[CodeFile]:
    """Read all code files of a folder, one after the other, in the order of the shards' names.

    Raises:
        InputError: if some shards aren't encoded yet.
        DamagedArtifactError: if a file is missing, changed, or of another shard.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    folder, document = Path(folder), read_code_folder(folder)
    width = code_width(document["n_bits"])
    for entry in document["files"]:
        path = code_file_path(folder, entry["shard"])
        if not path.exists():
            raise DamagedArtifactError(
                f"{folder} lacks {path.name}: run the same `modalhash encode` again"
            )
        file = read_code_file(path)
        if file.head.data_sha256 != entry["data_sha256"]:
            raise damaged(path, f"it isn't the one that {CODE_FOLDER} names")
        for codes in (file.image_codes, file.text_codes):
            if codes is not None and codes.shape[1] != width:
                raise damaged(path, f"its codes have {codes.shape[1]} bytes, expected {width}")
        yield file


def check_one_kind(heads: Iterable[CodeHead]) -> None:
    """Refuse shards with ids of two kinds.

    Raises:
        InputError: naming a shard of each kind.
    """
    first: dict[str, str] = {}
    for head in heads:
        if head.id_kind:
            first.setdefault(head.id_kind, str(head.shard["name"]))
    if len(first) > 1:
        shown = " and ".join(f"{kind} ids in {name}" for kind, name in first.items())
        raise InputError(f"there are {shown}: give all shards ids of one kind")
