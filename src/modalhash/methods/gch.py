"""GCH: graph convolutional network hashing.

R. Xu, C. Li, J. Yan, C. Deng, X. Liu: "Graph Convolutional Network Hashing for Cross-Modal
Retrieval", International Joint Conference on Artificial Intelligence, 2019.
https://doi.org/10.24963/ijcai.2019/138

A network that reads labels makes codes which are as alike as the labels are; their signs are what
the networks of pictures and of texts learn. In training, a graph convolutional network over a
batch, whose edges are shared labels, fuses the features of both modalities into codes of its own,
and feeds them back to both networks. Labels are needed to learn, never to encode.

Objective, for n pairs with labels l, features f_m and relaxed codes h_m = tanh(z_m) of pictures
(v), texts (t), labels (l) and the graph (g), and b bits; sg stops the gradient::

    S_ij = (1 - label_grading) [l_i . l_j > 0] + label_grading cos(l_i, l_j),    S_ii = 1
    J(T) = mean_ij [log(1 + exp T_ij) - S_ij T_ij]
    P(h, h') = J(s h h'^T / b - o),    s = logit_scale, or b / 2,    o = logit_offset
    label    = P(h_l, h_l)
    guide    = sum over m in v, t of MSE(h_m, sign(sg h_l))
    pairs    = sum over m in v, t of P(h_m, sg h_l)
    classes  = sum over m in v, t, l of BCE(classifier_m(f_m), l)
    graph    = P(h_g, h_g) + BCE(classifier_g(h_g), l)
               h_g = tanh(A relu(A X W) W'),    A = D^-1/2 l l^T D^-1/2,    D: its row sums
               X   = (R(cos(f_t, f_v)) sg f_v + R(cos(f_v, f_t)) sg f_t) / 2,    R: rows sum to 1
    feedback = MSE(h_v, sg h_g) + MSE(h_t, sg h_g)
    L = label + guide_weight guide + pair_weight pairs + class_weight classes
        + graph_weight (graph + feedback)

Differs from the paper: its full text was not available to us; the objective is that of the authors'
code. It trains all of CNN-F for pictures; here features are frozen. All parts step together, where
the code trains label network, texts, pictures and graph in turn, each over several passes, and
pairs are those within a batch. The pairwise term is the logistic likelihood, where the code takes a
squared difference and, for the graph, twice the scale. Affinities of the two modalities are cosines
whose rows sum to 1; the code divides inner products by the largest. Classes are learned from
features by cross entropy, not by squared errors. An item without labels has an edge to itself.
`pairs` is defined in the code and left out of its training: 0 in the preset `paper`.
`label_grading`, `logit_scale`, `logit_offset` and dropout are ours, and off there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from modalhash.layers import (
    GraphConvolution,
    LandmarkHead,
    NormalisedHead,
    ScalingRule,
    row_normalised,
)
from modalhash.losses import (
    LabelTarget,
    code_statistics,
    cosine_similarities,
    label_similarity,
    signs_of,
)
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    LossReport,
    Moment,
    Needs,
    Optimiser,
    Schedule,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.controls import NamedModule, shuffle_edges, shuffle_items
from modalhash.methods.label_networks import (
    LabelGuidedHeads,
    classification_loss,
    feedback_loss,
    label_outputs,
    student_outputs,
    trunk_outputs,
)
from modalhash.methods.landmarks import (
    find_graphs,
    label_guide,
    landmark_outputs,
    make_landmark_graphs,
    renew_landmarks,
    set_landmarks,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, SHARE, SHARE_BELOW_ONE, Settings

__all__ = ["Gch", "GchSettings", "fused_nodes", "label_edges", "sign_gap_of"]


@dataclass(frozen=True)
class GchSettings(Settings):
    """Settings of GCH; values of the released code unless the line says otherwise."""

    feature_width: Annotated[int, AT_LEAST_ONE] = 512
    """Units of every hidden layer, and width of all features."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of picture features dropped on their way in (ours)."""
    image_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of pictures (ours)."""
    text_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of texts (ours)."""
    label_grading: Annotated[float, SHARE] = 0.0
    """Share of the label rows' cosine in the target; 0 asks only for a shared label (ours)."""
    logit_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """Logit of two equal codes, before the offset; 0 takes half of their bits."""
    logit_offset: Annotated[float, NOT_NEGATIVE] = 0.0
    """Taken from all logits, so that unlike codes needn't be opposite (ours)."""
    guide_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the distance from the signs of the label network's codes."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the pairwise term with the label network's codes; defined, but not trained on."""
    class_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of classification."""
    graph_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the graph's own loss and of its feedback; 0 leaves the graph out."""
    over_landmarks: bool = False
    """Let items attend to landmarks, in encoding too, not to the others of a batch (ours)."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 512
    """Training pairs that a graph over landmarks knows, at most (ours)."""
    shuffled_graph: bool = False
    """Give the graph the edges of other pairs: a control (ours)."""
    shuffled_labels: bool = False
    """Let the label network read the labels of other pairs: a control (ours)."""


def label_edges(labels: Tensor) -> Tensor:
    """Compute the graph's edges: counts of shared labels, normalised by both ends' sums.

    Args:
        labels: (n, c) of 0 and 1.

    Returns:
        (n, n), symmetric; an item without labels has an edge of 1 to itself.

    Example:
        >>> label_edges(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
        tensor([[0.6667, 0.4082, 0.0000],
                [0.4082, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    counts = labels @ labels.T
    counts = counts + torch.diag((counts.diagonal() == 0).to(labels.dtype))
    roots = counts.sum(dim=1).rsqrt()
    return roots[:, None] * counts * roots


def fused_nodes(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Compute the graph's nodes: features gathered along the affinities of both modalities.

    Args:
        image_features: (n, d).
        text_features: (n, d).

    Returns:
        (n, d), without gradient.
    """
    image, text = image_features.detach(), text_features.detach()
    affinities = cosine_similarities(image, text)
    return (row_normalised(affinities.T) @ image + row_normalised(affinities) @ text) / 2


def sign_gap_of(relaxed: Tensor, teacher: Tensor) -> Tensor:
    """Compute the squared error of (n, b) codes to a teacher's signs, of 0 +1; a mean over n b."""
    return (relaxed - signs_of(teacher)).square().mean()


DENSE: Mapping[str, Any] = {
    "feature_width": 256,
    "input_dropout": 0.5,
    "image_dropout": 0.2,
    "label_grading": 0.5,
    "logit_scale": 12.0,
    "logit_offset": 2.0,
    "pair_weight": 1.0,
    "graph_weight": 0.1,
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.5,
    "schedule": "one_cycle",
    "batch_size": 128,
    "epochs": 20,
    "least_steps": 800,
    "text_scaling": "unit",
}
"""For dense text features and small collections (ours, after MS2GAH's)."""


@dataclass
class GchHeads(LabelGuidedHeads):
    """Networks that labels guide and, unless left out, the graph network."""

    graph: GraphConvolution | None = None
    graph_codes: GraphConvolution | None = None
    graph_classes: nn.Linear | None = None


class Gch(GradientMethod[GchHeads]):
    """Graph convolutional network hashing; see the module's docstring."""

    name = "gch"
    title = "GCH"
    needs = frozenset({Needs.LABELS})
    smallest_batch = 2
    settings_class = GchSettings
    settings: GchSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=128,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule=Schedule.EXPONENTIAL,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the graph": {"graph_weight": 0.0},
        "with a shuffled graph": {"shuffled_graph": True},
        "without the label network": {"guide_weight": 0.0, "pair_weight": 0.0},
        "with a shuffled label network": {"shuffled_labels": True},
        "without the label network's signs": {"guide_weight": 0.0},
        "without classification": {"class_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the graph": (
            "graph",
            "feedback",
            "graph_codes",
        ),
        "without the label network": ("guide", "pairs"),
        "without the label network's signs": ("guide",),
        "without classification": ("classes",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "graph": NamedModule("without the graph", "with a shuffled graph"),
        "label network": NamedModule("without the label network", "with a shuffled label network"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> GchHeads:
        """Make the networks of pictures, texts and labels, their classifiers, and the graph."""
        settings, n_classes = self.settings, shapes.n_classes
        assert n_classes is not None
        width = settings.feature_width
        image = NormalisedHead(
            (shapes.image_width, width, n_bits),
            input_dropout=settings.input_dropout,
            dropout=settings.image_dropout,
        )
        text = NormalisedHead(
            (shapes.text_width, width, width, width, n_bits), dropout=settings.text_dropout
        )
        label = NormalisedHead((n_classes, width, width, n_bits))
        image_classes, text_classes, label_classes = (nn.Linear(width, n_classes) for _ in range(3))
        heads = GchHeads(
            image, text, image_classes, text_classes, label=label, label_classes=label_classes
        )
        if settings.graph_weight and settings.over_landmarks:
            graphs = make_landmark_graphs(
                shapes, n_bits, n_landmarks=settings.n_landmarks, with_labels=True
            )
            heads.image, heads.text = (
                LandmarkHead(head, graph) for head, graph in zip((image, text), graphs, strict=True)
            )
        elif settings.graph_weight:
            heads.graph = GraphConvolution(width, width)
            heads.graph_codes = GraphConvolution(width, n_bits)
            heads.graph_classes = nn.Linear(n_bits, n_classes)
        return heads

    def before_training(self, heads: GchHeads, view: TrainingView) -> None:
        """Set landmarks, where the graph stands over them."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        set_landmarks(graphs, view, with_labels=True, is_shuffled=self.settings.shuffled_graph)

    def after_epoch(self, heads: GchHeads, view: TrainingView, moment: Moment) -> None:
        """Set landmarks anew where an encoder is tuned."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        renew_landmarks(graphs, view, with_labels=True, is_shuffled=self.settings.shuffled_graph)

    def batch_loss(self, heads: GchHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the weighted parts of the objective."""
        settings, labels = self.settings, batch.labels
        assert labels is not None
        target = LabelTarget(
            label_similarity(labels, settings.label_grading),
            settings.logit_scale or heads.image.n_bits / 2,
            settings.logit_offset,
        )
        graphs = find_graphs((heads.image, None), (heads.text, None))
        gathered = None if graphs is None else landmark_outputs(graphs, batch)
        hidden = trunk_outputs(heads, batch)
        image, text = students = student_outputs(heads, hidden, gathered=gathered)
        label = label_outputs(heads, shuffle_items(labels) if settings.shuffled_labels else labels)
        assert label is not None
        teacher = label.relaxed.detach()
        label_loss = target.code_loss(label.relaxed, label.relaxed)
        guide = torch.stack([sign_gap_of(network.relaxed, teacher) for network in students]).sum()
        pairs = target.code_loss(image.relaxed, teacher) + target.code_loss(text.relaxed, teacher)
        terms = {
            "label": Term(label_loss),
            "guide": Term(guide, settings.guide_weight),
            "pairs": Term(pairs, settings.pair_weight),
            "classes": Term(
                classification_loss([image, text, label], labels), settings.class_weight
            ),
        }
        if graphs is not None and gathered is not None:
            codes = torch.tanh(gathered.image), torch.tanh(gathered.text)
            graph = target.code_loss(*codes) + label_guide(gathered, graphs, batch)
            terms["graph"] = Term(graph, settings.graph_weight)
        elif heads.graph is not None and heads.graph_codes is not None and heads.graph_classes:
            nodes, edges = fused_nodes(image.features, text.features), label_edges(labels)
            if settings.shuffled_graph:
                edges = shuffle_edges(edges)
            convolved = torch.relu(heads.graph(nodes, edges))
            graph_codes = torch.tanh(heads.graph_codes(convolved, edges))
            classes = heads.graph_classes(graph_codes)
            graph = target.code_loss(graph_codes, graph_codes)
            graph = graph + binary_cross_entropy_with_logits(classes, labels)
            relaxed = [network.relaxed for network in students]
            feedback = feedback_loss(relaxed, [graph_codes, graph_codes])
            terms["graph"] = Term(graph, settings.graph_weight)
            terms["feedback"] = Term(feedback, settings.graph_weight)
        return LossReport(terms, code_statistics(image.relaxed, text.relaxed))
