"""Tests of the ever steeper tanh."""

import math

import pytest
import torch
from torch.testing import assert_close

from modalhash.losses import relative_factor, relaxed_codes

OUTPUTS = torch.tensor([[0.03, -0.01], [0.02, 0.04]], dtype=torch.float64)
SIZE = math.sqrt((0.03**2 + 0.01**2 + 0.02**2 + 0.04**2) / 4)


def test_without_continuation_the_factor_stays_one() -> None:
    for scale_free in (False, True):
        found = relaxed_codes(
            OUTPUTS, continuation=False, scale_free=scale_free, epoch=8, progress=0.9
        )
        assert_close(found, torch.tanh(OUTPUTS), rtol=0, atol=0)


def test_by_the_epochs_the_factor_is_the_root_of_their_number() -> None:
    found = relaxed_codes(OUTPUTS, continuation=True, scale_free=False, epoch=8, progress=0.9)
    assert_close(found, torch.tanh(3 * OUTPUTS), rtol=1e-12, atol=0)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_scale_free_the_factor_is_relative_to_the_outputs_size(progress: float) -> None:
    found = relaxed_codes(OUTPUTS, continuation=True, scale_free=True, epoch=8, progress=progress)
    expected = torch.tanh(relative_factor(progress) / SIZE * OUTPUTS)
    assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3])
def test_scale_free_codes_do_not_depend_on_the_outputs_scale(scale: float) -> None:
    expected, found = (
        relaxed_codes(outputs, continuation=True, scale_free=True, epoch=0, progress=0.3)
        for outputs in (OUTPUTS, scale * OUTPUTS)
    )
    assert_close(found, expected, rtol=1e-9, atol=0)


def test_training_ends_near_the_signs() -> None:
    """Codes of normal outputs lie near their signs at the end, by numerical integration.

    Outputs of trained heads have two humps, so that theirs lie nearer.
    """
    places = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    density = torch.exp(-places.square() / 2) / math.sqrt(2 * math.pi)
    sizes = torch.tanh(relative_factor(1.0) * places).abs()
    mean_size = torch.trapezoid(density * sizes, places).item()
    mean_square = torch.trapezoid(density * sizes.square(), places).item()
    assert mean_size > 0.86
    assert mean_size / math.sqrt(mean_square) > 0.96  # the cosine with the signs


def test_the_size_carries_no_gradient() -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    codes = relaxed_codes(outputs, continuation=True, scale_free=True, epoch=0, progress=0.0)
    (gradient,) = torch.autograd.grad(codes.sum(), outputs)
    factor = relative_factor(0.0) / SIZE
    assert_close(gradient, factor * (1 - torch.tanh(factor * OUTPUTS) ** 2), rtol=1e-9, atol=0)


def test_outputs_of_zero_stay_zero() -> None:
    zeros = torch.zeros(2, 3, requires_grad=True)
    codes = relaxed_codes(zeros, continuation=True, scale_free=True, epoch=0, progress=1.0)
    (gradient,) = torch.autograd.grad(codes.square().sum(), zeros)
    assert not codes.any()
    assert bool(torch.isfinite(gradient).all())
