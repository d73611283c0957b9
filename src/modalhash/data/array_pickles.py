"""Read numbers, texts and numpy arrays out of a pickle without running anything in it.

Loading a pickle calls whatever functions it names. Here its instructions are only looked at, one by
one, and a small stack machine understands those that build plain values and numpy arrays; whatever
else it names is refused by its name. Nothing is imported or called on the pickle's word.
"""

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.pickle_machine import (
    HOOKS,
    ORDERED,
    BuiltArray,
    NamedObject,
    PickledStorage,
    PickleMachine,
    ReadStorage,
    RefusedPickleError,
    TensorView,
)
from modalhash.errors import CollectionError, Defect
from modalhash.files import open_regular_file

__all__ = [
    "PICKLE_ERRORS",
    "PickledStorage",
    "PickledValue",
    "read_array_pickle",
    "read_pickle_stream",
    "unreadable_pickle",
]


class _BoundedFile:
    """A file that never allocates more than it holds, whatever length a pickle states."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, length: int) -> bytes:
        """Read the next `length` bytes, or as many as are left."""
        return self.file.read(min(length, self.size - self.file.tell()))


def read_array_pickle(path: Path) -> Any:
    """Read a pickle of dicts, lists, tuples, numbers, texts and numpy arrays of numbers or texts.

    Args:
        path: the file, of any pickle protocol.

    Returns:
        The value.

    Raises:
        CollectionError: if the file can't be read, is damaged, or holds anything else; the message
            names what it wanted to have imported.
    """
    try:
        with open_regular_file(path) as file:
            return read_pickle_stream(file, path.stat().st_size).finish()
    except PICKLE_ERRORS as error:
        raise unreadable_pickle(path, error) from error


@dataclass(frozen=True)
class PickledValue:
    """The value of a pickle, whose tensors lack their numbers.

    Attributes:
        storages: what the numbers of its tensors are called, to what is known of them.
        value: as the machine built it.
    """

    storages: Mapping[str, PickledStorage]
    value: Any

    def finish(self, read_storage: ReadStorage | None = None) -> Any:
        """Replace what arrays are built with by the arrays, in the whole value.

        Args:
            read_storage: reads the numbers of tensors; None if there can be none.

        Raises:
            ValueError and others of `PICKLE_ERRORS`: if something in it is no value.
        """
        return _replace_arrays(self.value, {}, read_storage)


def read_pickle_stream(file: IO[bytes], size: int, *, allows_objects: bool = False) -> PickledValue:
    """Read one pickle of a file that may hold more behind it.

    Args:
        file: stands where the pickle begins, and afterwards where it ends.
        size: bytes of the whole file.
        allows_objects: whether an array may hold arrays.

    Raises:
        ValueError and others of `PICKLE_ERRORS`: if it isn't sound, or holds something else.
    """
    machine = PickleMachine(allows_objects=allows_objects)
    bounded = _BoundedFile(file, size)
    for instruction, argument, _ in pickletools.genops(bounded):  # type: ignore[arg-type]
        machine.run(instruction.name, argument)
    [value] = machine.stack
    return PickledValue(machine.storages, value)


def unreadable_pickle(path: Path, error: Exception) -> CollectionError:
    """Describe why a pickle can't be read, as an error to raise."""
    if isinstance(error, CollectionError):
        return error
    if isinstance(error, OSError):
        return _fault(path, f"can't be read: {error.strerror or error}")
    if isinstance(error, RefusedPickleError):
        problem = f"holds {error}: only numbers, texts and numpy arrays are read from a pickle"
        return _fault(path, f"{problem}; convert it to .npz where it was made")
    return _fault(path, f"isn't a sound pickle: {error}")


PICKLE_ERRORS: Final = (
    OSError, RefusedPickleError, ArithmeticError, LookupError, ValueError, TypeError, EOFError,
    RecursionError,
)  # fmt: skip


def _fault(path: Path, problem: str) -> CollectionError:
    return CollectionError([Defect("unreadable-file", str(path), problem)])


def _replace_arrays(value: Any, done: dict[int, Any], read_storage: ReadStorage | None) -> Any:
    """Replace what arrays are built with by the arrays, in one value.

    Args:
        value: what the machine built.
        done: what was finished before, by identity: a pickle may name one thing many times.
        read_storage: reads the numbers of tensors; None if there can be none.

    Raises:
        RefusedPickleError: if something in it is no value, or contains itself.
    """
    if isinstance(value, BuiltArray):
        if value.members is not None:
            return _replace_arrays(value.members, done, read_storage)
        if value.array is None:
            raise RefusedPickleError("an array without content")
        return value.array
    if value is HOOKS:
        raise RefusedPickleError(ORDERED)
    if isinstance(value, TensorView):
        return _copy_tensor(value, read_storage)
    if isinstance(value, NamedObject):
        raise RefusedPickleError(f"{value.module}.{value.name}")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in done:
        if done[id(value)] is None:
            raise RefusedPickleError("something that contains itself")
        return done[id(value)]
    done[id(value)] = None
    if isinstance(value, dict):
        done[id(value)] = {
            key: _replace_arrays(member, done, read_storage) for key, member in value.items()
        }
    else:
        done[id(value)] = type(value)(
            _replace_arrays(member, done, read_storage) for member in value
        )
    return done[id(value)]


def _copy_tensor(tensor: TensorView, read_storage: ReadStorage | None) -> NDArray[Any]:
    """Copy a tensor to an array of its own.

    Raises:
        RefusedPickleError: if its numbers are nowhere, or it reaches beyond them.
    """
    if read_storage is None:
        raise RefusedPickleError("a tensor whose numbers aren't in the file")
    numbers = read_storage(tensor.storage)
    steps = [*zip(tensor.shape, tensor.strides, strict=True)]
    if not all(type(n) is int and n >= 0 for n in (tensor.offset, *tensor.shape, *tensor.strides)):
        raise RefusedPickleError("a tensor whose shape isn't of whole numbers")
    last = tensor.offset + sum((length - 1) * step for length, step in steps)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    if last >= len(numbers) or np.prod(tensor.shape, dtype=float) > len(numbers):
        raise RefusedPickleError("a tensor that reaches beyond its numbers")
    strides = [step * numbers.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return np.array(view)
