"""Read numbers, texts and numpy arrays out of a pickle without running anything in it.

Loading a pickle calls whatever functions it names. Here its instructions are only looked at, one by
one, and a small stack machine understands those that build plain values and numpy arrays; whatever
else it names is refused by its name. Nothing is imported or called on the pickle's word.
"""

import pickletools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

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

_MARK: Final = object()
_HOOKS: Final = object()
_ORDERED: Final = "collections.OrderedDict, which is no numpy array"
_CONSTANTS: Final = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False,
}  # fmt: skip
_LITERALS: Final = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip
_NOTHING: Final = frozenset(("PROTO", "FRAME", "STOP"))


STORAGE_DTYPES: Final = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2",
    "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
"""Kind of PyTorch's storages to the dtype of their numbers."""


@dataclass(frozen=True)
class PickledStorage:
    """The numbers of PyTorch tensors, which lie outside the pickle.

    Attributes:
        key: what the pickle calls them.
        dtype: theirs.
        length: how many there are.
    """

    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


ReadStorage = Callable[[PickledStorage], NDArray[Any]]


@dataclass(frozen=True)
class _Name:
    """What a pickle wants to be imported; it never is."""

    module: str
    name: str

    @property
    def meaning(self) -> str:
        """Return which of the few things that we build ourselves it is, or ""."""
        module = self.module.replace("numpy._core", "numpy.core")
        return _MEANINGS.get((module, self.name), "")


_MEANINGS: Final = {
    ("numpy", "ndarray"): "array",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "empty array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "array of bytes",
    ("_codecs", "encode"): "bytes",
    ("collections", "OrderedDict"): "hooks",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    **{("torch", f"{kind}Storage"): "storage" for kind in STORAGE_DTYPES},
}


@dataclass
class _Array:
    """An array that is being built; of an array of objects, its members."""

    array: NDArray[Any] | None = None
    members: list[Any] | None = None


@dataclass
class _Dtype:
    """A dtype that is being built."""

    dtype: np.dtype[Any]


class _RefusedError(Exception):
    """A pickle holds something else than plain values and arrays."""


@dataclass
class _Machine:
    """The stack, the memo and what the instructions do to them."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, PickledStorage] = field(default_factory=dict)
    allows_objects: bool = False

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction.

        Raises:
            _RefusedError: if it isn't one of those that build values.
        """
        if name in _NOTHING:
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(argument)])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise _RefusedError(f"the instruction {name}")

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark, off the stack."""
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def pop(self) -> Any:
        return self.stack.pop()

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def take_tuple(self, length: int) -> None:
        values = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if target is _HOOKS:
            raise _RefusedError(_ORDERED)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, Hashable):
                raise _RefusedError("keys of something that is no dict")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("members of something that is no list")
        self.stack[-1].extend(values)

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(_Name(module, name))

    def stack_name(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_Name(str(module), str(name)))

    def reduce(self, _: Any) -> None:
        """Build what a known function would return; nothing is called."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError(f"a call of {name!r}")
        match name.meaning, arguments:
            case "empty array", _:
                self.stack.append(_Array())
            case "dtype", (str(code), *_):
                self.stack.append(_Dtype(_plain_dtype(code, self.allows_objects)))
            case "bytes", (str(text), "latin1" | "latin-1"):
                self.stack.append(text.encode("latin-1"))
            case "scalar", (_Dtype() as dtype, bytes(raw)):
                self.stack.append(np.frombuffer(raw, dtype.dtype, 1)[0].item())
            case "hooks", ():  # of a tensor, and nothing else
                self.stack.append(_HOOKS)
            case "tensor", (
                PickledStorage() as storage,
                int(offset),
                tuple(shape),
                tuple(strides),
                *_,
            ):
                self.stack.append(_Tensor(storage, offset, shape, strides))
            case "array of bytes", (raw, _Dtype() as dtype, tuple(shape), str(order)):
                flat = np.frombuffer(_bytes(raw), dtype.dtype)
                self.stack.append(_Array(flat.reshape(shape, order="F" if order == "F" else "C")))
            case _:
                raise _RefusedError(f"{name.module}.{name.name}, which is no numpy array")

    def build(self, _: Any) -> None:
        """Fill in the content of an array or dtype."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) >= 2:
            if state[1] in ("<", ">"):
                target.dtype = target.dtype.newbyteorder("<" if state[1] == "<" else ">")
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, by_columns, raw = state
            if isinstance(dtype, _Dtype) and dtype.dtype.kind == "O" and isinstance(raw, list):
                target.members = raw
                return
            if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
                raise _RefusedError("an array of Python objects")
            flat = np.frombuffer(raw, dtype.dtype)
            target.array = flat.reshape(shape, order="F" if by_columns else "C")
        else:
            raise _RefusedError("the state of an object that is no array")

    def take_storage(self, _: Any) -> None:
        """Take note of numbers that lie outside the pickle, as PyTorch stores them."""
        match self.pop():
            case ("storage", _Name(name=name) as kind, str(key), _, int(length), *_) if (
                kind.meaning
            ):
                dtype = np.dtype(STORAGE_DTYPES[name.removesuffix("Storage")])
                self.storages[key] = PickledStorage(key, dtype, length)
                self.stack.append(self.storages[key])
            case identity:
                raise _RefusedError(f"a reference to {identity!r}")


_ACTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.__delitem__(-1),
    "MEMOIZE": _Machine.memoize,
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "DICT": lambda machine, _: _collected_dict(machine),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.take_tuple(1),
    "TUPLE2": lambda machine, _: machine.take_tuple(2),
    "TUPLE3": lambda machine, _: machine.take_tuple(3),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.take_storage,
}


def _collected_dict(machine: _Machine) -> None:
    values = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _plain_dtype(code: str, allows_objects: bool) -> np.dtype[Any]:
    dtype = np.dtype(code)
    if dtype.kind == "O" and allows_objects:  # the members follow in the pickle itself
        return dtype
    if dtype.hasobject or dtype.fields is not None:
        raise _RefusedError(f"an array of the dtype {code!r}")
    return dtype


def _bytes(value: Any) -> bytes | bytearray:
    if isinstance(value, bytes | bytearray):
        return value
    raise _RefusedError("an array whose content isn't in the pickle")


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
    machine = _Machine(allows_objects=allows_objects)
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
    if isinstance(error, _RefusedError):
        problem = f"holds {error}: only numbers, texts and numpy arrays are read from a pickle"
        return _fault(path, f"{problem}; convert it to .npz where it was made")
    return _fault(path, f"isn't a sound pickle: {error}")


PICKLE_ERRORS: Final = (
    OSError, _RefusedError, ArithmeticError, LookupError, ValueError, TypeError, EOFError,
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
        _RefusedError: if something in it is no value, or contains itself.
    """
    if isinstance(value, _Array):
        if value.members is not None:
            return _replace_arrays(value.members, done, read_storage)
        if value.array is None:
            raise _RefusedError("an array without content")
        return value.array
    if value is _HOOKS:
        raise _RefusedError(_ORDERED)
    if isinstance(value, _Tensor):
        return _copy_tensor(value, read_storage)
    if isinstance(value, _Name):
        raise _RefusedError(f"{value.module}.{value.name}")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in done:
        if done[id(value)] is None:
            raise _RefusedError("something that contains itself")
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


def _copy_tensor(tensor: _Tensor, read_storage: ReadStorage | None) -> NDArray[Any]:
    """Copy a tensor to an array of its own.

    Raises:
        _RefusedError: if its numbers are nowhere, or it reaches beyond them.
    """
    if read_storage is None:
        raise _RefusedError("a tensor whose numbers aren't in the file")
    numbers = read_storage(tensor.storage)
    steps = [*zip(tensor.shape, tensor.strides, strict=True)]
    if not all(type(n) is int and n >= 0 for n in (tensor.offset, *tensor.shape, *tensor.strides)):
        raise _RefusedError("a tensor whose shape isn't of whole numbers")
    last = tensor.offset + sum((length - 1) * step for length, step in steps)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    if last >= len(numbers) or np.prod(tensor.shape, dtype=float) > len(numbers):
        raise _RefusedError("a tensor that reaches beyond its numbers")
    strides = [step * numbers.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return np.array(view)
