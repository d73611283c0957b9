import re

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import GraphAttention, ResidualGraphAttention, masked_softmax
from tests.oracles import plain_label_graphs as plain

N, WIDTH = 6, 8


def made_nodes(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def made_edges(seed: int = 0) -> Tensor:
    """Directed, some nodes without any edge of their own."""
    return torch.rand(N, N, generator=torch.Generator().manual_seed(seed)) < 0.4


def made_layer(n_heads: int = 2, *, dropout: float = 0.0) -> GraphAttention:
    torch.manual_seed(1)
    return GraphAttention(WIDTH, 3, n_heads, dropout=dropout).double()


def made_net(*, dropout: float = 0.0) -> ResidualGraphAttention:
    torch.manual_seed(2)
    return ResidualGraphAttention(WIDTH, 4, dropout=dropout).double()


def plain_layer(layer: GraphAttention, nodes: Tensor, edges: Tensor) -> Tensor:
    values = plain.attention(
        nodes.tolist(),
        layer.map.weight.tolist(),
        layer.near.tolist(),
        layer.far.tolist(),
        edges.tolist(),
    )
    return torch.tensor(values, dtype=torch.float64)


def test_two_linked_nodes_that_score_alike_are_averaged() -> None:
    layer = GraphAttention(2, 2, 1)
    with torch.no_grad():
        layer.map.weight.copy_(torch.eye(2))
        layer.near.zero_()
        layer.far.zero_()
    nodes = torch.tensor([[1.0, 5.0], [3.0, -1.0]])
    found = layer(nodes, torch.ones(2, 2, dtype=torch.bool))
    assert_close(found, torch.tensor([[2.0, 2.0], [2.0, 2.0]]), rtol=0, atol=0)


def test_an_edge_by_hand() -> None:
    """A score below 0 is leaky: e_12 = 0.2 (2 - 7) = -1 and e_11 = 2 + 1 = 3."""
    layer = GraphAttention(1, 1, 1)
    with torch.no_grad():
        layer.map.weight.fill_(1.0)
        layer.near.fill_(2.0)
        layer.far.fill_(1.0)
    found = layer(torch.tensor([[1.0], [-7.0]]), torch.tensor([[True, True], [False, True]]))
    shares = torch.tensor([3.0, -1.0]).softmax(0)
    assert_close(found[0, 0], shares[0] * 1 + shares[1] * -7, rtol=1e-6, atol=0)
    assert_close(found[1, 0], torch.tensor(-7.0), rtol=0, atol=0)


@pytest.mark.parametrize("n_heads", [1, 3])
def test_a_layer_against_loops(n_heads: int) -> None:
    layer, nodes = made_layer(n_heads), made_nodes()
    for edges in (made_edges(), torch.eye(N, dtype=torch.bool), torch.ones(N, N).bool()):
        found = layer(nodes, edges)
        assert found.shape == (N, 3 * n_heads)
        assert_close(found, plain_layer(layer, nodes, edges), rtol=1e-10, atol=1e-12)


def test_alone_a_layer_is_its_own_linear_map() -> None:
    layer, nodes = made_layer(), made_nodes()
    expected = nodes @ layer.map.weight.T
    assert_close(layer(nodes), expected, rtol=0, atol=0)
    eye = torch.eye(N, dtype=torch.bool)
    assert_close(layer(nodes, eye), expected, rtol=1e-12, atol=1e-14)
    nothing = torch.zeros(N, N, dtype=torch.bool)
    assert_close(layer(nodes, nothing), expected, rtol=1e-12, atol=1e-14)
    one_by_one = torch.cat([layer(node[None]) for node in nodes])
    assert_close(one_by_one, expected, rtol=1e-12, atol=1e-14)


def test_the_net_is_two_layers_with_elu_and_sums() -> None:
    net, nodes, edges = made_net(), made_nodes(), made_edges()
    expected = nodes
    for layer, n_heads, width in zip(net.layers, (4, 1), (2, 8), strict=True):
        assert isinstance(layer, GraphAttention)
        assert layer.near.shape == (n_heads, width)
        gathered = plain_layer(layer, expected, edges)
        expected = torch.where(gathered > 0, gathered, gathered.exp() - 1) + expected
    assert_close(net(nodes, edges), expected, rtol=1e-10, atol=1e-12)


def test_permuted_nodes_give_permuted_outputs() -> None:
    net, nodes, edges = made_net(), made_nodes(), made_edges()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    found = net(nodes[order], edges[order][:, order])
    assert_close(found, net(nodes, edges)[order], rtol=1e-10, atol=1e-12)


def test_an_unlinked_node_changes_nothing() -> None:
    net, nodes, edges = made_net(), made_nodes(), made_edges()
    more = torch.zeros(N + 1, N + 1, dtype=torch.bool)
    more[:N, :N] = edges
    found = net(torch.cat([nodes, 1e3 * torch.ones(1, WIDTH)]), more)
    assert_close(found[:N], net(nodes, edges), rtol=1e-12, atol=1e-14)


def test_attention_sums_to_one_and_is_zero_off_the_edges() -> None:
    layer, nodes, edges = made_layer(3), made_nodes(), made_edges()
    heads = (100 * nodes @ layer.map.weight.T).view(N, 3, 3).transpose(0, 1)
    weights = layer.weights(heads, edges)
    assert_close(weights.sum(dim=2), torch.ones(3, N).double(), rtol=1e-12, atol=0)
    is_edge = edges | torch.eye(N, dtype=torch.bool)
    assert int(weights[:, ~is_edge].count_nonzero()) == 0
    assert not bool(is_edge.all())


@pytest.mark.parametrize("hundred", [100.0, -100.0])
def test_large_scores_stay_finite(hundred: float) -> None:
    scores = torch.tensor([[hundred, -hundred, 0.0]]).expand(2, 1, 3)
    found = masked_softmax(scores, torch.tensor([[True, True, False]]))
    expected = torch.tensor([1.0, 0.0, 0.0] if hundred > 0 else [0.0, 1.0, 0.0])
    assert_close(found, expected.expand(2, 1, 3), rtol=0, atol=1e-30)


def test_dropout_acts_in_training_only() -> None:
    net, nodes, edges = made_net(dropout=0.5), made_nodes(), made_edges()
    assert not torch.equal(net(nodes, edges), net(nodes, edges))
    net.eval()
    assert torch.equal(net(nodes, edges), net(nodes, edges))
    assert_close(net(nodes, edges), made_net()(nodes, edges), rtol=0, atol=0)


def test_dropped_attention_is_made_up_for_by_the_rest() -> None:
    layer, nodes = made_layer(dropout=0.25), made_nodes()
    heads = (nodes @ layer.map.weight.T).view(N, 2, 3).transpose(0, 1)
    edges = torch.ones(N, N, dtype=torch.bool)
    kept = made_layer().weights(heads, edges)
    dropped = layer.weights(heads, edges)
    is_kept = dropped != 0
    assert 0 < int((~is_kept).sum()) < is_kept.numel()
    assert_close(dropped[is_kept], kept[is_kept] / 0.75, rtol=1e-12, atol=0)


def test_the_gradient_equals_finite_differences() -> None:
    net, edges = made_net(), made_edges()
    names = [name for name, _ in net.named_parameters()]

    def gathered(nodes: Tensor, *parameters: Tensor) -> Tensor:
        changed = dict(zip(names, parameters, strict=True))
        out: Tensor = torch.func.functional_call(net, changed, (nodes, edges))
        return out

    inputs = [made_nodes(), *(one.detach().clone() for one in net.parameters())]
    assert torch.autograd.gradcheck(gathered, tuple(one.requires_grad_() for one in inputs))


@pytest.mark.parametrize("sizes", [(0, 2, 1), (2, 0, 1), (2, 2, 0)])
def test_impossible_sizes_are_refused(sizes: tuple[int, int, int]) -> None:
    in_width, head_width, n_heads = sizes
    message = (
        f"graph attention needs positive sizes and a dropout in [0, 1), got in_width {in_width}, "
        f"head_width {head_width}, n_heads {n_heads} and dropout 0.0"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        GraphAttention(*sizes)


def test_impossible_dropouts_are_refused() -> None:
    message = "graph attention needs positive sizes and a dropout in [0, 1), got in_width 2, "
    with pytest.raises(SettingError, match=f"^{re.escape(message)}"):
        GraphAttention(2, 2, 1, dropout=1.0)


@pytest.mark.parametrize("n_heads", [0, 3])
def test_heads_must_share_the_width_evenly(n_heads: int) -> None:
    message = f"width is 8, expected a multiple of the {n_heads} heads"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        ResidualGraphAttention(8, n_heads)
