"""The graded head: bits of a plain quantizer, and refused descriptions."""

import numpy as np
import pytest
import torch

from modalhash.codes import GradedBits, binarise, pack
from modalhash.errors import ArtifactError
from modalhash.layers import GradedHead, ModalityFeatures, build_head

BITS = GradedBits((4, 2, 1), (0.8, 0.4, 0.3))


def identity_head() -> GradedHead:
    head = GradedHead(3, BITS)
    with torch.no_grad():
        head.map.weight.copy_(torch.eye(3))
        head.map.bias.zero_()
    return head


def test_numbers_come_back_to_half_of_the_last_step() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, (200, 3)).astype(np.float32)
    values *= np.array([1.5, 0.75, 0.6], np.float32)  # within the range of each number's codes
    with torch.no_grad():
        relaxed = identity_head()(ModalityFeatures(torch.from_numpy(values))).numpy()
    assert relaxed.shape == (200, 7)
    decoded = BITS.decode(pack(binarise(relaxed)))
    for number, last_step in enumerate((0.8 / 8, 0.4 / 2, 0.3)):
        errors = np.abs(decoded[:, number] - values[:, number])
        assert errors.max() <= last_step + 1e-6


def test_the_first_bits_are_signs() -> None:
    rows = torch.tensor([[0.1, -0.2, 0.0]])
    with torch.no_grad():
        relaxed = identity_head()(ModalityFeatures(rows))
    assert torch.equal(relaxed[:, :3], rows)
    # What is left over: .1 - .8 and -.2 + .4, then -.7 + .4, then -.3 + .2.
    torch.testing.assert_close(
        relaxed[0, 3:], torch.tensor([-0.7, 0.2, -0.3, -0.1]), rtol=0, atol=1e-6
    )


def test_a_head_is_made_of_its_description() -> None:
    spec = identity_head().spec()
    again = build_head(spec)
    assert isinstance(again, GradedHead)
    assert again.spec() == spec
    assert again.n_bits == 7


@pytest.mark.parametrize("counts", [[1, 2, 3], ["4", 2, 1], [0, 0, 0], [4, 2]])
def test_odd_descriptions_are_refused(counts: list[object]) -> None:
    spec = {"kind": "graded", "in_width": 3, "counts": counts, "steps": [0.8, 0.4, 0.3]}
    with pytest.raises(ArtifactError, match="graded hash head"):
        build_head(spec)
