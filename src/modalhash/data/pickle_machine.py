"""A stack machine for the instructions of pickles that build plain values and numpy arrays.

Nothing is imported or called on the pickle's word; whatever else it names is refused by its name.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HOOKS",
    "ORDERED",
    "BuiltArray",
    "NamedObject",
    "PickleMachine",
    "PickledStorage",
    "ReadStorage",
    "RefusedPickleError",
    "TensorView",
]  # fmt: skip

_MARK: Final = object()
HOOKS: Final = object()
ORDERED: Final = "collections.OrderedDict, which is no numpy array"
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
class TensorView:
    """A view of a storage."""

    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


ReadStorage = Callable[[PickledStorage], NDArray[Any]]


@dataclass(frozen=True)
class NamedObject:
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
class BuiltArray:
    """An array that is being built; of an array of objects, its members."""

    array: NDArray[Any] | None = None
    members: list[Any] | None = None


@dataclass
class _Dtype:
    """A dtype that is being built."""

    dtype: np.dtype[Any]


class RefusedPickleError(Exception):
    """A pickle holds something else than plain values and arrays."""


@dataclass
class PickleMachine:
    """The stack, the memo and what the instructions do to them."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, PickledStorage] = field(default_factory=dict)
    allows_objects: bool = False

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction.

        Raises:
            RefusedPickleError: if it isn't one of those that build values.
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
            raise RefusedPickleError(f"the instruction {name}")

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark, off the stack."""
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def pop(self) -> Any:
        """Take the value at the top of the stack."""
        return self.stack.pop()

    def memoize(self, _: Any) -> None:
        """Remember the value at the top of the stack by its number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def take_tuple(self, length: int) -> None:
        """Join the values at the top of the stack to a tuple."""
        values = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(values)

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values, one after the other, into the mapping at the top."""
        target = self.stack[-1]
        if target is HOOKS:
            raise RefusedPickleError(ORDERED)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, Hashable):
                raise RefusedPickleError("keys of something that is no dict")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        """Add members to the list at the top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise RefusedPickleError("members of something that is no list")
        self.stack[-1].extend(values)

    def global_name(self, argument: str) -> None:
        """Push what an instruction names, without importing it."""
        module, _, name = argument.partition(" ")
        self.stack.append(NamedObject(module, name))

    def stack_name(self, _: Any) -> None:
        """Push what the stack names, without importing it."""
        name, module = self.pop(), self.pop()
        self.stack.append(NamedObject(str(module), str(name)))

    def reduce(self, _: Any) -> None:
        """Build what a known function would return; nothing is called."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, NamedObject) or not isinstance(arguments, tuple):
            raise RefusedPickleError(f"a call of {name!r}")
        match name.meaning, arguments:
            case "empty array", _:
                self.stack.append(BuiltArray())
            case "dtype", (str(code), *_):
                self.stack.append(_Dtype(_plain_dtype(code, self.allows_objects)))
            case "bytes", (str(text), "latin1" | "latin-1"):
                self.stack.append(text.encode("latin-1"))
            case "scalar", (_Dtype() as dtype, bytes(raw)):
                self.stack.append(np.frombuffer(raw, dtype.dtype, 1)[0].item())
            case "hooks", ():  # of a tensor, and nothing else
                self.stack.append(HOOKS)
            case "tensor", (
                PickledStorage() as storage,
                int(offset),
                tuple(shape),
                tuple(strides),
                *_,
            ):
                self.stack.append(TensorView(storage, offset, shape, strides))
            case "array of bytes", (raw, _Dtype() as dtype, tuple(shape), str(order)):
                flat = np.frombuffer(_bytes(raw), dtype.dtype)
                self.stack.append(
                    BuiltArray(flat.reshape(shape, order="F" if order == "F" else "C"))
                )
            case _:
                raise RefusedPickleError(f"{name.module}.{name.name}, which is no numpy array")

    def build(self, _: Any) -> None:
        """Fill in the content of an array or dtype."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) >= 2:
            if state[1] in ("<", ">"):
                target.dtype = target.dtype.newbyteorder("<" if state[1] == "<" else ">")
        elif isinstance(target, BuiltArray) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, by_columns, raw = state
            if isinstance(dtype, _Dtype) and dtype.dtype.kind == "O" and isinstance(raw, list):
                target.members = raw
                return
            if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
                raise RefusedPickleError("an array of Python objects")
            flat = np.frombuffer(raw, dtype.dtype)
            target.array = flat.reshape(shape, order="F" if by_columns else "C")
        else:
            raise RefusedPickleError("the state of an object that is no array")

    def take_storage(self, _: Any) -> None:
        """Take note of numbers that lie outside the pickle, as PyTorch stores them."""
        match self.pop():
            case ("storage", NamedObject(name=name) as kind, str(key), _, int(length), *_) if (
                kind.meaning
            ):
                dtype = np.dtype(STORAGE_DTYPES[name.removesuffix("Storage")])
                self.storages[key] = PickledStorage(key, dtype, length)
                self.stack.append(self.storages[key])
            case identity:
                raise RefusedPickleError(f"a reference to {identity!r}")


_ACTIONS: Final[dict[str, Callable[[PickleMachine, Any], None]]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.__delitem__(-1),
    "MEMOIZE": PickleMachine.memoize,
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
    "GLOBAL": PickleMachine.global_name,
    "STACK_GLOBAL": PickleMachine.stack_name,
    "REDUCE": PickleMachine.reduce,
    "BUILD": PickleMachine.build,
    "BINPERSID": PickleMachine.take_storage,
}


def _collected_dict(machine: PickleMachine) -> None:
    values = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _plain_dtype(code: str, allows_objects: bool) -> np.dtype[Any]:
    dtype = np.dtype(code)
    if dtype.kind == "O" and allows_objects:  # the members follow in the pickle itself
        return dtype
    if dtype.hasobject or dtype.fields is not None:
        raise RefusedPickleError(f"an array of the dtype {code!r}")
    return dtype


def _bytes(value: Any) -> bytes | bytearray:
    if isinstance(value, bytes | bytearray):
        return value
    raise RefusedPickleError("an array whose content isn't in the pickle")
