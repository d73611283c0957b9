"""Files of MATLAB older than 7.3, read with scipy after a look at what their parts would take.

Such a file is a list of elements: a matrix, or a matrix that zlib packed. A matrix has flags,
dimensions, a name and its content; cells and structs contain matrices in turn. A few kilobytes can
state dimensions of terabytes, or inflate to gigabytes, so the elements are walked first.
"""

import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from modalhash.data.read_limits import ReadBudget
from modalhash.data.text_cells import TextCells, text_array
from modalhash.extras import import_optional
from modalhash.files import open_regular_file

__all__ = ["load_old_mat", "old_mat_shapes", "read_old_mat"]

FEATURE: Final = "reading .mat and .h5 files"
MATRIX: Final = 14
COMPRESSED: Final = 15
CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
NUMBERS: Final = range(6, 16)
ITEM_BYTES: Final = 64
"""At least so much memory takes a cell or a field of a struct, whatever is in it."""
PIECE: Final = 1 << 16
DEEPEST: Final = 32


class ByteSource(Protocol):
    """Where bytes come from, one after the other."""

    def read(self, length: int, /) -> bytes:
        """Read at most `length` bytes; b"" at the end."""


class InflatedBytes:
    """The content of a packed element.

    Args:
        file: at the element's first byte.
        n_bytes: of the packed element.
    """

    def __init__(self, file: IO[bytes], n_bytes: int) -> None:
        self.file, self.n_left = file, n_bytes
        self.inflater = zlib.decompressobj()

    def read(self, length: int, /) -> bytes:
        """Inflate at most `length` bytes; b"" at the end."""
        while not self.inflater.eof:
            packed = self.inflater.unconsumed_tail
            if not packed:
                packed = self.file.read(min(PIECE, self.n_left))
                self.n_left -= len(packed)
                if not packed:
                    break
            if inflated := self.inflater.decompress(packed, length):
                return inflated
        return b""


class ElementWalker:
    """Walks over the elements of a file and counts what they will take.

    Args:
        budget: what may be taken.
        order: "<" or ">", the file's byte order.
    """

    def __init__(self, budget: ReadBudget, order: str) -> None:
        self.budget, self.order = budget, order

    def take(self, source: ByteSource, length: int) -> bytes:
        """Read just so many bytes.

        Raises:
            ValueError: if there are fewer.
        """
        parts: list[bytes] = []
        while length:
            part = source.read(min(length, PIECE))
            if not part:
                raise ValueError("it ends in the middle of an array")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def skip(self, source: ByteSource, length: int) -> None:
        """Pass over so many bytes.

        Raises:
            ValueError: if there are fewer.
        """
        while length:
            part = source.read(min(length, PIECE))
            if not part:
                raise ValueError("it ends in the middle of an array")
            length -= len(part)

    def tag(self, source: ByteSource) -> tuple[int, int, bytes]:
        """Read the tag of an element: its type, its length, and a small element's content."""
        raw = self.take(source, 8)
        kind, length = struct.unpack(f"{self.order}II", raw)
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16, raw[4 : 4 + (kind >> 16)]
        return kind, length, b""

    def content(self, source: ByteSource, most: int) -> bytes:
        """Read a short element with its padding.

        Raises:
            ValueError: if it is longer than such an element can be.
        """
        _, length, small = self.tag(source)
        if small or not length:
            return small
        if length > most:
            raise ValueError(f"a part of {length} bytes stands where at most {most} are possible")
        return self.take(source, length + -length % 8)[:length]

    def matrix(self, source: ByteSource, depth: int, *, goes_on: bool) -> None:
        """Count a matrix.

        Args:
            source: behind the matrix's tag.
            depth: in how many cells or structs it is.
            goes_on: whether something follows, so that numbers must be passed over.

        Raises:
            CollectionError: if it takes too much.
            ValueError: if it is damaged.
        """
        if depth > DEEPEST:
            raise ValueError(f"cells or structs are nested more than {DEEPEST} deep")
        flags = self.content(source, 64)
        if len(flags) < 4:
            raise ValueError("an array has no flags")
        kind = flags[0 if self.order == "<" else 3]
        if kind == OPAQUE:
            for _ in ("name", "system", "class"):
                self.content(source, 4096)
            self.members(source, 1, depth)
            return
        dimensions = self.content(source, 4096)
        n_values = 1
        for (size,) in struct.iter_unpack(f"{self.order}i", dimensions):
            n_values *= max(size, 0)
        name = self.content(source, 4096).decode("latin-1") or "a cell"
        if kind == CELL:
            self.budget.spend(ITEM_BYTES * n_values, name)
            self.members(source, n_values, depth)
        elif kind in (STRUCT, OBJECT):
            if kind == OBJECT:
                self.content(source, 4096)
            width = struct.unpack(f"{self.order}i", self.content(source, 4))[0]
            fields = self.content(source, 1 << 20)
            n_fields = len(fields) // width if width > 0 else 0
            self.budget.spend(ITEM_BYTES * n_values * max(1, n_fields), name)
            self.members(source, n_values * n_fields, depth)
        elif kind == FUNCTION:
            self.members(source, 1, depth)
        elif kind == CHAR or kind in NUMBERS:
            self.budget.spend(n_values * (4 if kind == CHAR else 1), name)
            self.numbers(source, name, 2 if self.is_complex(flags) else 1, goes_on)
        elif kind == SPARSE:
            self.budget.spend(8 * n_values, name)
            self.numbers(source, name, 4 if self.is_complex(flags) else 3, goes_on)
        else:
            raise ValueError(f"{name} is of the unknown class {kind}")

    def is_complex(self, flags: bytes) -> bool:
        """Tell whether a matrix has an imaginary part."""
        return bool(flags[1 if self.order == "<" else 2] & 8)

    def members(self, source: ByteSource, n_members: int, depth: int) -> None:
        """Count the matrices in a cell array or struct."""
        for _ in range(n_members):
            kind, length, _ = self.tag(source)
            if kind != MATRIX:
                raise ValueError(f"a cell holds an element of type {kind}, expected an array")
            if length:
                self.matrix(source, depth + 1, goes_on=True)

    def numbers(self, source: ByteSource, name: str, n_parts: int, goes_on: bool) -> None:
        """Count elements of numbers; only the first is looked at unless something follows."""
        for _ in range(n_parts if goes_on else 1):
            _, length, small = self.tag(source)
            self.budget.spend(length, name)
            if goes_on and not small:
                self.skip(source, length + -length % 8)


def check_old_mat(path: Path) -> None:
    """Check that reading a file takes no more than its budget.

    Raises:
        CollectionError: if it takes more.
        ValueError: if it is damaged.
        OSError: if it can't be read.
    """
    budget = ReadBudget(path)
    with open_regular_file(path) as file:
        head = file.read(128)
        if len(head) < 128 or 0 in head[:4]:
            return  # version 4: never packed, its arrays are as long as they say
        walker = ElementWalker(budget, ">" if head[126:128] == b"MI" else "<")
        while file.tell() < budget.n_bytes:
            kind, length, small = walker.tag(file)
            end = file.tell() + (0 if small else length)
            if kind == COMPRESSED:
                source = InflatedBytes(file, length)
                kind, inner, _ = walker.tag(source)
                if kind == MATRIX and inner:
                    walker.matrix(source, 0, goes_on=False)
            elif kind == MATRIX and length:
                walker.matrix(file, 0, goes_on=False)
            file.seek(end)


def load_old_mat(path: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Read a .mat file older than 7.3 with scipy.

    Args:
        path: the file.
        keys: read these variables only; by default all.

    Raises:
        CollectionError: if it takes too much memory.
        ValueError: if it is damaged, whatever scipy says of it.
        MissingExtraError: if scipy isn't installed.
    """
    io = import_optional("scipy.io", extra="matlab", feature=FEATURE)
    try:
        check_old_mat(path)
        with open_regular_file(path) as file:
            stored: dict[str, Any] = io.loadmat(
                file, variable_names=None if keys is None else list(keys)
            )
    except (
        io.matlab.MatReadError,
        LookupError,
        ArithmeticError,
        NotImplementedError,
        struct.error,
        MemoryError,
        RecursionError,
    ) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except zlib.error as error:
        raise ValueError(f"its compressed content is damaged ({error})") from error
    return stored


def read_old_mat(path: Path, keys: Collection[str] | None = None) -> dict[str, NDArray[Any] | str]:
    """Read the arrays of a .mat file older than 7.3.

    Args:
        path: the file.
        keys: read these variables only; by default all.

    Returns:
        Name to array (numbers; texts as `text_array` makes them), or to why it can't be read.

    Raises:
        CollectionError: if it takes too much memory.
        ValueError: if it is damaged.
        MissingExtraError: if scipy isn't installed.
    """
    stored = load_old_mat(path, keys)
    budget = ReadBudget(path)
    return {
        name: plain_array(value, name, budget)
        for name, value in stored.items()
        if not name.startswith("__")
    }


def plain_array(value: Any, name: str, budget: ReadBudget) -> NDArray[Any] | str:
    """Turn what scipy returns into numbers or texts, or say why that can't be."""
    sparse = import_optional("scipy.sparse", extra="matlab", feature=FEATURE)
    if sparse.issparse(value):
        budget.spend(value.shape[0] * value.shape[1] * value.dtype.itemsize, name)
        value = value.toarray()
    if not isinstance(value, np.ndarray):
        return f"is a MATLAB {type(value).__name__}: save it as a matrix or a cell of char"
    if value.dtype.kind in "biufc":
        return value
    if value.dtype.kind == "U":
        stripped: NDArray[Any] = np.char.strip(value)
        return stripped
    if value.dtype != object:
        return "is a MATLAB struct or object: save its fields as variables (string: cellstr)"
    entries = value.ravel() if 1 in value.shape or value.ndim == 1 else list(value)
    cells: TextCells = []
    for entry in entries:
        own = texts_of(entry)
        if own is None:
            return "holds cells that are no texts: save a cell of char"
        cells.append(tuple(own))
    return text_array(cells)


def texts_of(entry: Any) -> list[str] | None:
    """List the texts in a cell, however deep; None if it holds something else."""
    if isinstance(entry, str):
        return [entry.strip()]
    if not isinstance(entry, np.ndarray) or (entry.size and entry.dtype.kind not in "OU"):
        return None
    texts: list[str] = []
    for cell in entry.ravel():
        own = texts_of(cell)
        if own is None:
            return None
        texts += own
    return texts


def old_mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a file's variables but not the variables.

    Raises:
        ValueError: if it is damaged.
        MissingExtraError: if scipy isn't installed.
    """
    io = import_optional("scipy.io", extra="matlab", feature=FEATURE)
    try:
        with open_regular_file(path) as file:
            return {name: tuple(shape) for name, shape, _ in io.whosmat(file)}
    except (io.matlab.MatReadError, LookupError, ArithmeticError, NotImplementedError) as error:
        raise ValueError(str(error)) from error
    except zlib.error as error:
        raise ValueError(f"its compressed content is damaged ({error})") from error
