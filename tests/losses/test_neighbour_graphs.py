import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    FilterRule,
    NeighbourGraph,
    SimilarityContrast,
    contrasted_graph,
    filtered_graph,
    kept_neighbours,
    largest_edge_count,
    neighbour_graph,
    neighbourhoods,
    relation_graph,
    strong_relations,
)

RAW, TOP_SHARE = SimilarityContrast.RAW, FilterRule.TOP_SHARE


def random_rows(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, 6)))


def dense(graph: NeighbourGraph) -> Tensor:
    n = len(graph.starts) - 1
    matrix = torch.zeros(n, n, dtype=graph.weights.dtype)
    for node in range(n):
        for edge in range(int(graph.starts[node]), int(graph.starts[node + 1])):
            assert matrix[node, graph.columns[edge]] == 0, "an edge is there once"
            matrix[node, graph.columns[edge]] = graph.weights[edge]
    return matrix


@pytest.mark.parametrize("contrast", SimilarityContrast)
@pytest.mark.parametrize("rule", FilterRule)
@pytest.mark.parametrize("n", [4, 64, 65, 150])
def test_it_is_the_filtered_graph_of_all_nodes(
    n: int, rule: FilterRule, contrast: SimilarityContrast
) -> None:
    features = random_rows(n)
    whole = contrasted_graph(relation_graph(features), contrast)
    strong = strong_relations(whole, rule, keep_share=0.2, deviation_factor=0.5)
    n_neighbours = kept_neighbours(n, 0.2 if rule is TOP_SHARE else 1.0)
    graph = neighbour_graph(
        features, n_neighbours, rule=rule, contrast=contrast, deviation_factor=0.5
    )
    assert_close(dense(graph), filtered_graph(whole, strong), rtol=0, atol=1e-12)
    assert len(graph.columns) <= largest_edge_count(n, n_neighbours)
    assert graph.columns.dtype == torch.int32
    assert graph.starts.dtype == torch.int64


@pytest.mark.parametrize("rule", FilterRule)
def test_of_many_strong_relations_the_strongest_stay(rule: FilterRule) -> None:
    features = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.8, 0.6], [0.28, 0.96]])
    graph = dense(
        neighbour_graph(features, 1, rule=rule, contrast=RAW, deviation_factor=-10.0)
    )  # fmt: skip
    # Nearest: 1 of 0, 0 of 1 (.96; of 2: .936), 1 of 2, 2 of 3.
    expected = {(0, 1): 0.96, (1, 2): 0.936, (2, 3): 0.8}
    for pair in ((i, j) for i in range(4) for j in range(4)):
        value = 1.0 if pair[0] == pair[1] else expected.get((min(pair), max(pair)), 0.0)
        assert graph[pair] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("rule", FilterRule)
@pytest.mark.parametrize("contrast", SimilarityContrast)
def test_a_row_of_zeros_and_a_lone_node(rule: FilterRule, contrast: SimilarityContrast) -> None:
    features = random_rows(9)
    features[4] = 0
    graph = dense(neighbour_graph(features, 3, rule=rule, contrast=contrast))
    assert_close(graph[4], torch.eye(9, dtype=torch.float64)[4], rtol=0, atol=0)
    lone = neighbour_graph(features[:1], 0, rule=rule, contrast=contrast)
    assert_close(dense(lone), torch.ones(1, 1, dtype=torch.float64), rtol=0, atol=0)


def test_a_node_may_be_the_neighbour_of_all_others() -> None:
    angles = torch.linspace(-1.5, 1.5, 20)
    spokes = torch.stack([torch.full((20,), 0.9), angles.sin(), angles.cos()], dim=1)
    spokes[0] = torch.tensor([1.0, 0.0, 0.0])
    graph = neighbour_graph(spokes, 5, rule=TOP_SHARE, contrast=RAW)
    whole = relation_graph(spokes)
    strong = strong_relations(whole, TOP_SHARE, keep_share=5 / 19)
    assert_close(dense(graph), filtered_graph(whole, strong), rtol=0, atol=1e-6)


def test_rows_of_some_nodes() -> None:
    graphs = [
        neighbour_graph(random_rows(40, seed), 4, rule=TOP_SHARE, contrast=RAW) for seed in (0, 1)
    ]
    positions = torch.tensor([31, 2, 17])
    rows, own = neighbourhoods(graphs, positions)
    wholes = [dense(graph) for graph in graphs]
    is_touched = sum((whole[positions] > 0).any(dim=0).int() for whole in wholes)
    touched = torch.as_tensor(is_touched).nonzero()[:, 0]
    assert len(touched) < 40
    assert touched[own].tolist() == positions.tolist()
    for found, whole in zip(rows, wholes, strict=True):
        assert_close(found, whole[positions][:, touched], rtol=0, atol=0)


def test_buffers_longer_than_the_graph_change_nothing() -> None:
    graph = neighbour_graph(random_rows(20), 4, rule=TOP_SHARE, contrast=RAW)
    longer = NeighbourGraph(
        graph.starts,
        torch.cat([graph.columns, torch.zeros(50, dtype=torch.int32)]),
        torch.cat([graph.weights, torch.full((50,), 7.0)]),
    )
    for one, other in zip(
        neighbourhoods([graph], torch.arange(20))[0],
        neighbourhoods([longer], torch.arange(20))[0],
        strict=True,
    ):
        assert_close(one, other, rtol=0, atol=0)
