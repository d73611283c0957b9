"""Relation graphs of SGRN by loops over pairs of nodes, in plain Python numbers."""

import math

from tests.oracles.plain_losses import Matrix, Rows, cosine, cosines


def relations(rows: Rows) -> Matrix:
    size = range(len(rows))
    return [
        [1.0 if i == j else max(cosine(rows[i], rows[j]), 0.0) for j in size] for i in size
    ]  # fmt: skip


def off_diagonal(graph: Rows) -> list[float]:
    size = range(len(graph))
    return [graph[i][j] for i in size for j in size if i != j]


def centred(graph: Rows) -> Matrix:
    entries = off_diagonal(graph)
    mean = sum(entries) / len(entries)
    size = range(len(graph))
    return [
        [1.0 if i == j else max((graph[i][j] - mean) / (1 - mean), 0.0) for j in size] for i in size
    ]


def chosen(graph: Rows, node: int, rule: str, share: float, factor: float) -> set[int]:
    """The nodes that a node finds strongly related to itself."""
    if rule == "shuffled":
        before = chosen(graph, (node - 1) % len(graph), "top_share", share, factor)
        return {(other + 1) % len(graph) for other in before}
    others = [other for other in range(len(graph)) if other != node]
    if rule == "top_share":
        n_kept = max(1, math.ceil(round(share * len(others), 9)))
        return set(sorted(others, key=lambda other: (-graph[node][other], other))[:n_kept])
    entries = off_diagonal(graph)
    if rule == "row_mean":
        least = sum(graph[node][other] for other in others) / len(others)
    else:
        mean = sum(entries) / len(entries)
        variance = sum((entry - mean) ** 2 for entry in entries) / len(entries)
        least = mean + factor * math.sqrt(variance)
    return {other for other in others if graph[node][other] >= least}


def filtered(graph: Rows, rule: str, share: float, factor: float = 0.0) -> Matrix:
    size = range(len(graph))
    sets = [chosen(graph, node, rule, share, factor) for node in size]
    return [
        [graph[i][j] if i == j or j in sets[i] or i in sets[j] else 0.0 for j in size] for i in size
    ]


def mixed(share: float, graph: Rows, other: Rows) -> Matrix:
    """The share of the second, the rest of the first."""
    return [
        [(1 - share) * one + share * two for one, two in zip(line, other_line, strict=True)]
        for line, other_line in zip(graph, other, strict=True)
    ]


def crossed(image: Rows, text: Rows) -> Matrix:
    product = cosines(image, text)
    size = range(len(product))
    return [[(product[i][j] + product[j][i]) / 2 for j in size] for i in size]


def associated(graph: Rows, share: float) -> Matrix:
    return mixed(share, graph, cosines(graph, graph))


def joint(image: Rows, text: Rows, image_share: float, cross_share: float) -> Matrix:
    return mixed(cross_share, mixed(image_share, text, image), crossed(image, text))


def reconstructed(graph: Rows, share: float) -> Matrix:
    return mixed(share, graph, cosines(graph, graph))


def target(graph: Rows, scale: float, low: float = -1.0) -> Matrix:
    return [[scale * (low + (1 - low) * value) for value in line] for line in graph]
