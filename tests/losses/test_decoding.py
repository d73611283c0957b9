import pytest
import torch
from torch.testing import assert_close

from modalhash.losses import (
    DecodeFrom,
    DecodeTarget,
    decoder_input,
    decoding_loss,
    decoding_target,
    unexplained_share,
)


def test_decoding_loss_by_hand() -> None:
    decoded, features = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0, 2]])
    raw = (2**2 + 3**2 + 0 + 2**2) / 4
    unit = ((1 - 0.6) ** 2 + (1 - 0.8) ** 2 + 0 + 1) / 4
    for target, expected in ((DecodeTarget.RAW, raw), (DecodeTarget.UNIT, unit)):
        for sum_rows, factor in ((False, 1), (True, 2)):
            found = decoding_loss(decoded, features, target=target, sum_rows=sum_rows)
            assert_close(found, torch.tensor(expected * factor), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_standard_target_knows_no_scale(scale: float) -> None:
    features = scale * torch.tensor([[3.0, 4.0], [1.0, 2.0]])  # mean 2 3, all deviations 1 or -1
    target = decoding_target(features, DecodeTarget.STANDARD)
    assert_close(target, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), rtol=1e-5, atol=1e-6)
    decoded = torch.tensor([[1.0, 0.0], [0.0, -1.0]])  # errors 0, 1, 1, 0
    loss = decoding_loss(decoded, features, target=DecodeTarget.STANDARD, sum_rows=False)
    assert_close(loss, torch.tensor(2 / 4), rtol=1e-5, atol=0)
    assert_close(unexplained_share(decoded, target), torch.tensor(2 / 4), rtol=1e-5, atol=0)
    nothing = unexplained_share(torch.zeros(2, 2), target)
    assert_close(nothing, torch.tensor(1.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_items_that_are_all_alike_have_a_finite_loss(value: float) -> None:
    alike = torch.full((3, 2), value)
    loss = decoding_loss(torch.ones(3, 2), alike, target=DecodeTarget.STANDARD, sum_rows=False)
    assert_close(loss, torch.tensor(1.0), rtol=1e-3, atol=0)
    assert unexplained_share(alike + 1, alike) == 0


def test_decoders_read_relaxed_codes_or_their_signs() -> None:
    relaxed = torch.tensor([[0.25, 0.0], [-100.0, 100.0]], dtype=torch.float64, requires_grad=True)
    assert decoder_input(relaxed, DecodeFrom.RELAXED) is relaxed
    signs = decoder_input(relaxed, DecodeFrom.SIGNS)
    expected = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert_close(signs, expected, rtol=0, atol=0)
    assert not signs.requires_grad
