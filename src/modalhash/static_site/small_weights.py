"""A text network for the web: its table of word vectors apart, its weights small on request.

More than half of a text network are the vectors of its words, of which a query needs a few. They
are cut out of the graph, into files of some hundred words each; the page reads those of the words
that are searched for, and feeds the vectors to the network.

Weights are float32 as they are; or float16; or int8, each output with a scale of its own. What is
smaller changes the numbers a little, so that some bits of queries turn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import InputError
from modalhash.extras import import_optional
from modalhash.files import write_bytes

__all__ = [
    "WORD_VECTORS",
    "Compared",
    "VectorTable",
    "Weights",
    "round_rows",
    "shrink_text_network",
    "write_vectors",
]

LEAST_ENTRIES: Final = 4096
"""Smaller weights stay float32."""
PIECE_BYTES: Final = 200_000
WORD_VECTORS: Final = "word_vectors"
"""The input of the network that takes them."""
FEATURE: Final = "the export of a site"


class Weights(StrEnum):
    """How the weights of the text network are kept.

    - `float32`: as they are; queries have the bits that a server makes of them.
    - `float16`: half as large.
    - `int8`: a quarter.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


@dataclass(frozen=True)
class Compared:
    """How the codes of the page's network compare with the model's own.

    Attributes:
        n_bits: bits of made captions that were compared.
        n_different: how many of them differ.
    """

    n_bits: int
    n_different: int


@dataclass(frozen=True)
class VectorTable:
    """The vectors of a network's words.

    Attributes:
        rows: (v, d) float32.
    """

    rows: NDArray[np.float32]

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.rows.shape[1])


def shrink_text_network(path: Path, weights: Weights) -> VectorTable:
    """Cut the word vectors out of a text network in an ONNX file, and make its weights small.

    The network reads `word_vectors`, (n, t, d) float32, afterwards. The file is replaced.

    Args:
        path: the file, as `export_text_tower` writes it.
        weights: how they are kept.

    Raises:
        InputError: if the network reads its words in another way.
        MissingExtraError: if the package `onnx` isn't installed.
    """
    onnx: Any = import_optional("onnx", extra="onnx-export", feature=FEATURE)
    model = onnx.load(str(path))
    graph = model.graph
    arrays = take_constants(onnx, graph)
    table = cut_out_vectors(onnx, graph, arrays)
    store = STORED[weights]
    nodes: list[Any] = []
    for name, array in arrays.items():
        if array.dtype == np.float32 and array.ndim == 2 and array.size >= LEAST_ENTRIES:
            nodes += store(onnx, graph, name, array)
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    remove_unused(graph)
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())
    return table


def take_constants(onnx: Any, graph: Any) -> dict[str, NDArray[Any]]:
    """Take all constants out of a graph, by the name of their value."""
    arrays = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    del graph.initializer[:]
    others = []
    for node in graph.node:
        value = next((entry for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            arrays[node.output[0]] = onnx.numpy_helper.to_array(value.t)
        else:
            others.append(node)
    del graph.node[:]
    graph.node.extend(others)
    return arrays


def cut_out_vectors(onnx: Any, graph: Any, arrays: dict[str, NDArray[Any]]) -> VectorTable:
    """Make the vectors of the words an input of the graph.

    Raises:
        InputError: if there isn't exactly one table that the words are looked up in.
    """
    looked_up = [
        node
        for node in graph.node
        if node.op_type == "Gather"
        and node.input[1] == "input_ids"
        and node.input[0] in arrays
        and arrays[node.input[0]].ndim == 2
    ]
    if len(looked_up) != 1:
        raise InputError(
            "the text encoder's network reads its words in another way than this export expects: "
            "--runtime none makes a site that is searched from its own items"
        )
    (node,) = looked_up
    table = VectorTable(np.ascontiguousarray(arrays.pop(node.input[0]), np.float32))
    replace_value(graph, node.output[0], WORD_VECTORS)
    graph.node.remove(node)
    kind = onnx.TensorProto.FLOAT
    entry = onnx.helper.make_tensor_value_info(WORD_VECTORS, kind, ["n", "t", table.width])
    graph.input.append(entry)
    return table


def replace_value(graph: Any, name: str, other: str) -> None:
    """Have the nodes of a graph read another value."""
    for node in graph.node:
        for place, value in enumerate(node.input):
            if value == name:
                node.input[place] = other


def remove_unused(graph: Any) -> None:
    """Remove inputs and constants that no node reads."""
    used = {value for node in graph.node for value in node.input}
    for entries in (graph.input, graph.initializer):
        read = [entry for entry in entries if entry.name in used]
        del entries[:]
        entries.extend(read)


def store_whole(onnx: Any, graph: Any, name: str, array: NDArray[np.float32]) -> list[Any]:
    """Store weights as they are."""
    graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return []


def store_half(onnx: Any, graph: Any, name: str, array: NDArray[np.float32]) -> list[Any]:
    """Store weights as float16, which a node converts."""
    small = f"{name}_small"
    graph.initializer.append(onnx.numpy_helper.from_array(to_half(array), small))
    return [onnx.helper.make_node("Cast", [small], [name], to=onnx.TensorProto.FLOAT)]


def store_scaled(onnx: Any, graph: Any, name: str, array: NDArray[np.float32]) -> list[Any]:
    """Store weights as int8 with a scale a column, the outputs of a product."""
    small, scale, wide = f"{name}_small", f"{name}_scale", f"{name}_wide"
    whole, scales = to_scaled(array.T)
    graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(whole.T), small))
    graph.initializer.append(onnx.numpy_helper.from_array(scales[None], scale))
    return [
        onnx.helper.make_node("Cast", [small], [wide], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [wide, scale], [name]),
    ]


STORED: Final[Mapping[Weights, Callable[..., list[Any]]]] = {
    Weights.FLOAT32: store_whole,
    Weights.FLOAT16: store_half,
    Weights.INT8: store_scaled,
}
"""How weights are put into a graph."""


def to_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to float16; what is too large becomes the largest."""
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)


def to_scaled(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round rows to whole numbers from -127 to 127 of a scale a row."""
    scales = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    divisors = np.where(scales > 0, scales, np.float32(1))
    whole = np.rint(rows / divisors[:, None]).astype(np.int8)
    return whole, scales


def round_rows(table: VectorTable, weights: Weights) -> NDArray[np.float32]:
    """Round the vectors as the page has them, (v, d)."""
    if weights is Weights.FLOAT16:
        return to_half(table.rows).astype(np.float32)
    if weights is Weights.INT8:
        whole, scales = to_scaled(table.rows)
        return whole.astype(np.float32) * scales[:, None]
    return table.rows


def write_vectors(table: VectorTable, folder: Path, weights: Weights) -> tuple[int, list[str]]:
    """Write a table of word vectors in pieces, numbered from 0.

    A piece holds the numbers of its rows, little-endian; of int8, first the scales of the rows.

    Args:
        table: the vectors.
        folder: of the pieces.
        weights: how they are kept.

    Returns:
        Rows of a piece, and the names of the files.
    """
    entry_bytes = {Weights.FLOAT32: 4, Weights.FLOAT16: 2, Weights.INT8: 1}[weights]
    n_rows = max(1, PIECE_BYTES // (table.width * entry_bytes))
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, start in enumerate(range(0, len(table.rows), n_rows)):
        rows = table.rows[start : start + n_rows]
        content = np.ascontiguousarray(rows, "<f4").tobytes()
        if weights is Weights.FLOAT16:
            content = to_half(rows).astype("<f2").tobytes()
        elif weights is Weights.INT8:
            whole, scales = to_scaled(rows)
            content = scales.astype("<f4").tobytes() + whole.tobytes()
        names.append(f"{number:05}.bin")
        (folder / names[-1]).write_bytes(content)  # `write_site` flushes all of them at once
    return n_rows, names
