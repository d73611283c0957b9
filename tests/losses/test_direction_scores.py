import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from modalhash.losses import info_nce, measure_scaled_difference, partner_contrast


def test_partner_contrast_is_info_nce() -> None:
    image, text = normalize(torch.randn(6, 4)), normalize(torch.randn(6, 4))
    expected = info_nce(image, text, temperature=0.3)
    scores = image @ text.T / 0.3
    loss = partner_contrast(torch.stack([scores, scores.T]))
    assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert_close(partner_contrast(torch.zeros(2, 4, 4)), torch.tensor(math.log(4)))


def test_measure_scaled_difference_has_no_use_for_the_scale_of_cosines_but_for_their_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(2, 4, 4, generator=generator)
    targets = torch.rand(4, 4, generator=generator)
    least = min(
        (multiple * cosines - targets).square().mean().item()
        for multiple in torch.linspace(0, 3, 30_001)
    )
    for scale in (1.0, 0.01, 100.0):
        value = measure_scaled_difference(scale * cosines, targets).item()
        assert value == pytest.approx(least, rel=1e-4, abs=1e-7)
    none = targets.square().mean().item()
    assert measure_scaled_difference(-cosines, targets).item() == pytest.approx(none, rel=1e-6)
    assert measure_scaled_difference(torch.zeros(2, 4, 4), targets).item() == pytest.approx(
        none, rel=1e-6
    )
