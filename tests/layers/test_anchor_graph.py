from math import exp

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from modalhash.layers import AnchorGraph

CORNERS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]).double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ties_by_hand() -> None:
    graph = AnchorGraph(CORNERS, n_nearest=2, bandwidth=9.0)
    # From the origin: squared distances 0, 16, 9; the two nearest are at 0 and 9.
    near, far = 1 / (1 + exp(-1)), exp(-1) / (1 + exp(-1))
    assert_allclose(graph.weights(CORNERS[:1]), [[near, 0, far]], rtol=1e-12, atol=0)
    # Half way between the last two: distances 6.25 each, and 6.25 from the first as well.
    graph = AnchorGraph(CORNERS, n_nearest=3, bandwidth=1.0)
    thirds = graph.weights(torch.tensor([[2.0, 1.5]]))
    assert_allclose(thirds, [[1 / 3] * 3], rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_rows_of_ties_sum_to_one_and_have_so_many_entries(scale: float) -> None:
    rows = scale * torch.randn(50, 4, generator=generator())
    graph = AnchorGraph.fit(rows, 8, 3, generator(1))
    ties = graph.weights(rows)
    assert ties.dtype == torch.float64
    assert_allclose(ties.sum(dim=1), np.ones(50), rtol=1e-12, atol=0)
    assert ((ties > 0).sum(dim=1) <= 3).all()
    assert bool(torch.isfinite(ties).all())


def test_the_laplacian_of_the_graph_has_the_constant_at_zero_and_nothing_below() -> None:
    rows = torch.randn(60, 3, generator=generator())
    ties = AnchorGraph.fit(rows, 10, 3, generator(1)).weights(rows)
    affinity = ties / ties.sum(dim=0) @ ties.T
    assert_allclose(affinity.sum(dim=1), np.ones(60), rtol=1e-12, atol=0)
    values = np.linalg.eigvalsh(np.eye(60) - affinity.numpy())
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values[-1] <= 1 + 1e-12


def test_anchors_of_two_clumps_are_their_means() -> None:
    clumps = torch.tensor([[0.0, 1.0], [0.0, -1.0], [10.0, 1.0], [10.0, -1.0], [10.0, 0.0]])
    found: list[Tensor] = []
    for seed in range(6):
        anchors = AnchorGraph.fit(clumps, 2, 1, generator(seed)).anchors
        found.append(anchors[anchors[:, 0].argsort()])
    # Two first anchors in one clump part again within the rounds, since the other clump pulls one.
    for anchors in found:
        assert_allclose(anchors, [[0, 0], [10, 0]], rtol=0, atol=1e-12)


def test_the_bandwidth_is_the_mean_squared_distance_to_the_farthest_tie() -> None:
    # Each row is an anchor; the nearest other one is at 9, 16 and 9.
    graph = AnchorGraph.fit(CORNERS, 10, 2, generator())
    assert len(graph.anchors) == 3
    assert graph.bandwidth == pytest.approx((9 + 16 + 9) / 3)
    assert AnchorGraph.fit(CORNERS, 10, 9, generator()).n_nearest == 3


def test_equal_rows_share_their_anchors_evenly() -> None:
    rows = torch.full((5, 2), 7.0)
    graph = AnchorGraph.fit(rows, 3, 2, generator())
    assert graph.bandwidth > 0
    assert_allclose(graph.weights(rows).sum(dim=1), np.ones(5), rtol=1e-12, atol=0)
