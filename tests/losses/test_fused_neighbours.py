import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from modalhash.losses import fused_rows, keep_thresholds, strongest_nodes
from modalhash.losses.fused_neighbours import BLOCK_ROWS
from tests.oracles import plain_neighbours as plain
from tests.oracles.largest_tensor import LargestTensor


def made(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


@pytest.mark.parametrize("image_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("times", [1.0, 100.0])
def test_fused_rows_against_loops(image_weight: float, times: float) -> None:
    image, text = times * made(6, 3), times * made(6, 4, 1)
    rows = fused_rows(image, text, image_weight=image_weight)
    expected = plain.fused_cosines(image.tolist(), text.tolist(), image_weight)
    assert_allclose(rows @ rows.T, expected, rtol=1e-12, atol=1e-12)


def test_a_row_of_zeros_is_similar_to_nothing() -> None:
    rows = fused_rows(torch.zeros(2, 3), torch.tensor([[0.0], [2.0]]), image_weight=0.5)
    assert_allclose(rows @ rows.T, [[0.0, 0.0], [0.0, 0.5]], rtol=1e-6, atol=0)


def test_strongest_nodes_by_hand() -> None:
    # Nodes at 0, 90 and 45 degrees; the first row is the first node, the second is none of them.
    nodes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    places, similarities = strongest_nodes(rows, nodes, 2, own_places=torch.tensor([0, -1]))
    assert_array_equal(places, [[2, 1], [1, 2]])
    assert_allclose(similarities, [[0.6, 0], [1, 0.6]], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("n_kept", "expected"), [(1, [0.8, 0.48]), (2, [0.3, 0.18]), (3, [-0.5, -0.5])]
)
def test_thresholds_by_hand(n_kept: int, expected: list[float]) -> None:
    nodes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    found = keep_thresholds(torch.tensor([[1.0, 0.0], [0.0, 0.6]]), nodes, n_kept)
    assert_allclose(found, expected, rtol=1e-6, atol=0)


def test_blocks_change_nothing_and_nothing_larger_is_made() -> None:
    n = 3 * BLOCK_ROWS + 5
    rows = fused_rows(made(n, 3), made(n, 4, 1), image_weight=0.4)
    similarities = (rows @ rows.T).tolist()
    with LargestTensor() as largest:
        places, found = strongest_nodes(rows, rows, 4, own_places=torch.arange(n))
        thresholds = keep_thresholds(rows, rows, 5)
    assert largest.numbers <= BLOCK_ROWS * n
    for i, line in enumerate(similarities):
        others = sorted((j for j in range(n) if j != i), key=lambda j: -line[j])[:4]
        assert_array_equal(places[i], others)
        assert_allclose(found[i], [line[j] for j in others], rtol=1e-12, atol=1e-12)
        halfway = (sorted(line)[-5] + sorted(line)[-6]) / 2
        assert thresholds[i].item() == pytest.approx(halfway, rel=1e-12, abs=1e-12)
