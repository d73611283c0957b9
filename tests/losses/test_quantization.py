import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from modalhash.losses.quantization import (
    asymmetric_alignment,
    float_share,
    reconstruction_error,
)


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def plain_alignment(
    queries: torch.Tensor, quantized: torch.Tensor, temperature: float, prior: float
) -> float:
    """Minus the logarithm of each partner's share, averaged over items and concepts."""
    n, n_concepts, total = len(queries), queries.shape[1], 0.0
    for k in range(n_concepts):
        for i in range(n):
            powers = []
            for j in range(n):
                length = math.sqrt(sum(float(value) ** 2 for value in quantized[j, k]))
                product = sum(
                    float(one) * float(other) / length
                    for one, other in zip(queries[i, k], quantized[j, k], strict=True)
                )
                powers.append(math.exp(product / temperature))
            partner, others = powers[i], sum(powers) - powers[i]
            others = max(
                (others - prior * (n - 1) * partner) / (1 - prior),
                (n - 1) * math.exp(-1 / temperature),
            )
            total -= math.log(partner / (partner + others))
    return total / (n * n_concepts)


@pytest.mark.parametrize("prior", [0.0, 0.2])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_the_alignment_against_loops(temperature: float, prior: float) -> None:
    queries, quantized = normalize(rows(5, 2, 3), dim=2), rows(5, 2, 3, seed=1)
    found = asymmetric_alignment(queries, quantized, temperature=temperature, positive_prior=prior)
    expected = plain_alignment(queries, quantized, temperature, prior)
    assert_close(float(found), expected, rtol=1e-7, atol=1e-9)


def test_equal_similarities_give_the_logarithm_of_the_batch_and_separated_ones_nothing() -> None:
    same = torch.ones(6, 2, 4) / 2
    assert_close(
        float(asymmetric_alignment(same, same, temperature=0.1)), math.log(6), rtol=1e-6, atol=0
    )
    apart = torch.eye(6)[:, None]
    assert float(asymmetric_alignment(apart, apart, temperature=0.02)) < 1e-12


def test_items_without_content_take_no_part() -> None:
    queries, quantized = normalize(rows(5, 2, 3), dim=2), rows(5, 2, 3, seed=1)
    has_content = torch.tensor([True, False, True, True, False])
    found = asymmetric_alignment(queries, quantized, temperature=0.5, has_content=has_content)
    kept = asymmetric_alignment(queries[has_content], quantized[has_content], temperature=0.5)
    assert_close(found, kept, rtol=1e-12, atol=0)
    nothing = asymmetric_alignment(
        queries, quantized, temperature=0.5, has_content=torch.zeros(5, dtype=torch.bool)
    )
    assert float(nothing) == 0


def test_pairs_of_one_item_are_not_each_other_s_negatives() -> None:
    queries = torch.ones(4, 1, 1)
    items = torch.tensor([0, 0, 1, 2])
    found = asymmetric_alignment(queries, queries, temperature=1.0, items=items)
    assert_close(float(found), (2 * math.log(3) + 2 * math.log(4)) / 4, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("n", [1, 3])
def test_extremes_are_finite(scale: float, n: int) -> None:
    queries = (scale * rows(n, 2, 3)).requires_grad_()
    quantized = (scale * rows(n, 2, 3, seed=1)).requires_grad_()
    loss = asymmetric_alignment(queries, quantized, temperature=0.05)
    loss = loss + reconstruction_error(queries, quantized)
    gradients = torch.autograd.grad(loss, (queries, quantized))
    assert all(bool(torch.isfinite(one).all()) for one in (loss, *gradients))


def test_reconstruction_error_by_hand() -> None:
    rotated = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [2.0, 2.0]]])
    decoded = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [1.0, 1.0]]])
    assert float(reconstruction_error(rotated, decoded)) == (1 + 25 + 0 + 2) / 4
    assert float(reconstruction_error(rotated[:0], decoded[:0])) == 0


def test_the_float_share_falls_from_1_to_0_along_a_cosine() -> None:
    assert [float_share(epoch, 10, 3) for epoch in range(3)] == [1.0, 1.0, 1.0]
    for epoch in range(3, 10):
        assert_close(float_share(epoch, 10, 3), math.cos(math.pi * epoch / 20), rtol=1e-12, atol=0)
    assert float_share(9, 10, 3) < 0.16
