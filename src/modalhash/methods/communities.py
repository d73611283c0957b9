"""Communities of a graph of training pairs, and the centres that are made of them."""

from itertools import combinations

import torch
from torch import Tensor

__all__ = ["community_centres", "find_communities", "group_means", "nearest_centres"]

BLOCK_ROWS = 1024
"""Rows whose distances to all centres are held at once."""


def find_communities(edges: Tensor, *, resolution: float, seed: int, most: int) -> list[list[int]]:
    """Find communities by the Louvain method of networkx, edges counting alike.

    Args:
        edges: (k, 2) int64, two nodes each; an edge may be there twice, or the other way round.
        resolution: above 1 gives more and smaller communities, below 1 fewer and larger ones.
        seed: of the order in which nodes are visited.
        most: communities to return; the largest are kept.

    Returns:
        Members of each community, ascending; the largest community first, of equal ones that with
        the smallest member. A node without an edge is in none.

    Example:
        >>> two_triangles = [[0, 1], [0, 2], [1, 2], [2, 3], [3, 4], [3, 5], [4, 5]]
        >>> find_communities(torch.tensor(two_triangles), resolution=1.0, seed=1, most=8)
        [[0, 1, 2], [3, 4, 5]]
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_edges_from(edges.tolist())
    sets = nx.community.louvain_communities(graph, resolution=resolution, seed=seed)
    members = sorted((sorted(members) for members in sets), key=lambda group: (-len(group), group))
    return members[:most]


def group_means(rows: Tensor, groups: Tensor) -> Tensor:
    """Compute the mean row of each group that has a member.

    Args:
        rows: (n, d).
        groups: (n,) int64, the number of each row's group, 0 or more.

    Returns:
        (c, d), in the order of the groups' numbers; numbers without a member are left out.
    """
    counts = groups.bincount()
    sums = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, groups, rows)
    has_members = counts > 0
    return sums[has_members] / counts[has_members, None].to(rows)


def nearest_centres(rows: Tensor, centres: Tensor) -> Tensor:
    """Find the centre (c, d) at the least Euclidean distance from each row (n, d), as (n,) int64.

    Of equally near ones the first counts.
    """
    blocks = torch.split(rows, BLOCK_ROWS)
    return torch.cat([torch.cdist(block, centres).argmin(dim=1) for block in blocks])


def community_centres(
    rows: Tensor, communities: list[list[int]], *, has_midpoints: bool = True
) -> Tensor:
    """Compute centres: the communities' means, points between them, moved once to their items.

    Args:
        rows: (m, d) of the nodes.
        communities: nodes of each, none empty.
        has_midpoints: add the point halfway between every two means.

    Returns:
        (c, d): of the means and midpoints that are the nearest one of some row, the mean of those
        rows. Without a community one centre, the mean of all rows.
    """
    if not communities:
        return rows.mean(dim=0, keepdim=True)
    means = torch.stack([rows[members].mean(dim=0) for members in communities])
    if has_midpoints:
        between = [(first + second) / 2 for first, second in combinations(means, 2)]
        means = torch.stack([*means, *between])
    return group_means(rows, nearest_centres(rows, means))
