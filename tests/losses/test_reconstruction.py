import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    continuation_factor,
    cross_gap,
    intra_gap,
    paired_cosine,
    similarity_gap,
)
from tests.oracles import plain_losses as plain

# The worked example: relaxed codes of three pairs and the affinity they should reproduce.
IMAGE_RELAXED = torch.tensor(
    [[0.9, 0.8, -0.7, 0.1], [0.6, 0.9, -0.2, -0.4], [-0.5, 0.3, 0.9, 0.8]], dtype=torch.float64
)
TEXT_RELAXED = torch.tensor(
    [[0.8, 0.9, -0.9, -0.1], [0.7, 0.2, -0.6, 0.3], [-0.9, 0.1, 0.7, 0.9]], dtype=torch.float64
)
AFFINITY = torch.tensor(
    [[1.3666, 0.6249, -1.3931], [0.6249, 1.1808, -0.3666], [-1.3931, -0.3666, 1.2856]],
    dtype=torch.float64,
)
PUBLISHED = 6e-5  # values written down to 4 decimals


def random_rows(n: int, width: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, width)))


def test_the_worked_example() -> None:
    intra = similarity_gap(IMAGE_RELAXED, IMAGE_RELAXED, AFFINITY) + similarity_gap(
        TEXT_RELAXED, TEXT_RELAXED, AFFINITY
    )
    cross = (
        similarity_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY)
        + similarity_gap(TEXT_RELAXED, IMAGE_RELAXED, AFFINITY)
        - paired_cosine(IMAGE_RELAXED, TEXT_RELAXED)
    )
    assert_allclose(intra, 0.4314, atol=PUBLISHED, rtol=0)
    assert_allclose(cross, -0.2859, atol=PUBLISHED, rtol=0)
    assert_allclose(0.1 * intra + cross, -0.2428, atol=PUBLISHED, rtol=0)


@pytest.mark.parametrize("n_bits", [1, 5, 12, 16])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (6, 5)])
def test_against_loops(n: int, m: int, n_bits: int) -> None:
    relaxed, others, target = (
        random_rows(n, n_bits, 0),
        random_rows(m, n_bits, 1),
        random_rows(n, m, 2),
    )
    expected = plain.mean_square_gap(
        plain.cosines(relaxed.tolist(), others.tolist()), target.tolist()
    )
    assert_allclose(similarity_gap(relaxed, others, target), expected, atol=1e-12, rtol=0)
    same = min(n, m)
    assert_allclose(
        paired_cosine(relaxed[:same], others[:same]),
        plain.mean_paired_cosine(relaxed[:same].tolist(), others[:same].tolist()),
        atol=1e-12,
        rtol=0,
    )


def test_values_of_a_hundred_count_like_their_signs() -> None:
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    target = torch.tensor([[1.0, 0.25], [0.25, 1.0]])
    # Rows differ in one of three bits: cosine 1/3 against the target's 1/4.
    expected = 2 * (1 / 3 - 1 / 4) ** 2 / 4
    assert_allclose(similarity_gap(100 * signs, 100 * signs, target), expected, atol=1e-7, rtol=0)
    assert_allclose(paired_cosine(100 * signs, -100 * signs), -1, atol=1e-6, rtol=0)


def test_zeros_are_finite_and_so_is_their_gradient() -> None:
    zeros = torch.zeros(3, 5, requires_grad=True)
    loss = similarity_gap(zeros, zeros, torch.full((3, 3), 0.5)) - paired_cosine(zeros, zeros)
    assert_allclose(loss.item(), 0.25, atol=1e-7, rtol=0)
    (gradient,) = torch.autograd.grad(loss, zeros)
    assert_close(gradient, torch.zeros(3, 5), rtol=0, atol=0)


def test_a_batch_of_one() -> None:
    row = torch.tensor([[0.2, -0.7, 0.4]])
    assert_allclose(similarity_gap(row, row, torch.tensor([[1.4]])), 0.4**2, atol=1e-6, rtol=0)
    assert_allclose(paired_cosine(row, row), 1, atol=1e-6, rtol=0)


def test_flipping_a_bit_in_both_modalities_changes_nothing() -> None:
    flip = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    assert_close(
        similarity_gap(IMAGE_RELAXED * flip, TEXT_RELAXED * flip, AFFINITY),
        similarity_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY),
        rtol=0,
        atol=1e-12,
    )
    assert_close(
        paired_cosine(IMAGE_RELAXED * flip, TEXT_RELAXED * flip),
        paired_cosine(IMAGE_RELAXED, TEXT_RELAXED),
        rtol=0,
        atol=1e-12,
    )


def test_the_order_of_the_batch_changes_nothing() -> None:
    order = torch.tensor([2, 0, 1])
    assert_close(
        similarity_gap(IMAGE_RELAXED[order], TEXT_RELAXED[order], AFFINITY[order][:, order]),
        similarity_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY),
        rtol=0,
        atol=1e-12,
    )


def test_swapped_modalities_with_a_symmetric_target_change_nothing() -> None:
    assert_close(
        similarity_gap(TEXT_RELAXED, IMAGE_RELAXED, AFFINITY),
        similarity_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY),
        rtol=0,
        atol=1e-12,
    )
    assert_close(
        paired_cosine(TEXT_RELAXED, IMAGE_RELAXED),
        paired_cosine(IMAGE_RELAXED, TEXT_RELAXED),
        rtol=0,
        atol=1e-12,
    )


def test_gradients_equal_finite_differences() -> None:
    relaxed, others = random_rows(3, 5, 3).requires_grad_(), random_rows(4, 5, 4).requires_grad_()
    target = random_rows(3, 4, 5)
    assert torch.autograd.gradcheck(
        lambda one, other: similarity_gap(one, other, target), (relaxed, others)
    )
    assert torch.autograd.gradcheck(
        lambda one, other: paired_cosine(one, other[:3]), (relaxed, others)
    )


@pytest.mark.parametrize("epoch", [0, 1, 3, 19])
def test_continuation_grows_with_the_root_of_the_epoch(epoch: int) -> None:
    assert continuation_factor(epoch) ** 2 == pytest.approx(epoch + 1, rel=1e-15)
    assert math.tanh(continuation_factor(epoch) * 0.5) >= math.tanh(0.5)


def test_both_parts_of_the_worked_example_as_one_call_each() -> None:
    intra = intra_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY)
    assert_allclose(intra, 0.4314, atol=PUBLISHED, rtol=0)
    assert_allclose(
        cross_gap(IMAGE_RELAXED, TEXT_RELAXED, AFFINITY), -0.2859, atol=PUBLISHED, rtol=0
    )


@pytest.mark.parametrize("both_orders", [True, False])
@pytest.mark.parametrize("pair_weight", [0.0, 0.5])
def test_orders_and_partners_can_be_left_out(both_orders: bool, pair_weight: float) -> None:
    image, text, target = (random_rows(4, width, width) for width in (5, 5, 4))
    rows, others, wanted = image.tolist(), text.tolist(), target.tolist()
    expected = plain.mean_square_gap(plain.cosines(rows, others), wanted)
    expected += both_orders * plain.mean_square_gap(plain.cosines(others, rows), wanted)
    expected -= pair_weight * plain.mean_paired_cosine(rows, others)
    found = cross_gap(image, text, target, both_orders=both_orders, pair_weight=pair_weight)
    assert_allclose(found, expected, atol=1e-12, rtol=0)
