"""Loss terms and similarity targets as pure tensor functions."""

from modalhash.losses.affinity import (
    CrossSimilarity,
    cosine_similarities,
    cross_similarity,
    fused_affinity,
    rescaled_cosines,
)
from modalhash.losses.continuation import continuation_factor
from modalhash.losses.contrastive import (
    NceForm,
    bit_balance,
    contrast,
    info_nce,
    local_alignment,
    sign_gap,
)
from modalhash.losses.neighbour_graphs import (
    NeighbourGraph,
    largest_edge_count,
    neighbour_graph,
    neighbourhoods,
)
from modalhash.losses.reconstruction import paired_cosine, similarity_gap
from modalhash.losses.relation_graphs import (
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

__all__ = [
    "CrossSimilarity",
    "FilterRule",
    "NceForm",
    "NeighbourGraph",
    "SimilarityContrast",
    "associated_graph",
    "bit_balance",
    "continuation_factor",
    "contrast",
    "contrasted_graph",
    "cosine_similarities",
    "cross_similarity",
    "filtered_graph",
    "fused_affinity",
    "info_nce",
    "joint_graph",
    "kept_neighbours",
    "largest_edge_count",
    "local_alignment",
    "neighbour_graph",
    "neighbourhoods",
    "paired_cosine",
    "reconstructed_graph",
    "relation_graph",
    "rescaled_cosines",
    "sign_gap",
    "similarity_gap",
    "strong_relations",
    "strongest_entries",
]
