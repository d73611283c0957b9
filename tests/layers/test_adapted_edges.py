import math
import re

import pytest
import torch
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import PairMatrix, PositionMatrix


@pytest.mark.parametrize("n", [1, 3, 7])
def test_the_matrix_of_pairs_fits_any_batch_and_follows_its_items(n: int) -> None:
    torch.manual_seed(0)
    matrix = PairMatrix(4, 16).double()
    rows = torch.randn(n, 4, dtype=torch.float64)
    found = matrix(rows)
    assert found.shape == (n, n)
    assert float(found.detach().abs().max()) <= 1
    order = torch.randperm(n)
    assert_close(matrix(rows[order]), found[order][:, order], rtol=0, atol=1e-12)


def test_the_matrix_of_pairs_starts_with_the_spread_of_the_released_one() -> None:
    torch.manual_seed(0)
    pairs = PairMatrix(512, 16)(torch.randn(200, 512)).detach()
    positions = PositionMatrix(32).weight.detach()
    assert abs(float(pairs.std()) - 0.25) < 0.02
    assert abs(float(positions.std()) - 0.25) < 0.02
    assert float(positions.abs().max()) <= math.sqrt(6 / 32)


def test_the_matrix_of_places_gives_smaller_batches_its_leading_block() -> None:
    matrix = PositionMatrix(3)
    assert torch.equal(matrix(torch.zeros(2, 4)), matrix.weight[:2, :2])
    message = (
        "a batch has 4 pairs, but attention_matrix=positions was made for at most 3: train with "
        "that batch_size, or set attention_matrix=pairs"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        matrix(torch.zeros(4, 4))


def test_the_matrix_of_pairs_by_hand() -> None:
    matrix = PairMatrix(2, 2)
    with torch.no_grad():
        matrix.left.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        matrix.right.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    # Left (3, 4) and (0, 0) against right (4, 3) and (0, 0).
    found = matrix(torch.tensor([[300.0, 400.0], [0.0, 0.0]]))
    assert_close(found, torch.tensor([[24 / 25, 0.0], [0.0, 0.0]]), rtol=1e-6, atol=0)
