import math

import pytest
import torch
from torch.testing import assert_close

from modalhash.losses import info_nce
from modalhash.losses.neighbour_contrast import neighbour_targets, others_contrast, soft_contrast


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def plain_cosines(features: torch.Tensor) -> list[list[float]]:
    """Cosines after rows are scaled to length 1 and their mean is taken out."""
    units = []
    for row in features.tolist():
        length = math.sqrt(sum(value**2 for value in row))
        units.append([value / length for value in row])
    means = [sum(column) / len(units) for column in zip(*units, strict=True)]
    centred = [
        [value - mean for value, mean in zip(row, means, strict=True)] for row in units
    ]  # fmt: skip
    lengths = [math.sqrt(sum(value**2 for value in row)) for row in centred]
    return [
        [
            sum(a * b for a, b in zip(one, other, strict=True)) / (lengths[i] * lengths[j])
            for j, other in enumerate(centred)
        ]
        for i, one in enumerate(centred)
    ]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_targets_against_loops(share: float) -> None:
    image, text = rows(5, 4) + 1, rows(5, 3, seed=1) - 2
    found = neighbour_targets(image, text, share=share, temperature=0.3, text_weight=0.7)
    image_cosines, text_cosines = plain_cosines(image), plain_cosines(text)
    for i in range(5):
        powers = [
            math.exp((0.7 * text_cosines[i][j] + 0.3 * image_cosines[i][j]) / 0.3)
            for j in range(5)
        ]  # fmt: skip
        for j in range(5):
            expected = (1 - share) * (i == j) + share * powers[j] / sum(powers)
            assert_close(float(found[i, j]), expected, rtol=1e-9, atol=1e-12)
    assert_close(found.sum(dim=1), torch.ones(5, dtype=torch.float64), rtol=1e-12, atol=0)


def test_targets_carry_no_gradient() -> None:
    image = rows(3, 4).requires_grad_()
    found = neighbour_targets(image, image, share=0.5, temperature=0.3, text_weight=0.5)
    assert not found.requires_grad


@pytest.mark.parametrize("scale", [0.0, 100.0])
def test_targets_of_extreme_features_are_finite(scale: float) -> None:
    features = scale * rows(3, 4)
    found = neighbour_targets(features, features, share=1.0, temperature=0.05, text_weight=1.0)
    assert bool(torch.isfinite(found).all())


def test_hard_targets_are_the_contrast() -> None:
    image, text = rows(6, 4), rows(6, 4, seed=1)
    scores = (
        torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T
    )
    own = torch.eye(6, dtype=torch.float64)
    both = (soft_contrast(scores / 0.3, own) + soft_contrast(scores.T / 0.3, own)) / 2
    assert_close(both, info_nce(image, text, temperature=0.3), rtol=1e-10, atol=0)


def test_the_cross_entropy_by_hand() -> None:
    scores = torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]]])
    targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    expected = (-0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4) + math.log(2)) / 2
    assert_close(float(soft_contrast(scores, targets)), expected, rtol=1e-6, atol=0)


def test_the_gradient_equals_finite_differences() -> None:
    scores = rows(2, 3, 3).requires_grad_()
    targets = rows(3, 3, seed=1).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda one: soft_contrast(one, targets), (scores,))


def test_the_contrast_of_others_against_loops() -> None:
    scores, targets = rows(2, 4, 4), rows(4, 4, seed=1).softmax(dim=1)
    total = 0.0
    for part in range(2):
        for i in range(4):
            others = [j for j in range(4) if j != i]
            whole = sum(math.exp(float(scores[part, i, j])) for j in others)
            given = sum(float(targets[i, j]) for j in others)
            for j in others:
                share = math.exp(float(scores[part, i, j])) / whole
                total -= float(targets[i, j]) / given * math.log(share)
    assert_close(float(others_contrast(scores, targets)), total / 8, rtol=1e-10, atol=0)


def test_an_item_alone_has_no_others() -> None:
    assert float(others_contrast(torch.ones(2, 1, 1), torch.ones(1, 1))) == 0
    hard = torch.eye(3, dtype=torch.float64)  # neighbours that get nothing
    scores = rows(2, 3, 3).requires_grad_()
    loss = others_contrast(scores, hard)
    (gradient,) = torch.autograd.grad(loss, (scores,))
    assert float(loss.detach()) == 0
    assert bool(torch.isfinite(gradient).all())


def test_the_gradient_of_others_equals_finite_differences() -> None:
    scores = rows(2, 3, 3).requires_grad_()
    targets = rows(3, 3, seed=1).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda one: others_contrast(one, targets), (scores,))
