"""How single operations of torch are computed so that each item's result depends on it alone.

A rule takes a matrix product and then the arguments of torch's operation, in torch's order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from modalhash.layers.exact_products import exact_sum
from modalhash.layers.portable_functions import (
    portable_erfc,
    portable_exp,
    portable_expm1,
    portable_tanh,
)

__all__ = ["RULES", "SAFE", "UnlistedOperationError"]

Product = Callable[[Tensor, Tensor], Tensor]
"""Multiplies (..., n, k) by (..., k, m) exactly, to float64."""
Rule = Callable[..., Tensor]
aten = torch.ops.aten
SAFE_NAMES = """
    abs alias all amax amin any arange argmax argmin as_strided bitwise_and bitwise_not bitwise_or
    cat ceil clamp clamp_max clamp_min clone constant_pad_nd copy_ detach_ detach div empty_like
    eq expand eye fill_ floor full_like gather ge gt hardtanh_ hardtanh index index_select
    is_nonzero isfinite le leaky_relu lift_fresh _local_scalar_dense logical_and logical_not
    logical_or lt masked_fill masked_fill_ max maximum min minimum mul_ mul ne neg new_empty
    new_full new_ones new_zeros ones_like permute reciprocal relu_ relu repeat round scalar_tensor
    select sign slice split split_with_sizes sqrt squeeze stack t threshold to _to_copy transpose
    unbind _unsafe_view unsqueeze view where zero_ zeros_like
"""
SAFE = frozenset(getattr(aten, name) for name in SAFE_NAMES.split())
"""Operations whose results are exactly rounded, compared or moved, number by number."""


class UnlistedOperationError(Exception):
    """An operation that isn't known to treat items alike; the message is its name."""


def multiply(product: Product, left: Tensor, right: Tensor) -> Tensor:
    """Rule of `mm` and `bmm`."""
    return product(left, right).to(left.dtype)


def multiply_vector(product: Product, left: Tensor, right: Tensor) -> Tensor:
    """Rule of `mv`."""
    return product(left, right[:, None])[:, 0].to(left.dtype)


def multiply_and_add(
    product: Product, added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1,
    alpha: float = 1,
) -> Tensor:  # fmt: skip
    """Rule of `addmm` and `baddbmm`."""
    return (product(left, right) * alpha + added.double() * beta).to(left.dtype)


def map_linearly(
    product: Product, values: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Rule of `linear`."""
    mapped = product(values.reshape(-1, values.shape[-1]), weight.t())
    if bias is not None:
        mapped += bias
    return mapped.to(values.dtype).reshape(*values.shape[:-1], len(weight))


def add_scaled(product: Product, left: Any, right: Any, *, alpha: float = 1) -> Tensor:
    """Rule of `add`: without a fused multiplication."""
    del product
    total: Tensor = left + (right if alpha == 1 else right * alpha)
    return total


def subtract_scaled(product: Product, left: Any, right: Any, *, alpha: float = 1) -> Tensor:
    """Rule of `sub`: without a fused multiplication."""
    del product
    difference: Tensor = left - (right if alpha == 1 else right * alpha)
    return difference


def add_up(
    product: Product, values: Tensor, dim: Any = None, keepdim: bool = False, *,
    dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Rule of `sum`."""
    del product
    if not values.is_floating_point():
        return values.sum(all_dims(values, dim), keepdim, dtype=dtype)
    total = exact_sum(values.double(), all_dims(values, dim), keepdim=keepdim)
    return total.to(dtype or values.dtype)


def average(
    product: Product, values: Tensor, dim: Any = None, keepdim: bool = False, *,
    dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Rule of `mean`."""
    del product
    total = exact_mean(values.double(), all_dims(values, dim), keepdim=keepdim)
    return total.to(dtype or values.dtype)


def measure_length(
    product: Product, values: Tensor, order: Any = 2, dim: Any = None, keepdim: bool = False,
    *, dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Rule of `norm` and `linalg_vector_norm`, of order 2."""
    del product
    if order not in (2, None):
        raise UnlistedOperationError(f"norm of order {order}")
    wide = values.double()
    squares = exact_sum(wide * wide, all_dims(values, dim), keepdim=keepdim)
    return squares.sqrt_().to(dtype or values.dtype)


def raise_to_power(product: Product, values: Any, exponent: Any) -> Tensor:
    """Rule of `pow`, for the exponents 2 and 0.5."""
    del product
    if isinstance(values, Tensor) and exponent == 2:
        return values * values
    if isinstance(values, Tensor) and exponent == 0.5:
        return values.sqrt()
    raise UnlistedOperationError(f"pow {exponent}")


def invert_root(product: Product, values: Tensor) -> Tensor:
    """Rule of `rsqrt`."""
    del product
    return (1.0 / values.double().sqrt()).to(values.dtype)


def elementwise(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Make the rule of a function of single numbers, computed in float64."""

    def rule(product: Product, values: Tensor) -> Tensor:
        del product
        return function(values.double()).to(values.dtype)

    return rule


def gelu(product: Product, values: Tensor, *, approximate: str = "none") -> Tensor:
    """Rule of `gelu`: `x (1 - erfc(x / sqrt 2) / 2)`, by the upper tail where that is smaller."""
    del product
    wide = values.double()
    if approximate == "tanh":
        inner = (wide + wide * wide * wide * 0.044715) * 0.7978845608028654
        return (wide * (portable_tanh(inner) + 1.0) * 0.5).to(values.dtype)
    return (wide * (portable_erfc(wide * -(0.5**0.5)) * 0.5)).to(values.dtype)


def elu(
    product: Product, values: Tensor, alpha: float = 1, scale: float = 1,
    input_scale: float = 1,
) -> Tensor:  # fmt: skip
    """Rule of `elu`."""
    del product
    wide = values.double()
    below = portable_expm1((wide * input_scale).clamp_max(0)) * alpha
    return (torch.where(wide > 0, wide, below) * scale).to(values.dtype)


def softmax(product: Product, values: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Rule of `softmax`."""
    del product
    result_dtype = dtype if isinstance(dtype, torch.dtype) else values.dtype
    return exact_softmax(values.double(), dim).to(result_dtype)


def exact_softmax(values: Tensor, dim: int) -> Tensor:
    """Compute the softmax of float64 values."""
    raised = portable_exp(values - values.amax(dim, keepdim=True))
    return raised / exact_sum(raised, dim, keepdim=True)


def exact_mean(values: Tensor, dim: int | tuple[int, ...], *, keepdim: bool) -> Tensor:
    """Compute the mean of float64 values along dimensions."""
    total = exact_sum(values, dim, keepdim=keepdim)
    return total / (values.numel() / max(1, total.numel()))


def normalise_layer(  # noqa: PLR0917 - torch's order
    product: Product, values: Tensor, shape: Sequence[int], weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    """Rule of `layer_norm`."""
    del product, cudnn_enable
    dims = tuple(range(-len(shape), 0))
    wide = values.double()
    centred = wide - exact_mean(wide, dims, keepdim=True)
    variance = exact_mean(centred * centred, dims, keepdim=True)
    result = centred / (variance + eps).sqrt_()
    result = result if weight is None else result * weight
    return (result if bias is None else result + bias).to(values.dtype)


def normalise_by_statistics(  # noqa: PLR0917 - torch's order
    product: Product, values: Tensor, weight: Tensor | None, bias: Tensor | None,
    mean: Tensor, variance: Tensor, is_training: bool, momentum: float, eps: float,
    cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """Rule of `batch_norm` in evaluation, with channels in dimension 1."""
    del product, momentum, cudnn_enabled
    if is_training or mean is None:
        raise UnlistedOperationError("batch_norm over the batch")
    shape = [1, -1] + [1] * (values.ndim - 2)
    result = values.double() - mean.view(shape)
    result = result / (variance.double() + eps).sqrt_().view(shape)
    result = result if weight is None else result * weight.view(shape)
    return (result if bias is None else result + bias.view(shape)).to(values.dtype)


def attend(  # noqa: PLR0917 - torch's order
    product: Product, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Rule of `scaled_dot_product_attention` without dropout."""
    if dropout_p or is_causal or enable_gqa:
        raise UnlistedOperationError("scaled_dot_product_attention with options")
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = product(query, key.transpose(-1, -2)) * factor
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    return product(exact_softmax(scores, -1), value).to(query.dtype)


def all_dims(values: Tensor, dim: Any) -> tuple[int, ...]:
    """Convert dimensions to a tuple; None or none at all are all of them."""
    if isinstance(dim, int):
        return (dim,)
    return tuple(dim) if dim else tuple(range(values.ndim))


RULES: dict[Any, Rule] = {
    aten.mm: multiply,
    aten.bmm: multiply,
    aten.mv: multiply_vector,
    aten.addmm: multiply_and_add,
    aten.baddbmm: multiply_and_add,
    aten.linear: map_linearly,
    aten.scaled_dot_product_attention: attend,
    aten.add: add_scaled,
    aten.sub: subtract_scaled,
    aten.sum: add_up,
    aten.mean: average,
    aten.norm: measure_length,
    aten.linalg_vector_norm: measure_length,
    aten.pow: raise_to_power,
    aten.rsqrt: invert_root,
    aten.exp: elementwise(portable_exp),
    aten.expm1: elementwise(portable_expm1),
    aten.tanh: elementwise(portable_tanh),
    aten.sigmoid: elementwise(lambda values: 1.0 / (portable_exp(-values) + 1.0)),
    aten.silu: elementwise(lambda values: values / (portable_exp(-values) + 1.0)),
    aten.erf: elementwise(lambda values: 1.0 - portable_erfc(values)),
    aten.gelu: gelu,
    aten.elu: elu,
    aten.softmax: softmax,
    aten._softmax: softmax,
    aten.layer_norm: normalise_layer,
    aten.batch_norm: normalise_by_statistics,
}
"""Operation to how it is computed; see the head of this file."""
