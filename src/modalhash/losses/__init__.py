"""Loss terms and similarity targets as pure tensor functions."""

from modalhash.losses.affinity import (
    CrossSimilarity,
    cosine_similarities,
    cross_similarity,
    fused_affinity,
    rescaled_cosines,
)
from modalhash.losses.continuation import continuation_factor
from modalhash.losses.reconstruction import paired_cosine, similarity_gap

__all__ = [
    "CrossSimilarity",
    "continuation_factor",
    "cosine_similarities",
    "cross_similarity",
    "fused_affinity",
    "paired_cosine",
    "rescaled_cosines",
    "similarity_gap",
]
