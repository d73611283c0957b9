import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    FilterRule,
    SimilarityContrast,
    associated_graph,
    contrasted_graph,
    filtered_graph,
    joint_graph,
    kept_neighbours,
    reconstructed_graph,
    relation_graph,
    strong_relations,
    strongest_entries,
)
from tests.oracles import plain_relation_graphs as plain

# The worked example of the specification: three nodes, a share of .4 keeps one neighbour each.
IMAGE = torch.tensor([[1, 0.8, 0.2], [0.8, 1, 0.1], [0.2, 0.1, 1]], dtype=torch.float64)
TEXT = torch.tensor([[1, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 1]], dtype=torch.float64)
PUBLISHED = 6e-5  # values written down to 4 decimals
OFF_DIAGONAL = ([0, 0, 1], [1, 2, 2])


def rebased(graph: Tensor, keep_share: float = 0.4, correlation_share: float = 0.3) -> Tensor:
    strong = strong_relations(graph, FilterRule.TOP_SHARE, keep_share=keep_share)
    filtered = filtered_graph(graph, strong)
    return associated_graph(filtered, filtered, correlation_share=correlation_share)


def joined(image: Tensor, text: Tensor, image_share: float = 0.6) -> Tensor:
    return joint_graph(image, text, (image, text), image_share=image_share, cross_share=0.3)


def reconstructed(joint: Tensor, share: float = 0.4) -> Tensor:
    return reconstructed_graph(joint, joint, reconstruction_share=share)


def random_rows(n: int, width: int = 6, seed: int = 0) -> Tensor:
    """Rows of which about half are related."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


def test_the_filter_of_the_worked_example() -> None:
    strong = strong_relations(IMAGE, FilterRule.TOP_SHARE, keep_share=0.4)
    assert_close(
        filtered_graph(IMAGE, strong),
        torch.tensor([[1, 0.8, 0.2], [0.8, 1, 0], [0.2, 0, 1]], dtype=torch.float64),
        rtol=0,
        atol=0,
    )


def test_the_rebased_graphs_of_the_worked_example() -> None:
    correlation = (
        1.6 / math.sqrt(1.68 * 1.64),
        0.4 / math.sqrt(1.68 * 1.04),
        0.16 / math.sqrt(1.64 * 1.04),
    )
    expected = [0.7 * one + 0.3 * two for one, two in zip((0.8, 0.2, 0), correlation, strict=True)]
    assert_allclose(rebased(IMAGE)[OFF_DIAGONAL], expected, rtol=1e-12, atol=0)
    assert_allclose(expected, [0.84918, 0.23078, 0.03675], rtol=0, atol=6e-6)
    assert_allclose(rebased(TEXT)[OFF_DIAGONAL], [0.5818, 0.0386, 0.3589], rtol=0, atol=PUBLISHED)


def test_joint_and_reconstructed_graph_of_the_worked_example() -> None:
    joint = joined(rebased(IMAGE), rebased(TEXT))
    assert_allclose(joint.diagonal(), [0.9924, 0.9844, 0.9808], rtol=0, atol=PUBLISHED)
    assert_allclose(joint[OFF_DIAGONAL], [0.8017, 0.2052, 0.2259], rtol=0, atol=PUBLISHED)
    whole = reconstructed(joint)
    assert_allclose(whole[OFF_DIAGONAL], [0.8726, 0.2997, 0.3193], rtol=0, atol=PUBLISHED)
    target = 1.5 * (2 * whole - 1)
    assert_allclose(target[OFF_DIAGONAL], [1.1178, -0.6008, -0.5422], rtol=0, atol=3 * PUBLISHED)
    assert_allclose(target.diagonal(), [1.4863, 1.4720, 1.4655], rtol=0, atol=3 * PUBLISHED)


@pytest.mark.parametrize("contrast", SimilarityContrast)
@pytest.mark.parametrize("rule", FilterRule)
@pytest.mark.parametrize("n", [4, 5, 9])
def test_every_step_against_loops(n: int, rule: FilterRule, contrast: SimilarityContrast) -> None:
    found, expected = [], []
    for seed in (0, 1):
        rows = random_rows(n, seed=seed)
        graph = contrasted_graph(relation_graph(rows), contrast)
        plain_graph = plain.relations(rows.tolist())
        if contrast is SimilarityContrast.CENTRED:
            plain_graph = plain.centred(plain_graph)
        assert_allclose(graph, plain_graph, rtol=1e-12, atol=1e-12)
        strong = strong_relations(graph, rule, keep_share=0.4, deviation_factor=0.5)
        graph = filtered_graph(graph, strong)
        plain_graph = plain.filtered(plain_graph, rule, 0.4, 0.5)
        assert_allclose(graph, plain_graph, rtol=1e-12, atol=1e-12)
        graph = associated_graph(graph, graph, correlation_share=0.3)
        plain_graph = plain.associated(plain_graph, 0.3)
        assert_allclose(graph, plain_graph, rtol=1e-12, atol=1e-12)
        found.append(graph)
        expected.append(plain_graph)
    joint, plain_joint = joined(found[0], found[1]), plain.joint(expected[0], expected[1], 0.6, 0.3)
    assert_allclose(joint, plain_joint, rtol=1e-12, atol=1e-12)
    assert_allclose(
        reconstructed(joint), plain.reconstructed(plain_joint, 0.4), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("contrast", SimilarityContrast)
@pytest.mark.parametrize("rule", FilterRule)
@pytest.mark.parametrize("hundred", [1.0, 100.0, -100.0])
def test_graphs_are_symmetric_in_range_and_permute_with_their_nodes(
    rule: FilterRule, contrast: SimilarityContrast, hundred: float
) -> None:
    def graphs(image_rows: Tensor, text_rows: Tensor) -> list[Tensor]:
        rebased = []
        for rows in (image_rows, text_rows):
            graph = contrasted_graph(relation_graph(rows), contrast)
            filtered = filtered_graph(graph, strong_relations(graph, rule, keep_share=0.3))
            rebased.append(associated_graph(filtered, filtered, correlation_share=0.6))
        joint = joined(rebased[0], rebased[1])
        return [*rebased, joint, reconstructed(joint)]

    image_rows, text_rows = hundred * random_rows(8), random_rows(8, seed=1)
    order = torch.tensor([3, 1, 7, 0, 6, 2, 5, 4])
    lengths = torch.arange(1, 9, dtype=torch.float64)[:, None]
    made = graphs(image_rows, text_rows)
    for graph in made:
        assert_close(graph, graph.T, rtol=0, atol=1e-12)
        assert float(graph.min()) >= 0
        assert float(graph.max()) <= 1 + 1e-12
    for graph in made[:2]:
        assert_close(graph.diagonal(), torch.ones(8, dtype=torch.float64), rtol=0, atol=1e-12)
    permuted = graphs(image_rows[order], text_rows[order])
    for graph, other in zip(made, permuted, strict=True):
        assert_close(other, graph[order][:, order], rtol=0, atol=1e-12)
    for graph, other in zip(made, graphs(lengths * image_rows, text_rows / lengths), strict=True):
        assert_close(other, graph, rtol=0, atol=1e-12)


def test_keeping_all_without_correlation_changes_nothing() -> None:
    graph = relation_graph(random_rows(7))
    assert_close(rebased(graph, keep_share=1.0, correlation_share=0.0), graph, rtol=0, atol=1e-15)


def test_swapped_modalities_of_equal_share_give_the_same_joint_graph() -> None:
    image, text = (rebased(relation_graph(random_rows(7, seed=seed))) for seed in (0, 1))
    one, other = joined(image, text, 0.5), joined(text, image, 0.5)
    assert_close(reconstructed(one), reconstructed(other), rtol=0, atol=1e-12)


def test_a_row_of_zeros_is_related_to_itself_alone() -> None:
    rows = random_rows(5)
    rows[2] = 0
    graph = relation_graph(rows)
    for contrast in SimilarityContrast:
        rebased_graph = rebased(contrasted_graph(graph, contrast))
        assert_close(rebased_graph[2], torch.eye(5, dtype=torch.float64)[2], rtol=0, atol=1e-15)
    zeros = rebased(relation_graph(torch.zeros(4, 3, dtype=torch.float64)))
    assert_close(zeros, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("rule", FilterRule)
@pytest.mark.parametrize("contrast", SimilarityContrast)
def test_one_node_and_nodes_that_are_all_alike(
    rule: FilterRule, contrast: SimilarityContrast
) -> None:
    for n in (1, 2, 5):
        graph = contrasted_graph(relation_graph(torch.ones(n, 3)), contrast)
        assert_close(graph, torch.ones(n, n), rtol=0, atol=1e-6)
        strong = strong_relations(graph, rule, keep_share=1.0)
        assert strong.all() or rule is not FilterRule.TOP_SHARE
        assert strong.diagonal().all()


def test_of_equal_entries_the_first_are_strongest() -> None:
    values = torch.tensor([[0.5, 0.7, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])
    assert strongest_entries(values, 3).tolist() == [[True, True, True, False]] * 2
    assert strongest_entries(values, 1).tolist() == [
        [False, True, False, False],
        [True, False, False, False],
    ]
    assert strongest_entries(values, 4).all()
    assert not strongest_entries(values, 0).any()
    # All others are equally near: each node keeps the first of them, and is kept by the first.
    strong = strong_relations(torch.ones(4, 4), FilterRule.TOP_SHARE, keep_share=0.3)
    assert strong.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(1, 0.4, 0), (2, 0.4, 1), (3, 0.4, 1), (4, 0.4, 2), (32, 0.4, 13), (16, 0.2, 3), (9, 1.0, 8),
     (101, 0.55, 55), (5, 0.01, 1)],
)  # fmt: skip
def test_kept_neighbours(n: int, share: float, expected: int) -> None:
    assert kept_neighbours(n, share) == expected


def test_contrast_by_hand() -> None:
    graph = torch.tensor([[1, 0.9, 0.6], [0.9, 1, 0.6], [0.6, 0.6, 1]], dtype=torch.float64)
    assert contrasted_graph(graph, SimilarityContrast.RAW) is graph
    # The mean of .9, .6, .6 is .7.
    expected = torch.tensor([[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 1]], dtype=torch.float64)
    assert_close(
        contrasted_graph(graph, SimilarityContrast.CENTRED), expected, rtol=0, atol=1e-12
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "factor", "expected"),
    [
        # Row means of the image example: .5, .45, .15.
        (FilterRule.ROW_MEAN, 0.0, [True, True, False]),
        # Mean of all is 1.1 / 3, deviation about .309.
        (FilterRule.DEVIATION, 0.0, [True, False, False]),
        (FilterRule.DEVIATION, -0.6, [True, True, False]),
        (FilterRule.DEVIATION, 2.0, [False, False, False]),
    ],
)
def test_thresholds_by_hand(rule: FilterRule, factor: float, expected: list[bool]) -> None:
    strong = strong_relations(IMAGE, rule, keep_share=0.4, deviation_factor=factor)
    assert strong[OFF_DIAGONAL].tolist() == expected
    assert strong.diagonal().all()
