import math

import pytest
import torch
from torch.testing import assert_close

from modalhash.errors import ArtifactError
from modalhash.layers import BitMap, KernelHead, ModalityFeatures, build_head


def made_head(hidden_width: int = 5, n_bits: int = 6) -> KernelHead:
    torch.manual_seed(0)
    bits = BitMap(3, hidden_width, n_bits, dropout=0.5)
    for parameter in bits.parameters():
        torch.nn.init.normal_(parameter)
    head = KernelHead(2, 4, 0.5, bits)
    head.set_regression(torch.randn(4, 2), torch.randn(4, 3))
    return head.eval()


def test_codes_by_hand() -> None:
    bits = BitMap(1, 0, 1)
    with torch.no_grad():
        bits.affine.weight.fill_(-2.0)
        bits.affine.bias.fill_(0.5)
    head = KernelHead(1, 2, 1.0, bits)
    head.set_regression(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [7.0]]))
    common = 3 + 7 * math.exp(-1)  # at x = 0: kernels 1 and e^-1
    found = head(ModalityFeatures(torch.tensor([[0.0]])))
    assert_close(found, torch.tensor([[-2 * common + 0.5]]), rtol=1e-6, atol=1e-6)


def test_the_hidden_layer_adds_to_the_affine_map() -> None:
    bits = BitMap(4, 1, 1)
    assert bits.hidden is not None
    with torch.no_grad():
        for part, value in ((bits.affine, 0.0), (bits.hidden[0], 1.0), (bits.hidden[3], 3.0)):
            assert isinstance(part, torch.nn.Linear)
            part.weight.fill_(value)
            part.bias.zero_()
    common = torch.tensor([[0.5, 0.25, 0.0, 0.0]])
    # sqrt(4) (0.5 + 0.25) = 1.5, times 3
    assert_close(bits(common), torch.tensor([[4.5]]), rtol=1e-6, atol=1e-6)


def test_the_hidden_layer_adds_nothing_at_first() -> None:
    bits, common = BitMap(3, 7, 5), torch.randn(4, 3)
    assert_close(bits(common), bits.affine(common), rtol=0, atol=0)


@pytest.mark.parametrize("hidden_width", [0, 5])
def test_first_bits_are_the_first_bits(hidden_width: int) -> None:
    head = made_head(hidden_width)
    features = ModalityFeatures(torch.randn(7, 2))
    short = head.first_bits(4).eval()
    assert short.n_bits == 4
    assert_close(short(features), head(features)[:, :4], rtol=1e-6, atol=1e-6)


def test_a_head_is_made_again_from_its_description() -> None:
    head = made_head()
    other = build_head(head.spec())
    other.load_state_dict(head.state_dict())
    features = ModalityFeatures(torch.randn(7, 2))
    assert_close(other.eval()(features), head(features), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change", [{"n_landmarks": 0}, {"sharpness": 0}, {"hidden_width": -1}, {"width": "3"}]
)
def test_a_damaged_description_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="the model describes a hash head this version"):
        build_head({**made_head().spec(), **change})
