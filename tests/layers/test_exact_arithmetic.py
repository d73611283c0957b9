"""Networks under exact arithmetic give what torch gives, and each row what it gives alone."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from modalhash.layers.exact_arithmetic import ExactArithmetic, OperandCache
from modalhash.layers.exact_operations import UnlistedOperationError

WEIGHTS = torch.from_numpy(np.random.default_rng(5).normal(size=(6, 6)).astype(np.float32))
NORM = nn.BatchNorm1d(6).eval()
Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "linear": lambda x: functional.linear(x, WEIGHTS, WEIGHTS[0]),
    "matmul": lambda x: x @ WEIGHTS,
    "matmul of a batch": lambda x: x.view(-1, 2, 3) @ x.view(-1, 3, 2),
    "matrix times vector": lambda x: x @ WEIGHTS[0],
    "addmm": lambda x: torch.addmm(WEIGHTS[0], x, WEIGHTS.T, beta=3, alpha=-2),
    "einsum": lambda x: torch.einsum("nd,kd->nk", x, WEIGHTS),
    "sum": lambda x: x.sum(dim=1),
    "mean": lambda x: x.view(-1, 3, 2).mean(dim=(1, 2)),
    "norm": lambda x: x.norm(dim=1, keepdim=True),
    "normalize": lambda x: functional.normalize(x, dim=1),
    "softmax": lambda x: x.softmax(dim=-1),
    "gelu": functional.gelu,
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "elu": lambda x: functional.elu(x, 0.7),
    "leaky relu": lambda x: functional.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "root and its inverse": lambda x: x.square().add(1).rsqrt() + x.abs().sqrt(),
    "layer norm": lambda x: functional.layer_norm(x, (6,), WEIGHTS[0], WEIGHTS[1]),
    "batch norm": NORM,
    "scaled sum": lambda x: torch.add(x, x * 2, alpha=0.3) - torch.sub(x, 1, alpha=0.1),
    "attention": lambda x: functional.scaled_dot_product_attention(
        *(x.view(-1, 1, 3, 2),) * 3, attn_mask=torch.tensor([[True, False, True]])
    ),
    "power": lambda x: x**2 + (x * x) ** 0.5,
}


def compute_exactly(function: Function, values: Tensor) -> Tensor:
    with torch.inference_mode():
        made_inside = values.clone()
        with ExactArithmetic(OperandCache()):
            return function(made_inside)


def features(n_rows: int = 300) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n_rows, 6)).astype(np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_torchs(name: str) -> None:
    with torch.no_grad():
        expected = FUNCTIONS[name](features())
    found = compute_exactly(FUNCTIONS[name], features())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_are_what_they_are_alone(name: str) -> None:
    whole = compute_exactly(FUNCTIONS[name], features())
    for size in (1, 7, 255):
        parts = [compute_exactly(FUNCTIONS[name], part) for part in torch.split(features(), size)]
        assert torch.equal(torch.cat(parts), whole)
    mates = features()
    mates[1:] = 1e5
    assert torch.equal(compute_exactly(FUNCTIONS[name], mates)[0], whole[0])


@pytest.mark.parametrize(
    "function",
    [
        torch.sin,
        lambda x: x.cumsum(dim=0),
        lambda x: functional.batch_norm(x, None, None, training=True),
        lambda x: x**3,
        lambda x: x.norm(p=1, dim=1),
    ],
)
def test_what_is_not_listed_is_refused(function: Function) -> None:
    with pytest.raises(UnlistedOperationError):
        compute_exactly(function, features())


def test_what_is_made_of_weights_alone_may_be_anything() -> None:
    found = compute_exactly(lambda x: x @ torch.linalg.inv(WEIGHTS), features())
    torch.testing.assert_close(found, features() @ torch.linalg.inv(WEIGHTS), rtol=1e-4, atol=1e-5)
    with pytest.raises(UnlistedOperationError, match="made of weights"):
        compute_exactly(lambda x: torch.zeros(300, 6).copy_(x), features())


def test_changed_weights_are_noticed() -> None:
    layer, cache = nn.Linear(6, 2), OperandCache()

    def output() -> Tensor:
        with torch.inference_mode():
            made_inside = features(1).clone()
            with ExactArithmetic(cache, layer):
                made: Tensor = layer(made_inside)
                return made

    before = output()
    assert torch.equal(output(), before)
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.mul_(2)
    assert torch.equal(output(), 2 * before)
    layer.load_state_dict(nn.Linear(6, 2).state_dict())
    assert not torch.equal(output(), 2 * before)


def test_prepared_weights_are_not_copied() -> None:
    layer, cache = nn.Linear(6, 2), OperandCache()
    with torch.inference_mode():
        made_inside = features(1).clone()
        with ExactArithmetic(cache, layer):
            layer(made_inside)
    for copied in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert vars(copied) == vars(OperandCache())
