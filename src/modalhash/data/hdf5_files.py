"""HDF5 files, MATLAB's 7.3 among them: arrays, texts, cells of texts and sparse matrices.

A file from somebody else may name other files of this machine (external storage, virtual data sets,
links): these are refused. What an array takes in memory is checked before it is read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.read_limits import ReadBudget
from modalhash.data.text_cells import TextCells, pack_texts, text_array
from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional
from modalhash.files import check_regular_file, open_regular_file

__all__ = ["Hdf5File", "is_matlab_hdf5", "matlab_class", "open_hdf5"]

HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
CELL_BYTES: Final = 32
"""A cell takes at least so many bytes of its file: a reference and a part of what it leads to."""
EXTRA_CELLS: Final = 100_000
DEEPEST_CELL: Final = 16
MATLAB_OBJECTS: Final = ("string", "table", "categorical", "datetime", "containers.Map")


def is_matlab_hdf5(path: Path) -> bool | None:
    """Tell whether a file is HDF5 by MATLAB (7.3), whose dimensions are turned around.

    Returns:
        True for MATLAB's own, False for HDF5 by another program, None for no HDF5 at all.

    Raises:
        OSError: if the file can't be read.
    """
    with open_regular_file(path) as file:
        start = file.read(520)
    if start[:19] == b"MATLAB 7.3 MAT-file" and start[512:] == HDF5_SIGNATURE:
        return True
    return False if start.startswith(HDF5_SIGNATURE) else None


@contextmanager
def open_hdf5(path: Path) -> Iterator["Hdf5File"]:
    """Open a file to read some of its arrays.

    Raises:
        OSError: if it isn't HDF5.
        MissingExtraError: if h5py isn't installed.
    """
    h5py = import_optional("h5py", extra="matlab", feature="reading .mat and .h5 files")
    check_regular_file(path)
    with h5py.File(path, "r") as file:
        yield Hdf5File(path, file, h5py)


class Hdf5File:
    """An opened HDF5 file.

    Attributes:
        path: of the file.
        is_by_matlab: whether dimensions are turned around.
    """

    def __init__(self, path: Path, file: Any, h5py: Any) -> None:
        self.path, self.file, self.h5py = path, file, h5py
        self.is_by_matlab = bool(is_matlab_hdf5(path))
        self.budget = ReadBudget(path)
        self.cells_left = self.budget.n_bytes // CELL_BYTES + EXTRA_CELLS

    def names(self) -> list[str]:
        """List what is at the top of the file, MATLAB's own groups not counted."""
        return [name for name in self.file if not name.startswith("#")]

    def find(self, name: str) -> Any:
        """Find an array or group of the file; None if there is none.

        Args:
            name: with "/" for what is in a group.

        Raises:
            CollectionError: if the name leads to another file.
        """
        place = self.file
        for part in name.strip("/").split("/"):
            if not isinstance(place, self.h5py.Group) or part not in place:
                return None
            link = place.get(part, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                problem = "is a link, which may lead to another file: store the array itself"
                raise self.fault("foreign-content", name, problem)
            place = place[part]
        if isinstance(place, self.h5py.Dataset):
            self.check_content(place, name)
        return place

    def fault(self, kind: str, name: str, problem: str) -> CollectionError:
        """Describe, as an error, what is wrong with one array."""
        return CollectionError([Defect(kind, f"{self.path}:{name}", problem)])

    def check_content(self, dataset: Any, name: str) -> None:
        """Refuse an array whose content is in other files, or whose pieces are too large.

        Raises:
            CollectionError: if it is so.
        """
        if dataset.is_virtual or dataset.id.get_create_plist().get_external_count():
            problem = "has its content in other files, which aren't read: store the array itself"
            raise self.fault("foreign-content", name, problem)
        piece = int(np.prod(dataset.chunks or 0, dtype=object)) * dataset.dtype.itemsize
        if piece > self.budget.limit:
            self.budget.spend(piece, name)

    def read(self, name: str) -> NDArray[Any] | str:
        """Read an array: numbers, texts or cells of texts; MATLAB's in MATLAB's dimensions.

        Returns:
            The array, or why it can't be read as one.

        Raises:
            CollectionError: if it isn't there, has its content elsewhere or takes too much memory.
        """
        stored = self.find(name)
        if stored is None:
            present = ", ".join(self.names()) or "nothing"
            raise self.fault("missing-array", name, f"isn't there; there is {present}")
        kind = matlab_class(stored)
        if isinstance(stored, self.h5py.Group):
            return self.read_sparse(stored, name)
        if stored.attrs.get("MATLAB_object_decode", 0) or kind in MATLAB_OBJECTS:
            return f"is a MATLAB object of class {kind}: save it as a cell of char or a matrix"
        return self.read_dataset(stored, name, kind)

    def read_dataset(self, dataset: Any, name: str, kind: str) -> NDArray[Any] | str:
        """Read a data set; see `read`."""
        if dataset.shape is None or dataset.attrs.get("MATLAB_empty", 0):
            return np.zeros((0, 0))
        if self.h5py.check_ref_dtype(dataset.dtype):
            return self.read_cells(dataset, name)
        if kind == "char":
            return text_array([(text,) for text in char_rows(self.take(dataset, name).T)])
        if self.h5py.check_string_dtype(dataset.dtype):
            array = self.read_texts(dataset, name)
        elif dataset.dtype.kind in "biufc":
            array = self.take(dataset, name)
        else:
            return f"is of the type {dataset.dtype}, expected numbers or texts"
        return array.T if self.is_by_matlab else array

    def take(self, dataset: Any, name: str) -> NDArray[Any]:
        """Read all of a data set, within the budget."""
        self.budget.spend(int(dataset.size) * dataset.dtype.itemsize, name)
        return np.asarray(dataset[()])

    def read_texts(self, dataset: Any, name: str) -> NDArray[Any]:
        """Read a data set of texts; those of variable length a block at a time.

        A file can say that thousands of rows are one and the same long text.
        """
        texts: list[str] = []
        if dataset.ndim == 0:
            return np.array(str(dataset.asstr("utf-8")[()]))
        self.budget.spend(int(dataset.size) * max(dataset.dtype.itemsize, 8), name)
        width = max(1, int(np.prod(dataset.shape[1:], dtype=object)))
        largest = max(1, self.budget.n_bytes * width)
        step = min(max(1, self.budget.limit // largest), 65536)
        for start in range(0, len(dataset), step):
            block = [str(text) for text in np.ravel(dataset.asstr("utf-8")[start : start + step])]
            self.budget.spend(sum(map(len, block)), name)
            texts += block
        return pack_texts(texts).reshape(dataset.shape)

    def read_cells(self, dataset: Any, name: str) -> NDArray[Any] | str:
        """Read a cell array of texts, or of cells of texts where an entry has several."""
        cells = self.take(dataset, name).T
        entries = cells.ravel() if 1 in cells.shape or cells.ndim == 1 else list(cells)
        texts: TextCells = []
        for entry in entries:
            own: list[str] = []
            problem = self.add_texts(entry, own, name, 0)
            if problem:
                return problem
            texts.append(tuple(own))
        return text_array(texts)

    def add_texts(self, entry: Any, texts: list[str], name: str, depth: int) -> str:
        """Add the texts that a reference, or a row of references, leads to.

        Returns:
            What can't be read; "" if nothing.
        """
        if isinstance(entry, np.ndarray):
            problems = (self.add_texts(item, texts, name, depth) for item in entry.ravel())
            return next((problem for problem in problems if problem), "")
        self.cells_left -= 1
        if depth > DEEPEST_CELL or self.cells_left < 0 or not entry:
            raise self.fault("unreadable-file", name, "its cells contain themselves, or nothing")
        cell = self.file[entry]
        if not isinstance(cell, self.h5py.Dataset):
            return "holds cells that are no texts: save a cell of char"
        self.check_content(cell, name)
        if cell.attrs.get("MATLAB_empty", 0):
            return ""
        if self.h5py.check_ref_dtype(cell.dtype):
            return self.add_texts(self.take(cell, name).T, texts, name, depth + 1)
        if matlab_class(cell) not in ("char", "") or cell.dtype.kind not in "ui" or not cell.ndim:
            return f"holds cells of {matlab_class(cell) or cell.dtype}: save a cell of char"
        texts += char_rows(np.atleast_2d(self.take(cell, name).T))
        return ""

    def read_sparse(self, group: Any, name: str) -> NDArray[Any] | str:
        """Read a sparse matrix of MATLAB as a dense one."""
        if "MATLAB_sparse" not in group.attrs:
            kind = matlab_class(group)
            return f"is a MATLAB {kind}" if kind else "is a group"
        parts = {}
        for part in ("data", "ir", "jc"):
            stored = self.find(f"{name}/{part}") if part in group else None
            parts[part] = np.zeros(0) if stored is None else np.ravel(self.take(stored, name))
        n_rows, n_columns = int(group.attrs["MATLAB_sparse"]), max(0, len(parts["jc"]) - 1)
        self.budget.spend(8 * n_rows * n_columns, name)
        sparse = import_optional(
            "scipy.sparse", extra="matlab", feature="reading .mat and .h5 files"
        )
        places = (parts["ir"].astype(np.int64), parts["jc"].astype(np.int64))
        matrix = sparse.csc_matrix((parts["data"], *places), shape=(n_rows, n_columns))
        dense: NDArray[Any] = matrix.toarray()
        return dense

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Read the shapes of the arrays at the top, as stored, but not the arrays."""
        return {name: tuple(getattr(self.find(name), "shape", None) or ()) for name in self.names()}

    def sparse_shapes(self) -> dict[str, tuple[int, int]]:
        """Read the shapes of MATLAB's sparse matrices at the top."""
        shapes = {}
        for name in self.names():
            stored = self.find(name)
            if "MATLAB_sparse" in stored.attrs and "jc" in stored:
                ends = self.find(f"{name}/jc")
                shapes[name] = int(stored.attrs["MATLAB_sparse"]), max(0, int(ends.size) - 1)
        return shapes

    def visit(self, tell: Callable[[str, Any], None]) -> None:
        """Call `tell` with the name and the object of each data set in any group."""

        def check(name: str, item: Any) -> None:
            if isinstance(item, self.h5py.Dataset) and not name.startswith("#"):
                self.check_content(item, name)
                tell(name, item)

        self.file.visititems(check)


def matlab_class(item: Any) -> str:
    """Read which class MATLAB states for an item; "" if it states none."""
    kind = item.attrs.get("MATLAB_class", b"")
    return kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)


def char_rows(codes: NDArray[Any]) -> list[str]:
    """Decode the rows of a char matrix.

    Raises:
        ValueError: if a row isn't UTF-16.
    """
    rows = np.atleast_2d(np.asarray(codes, "<u2"))
    return [row.tobytes().decode("utf-16-le").strip() for row in rows]
