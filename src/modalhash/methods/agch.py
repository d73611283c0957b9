"""AGCH: aggregation-based graph convolutional hashing.

P.-F. Zhang, Y. Li, Z. Huang, X.-S. Xu: "Aggregation-Based Graph Convolutional Hashing for
Unsupervised Cross-Modal Retrieval", IEEE Transactions on Multimedia 24, 2022 (online 2021).
https://doi.org/10.1109/TMM.2021.3053766

One measure alone says too little of how alike two items are: the cosine of their joined features
is multiplied by a similarity that falls with their distance. Codes of pictures, of texts and of
both, which a fusion layer makes of a pair's two codes, reproduce the product. Graph networks pass
codes on between items that are alike; their codes teach those of each modality. No labels are used.

Objective, for n pairs with features F_v, F_t, low = unrelated_similarity, c = epoch (from 0) and
factor = sqrt(c + 1) with continuation, else 1::

    Z       = rows (image_weight F_v / |F_v|, text_weight F_t / |F_t|), scaled to length 1
    A[i, j] = cos(Z[i], Z[j]) exp(-|Z[i] - Z[j]|^distance_power / distance_scale)
    S       = similarity_scale ((1 - low) A + low)
    E       = R^-1/2 max(0, A) R^-1/2              R: row sums of max(0, A), on a diagonal
    H_m     = tanh(factor z_m)                     z_m: output of the hash head of modality m
    H_h     = tanh(factor W [H_v, H_t])            fused codes
    G_m     = tanh(factor N_m(H_m, E))             N_m: two graph convolutions and an affine map
    intra   = MSE(cos(H_x, H_x), S), summed over x = v, t, h
    cross   = MSE(cos(H_v, H_t), S)
    fusion  = mse(H_v, H_h) + mse(H_t, H_h)
    graph   = MSE(cos(G_m, G_m), S) + mse(G_m, H_m), summed over m = v, t
    L       = intra_weight intra + cross_weight cross + fusion_weight fusion + graph_weight graph

Differs from the paper: its text could not be read and its authors released no code. From its
abstract: several measures aggregated, modality-specific encoders, graph networks, a fusion module.
From digests that others published: A but for the scaling of Z, S with `low = -1`, E's form, layer
sizes, and the values of four weights. Inferred: which of these weights stands before which term,
the terms' exact forms, what graph networks read, that negative similarities are no edges. The
digest has parts updated in turn; here they learn together. Features are frozen, and the image head
has a hidden layer as the text head has (`image_hidden_width=0`: a linear map on AlexNet's, as
there). Continuation and the scale are ours.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from modalhash.layers import GraphNetwork, hash_head
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    code_statistics,
    intra_gap,
    similarity_gap,
    target_range,
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
    TrainingView,
)
from modalhash.methods.continuation import make_relaxation
from modalhash.methods.controls import NamedModule, shuffle_edges
from modalhash.methods.landmarks import (
    find_graphs,
    fused_guide,
    head_outputs,
    landmark_heads,
    landmark_outputs,
    make_landmark_graphs,
    renew_landmarks,
    set_landmarks,
)
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    Settings,
)

__all__ = [
    "Agch",
    "AgchSettings",
    "Measures",
    "aggregated_similarity",
    "degree_normalised",
    "fusion_loss",
    "graph_loss",
]

TINY = 1e-12


class Measures(StrEnum):
    """Which measures are multiplied: cosine and distance, or one of them alone."""

    BOTH = "both"
    COSINE = "cosine"
    DISTANCE = "distance"


@dataclass(frozen=True)
class AgchSettings(Settings):
    """Settings of AGCH; values as digests of the paper give them unless the line says otherwise."""

    image_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the image head's hidden layer; 0 is none (ours; paper: a trained AlexNet)."""
    text_hidden_width: Annotated[int, NOT_NEGATIVE] = 4096
    """Units of the text head's hidden layer; 0 is none."""
    image_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of image features in the joined ones; 1 on Wiki."""
    text_weight: Annotated[float, NOT_NEGATIVE] = 0.3
    """Weight of text features in the joined ones; 0.8 on Wiki."""
    measures: Measures = Measures.BOTH
    """What similarities are made of."""
    distance_scale: Annotated[float, POSITIVE] = 4.0
    """Scale of the distance, by which similarity falls; rho."""
    distance_power: Annotated[float, POSITIVE] = 0.5
    """Power of the distance; a digest writes its root, 1 is the other way to read it."""
    unrelated_similarity: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What a similarity of 0 asks of codes, before the scale; low."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.0
    """Scale of the target; beyond 1 it pushes codes towards signs (ours, as in DJSRH's line)."""
    graph_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the first graph convolution."""
    graph_output_width: Annotated[int, AT_LEAST_ONE] = 2048
    """Units of the second graph convolution."""
    graph_rate_scale: Annotated[float, POSITIVE] = 0.1
    """Factor on the learning rate of the graph networks (inferred)."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of reconstruction within a modality (inferred from alpha; 0.4 on Wiki)."""
    cross_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of reconstruction across modalities (inferred from beta; 0.3 on Wiki)."""
    fusion_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of agreement with fused codes (inferred from lambda; 5 on Wiki and NUS-WIDE); 0 leaves
    them out."""
    graph_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the graph networks' term (delta)."""
    over_landmarks: bool = False
    """Let items attend to landmarks, in encoding too, not to the others of a batch (ours)."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 512
    """Training pairs that a graph over landmarks knows, at most (ours)."""
    shuffled_graph: bool = False
    """Give the graph networks the edges of other pairs: a control (ours)."""
    continuation: bool = False
    """Sharpen the tanh by sqrt(epoch + 1) (ours, as in DJSRH's line of methods)."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""


def aggregated_similarity(
    image_features: Tensor,
    text_features: Tensor,
    *,
    image_weight: float,
    text_weight: float,
    distance_scale: float,
    distance_power: float,
    measures: Measures = Measures.BOTH,
) -> Tensor:
    """Compute (n, n) similarities of the joined features of n pairs, in [-1, 1].

    Args:
        image_features: (n, d).
        text_features: (n, e).
        image_weight: of image features, rows of length 1, in the joined ones.
        text_weight: of text features.
        distance_scale: of the exponent.
        distance_power: of the distance in the exponent.
        measures: cosine, distance or their product.

    Example:
        >>> angles = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> aggregated_similarity(
        ...     angles, angles, image_weight=2.0, text_weight=1.0, distance_scale=4.0,
        ...     distance_power=1.0, measures=Measures.COSINE,
        ... )
        tensor([[1.0000, 0.6000],
                [0.6000, 1.0000]])
    """
    parts = (image_weight * normalize(image_features), text_weight * normalize(text_features))
    joined = normalize(torch.cat(parts, dim=1))
    cosines = joined @ joined.T
    if measures is Measures.COSINE:
        return cosines
    lengths = joined.square().sum(dim=1)
    squares = (lengths[:, None] + lengths - 2 * cosines).clamp_min(0).fill_diagonal_(0)
    nearness = torch.exp(-squares.pow(distance_power / 2) / distance_scale)
    return nearness if measures is Measures.DISTANCE else cosines * nearness


def degree_normalised(similarities: Tensor) -> Tensor:
    """Normalise (n, n) edges: those below 0 are none, others are divided by roots of both degrees.

    Example:
        >>> degree_normalised(torch.tensor([[1.0, -0.5, 3.0], [-0.5, 1.0, 0.0], [3.0, 0.0, 1.0]]))
        tensor([[0.2500, 0.0000, 0.7500],
                [0.0000, 1.0000, 0.0000],
                [0.7500, 0.0000, 0.2500]])
    """
    edges = similarities.clamp_min(0)
    scales = edges.sum(dim=1).clamp_min(TINY).rsqrt()
    return scales[:, None] * edges * scales


def fusion_loss(image_relaxed: Tensor, text_relaxed: Tensor, fused: Tensor) -> Tensor:
    """Measure how far codes of both modalities are from the fused ones, all (n, b); a scalar."""
    return mse_loss(image_relaxed, fused) + mse_loss(text_relaxed, fused)


def graph_loss(graph_relaxed: Tensor, relaxed: Tensor, target: Tensor) -> Tensor:
    """Compute the gap of a graph network's codes to the target and to the modality's codes.

    Args:
        graph_relaxed: (n, b).
        relaxed: (n, b).
        target: (n, n).
    """
    return similarity_gap(graph_relaxed, graph_relaxed, target) + mse_loss(graph_relaxed, relaxed)


WIKI: Mapping[str, Any] = {
    "image_weight": 1.0,
    "text_weight": 0.8,
    "intra_weight": 0.4,
    "cross_weight": 0.3,
    "fusion_weight": 5.0,
    "epochs": 100,
}
"""Digests give 50 to 150 epochs on Wiki, about 40 on MIRFlickr."""

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "image_hidden_width": 1024,
    "text_hidden_width": 1024,
    "image_weight": 0.8,
    "text_weight": 1.0,
    "distance_power": 1.0,
    "distance_scale": 16.0,
    "unrelated_similarity": -0.2,
    "similarity_scale": 1.5,
    "graph_width": 128,
    "graph_output_width": 64,
    "graph_rate_scale": 1.0,
    "intra_weight": 0.4,
    "fusion_weight": 0.3,
    "continuation": True,
    "scale_free": True,
    "batch_size": 128,
    "epochs": 20,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Cosines of centred features are about 0, and codes can't all be opposites of each other: what a
similarity of 0 asks of codes is moved towards 0. A steep fall with distance takes contrast from
near neighbours, so that it is flatter here. Codes near their signs make the squares of the fused
codes' term large, so that its weight is small (chosen on held-out icons).
"""


@dataclass
class AgchHeads(Heads):
    """Hash heads, the layer that fuses codes, and the graph network of each modality."""

    fusion: nn.Linear
    image_graph: GraphNetwork | None = None
    text_graph: GraphNetwork | None = None


class Agch(GradientMethod[AgchHeads]):
    """Aggregation-based graph convolutional hashing; see the module's docstring."""

    name = "agch"
    title = "AGCH"
    settings_class = AgchSettings
    settings: AgchSettings
    training = TrainingSettings(
        epochs=40,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": {},
        "mirflickr": {},
        "nuswide": {"fusion_weight": 5.0},
        "wiki": WIKI,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cosine only (AGCH-1)": {"measures": "cosine"},
        "distance only (AGCH-2)": {"measures": "distance"},
        "without fused codes (AGCH-4)": {"fusion_weight": 0.0},
        "without graph networks (AGCH-5)": {"graph_weight": 0.0},
        "with a shuffled graph": {"shuffled_graph": True},
        "image similarity only": {"image_weight": 1.0, "text_weight": 0.0},
        "text similarity only": {"image_weight": 0.0, "text_weight": 1.0},
        "without the intra-modal part": {"intra_weight": 0.0},
        "without the part across modalities": {"cross_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without fused codes (AGCH-4)": ("fusion",),
        "without graph networks (AGCH-5)": (
            "graph",
            "image_graph",
            "text_graph",
        ),
        "without the intra-modal part": ("intra",),
        "without the part across modalities": ("cross",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "graph networks": NamedModule("without graph networks (AGCH-5)", "with a shuffled graph"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> AgchHeads:
        """Make two hash heads, the fusion layer and two graphs, among a batch or over landmarks."""
        settings = self.settings
        widths = (n_bits, settings.graph_width, settings.graph_output_width, n_bits)
        scale = settings.graph_rate_scale
        heads = AgchHeads(
            image=hash_head(shapes.image_width, settings.image_hidden_width, n_bits),
            text=hash_head(shapes.text_width, settings.text_hidden_width, n_bits),
            fusion=nn.Linear(2 * n_bits, n_bits),
            rate_scales={"auxiliary.image_graph": scale, "auxiliary.text_graph": scale},
        )
        if not settings.over_landmarks:
            heads.image_graph, heads.text_graph = GraphNetwork(widths), GraphNetwork(widths)
        elif settings.graph_weight:
            graphs = make_landmark_graphs(shapes, n_bits, n_landmarks=settings.n_landmarks)
            heads.image, heads.text = landmark_heads((heads.image, heads.text), graphs)
        return heads

    def before_training(self, heads: AgchHeads, view: TrainingView) -> None:
        """Set landmarks, where graphs stand over them."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        set_landmarks(graphs, view, is_shuffled=self.settings.shuffled_graph)

    def fused(self, heads: AgchHeads, image: Tensor, text: Tensor) -> Tensor | None:
        """Fuse relaxed codes (n, b) of both modalities to outputs, unless they are left out."""
        if not self.settings.fusion_weight:
            return None
        fused: Tensor = heads.fusion(torch.cat((image, text), dim=1))
        return fused

    def affinity(self, batch: Batch) -> Tensor:
        """Compute (n, n) aggregated similarities of a batch, without gradient."""
        settings = self.settings
        with torch.no_grad():
            return aggregated_similarity(
                batch.image.reference,
                batch.text.reference,
                image_weight=settings.image_weight,
                text_weight=settings.text_weight,
                distance_scale=settings.distance_scale,
                distance_power=settings.distance_power,
                measures=settings.measures,
            )

    def after_epoch(self, heads: AgchHeads, view: TrainingView, moment: Moment) -> None:
        """Set landmarks anew where an encoder is tuned."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        renew_landmarks(graphs, view, is_shuffled=self.settings.shuffled_graph)

    def batch_loss(self, heads: AgchHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the four parts of the objective."""
        settings = self.settings
        relax = make_relaxation(settings, moment)
        graphs = find_graphs((heads.image, None), (heads.text, None))
        gathered = None if graphs is None else landmark_outputs(graphs, batch)
        image, text = map(relax, head_outputs(heads, batch, gathered))
        fused = self.fused(heads, image, text)
        affinity = self.affinity(batch)
        low = settings.unrelated_similarity
        target = settings.similarity_scale * ((1 - low) * affinity + low)
        edges = degree_normalised(affinity)
        if settings.shuffled_graph:
            edges = shuffle_edges(edges)
        terms = {}
        graph = [
            graph_loss(relax(network(relaxed, edges)), relaxed, target)
            for network, relaxed in ((heads.image_graph, image), (heads.text_graph, text))
            if network is not None
        ]
        if graphs is not None and gathered is not None:
            codes = ((relax(gathered.image), image), (relax(gathered.text), text))
            graph = [graph_loss(of_graph, relaxed, target) for of_graph, relaxed in codes]
            weights = settings.image_weight, settings.text_weight
            guide = fused_guide(graphs, batch, gathered, *weights)
            terms["guide"] = Term(guide, settings.graph_weight)
        if graph:
            terms["graph"] = Term(torch.stack(graph).sum(), settings.graph_weight)
        intra, cross = intra_gap(image, text, target), similarity_gap(image, text, target)
        terms["cross"] = Term(cross, settings.cross_weight)
        if fused is not None:
            fused = relax(fused)
            intra = intra + similarity_gap(fused, fused, target)
            fusion = fusion_loss(image, text, fused)
            terms["fusion"] = Term(fusion, settings.fusion_weight)
        terms["intra"] = Term(intra, settings.intra_weight)
        return LossReport(terms, target_range(target) | code_statistics(image, text))
