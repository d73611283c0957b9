import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    FilterRule,
    associated_graph,
    count_kept_neighbours,
    filtered_graph,
    joint_graph,
    reconstructed_graph,
    relation_graph,
    strong_relations,
    strongest_entries,
)

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


def test_keeping_all_without_correlation_changes_nothing() -> None:
    graph = relation_graph(random_rows(7))
    assert_close(rebased(graph, keep_share=1.0, correlation_share=0.0), graph, rtol=0, atol=1e-15)


def test_swapped_modalities_of_equal_share_give_the_same_joint_graph() -> None:
    image, text = (rebased(relation_graph(random_rows(7, seed=seed))) for seed in (0, 1))
    one, other = joined(image, text, 0.5), joined(text, image, 0.5)
    assert_close(reconstructed(one), reconstructed(other), rtol=0, atol=1e-12)


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
    assert count_kept_neighbours(n, share) == expected


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
