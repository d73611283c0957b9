"""Inference whose results depend on the item alone, whatever network it is: `ExactArithmetic`.

While it is active, torch's operations are computed so that an item's result depends neither on
other items nor on their number, on threads or on the processor:

- products and sums by `exact_products`, exponentials and the like by `portable_functions`;
- what is exactly rounded or only moves numbers (`+`, `*`, `/`, roots, maxima, views) as torch does;
- what is made of weights alone as torch does, for it doesn't vary between batches;
- composed operations through their parts;
- anything else isn't computed: `UnlistedOperationError`, and the caller encodes item by item.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import modalhash.forked_children  # noqa: F401 - registers what children do
from modalhash.layers.exact_operations import RULES, SAFE, UnlistedOperationError
from modalhash.layers.exact_products import ProductOperand, exact_product, product_operand

__all__ = ["ExactArithmetic", "OperandCache", "UnlistedOperationError"]


class OperandCache:
    """Right sides of products that were prepared once, as long as the weights stay as they are.

    Threads may share it: at worst two prepare the same weights.
    """

    def __init__(self) -> None:
        self._prepared: dict[tuple[Any, ...], tuple[int, Tensor, ProductOperand]] = {}

    def operand(self, right: Tensor, version: int) -> ProductOperand:
        """Prepare the operand of weights (..., k, m), or take it as prepared before.

        Args:
            right: a matrix of weights, or a view of one.
            version: of the weights; torch counts how often they were changed.
        """
        key = (right.data_ptr(), right.device, right.dtype, right.shape, right.stride())
        prepared = self._prepared.get(key)
        if prepared is None or prepared[0] != version:
            # The matrix is kept too, so that no other can come to lie at its address.
            prepared = self._prepared[key] = (version, right, product_operand(right))
        return prepared[2]

    def __reduce__(self) -> tuple[type["OperandCache"], tuple[()]]:
        """Copy as an empty cache: copied weights lie at other addresses."""
        return OperandCache, ()


class ExactArithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes what runs inside it in a way that each item's result depends on the item alone.

    Use it inside `torch.inference_mode()`. Tensors made outside of inference mode count as weights,
    and so does what is made of them; features are made in inference mode, before. One object serves
    one `with` statement.

    Args:
        cache: of prepared weights; shared by calls of the same networks.
        networks: whose weights are prepared once.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler, which takes a second, to leave this class out."""
        return False

    def __init__(self, cache: OperandCache, *networks: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cache = cache
        self._versions = {
            weights.untyped_storage().data_ptr(): weights._version
            for network in networks
            for weights in (*network.parameters(), *network.buffers())
            if not weights.is_inference()
        }
        self._from_weights: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Compute one operation.

        Raises:
            UnlistedOperationError: if it isn't known to treat items alike.
        """
        kwargs = kwargs or {}
        if all(self.is_of_weights(tensor) for tensor in tensors_in((args, kwargs))):
            result = func(*args, **kwargs)
            self._from_weights |= {id(tensor): tensor for tensor in tensors_in(result)}
            return result
        packet = func.overloadpacket
        if func._schema.is_mutable and self.is_of_weights(args[0]):
            raise UnlistedOperationError(f"{func} on what was made of weights")
        if packet in RULES:
            return RULES[packet](self.product, *args, **kwargs)
        if packet in SAFE:
            return func(*args, **kwargs)
        with self:
            result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            raise UnlistedOperationError(str(func))
        return result

    def is_of_weights(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is made of weights alone, not of features."""
        return not tensor.is_inference() or id(tensor) in self._from_weights

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Multiply (..., n, k) by (..., k, m) in float64, with weights prepared once."""
        version = self._versions.get(right.untyped_storage().data_ptr())
        if version is None:
            return exact_product(left, right)
        return exact_product(left, self.cache.operand(right, version))


def tensors_in(values: Any) -> list[Tensor]:
    """List the tensors in nested arguments."""
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
