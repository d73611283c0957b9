"""CAGAN: CLIP-based adaptive graph attention network.

Y. Li, M. Ge, M. Li, T. Li, S. Xiang: "CLIP-Based Adaptive Graph Attention Network for Large-Scale
Unsupervised Multi-Modal Hashing Retrieval", Sensors 23(7), article 3439, 2023.
https://doi.org/10.3390/s23073439

The similarities of a batch, seen through pictures, through texts and through both, are fused and
enhanced into one target, which the codes of both modalities must reproduce. One graph network a
modality makes codes from features along the target's edges, which a learned matrix adapts; these
codes must reproduce the target too and teach the hash heads. No labels are used, and as released
only the heads are kept: no graph at encoding time.

Objective, for n pairs with features F_v, F_t and c = epoch (from 0)::

    H_m   = tanh(sqrt(c + 1) z_m)                  z_m: output of the hash head of modality m
    S_v   = 2 cos(F_v, F_v) - 1
    S_t   = 1 where two texts share a word, else -1                  (or 2 cos(F_t, F_t) - 1)
    C     = cos(rows of S_v, rows of S_t)
    S     = scale (image_weight S_v + text_weight S_t + fusion_weight C)
    A_m   = S + attention_weight W_m               W_m: learned
    G_m   = tanh(sqrt(c + 1) Lin(relu(A_m relu(A_m F_m T_1 + b_1) T_2 + b_2)))
    intra = MSE(cos(H_v, H_v), S) + MSE(cos(H_t, H_t), S)
    cross = MSE(cos(H_v, H_t), S) + MSE(cos(H_t, H_v), S) - mean_i cos(H_v[i], H_t[i])
    graph = MSE(cos(G_v, G_t), S)
    distillation = MSE(cos(G_v, H_v), S) + MSE(cos(G_v, H_t), S)
    L     = intra_weight intra + cross_weight cross + graph_weight graph
            + distillation_weight distillation

Differs from the paper: its text could not be read; this follows the trainer that its authors
released, whose constants are the preset `paper`. There W_m is indexed by the place in a batch,
which a shuffle makes meaningless, and ties training to one batch size: setting
`attention_matrix=positions`, where smaller batches use its leading block. By default
(`pairs`, ours) W_m[i, j] is the cosine of two learned projections, of rank 16, of the features of
i and j: it follows the items, fits any batch and starts with the same spread. The paper's figure
multiplies W_m into S where the code adds it; here it is added. Ours: an item is like itself (1 on
the diagonal) even if its text has no words; features are cached, so pictures are not flipped or
cropped anew each epoch.

Ours too: with `graph_path` teacher or landmarks, graphs stand between items and landmarks, training
pairs that are kept with features of both modalities (`modalhash.layers.landmark_graph`); the term
`guide` teaches attention by one modality what both say together. With landmarks, the default of the
preset `dense`, what an item gathers is part of its code, in training as in encoding.

The factor before the tanh stands for the sign at last. `scale_free` (ours, in the preset `dense`)
lets it grow from .5 to 4 relative to the outputs' own root mean square instead.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from modalhash.layers import (
    AttentionMatrix,
    GraphNetwork,
    LandmarkGraph,
    MlpHead,
    PairMatrix,
    PositionMatrix,
    row_normalised,
)
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    CrossSimilarity,
    binary_similarities,
    code_statistics,
    cross_gap,
    fused_affinity,
    intra_gap,
    rescaled_cosines,
    saturated_share,
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
    GraphPath,
    find_graphs,
    fused_guide,
    head_outputs,
    landmark_heads,
    landmark_outputs,
    make_landmark_graphs,
    renew_landmarks,
    set_landmarks,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, Settings

__all__ = [
    "Cagan",
    "CaganSettings",
    "GraphBranch",
    "TextSimilarity",
    "distillation_loss",
    "text_similarities",
]

SAMPLE = 512
ALIKE_SHARE = 0.9
logger = logging.getLogger(__name__)


class TextSimilarity(StrEnum):
    """How two texts compare: by whether they share a word (code), or by their cosine (figure)."""

    BINARY = "binary"
    LINEAR = "linear"


@dataclass(frozen=True)
class CaganSettings(Settings):
    """Settings of CAGAN; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the hidden layer of each hash head."""
    image_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the image similarity in the fused one."""
    text_weight: Annotated[float, NOT_NEGATIVE] = 0.2
    """Weight of the text similarity."""
    fusion_weight: Annotated[float, NOT_NEGATIVE] = 0.3
    """Weight of the similarity seen through both modalities."""
    text_similarity: TextSimilarity = TextSimilarity.BINARY
    """How texts compare; binary is for bags of words and says nothing of dense vectors."""
    similarity_scale: Annotated[float, NOT_NEGATIVE] = 1.4
    """Scale of the target; beyond 1 it pushes codes towards signs."""
    continuation: bool = True
    """Sharpen the tanh by sqrt(epoch + 1); without it the factor stays 1."""
    scale_free: bool = False
    """Let the factor grow relative to the outputs' own size instead (ours)."""
    graph: bool = True
    """Train the graph networks."""
    graph_path: GraphPath = GraphPath.BATCH
    """Where graphs act; among a batch's items in training only, as released, or over landmarks."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 512
    """Training pairs that graphs over landmarks know, at most (ours)."""
    graph_width: Annotated[int, AT_LEAST_ONE] = 2048
    """Units of the first graph convolution."""
    graph_output_width: Annotated[int, AT_LEAST_ONE] = 1024
    """Units of the second graph convolution."""
    attention_matrix: AttentionMatrix = AttentionMatrix.PAIRS
    """What the learned matrix is indexed by (pairs is ours; released: positions)."""
    attention_rank: Annotated[int, AT_LEAST_ONE] = 16
    """Width of the projections whose cosines make the matrix of pairs (ours)."""
    attention_weight: Annotated[float, NOT_NEGATIVE] = 0.45
    """Weight of the learned matrix in the edges; 0.5 on NUS-WIDE."""
    normalise_adjacency: bool = False
    """Scale each row of the edges to a sum of 1 in size (ours, against saturation)."""
    intra_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of reconstruction within a modality."""
    cross_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of reconstruction across modalities."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the partners' cosine inside the part across modalities."""
    graph_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of reconstruction between the two graph codes."""
    distillation_weight: Annotated[float, NOT_NEGATIVE] = 0.15
    """Weight of reconstruction between graph codes and hash codes; 0.25 on NUS-WIDE."""
    guide_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of attending to landmarks as both modalities say, over landmarks only (ours)."""
    shuffled_graph: bool = False
    """Give items the edges, or landmarks the nodes, of others: a control (ours)."""


def text_similarities(features: Tensor, rule: TextSimilarity) -> Tensor:
    """Compute (n, n) similarities in [-1, 1] of (n, d) text features, 1 on the diagonal."""
    if rule is TextSimilarity.BINARY:
        return binary_similarities(features)
    return rescaled_cosines(features).fill_diagonal_(1)


def distillation_loss(
    image_graph: Tensor, image_relaxed: Tensor, text_relaxed: Tensor, target: Tensor
) -> Tensor:
    """Measure how far graph codes of pictures and hash codes are from reproducing a target.

    Args:
        image_graph: (n, b) codes of the graph network of pictures, which teaches both modalities.
        image_relaxed: (n, b) codes of pictures.
        text_relaxed: (n, b) codes of texts.
        target: (n, n).

    Returns:
        Scalar, a sum of two mean squared gaps.
    """
    return similarity_gap(image_graph, image_relaxed, target) + similarity_gap(
        image_graph, text_relaxed, target
    )


class GraphBranch(nn.Module):
    """The graph network of one modality and the learned matrix that adapts its edges."""

    def __init__(self, settings: CaganSettings, width: int, n_bits: int, batch_size: int) -> None:
        super().__init__()
        self.settings = settings
        self.matrix: nn.Module = (
            PairMatrix(width, settings.attention_rank)
            if settings.attention_matrix is AttentionMatrix.PAIRS
            else PositionMatrix(batch_size)
        )
        widths = (width, settings.graph_width, settings.graph_output_width, n_bits)
        self.network = GraphNetwork(widths)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Compute (n, b) graph codes before the tanh, of (n, d) features under an (n, n) target."""
        settings, features = self.settings, features.detach()
        edges: Tensor = target + settings.attention_weight * self.matrix(features)
        if settings.shuffled_graph:
            edges = shuffle_edges(edges)
        if settings.normalise_adjacency:
            edges = row_normalised(edges)
        codes: Tensor = self.network(features, edges)
        return codes


PAPER: Mapping[str, Any] = {"attention_matrix": "positions"}
"""The released constants and the learned matrix as released."""

NUSWIDE: Mapping[str, Any] = {**PAPER, "attention_weight": 0.5, "distillation_weight": 0.25}
"""The constants released for NUS-WIDE."""

DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "scale_free": True,
    "hidden_width": 1024,
    "image_weight": 0.2,
    "text_weight": 0.3,
    "fusion_weight": 0.5,
    "text_similarity": "linear",
    "similarity_scale": 1.5,
    "intra_weight": 0.5,
    "graph_width": 128,
    "graph_output_width": 64,
    "normalise_adjacency": True,
    "pair_weight": 0.2,
    "distillation_weight": 0.05,
    "graph_path": "landmarks",
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev).

Centred features have cosines about 0, so that both similarities are about -1 and the fused part,
which compares their rows, is about 1: its weight decides where unrelated pairs lie, here at 0.
Below 0, codes near the signs meet the target by bits that tell nothing, + for all pictures and -
for all texts: with it at -0.3, and `intra_weight` .1 as released, 15 % of the bits of icons.
A batch has n times as many pairs as partners, and the partners' cosine at full weight outshouts
them: codes of partners meet in training, and unseen ones are found less often.
"""


@dataclass
class CaganHeads(Heads):
    """Hash heads and, where it acts in training only, the graph of each modality."""

    image_graph: GraphBranch | LandmarkGraph | None = None
    text_graph: GraphBranch | LandmarkGraph | None = None


class Cagan(GradientMethod[CaganHeads]):
    """CLIP-based adaptive graph attention network; see the module's docstring."""

    name = "cagan"
    title = "CAGAN"
    settings_class = CaganSettings
    settings: CaganSettings
    training = TrainingSettings(
        epochs=20,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": PAPER,
        "mirflickr": PAPER,
        "nuswide": NUSWIDE,
        "coco": PAPER,
        "wiki": DENSE,
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "image similarity only (CAGAN-1)": {
            "image_weight": 1.0, "text_weight": 0.0, "fusion_weight": 0.0,
        },
        "text similarity only": {"image_weight": 0.0, "text_weight": 1.0, "fusion_weight": 0.0},
        "without the fused part": {"fusion_weight": 0.0},
        "without enhancement": {"similarity_scale": 1.0},
        "without the graph module": {"graph": False},
        "with a shuffled graph": {"shuffled_graph": True},
        "graph in training only, among a batch": {"graph_path": "batch"},
        "graph in training only, over landmarks": {"graph_path": "teacher"},
        "without the learned matrix": {"attention_weight": 0.0},
        "without distillation": {"distillation_weight": 0.0},
        "without the intra-modal part": {"intra_weight": 0.0},
        "without the partners' cosine": {"pair_weight": 0.0},
        "without continuation": {"continuation": False},
    }  # fmt: skip
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the graph module": (
            "graph",
            "distillation",
            "guide",
        ),
        "graph in training only, among a batch": ("guide",),
        "without distillation": ("distillation",),
        "without the intra-modal part": ("intra",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "graph module": NamedModule("without the graph module", "with a shuffled graph"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> CaganHeads:
        """Make two hash heads of one hidden layer and, unless left out, two graphs.

        Heads come first: they start the same with and without a graph, so that an ablation compares
        what the graph does.
        """
        settings = self.settings
        heads = CaganHeads(
            image=MlpHead((shapes.image_width, settings.hidden_width, n_bits)),
            text=MlpHead((shapes.text_width, settings.hidden_width, n_bits)),
        )
        if not settings.graph:
            return heads
        if settings.graph_path is GraphPath.BATCH:
            heads.image_graph, heads.text_graph = (
                GraphBranch(settings, width, n_bits, shapes.batch_size)
                for width in (shapes.image_width, shapes.text_width)
            )
            return heads
        graphs = make_landmark_graphs(
            shapes,
            n_bits,
            n_landmarks=settings.n_landmarks,
            hidden_width=settings.graph_width,
            rank=settings.attention_rank,
            attention_weight=settings.attention_weight,
        )
        if settings.graph_path is GraphPath.TEACHER:
            heads.image_graph, heads.text_graph = graphs
        else:
            heads.image, heads.text = landmark_heads((heads.image, heads.text), graphs)
        return heads

    def before_training(self, heads: CaganHeads, view: TrainingView) -> None:
        """Set landmarks; warn where binary text similarities can't tell texts apart."""
        graphs = find_graphs((heads.image, heads.image_graph), (heads.text, heads.text_graph))
        set_landmarks(graphs, view, is_shuffled=self.settings.shuffled_graph)
        if self.settings.text_similarity is TextSimilarity.LINEAR:
            return
        texts = next(view.batches(SAMPLE)).text.reference
        n = len(texts)
        n_alike = int((binary_similarities(texts) > 0).sum()) - n
        if n_alike > ALIKE_SHARE * n * (n - 1):
            logger.warning(
                "text_similarity is binary, but %.1f %% of the first texts' pairs count as alike: "
                "it says next to nothing of dense features or of common words; set "
                "text_similarity=linear, or take the preset dense",
                100 * n_alike / (n * (n - 1)),
            )

    def target(self, batch: Batch) -> Tensor:
        """Compute the (n, n) fused and enhanced similarities of a batch, without gradient."""
        settings = self.settings
        with torch.no_grad():
            return fused_affinity(
                rescaled_cosines(batch.image.reference),
                text_similarities(batch.text.reference, settings.text_similarity),
                image_weight=settings.image_weight,
                text_weight=settings.text_weight,
                cross_weight=settings.fusion_weight,
                scale=settings.similarity_scale,
                rule=CrossSimilarity.ROW_COSINE,
            )

    def after_epoch(self, heads: CaganHeads, view: TrainingView, moment: Moment) -> None:
        """Set landmarks anew where an encoder is tuned."""
        graphs = find_graphs((heads.image, heads.image_graph), (heads.text, heads.text_graph))
        renew_landmarks(graphs, view, is_shuffled=self.settings.shuffled_graph)

    def batch_loss(self, heads: CaganHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the four weighted parts of the objective."""
        settings, target = self.settings, self.target(batch)
        relax = make_relaxation(settings, moment)
        graphs = find_graphs((heads.image, heads.image_graph), (heads.text, heads.text_graph))
        gathered = None if graphs is None else landmark_outputs(graphs, batch)
        image, text = map(relax, head_outputs(heads, batch, gathered))
        intra = intra_gap(image, text, target)
        cross = cross_gap(image, text, target, pair_weight=settings.pair_weight)
        terms = {
            "intra": Term(intra, settings.intra_weight),
            "cross": Term(cross, settings.cross_weight),
        }
        watched = target_range(target) | code_statistics(image, text)
        if graphs is not None and gathered is not None:
            image_graph, text_graph = relax(gathered.image), relax(gathered.text)
            guide = fused_guide(
                graphs, batch, gathered, settings.image_weight, settings.text_weight
            )
            terms["guide"] = Term(guide, settings.guide_weight)
        elif heads.image_graph is not None and heads.text_graph is not None:
            image_graph = relax(heads.image_graph(batch.image.reference, target))
            text_graph = relax(heads.text_graph(batch.text.reference, target))
        else:
            return LossReport(terms, watched)
        graph = similarity_gap(image_graph, text_graph, target)
        distillation = distillation_loss(image_graph, image, text, target)
        terms["graph"] = Term(graph, settings.graph_weight)
        terms["distillation"] = Term(distillation, settings.distillation_weight)
        watched["image_graph_saturated"] = saturated_share(image_graph)
        watched["text_graph_saturated"] = saturated_share(text_graph)
        return LossReport(terms, watched)
