import pytest
import torch
from torch.testing import assert_close

from modalhash.methods.communities import (
    community_centres,
    find_communities,
    group_means,
    nearest_centres,
)

LINE = torch.tensor([[0.0, 0], [2, 0], [3, 0], [10, 0], [12, 0], [6.25, 0]], dtype=torch.float64)
"""Six nodes on a line: the first two and the fourth and fifth are communities below."""


def clique(first: int, size: int) -> list[list[int]]:
    return [[i, j] for i in range(first, first + size) for j in range(i + 1, first + size)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cliques_joined_by_one_edge_are_communities(seed: int) -> None:
    edges = torch.tensor([*clique(0, 4), *clique(4, 5), *clique(9, 3), [3, 4], [8, 9]])
    communities = find_communities(edges, resolution=1.0, seed=seed, most=8)
    assert communities == [[4, 5, 6, 7, 8], [0, 1, 2, 3], [9, 10, 11]]


def test_only_the_largest_are_kept_and_nodes_without_an_edge_are_in_none() -> None:
    edges = torch.tensor([*clique(7, 3), *clique(2, 3), *clique(12, 4)])
    communities = find_communities(edges, resolution=1.0, seed=1, most=2)
    assert communities == [[12, 13, 14, 15], [2, 3, 4]]


def test_edges_count_once_however_often_and_either_way_they_are_given() -> None:
    # Weighted by 3, the edge between the cliques would join their ends.
    edges = torch.tensor([*clique(0, 3), *clique(3, 3), *[[2, 3], [3, 2]] * 20])
    assert find_communities(edges, resolution=1.0, seed=1, most=8) == [[0, 1, 2], [3, 4, 5]]


def test_without_edges_there_are_no_communities() -> None:
    edges = torch.zeros(0, 2, dtype=torch.long)
    assert find_communities(edges, resolution=1.0, seed=1, most=8) == []


def test_a_higher_resolution_gives_more_communities() -> None:
    # A ring of 30 triangles: at low resolution neighbours are joined, at a high one none is.
    edges = [edge for first in range(0, 90, 3) for edge in clique(first, 3)]
    ring = torch.tensor([*edges, *[[3 * i + 2, (3 * i + 3) % 90] for i in range(30)]])
    whole = find_communities(ring, resolution=4.0, seed=1, most=99)
    assert whole == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(30)]
    assert len(find_communities(ring, resolution=0.5, seed=1, most=99)) < 15


def test_means_of_groups_by_hand() -> None:
    rows = torch.tensor([[1.0, 0], [3, 4], [0, 8]])
    expected = torch.tensor([[2.0, 2.0], [0.0, 8.0]])
    assert_close(group_means(rows, torch.tensor([5, 5, 9])), expected, rtol=0, atol=1e-6)


def test_of_equally_near_centres_the_first_counts() -> None:
    rows = torch.tensor([[0.0, 0], [5, 0], [4, 0]])
    centres = torch.tensor([[-1.0, 0], [1, 0], [7, 0]])
    assert nearest_centres(rows, centres).tolist() == [0, 2, 1]


def test_centres_and_the_points_between_them_move_once_to_their_nodes() -> None:
    # Means are at 1 and 11, the midpoint at 6. Nearest to 1 are 0, 2 and 3; to 6 is 6.25.
    centres = community_centres(LINE, [[0, 1], [3, 4]])
    expected = torch.tensor([[5 / 3, 0], [11, 0], [6.25, 0]], dtype=torch.float64)
    assert_close(centres, expected, rtol=0, atol=1e-12)


def test_without_midpoints_nodes_between_go_to_a_community() -> None:
    centres = community_centres(LINE, [[0, 1], [3, 4]], has_midpoints=False)
    expected = torch.tensor([[5 / 3, 0], [(10 + 12 + 6.25) / 3, 0]], dtype=torch.float64)
    assert_close(centres, expected, rtol=0, atol=1e-12)


def test_a_centre_that_is_nearest_to_no_node_is_left_out() -> None:
    centres = community_centres(LINE[:5], [[0, 1], [3, 4]])
    expected = torch.tensor([[5 / 3, 0], [11, 0]], dtype=torch.float64)
    assert_close(centres, expected, rtol=0, atol=1e-12)


def test_without_communities_there_is_one_centre_the_mean() -> None:
    assert_close(
        community_centres(LINE[:3], []),
        torch.tensor([[5 / 3, 0]], dtype=torch.float64),
        rtol=0,
        atol=1e-12,
    )
