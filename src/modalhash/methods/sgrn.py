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
weights of `intra` and `consistency`, the scope `train_set`. Nothing here reproduces the paper's
results.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from modalhash.errors import SettingError
from modalhash.layers import MlpHead
from modalhash.losses import (
    FilterRule,
    NeighbourGraph,
    SimilarityContrast,
    associated_graph,
    continuation_factor,
    contrasted_graph,
    cosine_similarities,
    diagonal_gap,
    distribution_weighted,
    filtered_graph,
    joint_graph,
    kept_neighbours,
    largest_edge_count,
    neighbour_graph,
    neighbourhoods,
    reconstructed_graph,
    relation_graph,
    strong_relations,
)
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    Settings,
    check_order,
)

__all__ = [
    "GraphScope",
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


class GraphScope(StrEnum):
    """Over which nodes relations are filtered and correlated: those of a batch, or of all pairs."""

    BATCH = "batch"
    TRAIN_SET = "train_set"


@dataclass(frozen=True)
class SgrnSettings(Settings):
    """Settings of SGRN; the paper's values are unknown, each line says where ours come from."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the hidden layer of each hash head (DJSRH, JDSH, DSAH, DGCPN)."""
    image_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.5
    """Share of hidden units of the image head dropped in training (DGCPN, on cached features)."""
    text_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """The same of the text head (none in DJSRH, JDSH, DSAH)."""
    similarity_contrast: SimilarityContrast = SimilarityContrast.RAW
    """`centred` puts the mean relation at 0, for features whose cosines are all high (ours)."""
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
    distribution_weighting: bool = False
    """Enlarge joint similarities beyond two thresholds (JDSH)."""
    weighting_left: float = -0.5
    """Similarity in [-1, 1] below which pairs count as far (ours; JDSH's suit AlexNet alone)."""
    weighting_right: float = 0.5
    """Similarity above which pairs count as near (ours)."""
    weighting_minimum: float = -1.0
    """Similarity at which far pairs are enlarged by the full share (ours)."""
    weighting_maximum: float = 1.0
    """Similarity at which near pairs are enlarged by the full share (ours)."""
    weighting_left_share: Annotated[float, NOT_NEGATIVE] = 0.1
    """Share by which far pairs are enlarged (.1 and .2 in JDSH)."""
    weighting_right_share: Annotated[float, NOT_NEGATIVE] = 0.2
    """Share by which near pairs are enlarged (JDSH)."""
    hash_mixing: Annotated[float, SHARE] = 0.0
    """Share of the codes' own similarity in the joint target, reached at half time (ours)."""
    unrelated_similarity: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What a relation of 0 asks of codes, before the scale (-1 in DJSRH's family); phi."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.5
    """Scale of the targets; above 1 it pushes codes to their signs (DJSRH, DSAH, DGCPN); mu."""
    continuation: bool = True
    """Steepen the tanh each epoch (DJSRH, JDSH, DSAH; DGCPN leaves it off)."""
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
    graph_scope: GraphScope = GraphScope.BATCH
    """Nodes that graphs are made of (a batch in DJSRH, JDSH, DSAH; all pairs in DGCPN, CIRH)."""
    graph_neighbours: Annotated[int, AT_LEAST_ONE] = 256
    """Most neighbours a node keeps in a graph of all pairs (ours)."""

    def check_together(self) -> None:
        """Check that thresholds are in order."""
        check_order(self, "weighting_left", "weighting_right")


def intra_loss(
    image_similarity: Tensor, text_similarity: Tensor, image_target: Tensor, text_target: Tensor
) -> Tensor:
    """Return how far codes are from the rebased graph of their own modality; all (n, n)."""
    return mse_loss(image_similarity, image_target) + mse_loss(text_similarity, text_target)


def joint_loss(
    image_similarity: Tensor,
    text_similarity: Tensor,
    paired_similarity: Tensor,
    target: Tensor,
    *,
    own_share: float,
) -> Tensor:
    """Return how far codes are from the reconstructed joint graph.

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
    """Return how far the codes' similarities depend on modality; all (n, n)."""
    return (
        mse_loss(paired_similarity, paired_similarity.T)
        + mse_loss(paired_similarity, image_similarity)
        + mse_loss(paired_similarity, text_similarity)
    )


class GraphBuffers(nn.Module):
    """A training set's graph as buffers of fixed size, which checkpoints keep.

    Args:
        n_nodes: N.
        n_edges: the most there can be.
    """

    starts: Tensor
    columns: Tensor
    weights: Tensor

    def __init__(self, n_nodes: int, n_edges: int) -> None:
        super().__init__()
        self.register_buffer("starts", torch.zeros(n_nodes + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(n_edges, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(n_edges))

    def fill(self, graph: NeighbourGraph) -> None:
        """Keep a graph."""
        n_edges = len(graph.columns)
        self.starts.copy_(graph.starts)
        self.columns[:n_edges] = graph.columns
        self.weights[:n_edges] = graph.weights

    @property
    def graph(self) -> NeighbourGraph:
        """The graph."""
        return NeighbourGraph(self.starts, self.columns, self.weights)


DENSE: Mapping[str, Any] = {
    "hidden_width": 1024,
    "image_dropout": 0.0,
    "keep_share": 0.6,
    "image_share": 0.4,
    "unrelated_similarity": -0.4,
    "pair_weight": 0.3,
    "image_scaling": "centred_unit",
    "text_scaling": "centred_unit",
    "optimiser": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "schedule": "one_cycle",
    "batch_size": 64,
    "epochs": 40,
    "least_steps": 500,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Of centred features half of all relations are 0, and codes can't all be opposites of each other: the
target of unrelated nodes is moved towards 0.
"""


@dataclass
class SgrnHeads(Heads):
    """Hash heads and, where that is the scope, the graphs of all training pairs."""

    image_graph: GraphBuffers | None = None
    text_graph: GraphBuffers | None = None


class Sgrn(GradientMethod[SgrnHeads]):
    """Similarity graph-correlation reconstruction network; see the module's docstring."""

    name = "sgrn"
    title = "SGRN"
    settings_class = SgrnSettings
    settings: SgrnSettings
    training = TrainingSettings(epochs=100)
    smallest_batch = 4
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "mirflickr": {"image_share": 0.9},
        "nuswide": {"image_share": 0.6},
        "paper": {},
        "wiki": {"image_share": 0.3},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the filter": {"keep_share": 1.0, "filter_rule": "top_share"},
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

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> SgrnHeads:
        """Make two hash heads of one hidden layer, and room for the training set's graphs.

        Raises:
            SettingError: if these graphs would take more than 512 MiB.
        """
        settings, image_graph, text_graph = self.settings, None, None
        if settings.graph_scope is GraphScope.TRAIN_SET:
            n_edges = largest_edge_count(shapes.n_pairs, self.n_neighbours(shapes.n_pairs))
            n_bytes = 2 * (8 * n_edges + 8 * shapes.n_pairs)
            if n_bytes > LARGEST_GRAPH_BYTES:
                raise SettingError(
                    f"graph_neighbours is {settings.graph_neighbours}: the graphs of "
                    f"{shapes.n_pairs} pairs would take {n_bytes / 2**20:.0f} MiB, at most "
                    f"{LARGEST_GRAPH_BYTES // 2**20} are allowed: lower graph_neighbours, or set "
                    "graph_scope=batch"
                )
            image_graph, text_graph = (GraphBuffers(shapes.n_pairs, n_edges) for _ in range(2))
        width = settings.hidden_width
        return SgrnHeads(
            image=MlpHead((shapes.image_width, width, n_bits), dropout=settings.image_dropout),
            text=MlpHead((shapes.text_width, width, n_bits), dropout=settings.text_dropout),
            image_graph=image_graph,
            text_graph=text_graph,
        )

    def n_neighbours(self, n_pairs: int) -> int:
        """Return the neighbours of a node in the graph of all pairs."""
        share = self.settings.keep_share
        if self.settings.filter_rule is not FilterRule.TOP_SHARE:
            share = 1.0
        return min(self.settings.graph_neighbours, kept_neighbours(n_pairs, share))

    def before_training(self, heads: SgrnHeads, view: TrainingView) -> None:
        """Make the graphs of all pairs, where that is the scope, from first captions."""
        settings, n_neighbours = self.settings, self.n_neighbours(view.n_pairs)
        if settings.graph_scope is GraphScope.BATCH:
            return
        logger.info("relating %d pairs to %d neighbours each", view.n_pairs, n_neighbours)
        batches = [
            (batch.image.reference, batch.text.reference) for batch in view.batches(READ_BATCH)
        ]  # fmt: skip
        for buffers, features in zip(graph_buffers(heads), zip(*batches, strict=True), strict=True):
            buffers.fill(
                neighbour_graph(
                    torch.cat(features),
                    n_neighbours,
                    rule=settings.filter_rule,
                    contrast=settings.similarity_contrast,
                    deviation_factor=settings.deviation_factor,
                )
            )

    def batch_loss(self, heads: SgrnHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the four weighted terms of the objective."""
        settings = self.settings
        factor = continuation_factor(moment.epoch) if settings.continuation else 1.0
        image_relaxed = torch.tanh(factor * heads.image(batch.image))
        text_relaxed = torch.tanh(factor * heads.text(batch.text))
        among_images = cosine_similarities(image_relaxed, image_relaxed)
        among_texts = cosine_similarities(text_relaxed, text_relaxed)
        across = cosine_similarities(image_relaxed, text_relaxed)
        with torch.no_grad():
            image_target, text_target, joint_target = self.targets(
                self.graphs(heads, batch), across, moment
            )
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
        return LossReport(terms)

    def graphs(self, heads: SgrnHeads, batch: Batch) -> Graphs:
        """Return the rebased image graph, text graph and the reconstructed joint one, (n, n).

        Correlation, cross part and reconstruction compare rows: in a batch, rows of the graph made
        in the step before. In the training set these rows would be dense, so nodes are compared by
        their strong relations to all others instead.
        """
        settings = self.settings
        is_batch = settings.graph_scope is GraphScope.BATCH
        if is_batch:
            image, text = self.filtered(batch.image.reference), self.filtered(batch.text.reference)
            image_rows, text_rows = image, text
        else:
            kept = [buffers.graph for buffers in graph_buffers(heads)]
            (image_rows, text_rows), own = neighbourhoods(kept, batch.positions)
            image, text = image_rows[:, own], text_rows[:, own]
        share = settings.correlation_share
        image = associated_graph(image, image_rows, correlation_share=share)
        text = associated_graph(text, text_rows, correlation_share=share)
        joint = joint_graph(
            image,
            text,
            (image, text) if is_batch else (image_rows, text_rows),
            image_share=settings.image_share,
            cross_share=settings.cross_share,
        )
        joint_rows = settings.image_share * image_rows + (1 - settings.image_share) * text_rows
        joint = reconstructed_graph(
            joint,
            joint if is_batch else joint_rows,
            reconstruction_share=settings.reconstruction_share,
        )
        return image, text, joint

    def filtered(self, features: Tensor) -> Tensor:
        """Return the filtered graph (n, n) of one modality's features (n, d)."""
        settings = self.settings
        graph = contrasted_graph(relation_graph(features), settings.similarity_contrast)
        strong = strong_relations(
            graph,
            settings.filter_rule,
            keep_share=settings.keep_share,
            deviation_factor=settings.deviation_factor,
        )
        return filtered_graph(graph, strong)

    def targets(self, graphs: Graphs, across: Tensor, moment: Moment) -> Graphs:
        """Return what the codes' similarities should be, from graphs in [0, 1]."""
        settings = self.settings
        progress = min(2 * moment.epoch / moment.n_epochs, 1.0)
        low = settings.unrelated_similarity
        image, text, joint = (low + (1 - low) * graph for graph in graphs)
        joint = torch.lerp(joint, (across + across.T) / 2, settings.hash_mixing * progress)
        if settings.distribution_weighting:
            joint = distribution_weighted(
                joint,
                left=settings.weighting_left,
                right=settings.weighting_right,
                minimum=settings.weighting_minimum,
                maximum=settings.weighting_maximum,
                left_weight=settings.weighting_left_share,
                right_weight=settings.weighting_right_share,
            )
        scale = settings.similarity_scale
        return scale * image, scale * text, scale * joint


def graph_buffers(heads: SgrnHeads) -> tuple[GraphBuffers, GraphBuffers]:
    """The graphs of all pairs, of pictures and of texts, which the scope `train_set` makes."""
    assert heads.image_graph is not None
    assert heads.text_graph is not None
    return heads.image_graph, heads.text_graph
