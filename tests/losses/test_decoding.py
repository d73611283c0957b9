import torch
from torch.testing import assert_close

from modalhash.losses import DecodeFrom, DecodeTarget, decoder_input, decoding_loss


def test_decoding_loss_by_hand() -> None:
    decoded, features = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0, 2]])
    raw = (2**2 + 3**2 + 0 + 2**2) / 4
    unit = ((1 - 0.6) ** 2 + (1 - 0.8) ** 2 + 0 + 1) / 4
    for target, expected in ((DecodeTarget.RAW, raw), (DecodeTarget.UNIT, unit)):
        for sum_rows, factor in ((False, 1), (True, 2)):
            found = decoding_loss(decoded, features, target=target, sum_rows=sum_rows)
            assert_close(found, torch.tensor(expected * factor), rtol=1e-6, atol=0)


def test_decoders_read_relaxed_codes_or_their_signs() -> None:
    relaxed = torch.tensor([[0.25, 0.0], [-100.0, 100.0]], dtype=torch.float64, requires_grad=True)
    assert decoder_input(relaxed, DecodeFrom.RELAXED) is relaxed
    signs = decoder_input(relaxed, DecodeFrom.SIGNS)
    expected = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert_close(signs, expected, rtol=0, atol=0)
    assert not signs.requires_grad
