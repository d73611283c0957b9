import math

import pytest
import torch
from torch.testing import assert_close

from modalhash.layers.byte_dropout import ByteDropout


@pytest.mark.parametrize(("share", "kept"), [(0.5, 1 / 2), (0.1, 230 / 256), (0.999, 1 / 256)])
def test_units_are_dropped_with_the_rounded_share_and_the_others_scaled_up(
    share: float, kept: float
) -> None:
    torch.manual_seed(0)
    units = torch.ones(8_001, 13)
    dropped = ByteDropout(share)(units)
    assert set(dropped.unique().tolist()) <= {0.0, torch.tensor(1 / kept).item()}
    deviation = math.sqrt(kept * (1 - kept) / units.numel())
    assert (dropped > 0).float().mean().item() == pytest.approx(kept, abs=5 * deviation)


def test_every_unit_is_dropped_as_often() -> None:
    torch.manual_seed(0)
    kept = (ByteDropout(0.5)(torch.ones(20_000, 8)) > 0).float().mean(dim=0)  # one word a row
    assert_close(kept, torch.full((8,), 0.5), rtol=0, atol=5 * 0.5 / math.sqrt(20_000))


def test_nothing_is_dropped_outside_of_training_or_without_a_share() -> None:
    units = torch.randn(7, 3)
    assert_close(ByteDropout(0.5).eval()(units), units, rtol=0, atol=0)
    assert_close(ByteDropout(0.0)(units), units, rtol=0, atol=0)
    assert ByteDropout(0.5)(torch.zeros(0, 4)).shape == (0, 4)


def test_gradients_pass_where_units_are_kept() -> None:
    torch.manual_seed(1)
    units = torch.ones(50, requires_grad=True)
    dropped = ByteDropout(0.25)(units)
    torch.autograd.backward(dropped.sum())
    assert units.grad is not None
    assert_close(units.grad, dropped.detach(), rtol=0, atol=0)
