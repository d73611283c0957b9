"""SGRN: similarity graph-correlation reconstruction network.

D. Yao, Z. Li, B. Li, C. Zhang, H. Ma: "Similarity graph-correlation reconstruction network for
unsupervised cross-modal hashing", Expert Systems with Applications 237, article 121516, 2024.
https://doi.org/10.1016/j.eswa.2023.121516

Frozen features give one relation graph a modality. Each is rebased: weak relations are filtered out
and nodes whose strong neighbours correlate are connected. The two are joined, the joint graph is
reconstructed, and codes must reproduce the rebased graphs within each modality and the joint one
across the two. No labels are used.

Objective, for n pairs with features F_v, F_t and e = epoch (from 0); rn: rows of length 1;
phi = unrelated_similarity::

    A_m = max(0, cos(F_m, F_m))                       relations of modality m, diagonal 1
    W_m = A_m where i is among the strongest of j, or j among those of i; else 0
    G_m = (1 - correlation_share) W_m + correlation_share cos(W_m, W_m)
    P   = rn(G_v) rn(G_t)^T;                          X = (P + P^T) / 2
    J   = (1 - cross_share) (image_share G_v + (1 - image_share) G_t) + cross_share X
    U   = (1 - reconstruction_share) J + reconstruction_share cos(J, J)
    T   = similarity_scale (phi + (1 - phi) G)        T_v, T_t, T_u: targets from G_v, G_t, U

    H_m = tanh(sqrt(e + 1) z_m)                       z_m: output of the hash head of modality m
    K   = cos(H, H)                                   K_vv, K_tt, K_vt
    intra       = MSE(K_vv, T_v) + MSE(K_tt, T_t)
    joint       = MSE(K_vt, T_u) + own_share (MSE(K_vv, T_u) + MSE(K_tt, T_u))
    pair        = mean_i (K_vt[i, i] - similarity_scale)^2
    consistency = MSE(K_vt, K_vt^T) + MSE(K_vt, K_vv) + MSE(K_vt, K_tt)
    L = intra_weight intra + joint_weight joint + pair_weight pair + consistency_weight consistency

Differs from the paper: we had its abstract, highlights and keywords, not its text, and found no
code of its authors. Certain: no supervision; a relation graph per modality; rebasing that filters
weak and connects strong relations; a joint graph of the rebased ones, which is reconstructed;
intra- and inter-modal similarities of features and of codes in training. Inferred: every formula,
constant and layer size, from the closest methods with released code (named at each setting). Ours,
where those disagree or are silent: the union of both ends' choices, the share of correlation, the
weights of `intra` and `consistency`. Nothing here reproduces the paper's
results.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from modalhash.layers import MlpHead
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    FilterRule,
    associated_graph,
    code_statistics,
    cosine_similarities,
    diagonal_gap,
    filtered_graph,
    joint_graph,
    reconstructed_graph,
    relation_graph,
    strong_relations,
)
from modalhash.methods.base import (
    DENSE_TRAINING,
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Term,
    TrainingSettings,
)
from modalhash.methods.continuation import make_relaxation
from modalhash.methods.controls import NamedModule
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    Settings,
)

__all__ = [
    "Sgrn",
    "SgrnSettings",
    "consistency_loss",
    "intra_loss",
    "joint_loss",
]

logger = logging.getLogger(__name__)
LARGEST_GRAPH_BYTES = 2**29
"""Most memory of the two graphs of a training set; while they are made, some four times that."""
READ_BATCH = 1024
Graphs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class SgrnSettings(Settings):
    """Settings of SGRN; the paper's values are unknown, each line says where ours come from."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the hidden layer of each hash head (DJSRH, JDSH, DSAH, DGCPN)."""
    image_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.5
    """Share of hidden units of the image head dropped in training (DGCPN, on cached features)."""
    text_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """The same of the text head (none in DJSRH, JDSH, DSAH)."""
    filter_rule: FilterRule = FilterRule.TOP_SHARE
    """Which relations are strong (a share in DGCPN and CIRH; thresholds are as plausible)."""
    keep_share: Annotated[float, SHARE_ABOVE_ZERO] = 0.4
    """Share of the others that a node keeps (.40 in DGCPN, .34 to .40 in CIRH); 1 keeps all."""
    deviation_factor: float = 0.0
    """Standard deviations above the mean, for the rule `deviation` (ours)."""
    correlation_share: Annotated[float, SHARE] = 0.3
    """Weight of the neighbourhoods' correlation beside the direct relation (ours); rho."""
    image_share: Annotated[float, SHARE] = 0.6
    """Weight of the image graph in the joint one; the rest is the text's (DJSRH); beta."""
    cross_share: Annotated[float, SHARE] = 0.3
    """Weight of the cross part in the joint graph (.4 and .3 in JDSH); lambda."""
    reconstruction_share: Annotated[float, SHARE] = 0.4
    """Weight of second-order similarity in the reconstructed graph (DJSRH); eta."""
    unrelated_similarity: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What a relation of 0 asks of codes, before the scale (-1 in DJSRH's family); phi."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.5
    """Scale of the targets; above 1 it pushes codes to their signs (DJSRH, DSAH, DGCPN); mu."""
    continuation: bool = True
    """Steepen the tanh each epoch (DJSRH, JDSH, DSAH; DGCPN leaves it off)."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the term within modalities (ours; .1 in DSAH)."""
    joint_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the joint graph's term (DJSRH)."""
    own_share: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of each modality's own codes in the joint graph's term (DJSRH); w_s."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the paired codes' term (DSAH, DGCPN)."""
    consistency_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of the codes' agreement across modalities (ours; 1 in DGCPN)."""


def intra_loss(
    image_similarity: Tensor, text_similarity: Tensor, image_target: Tensor, text_target: Tensor
) -> Tensor:
    """Compute the gap of codes to the rebased graph of their own modality; all (n, n)."""
    return mse_loss(image_similarity, image_target) + mse_loss(text_similarity, text_target)


def joint_loss(
    image_similarity: Tensor,
    text_similarity: Tensor,
    paired_similarity: Tensor,
    target: Tensor,
    *,
    own_share: float,
) -> Tensor:
    """Compute the gap of codes to the reconstructed joint graph.

    Args:
        image_similarity: (n, n) among image codes.
        text_similarity: (n, n) among text codes.
        paired_similarity: (n, n), row: image code, column: text code.
        target: (n, n).
        own_share: weight of each of the first two.
    """
    own = mse_loss(image_similarity, target) + mse_loss(text_similarity, target)
    return mse_loss(paired_similarity, target) + own_share * own


def consistency_loss(
    image_similarity: Tensor, text_similarity: Tensor, paired_similarity: Tensor
) -> Tensor:
    """Compute how far the codes' similarities depend on modality; all (n, n)."""
    return (
        mse_loss(paired_similarity, paired_similarity.T)
        + mse_loss(paired_similarity, image_similarity)
        + mse_loss(paired_similarity, text_similarity)
    )


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "hidden_width": 1024,
    "image_dropout": 0.0,
    "keep_share": 0.6,
    "image_share": 0.4,
    "unrelated_similarity": -0.4,
    "pair_weight": 0.3,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Of centred features half of all relations are 0, and codes can't all be opposites of each other: the
target of unrelated nodes is moved towards 0.
"""

WIKI: Mapping[str, Any] = {**DENSE, "image_share": 0.3}
"""DJSRH's share of pictures on Wiki; how to train on its features is ours.

By the plain SGD of the methods that SGRN follows, all bits become constant on features that are not
those of a network tuned on the way.
"""


class Sgrn(GradientMethod[Heads]):
    """Similarity graph-correlation reconstruction network; see the module's docstring."""

    name = "sgrn"
    title = "SGRN"
    settings_class = SgrnSettings
    settings: SgrnSettings
    training = TrainingSettings(
        epochs=100,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 4
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "mirflickr": {"image_share": 0.9},
        "nuswide": {"image_share": 0.6},
        "paper": {},
        "wiki": WIKI,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the filter": {"keep_share": 1.0, "filter_rule": "top_share"},
        "with a shuffled filter": {"filter_rule": "shuffled"},
        "without correlation": {"correlation_share": 0.0},
        "without the cross part": {"cross_share": 0.0},
        "without reconstruction": {"reconstruction_share": 0.0},
        "without the term within modalities": {"intra_weight": 0.0},
        "without the pair term": {"pair_weight": 0.0},
        "without consistency": {"consistency_weight": 0.0},
        "with a fixed tanh": {"continuation": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the term within modalities": ("intra",),
        "without the pair term": ("pair",),
        "without consistency": ("consistency",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "filter": NamedModule("without the filter", "with a shuffled filter"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        """Make two hash heads of one hidden layer."""
        settings, width = self.settings, self.settings.hidden_width
        return Heads(
            image=MlpHead((shapes.image_width, width, n_bits), dropout=settings.image_dropout),
            text=MlpHead((shapes.text_width, width, n_bits), dropout=settings.text_dropout),
        )

    def batch_loss(self, heads: Heads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the four weighted terms of the objective."""
        settings = self.settings
        relax = make_relaxation(settings, moment)
        image_relaxed = relax(heads.image(batch.image))
        text_relaxed = relax(heads.text(batch.text))
        among_images = cosine_similarities(image_relaxed, image_relaxed)
        among_texts = cosine_similarities(text_relaxed, text_relaxed)
        across = cosine_similarities(image_relaxed, text_relaxed)
        with torch.no_grad():
            graphs, changes = self.graphs(batch)
            image_target, text_target, joint_target = self.targets(graphs)
        intra = intra_loss(among_images, among_texts, image_target, text_target)
        joint = joint_loss(
            among_images, among_texts, across, joint_target, own_share=settings.own_share
        )
        pair = diagonal_gap(across, settings.similarity_scale)
        consistency = consistency_loss(among_images, among_texts, across)
        terms = {
            "intra": Term(intra, settings.intra_weight),
            "joint": Term(joint, settings.joint_weight),
            "pair": Term(pair, settings.pair_weight),
            "consistency": Term(consistency, settings.consistency_weight),
        }
        return LossReport(terms, code_statistics(image_relaxed, text_relaxed) | changes)

    def graphs(self, batch: Batch) -> tuple[Graphs, dict[str, Tensor]]:
        """Make the rebased image graph, text graph and the reconstructed joint one, (n, n).

        Correlation, cross part and reconstruction compare rows of the graph of the step before.

        Returns:
            The graphs, and for each modality, as scalars by name: `removed`, the share of its
            relations that the filter removes; `connected`, how many pairs of nodes without a
            relation get one by correlation, as a share of the relations that there were.
        """
        image, image_changes = self.rebased(batch.image.reference)
        text, text_changes = self.rebased(batch.text.reference)
        settings = self.settings
        joint = joint_graph(
            image,
            text,
            (image, text),
            image_share=settings.image_share,
            cross_share=settings.cross_share,
        )
        joint = reconstructed_graph(
            joint, joint, reconstruction_share=settings.reconstruction_share
        )
        changes = {f"image_{name}": share for name, share in image_changes.items()}
        changes |= {f"text_{name}": share for name, share in text_changes.items()}
        return (image, text, joint), changes

    def rebased(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Filter and connect the graph (n, n) of one modality's features (n, d)."""
        settings = self.settings
        graph = relation_graph(features)
        strong = strong_relations(
            graph,
            settings.filter_rule,
            keep_share=settings.keep_share,
            deviation_factor=settings.deviation_factor,
        )
        filtered = filtered_graph(graph, strong)
        rebased = associated_graph(filtered, filtered, correlation_share=settings.correlation_share)
        n_relations = ((graph > 0).sum() - len(graph)).clamp_min(1)
        removed = ((graph > 0) & (filtered == 0)).sum() / n_relations
        connected = ((rebased > 0) & (filtered == 0)).sum() / n_relations
        return rebased, {"removed": removed, "connected": connected}

    def targets(self, graphs: Graphs) -> Graphs:
        """Compute what the codes' similarities should be, from graphs in [0, 1]."""
        low, scale = self.settings.unrelated_similarity, self.settings.similarity_scale
        image, text, joint = (scale * (low + (1 - low) * graph) for graph in graphs)
        return image, text, joint
