"""Loss terms and similarity targets as pure tensor functions."""

from modalhash.losses.affinity import (
    CrossSimilarity,
    binary_similarities,
    cosine_similarities,
    cross_similarity,
    fused_affinity,
    rescaled_cosines,
)
from modalhash.losses.compatibility import former_agreement
from modalhash.losses.continuation import (
    continuation_factor,
    relative_factor,
    relaxed_codes,
)
from modalhash.losses.contrastive import (
    NceForm,
    contrast,
    info_nce,
    local_alignment,
    sign_gap,
)
from modalhash.losses.decoding import (
    DecodeFrom,
    DecodeTarget,
    decoder_input,
    decoding_loss,
    decoding_target,
    unexplained_share,
)
from modalhash.losses.diagnostics import code_statistics, saturated_share, sign_cosine, target_range
from modalhash.losses.direction_scores import measure_scaled_difference, partner_contrast
from modalhash.losses.enhancement import distribution_weighted
from modalhash.losses.fused_neighbours import (
    fused_rows,
    keep_thresholds,
    strongest_nodes,
)
from modalhash.losses.label_pairs import (
    LabelTarget,
    label_links,
    label_similarity,
    pairwise_logistic,
)
from modalhash.losses.neighbour_contrast import neighbour_targets, others_contrast, soft_contrast
from modalhash.losses.quantization import (
    asymmetric_alignment,
    float_share,
    reconstruction_error,
)
from modalhash.losses.reconstruction import (
    cross_gap,
    diagonal_gap,
    intra_gap,
    paired_cosine,
    similarity_gap,
)
from modalhash.losses.relation_graphs import (
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
from modalhash.losses.signs import signs_of, straight_through_signs

__all__ = [
    "CrossSimilarity",
    "DecodeFrom",
    "DecodeTarget",
    "FilterRule",
    "LabelTarget",
    "NceForm",
    "associated_graph",
    "asymmetric_alignment",
    "binary_similarities",
    "code_statistics",
    "continuation_factor",
    "contrast",
    "cosine_similarities",
    "count_kept_neighbours",
    "cross_gap",
    "cross_similarity",
    "decoder_input",
    "decoding_loss",
    "decoding_target",
    "diagonal_gap",
    "distribution_weighted",
    "filtered_graph",
    "float_share",
    "former_agreement",
    "fused_affinity",
    "fused_rows",
    "info_nce",
    "intra_gap",
    "joint_graph",
    "keep_thresholds",
    "label_links",
    "label_similarity",
    "local_alignment",
    "measure_scaled_difference",
    "neighbour_targets",
    "others_contrast",
    "paired_cosine",
    "pairwise_logistic",
    "partner_contrast",
    "reconstructed_graph",
    "reconstruction_error",
    "relation_graph",
    "relative_factor",
    "relaxed_codes",
    "rescaled_cosines",
    "saturated_share",
    "sign_cosine",
    "sign_gap",
    "signs_of",
    "similarity_gap",
    "soft_contrast",
    "straight_through_signs",
    "strong_relations",
    "strongest_entries",
    "strongest_nodes",
    "target_range",
    "unexplained_share",
]
