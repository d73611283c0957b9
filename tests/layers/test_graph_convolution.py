import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import GraphConvolution, GraphNetwork, row_normalised
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain


def random_rows(n: int, width: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


def test_a_convolution_by_hand() -> None:
    convolution = GraphConvolution(2, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0], [10.0]]))
        convolution.bias.copy_(torch.tensor([0.5]))
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # mapped: 21, 43
    edges = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    expected = torch.tensor([[21 - 43 + 0.5], [2 * 43 + 0.5]])
    assert_close(convolution(features, edges), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_network_against_loops(n: int) -> None:
    torch.manual_seed(0)
    network = GraphNetwork((4, 7, 5, 3)).double()
    rows, edges = random_rows(n, 4, 1), random_rows(n, n, 2)
    hidden = rows.tolist()
    for convolution in network.convolutions:
        assert isinstance(convolution, GraphConvolution)
        weight, bias = convolution.weight.tolist(), convolution.bias.tolist()
        hidden = graphs.positive(graphs.convolved(hidden, edges.tolist(), weight, bias))
    expected = plain.affine(hidden, network.map.weight.tolist(), network.map.bias.tolist())
    assert_allclose(network(rows, edges).detach(), expected, rtol=1e-10, atol=1e-12)


def test_a_permuted_graph_permutes_the_output() -> None:
    torch.manual_seed(0)
    network = GraphNetwork((4, 7, 3)).double()
    rows, edges, order = random_rows(5, 4, 1), random_rows(5, 5, 2), torch.tensor([3, 0, 4, 1, 2])
    whole = network(rows, edges)[order]
    assert_close(network(rows[order], edges[order][:, order]), whole, rtol=0, atol=1e-12)


def test_without_edges_nothing_but_the_bias_passes() -> None:
    convolution = GraphConvolution(4, 3).double()
    out = convolution(random_rows(5, 4, 1), torch.zeros(5, 5, dtype=torch.float64))
    assert_close(out, convolution.bias.expand(5, 3), rtol=0, atol=0)


def test_weights_start_within_the_square_root_of_the_width() -> None:
    torch.manual_seed(0)
    convolution = GraphConvolution(30, 400)
    for parameter in (convolution.weight, convolution.bias):
        assert 0.049 < float(parameter.detach().abs().max()) <= 0.05
        assert abs(float(parameter.detach().mean())) < 0.005


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(1)
    network = GraphNetwork((3, 4, 2)).double()
    rows, edges = random_rows(3, 3, 3).requires_grad_(), random_rows(3, 3, 4).requires_grad_()
    parameters = tuple(network.parameters())

    def run(*_: Tensor) -> Tensor:
        out: Tensor = network(rows, edges)
        return out

    assert torch.autograd.gradcheck(run, (rows, edges, *parameters))


def test_rows_are_normalised_by_the_sum_of_sizes() -> None:
    edges = torch.tensor([[100.0, -100.0, 0.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 1.0]])
    expected = torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.0, 0.0], [-0.5, 0.25, 0.25]])
    assert_close(row_normalised(edges), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("widths", [(4, 3), (4, 0, 3), ()])
def test_widths_that_make_no_graph_network(widths: tuple[int, ...]) -> None:
    message = f"a graph network needs at least three positive widths, got {widths}"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        GraphNetwork(widths)
