"""Build an ONNX graph node by node."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.extras import import_optional

__all__ = ["OPSET", "GraphBuilder"]

OPSET: Final = 18
IR_VERSION: Final = 8
"""Versions that runtimes of 2023 and later read."""
PRODUCER: Final = "modalhash"


class GraphBuilder:
    """Collects the nodes and constants of a graph; values are named by the text that `add` returns.

    Raises:
        MissingExtraError: if the package `onnx` isn't installed.
    """

    def __init__(self) -> None:
        self._onnx = import_optional("onnx", extra="onnx-export", feature="the export to ONNX")
        self._helper: Any = import_optional(
            "onnx.helper", extra="onnx-export", feature="the export to ONNX"
        )
        self._nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._initializers: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name.

        Args:
            operator: of ONNX's default operator set.
            inputs: names of its inputs.
            name: of the output; by default a number.
            attributes: of the node.
        """
        (output,) = self.add_many(operator, inputs, 1, name=name, **attributes)
        return output

    def add_many(
        self,
        operator: str,
        inputs: tuple[str, ...],
        n_outputs: int,
        *,
        name: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with several outputs, and return their names."""
        first = len(self._nodes)
        outputs = [f"v{first}_{place}" for place in range(n_outputs)]
        if name:
            outputs[0] = name
        node = self._helper.make_node(operator, list(inputs), outputs, f"n{first}", **attributes)
        self._nodes.append(node)
        return outputs

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant, once for equal ones, and return its name."""
        array: NDArray[Any] = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = name
            self._initializers.append(self._onnx.numpy_helper.from_array(array, name))
        return self._constants[key]

    def cast(self, value: str, dtype: Any) -> str:
        """Convert a value to another dtype."""
        kind = self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", value, to=kind)

    def serialise(
        self,
        inputs: Mapping[str, tuple[Any, list[int | str]]],
        outputs: Mapping[str, tuple[Any, list[int | str]]],
        metadata: Mapping[str, str],
        *,
        about: str,
    ) -> bytes:
        """Make a checked model of the nodes, as bytes.

        Args:
            inputs: name to dtype and shape; a text is a size that varies.
            outputs: the same.
            metadata: texts that runtimes show.
            about: a sentence on the model.
        """

        def values(described: Mapping[str, tuple[Any, list[int | str]]]) -> list[Any]:
            return [
                self._helper.make_tensor_value_info(
                    name, self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
                )
                for name, (dtype, shape) in described.items()
            ]

        graph = self._helper.make_graph(
            self._nodes, PRODUCER, values(inputs), values(outputs), self._initializers
        )
        model = self._helper.make_model(
            graph,
            producer_name=PRODUCER,
            opset_imports=[self._helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            doc_string=about,
        )
        self._helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content
