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
from modalhash.losses.reconstruction import paired_cosine, similarity_gap

__all__ = [
    "CrossSimilarity",
    "NceForm",
    "bit_balance",
    "continuation_factor",
    "contrast",
    "cosine_similarities",
    "cross_similarity",
    "fused_affinity",
    "info_nce",
    "local_alignment",
    "paired_cosine",
    "rescaled_cosines",
    "sign_gap",
    "similarity_gap",
]
