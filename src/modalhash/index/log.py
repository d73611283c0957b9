r"""The write log: changes are appended and flushed to disk before success is reported.

::

    header    8 bytes "mhlog\x00\x00\x02", 16 bytes uid of the index, 4 bytes CRC-32 of both
    record    4 bytes "mhrc", u32 length of the body, u64 version, u32 CRC-32 of these 16 bytes,
              body, u32 CRC-32 of the body
    body      u32 length of the JSON, JSON {"op", "ids", "metadata"}, packed codes

Numbers are little endian. Versions count the changes of an index, one after the other. A record
that was cut off by a kill can only be the last: it was never acknowledged, readers pass over it and
the next writer cuts it off. A record that can't be read with another one after it is damage, and
said to be. (Damage of the very last record can't be told from a write that was cut off.)
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from modalhash.codes import Codes, code_width
from modalhash.errors import DamagedArtifactError, InputError, StorageError
from modalhash.files import open_own_file, open_regular_file, own_path, parse_json, write_bytes
from modalhash.index.item_changes import ItemChange, Operation
from modalhash.index.manifest import REPAIR_ADVICE

__all__ = [
    "HEADER_BYTES",
    "RECORD",
    "Change",
    "WriteLog",
    "decode_change",
    "encode_change",
    "has_header_of",
    "read_log",
    "record_end",
]

MAGIC: Final = b"mhlog\x00\x00\x02"
RECORD: Final = b"mhrc"
HEAD: Final = struct.Struct("<4sIQ")
NUMBER: Final = struct.Struct("<I")
MOST_BYTES: Final = 2**32 - 1
HEADER_BYTES: Final = len(MAGIC) + 16 + NUMBER.size


@dataclass(frozen=True)
class Change:
    """One change of an index.

    Attributes:
        version: of the index after it.
        operation: what it does.
        ids: of the items, texts or integers.
        codes: (n, p) uint8 of added items; of deleted ones (0, p).
        documents: metadata of added items, each a JSON object or None; None is all None.
    """

    version: int
    operation: Operation
    ids: list[Any]
    codes: Codes
    documents: list[str | None] | None = None

    @classmethod
    def of(cls, change: ItemChange, version: int) -> Self:
        """Give a checked change its version."""
        return cls(version, change.operation, change.ids, change.codes, change.documents)


def encode_change(change: Change) -> bytes:
    """Encode a change as a record.

    Raises:
        InputError: if it is too large for one.
    """
    description = json.dumps(
        {"op": change.operation, "ids": change.ids, "metadata": change.documents},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    n_bytes = NUMBER.size + len(description) + change.codes.nbytes
    if n_bytes > MOST_BYTES:
        raise InputError(
            f"one change has {n_bytes:,} bytes, at most {MOST_BYTES:,} fit: make several of it"
        )
    body = NUMBER.pack(len(description)) + description + change.codes.tobytes()
    head = HEAD.pack(RECORD, len(body), change.version)
    return b"".join((head, NUMBER.pack(zlib.crc32(head)), body, NUMBER.pack(zlib.crc32(body))))


def decode_change(content: bytes, start: int, n_bits: int) -> tuple[Change, int] | None:
    """Read a record.

    Args:
        content: of a log.
        start: where the record begins.
        n_bits: bits of a code.

    Returns:
        The change and where the next record begins; None if there is no whole, undamaged one.
    """
    end = record_end(content, start)
    if end is None or end > len(content):
        return None
    body_start = start + HEAD.size + NUMBER.size
    body = content[body_start : end - NUMBER.size]
    if NUMBER.unpack_from(content, end - NUMBER.size)[0] != zlib.crc32(body):
        return None
    return read_body(body, HEAD.unpack_from(content, start)[2], n_bits), end


def read_body(body: bytes, version: int, n_bits: int) -> Change:
    """Read the body of a record, whose checksum matched.

    Raises:
        ValueError: if it isn't what a writer writes.
    """
    if len(body) < NUMBER.size:
        raise ValueError("its body is too short")
    length = NUMBER.unpack_from(body)[0]
    if length > len(body) - NUMBER.size:
        raise ValueError("its description is longer than its body")
    try:
        description = parse_json(body[NUMBER.size : NUMBER.size + length].decode())
        operation = Operation(description["op"])
        ids, documents = description["ids"], description["metadata"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{error} is missing or of another sort") from error
    codes = np.frombuffer(body, np.uint8, offset=NUMBER.size + length)
    n_codes = 0 if operation is Operation.DELETE else len(ids)
    if not isinstance(ids, list) or codes.size != n_codes * code_width(n_bits):
        raise ValueError("its ids and its codes don't fit together")
    check_documents(documents, n_codes)
    return Change(version, operation, ids, codes.reshape(n_codes, code_width(n_bits)), documents)


def check_documents(documents: object, n_items: int) -> None:
    """Refuse what isn't the metadata of some items, as JSON texts.

    Raises:
        ValueError: naming what is wrong.
    """
    if documents is None:
        return
    if not isinstance(documents, list) or len(documents) not in {0, n_items}:
        raise ValueError("its metadata don't fit its ids")
    if not all(document is None or isinstance(document, str) for document in documents):
        raise ValueError("its metadata are of another sort")


def record_end(content: bytes, start: int) -> int | None:
    """Compute where a record ends by its head; None if there is no head."""
    if len(content) < start + HEAD.size + NUMBER.size:
        return None
    head = content[start : start + HEAD.size]
    mark, length, _ = HEAD.unpack(head)
    if mark != RECORD or NUMBER.unpack_from(content, start + HEAD.size)[0] != zlib.crc32(head):
        return None
    return int(start + HEAD.size + NUMBER.size + length + NUMBER.size)


def header(uid: str) -> bytes:
    """Make the header of an index's log."""
    start = MAGIC + bytes.fromhex(uid)
    return start + NUMBER.pack(zlib.crc32(start))


def read_log(
    path: Path, uid: str, n_bits: int, *, start: int = 0, version: int = 0
) -> Iterator[tuple[Change, int]]:
    """Yield the changes in a log.

    Args:
        path: of the log.
        uid: of the index it must belong to.
        n_bits: bits of a code.
        start: where to begin; 0 is before the header, which is checked then.
        version: of the index before the first change.

    Yields:
        A change, and where it ends.

    Raises:
        DamagedArtifactError: if it is missing, isn't this index's log, or is damaged before its
            last record.
        StorageError: if it can't be read.
    """
    try:
        own_path(path.parent, path.name)
        with open_regular_file(path) as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError as error:
        raise DamagedArtifactError(f"{path} is missing; {REPAIR_ADVICE}") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    place = 0
    if not start:
        if not has_header_of(content, uid):
            raise DamagedArtifactError(
                f"{path} is damaged: it doesn't begin as this index's log; {REPAIR_ADVICE}"
            )
        place = HEADER_BYTES
    while (record := decode_at(path, content, start, place, n_bits)) is not None:
        change, place = record
        version += 1
        if change.version != version:
            raise DamagedArtifactError(
                f"{path} is damaged: change {change.version} follows {version - 1}; {REPAIR_ADVICE}"
            )
        yield change, start + place
    if has_record_after(content, place):
        raise DamagedArtifactError(
            f"{path} is damaged at byte {start + place}, before its last record: what follows "
            "was acknowledged and can't be told; restore the file from a copy, or keep what is "
            "whole with `modalhash repair`"
        )


def decode_at(
    path: Path, content: bytes, start: int, place: int, n_bits: int
) -> tuple[Change, int] | None:
    """Read the record at a place of what was read from `start` on; see `decode_change`.

    Raises:
        DamagedArtifactError: if a whole record isn't what a writer writes.
    """
    try:
        return decode_change(content, place, n_bits)
    except ValueError as error:
        raise DamagedArtifactError(
            f"{path} is damaged: the record at byte {start + place} can't be used: {error}"
        ) from error


def has_record_after(content: bytes, place: int) -> bool:
    """Tell whether the head of another record follows a place where none can be read.

    Behind a whole head, the next record is looked for behind its record only: a text in a record
    that was cut off may look like a head.
    """
    end = record_end(content, place)
    start = content.find(RECORD, place + 1 if end is None else end)
    while start >= 0:
        if record_end(content, start) is not None:
            return True
        start = content.find(RECORD, start + 1)
    return False


def has_header_of(content: bytes, uid: str) -> bool:
    """Tell whether the content of a log begins as the log of an index."""
    return content[:HEADER_BYTES] == header(uid)


class WriteLog:
    """A log that is appended to; its owner holds the writer's lock.

    Args:
        path: of the log, which exists.
        end: where the last whole record ends; what lies behind is cut off.

    Raises:
        StorageError: if it can't be written.
    """

    def __init__(self, path: Path, end: int) -> None:
        self.path, self.end = path, end
        self.is_broken = False
        try:
            self.file = open_own_file(path, os.O_RDWR)
            if os.fstat(self.file).st_size > end:
                os.ftruncate(self.file, end)
                os.fsync(self.file)
        except OSError as error:
            raise StorageError(f"can't write {path}: {error.strerror or error}") from error

    @classmethod
    def create(cls, path: Path, uid: str) -> Self:
        """Make an empty log."""
        write_bytes(path, header(uid))
        return cls(path, HEADER_BYTES)

    def append(self, changes: Sequence[Change]) -> None:
        """Append changes; they are on disk when this returns.

        Raises:
            StorageError: if the file system refuses; the log is then what it was before.
        """
        if self.is_broken:
            raise StorageError(
                f"{self.path} couldn't be mended after a failed write: close the index and open "
                "it again; what was acknowledged is kept"
            )
        try:
            os.lseek(self.file, self.end, os.SEEK_SET)
            n_bytes = sum(self.write(encode_change(change)) for change in changes)
            flush(self.file)
        except BaseException as error:
            self.cut(self.end)
            if not isinstance(error, OSError):
                raise
            raise StorageError(
                f"can't write {self.path}: {error.strerror or error}; nothing was changed: free "
                "some space and try again"
            ) from error
        self.end += n_bytes

    def write(self, content: bytes) -> int:
        """Write bytes where the file stands, and return how many."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self.file, rest) :]
        return len(content)

    def cut(self, end: int) -> None:
        """Cut off what lies behind a place; where that fails, the log takes no more changes."""
        self.end = end
        try:
            os.ftruncate(self.file, end)
            os.fsync(self.file)
        except OSError:
            self.is_broken = True

    def close(self) -> None:
        """Let go of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def flush(file: int) -> None:
    """Flush a file's content to disk, and its size, but not the times of its last use."""
    getattr(os, "fdatasync", os.fsync)(file)
