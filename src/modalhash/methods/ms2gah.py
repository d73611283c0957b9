"""MS2GAH: multi-label semantic supervised graph attention hashing.

Y. Duan and five co-authors: "MS2GAH: Multi-label semantic supervised graph attention hashing for
robust cross-modal retrieval", Pattern Recognition 128, 108676, 2022.
https://doi.org/10.1016/j.patcog.2022.108676

An encoder of the labels, trained together with the rest, guides the networks of pictures and of
texts: their features and codes must be as alike as the labels are, graded by how many two items
share. In training, graph attention over items that share labels makes codes of its own, which are
fed back to the networks. Labels are needed to learn, never to encode.

Objective, for n pairs with labels l, features f_m and relaxed codes h_m = tanh(z_m) of pictures
(v), texts (t), labels (l) and the graph (g), and b bits; sg stops the gradient::

    S_ij = (1 - label_grading) [l_i . l_j > 0] + label_grading cos(l_i, l_j),    S_ii = 1
    J(T) = mean_ij [log(1 + exp T_ij) - S_ij T_ij]
    P(h, h') = J(s h h'^T / b - o),    Q(f, f') = J(s cos(f, f') - o)
               s = logit_scale, or b / 2,    o = logit_offset
    label    = P(h_l, h_l) + Q(f_l, f_l)
    guide    = sum over m in v, t of P(h_m, sg h_l) + Q(f_m, sg f_l)
    classes  = sum over m in v, t, l of BCE(classifier_m(f_m), l)
    cross    = P(h_v, h_t)
    graph    = P(h_g, h_g) + class_weight BCE(classifier_g(f_g), l)
               f_g: graph attention over the nodes (f_v + f_t) / 2, edges where labels are shared
    feedback = MSE(h_v, sg h_g) + MSE(h_t, sg h_g)
    quantization = sum over m in v, t, l of MSE(h_m, sign(sg(h_v + h_t + h_l + h_g)))
    L = guide_weight (label + guide) + class_weight classes + cross_weight cross
        + graph_weight (graph + feedback) + quantization_weight quantization

With `graph_path` in_path the attention stands inside both networks, between trunk and code, and
each batch passes it twice: once with each item attending to itself alone, as when it is encoded,
which gives all terms above; once over the edges, whose weighted guide, classes and cross are
`graph`, while `feedback` draws each network's codes of the first pass to those of the second.

Differs from the paper: its full text was not available to us. The structure follows its abstract (a
label encoder trained end to end that guides feature extraction, graph attention over the adjacency
of nodes, multi-labels at a fine grain); the formulas and constants are ours or taken from the
closest methods with released code, SSAH and GCH, as named at each setting. We read the graph's
nodes as items; a reading with classes as nodes isn't built. The logistic loss is the likelihood of
the siblings' texts, not the squared form in their code. Results are no reproduction of the paper's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from modalhash.errors import SettingError
from modalhash.layers import LandmarkHead, NormalisedHead, ResidualGraphAttention, ScalingRule
from modalhash.losses import LabelTarget, code_statistics, label_links, label_similarity
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
    Outputs,
    classification_loss,
    feedback_loss,
    guidance_loss,
    label_encoder_loss,
    label_outputs,
    quantization_loss,
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
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Settings,
    check_multiple,
)

__all__ = ["GraphPath", "Ms2gah", "Ms2gahSettings"]


class GraphPath(StrEnum):
    """Where graph attention acts.

    Beside the networks or inside both of them, among the items of a batch, in training; or between
    items and landmarks, in training as in encoding.
    """

    SIDE_BRANCH = "side_branch"
    IN_PATH = "in_path"
    LANDMARKS = "landmarks"


@dataclass(frozen=True)
class Ms2gahSettings(Settings):
    """Settings of MS2GAH; the paper's values are unknown, each line says where ours come from."""

    feature_width: Annotated[int, AT_LEAST_ONE] = 512
    """Units of every hidden layer, and width of all features (GCH)."""
    input_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of picture features dropped on their way in; 0 in GCH."""
    image_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of pictures; 0 in GCH."""
    text_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Share of hidden units dropped in the network of texts; 0 in GCH."""
    label_grading: Annotated[float, SHARE] = 0.5
    """Share of the label rows' cosine in the target; 0 asks only for a shared label (ours)."""
    logit_scale: Annotated[float, NOT_NEGATIVE] = 0.0
    """Logit of two equal codes, before the offset; 0 takes half of their bits (SSAH, GCH)."""
    logit_offset: Annotated[float, NOT_NEGATIVE] = 0.0
    """Taken from all logits, so that unlike codes needn't be opposite; none in SSAH, GCH (ours)."""
    graph_path: GraphPath = GraphPath.SIDE_BRANCH
    """Where the graph acts; beside the networks in GCH and LGCNH."""
    n_attention_heads: Annotated[int, AT_LEAST_ONE] = 4
    """Heads of the first attention layer, which share `feature_width` evenly (ours)."""
    graph_dropout: Annotated[float, SHARE_BELOW_ONE] = 0.2
    """Share of nodes' inputs and of attention dropped; GAT's 0.6 is for small graphs (ours)."""
    edge_threshold: Annotated[float, SHARE] = 0.0
    """Smallest cosine of label rows that links items; above 0 where one class links all (ours)."""
    guide_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the label encoder's loss and of its guidance; 0 leaves it out (SSAH)."""
    class_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of classification wherever it occurs (SSAH)."""
    cross_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the pairwise term between image and text codes (ours)."""
    graph_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the graph's own loss and of its feedback; 0 leaves the graph out (GCH)."""
    n_landmarks: Annotated[int, AT_LEAST_ONE] = 512
    """Training pairs that a graph over landmarks knows, at most (ours)."""
    quantization_weight: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of quantization (ours, tried on made data; 1 in SSAH)."""
    shuffled_graph: bool = False
    """Link pairs as other pairs are linked: a control (ours)."""
    shuffled_labels: bool = False
    """Let the label encoder read the labels of other pairs: a control (ours)."""

    def check_together(self) -> None:
        """Check what settings ask of each other.

        Raises:
            SettingError: naming the settings.
        """
        check_multiple(self, "feature_width", "n_attention_heads")
        if not self.guide_weight + self.cross_weight + self.graph_weight:
            raise SettingError(
                "guide_weight, cross_weight and graph_weight are all 0: nothing teaches the codes"
            )


def student_losses(
    students: tuple[Outputs, Outputs], label: Outputs | None, labels: Tensor, target: LabelTarget
) -> dict[str, Tensor]:
    """Compute what both networks learn of a pass: `classes`, `cross` and, of a guide, `guide`."""
    image, text = students
    losses = {
        "classes": classification_loss(students, labels),
        "cross": target.code_loss(image.relaxed, text.relaxed),
    }
    if label is not None:
        losses["guide"] = guidance_loss(image, label, target) + guidance_loss(text, label, target)
    return losses


DENSE: Mapping[str, Any] = {
    "feature_width": 256,
    "input_dropout": 0.5,
    "image_dropout": 0.2,
    "logit_scale": 12.0,
    "logit_offset": 2.0,
    "edge_threshold": 0.7,
    "graph_weight": 0.2,
    "optimiser": "adamw",
    "weight_decay": 0.5,
    "schedule": "one_cycle",
    "batch_size": 64,
    "epochs": 32,
    "least_steps": 1500,
    "text_scaling": "unit",
}
"""For cached features of some thousand pairs (ours, chosen on Flickr8k dev).

Without dropped inputs the network of pictures learns its training pictures by heart. With half of
the bits as scale and no offset, a logit of 0 stands between alike and not: most pairs, which share
nothing, should be opposite to each other, which no more than two groups can be. Where one shared
label links a third of the pairs, the graph blurs codes less over links of like labels alone.
"""


@dataclass
class Ms2gahHeads(LabelGuidedHeads):
    """Networks that labels guide and, where it stands beside them, the graph network."""

    graph: ResidualGraphAttention | None = None
    graph_codes: nn.Linear | None = None
    graph_classes: nn.Linear | None = None


class Ms2gah(GradientMethod[Ms2gahHeads]):
    """Multi-label semantic supervised graph attention hashing; see the module's docstring."""

    name = "ms2gah"
    title = "MS2GAH"
    needs = frozenset({Needs.LABELS})
    smallest_batch = 2
    settings_class = Ms2gahSettings
    settings: Ms2gahSettings
    training = TrainingSettings(
        epochs=100,
        batch_size=128,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-3,
        schedule=Schedule.EXPONENTIAL,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "wiki": {**DENSE, "input_dropout": 0.0},
        "paper": {},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without the label encoder": {"guide_weight": 0.0},
        "with a shuffled label encoder": {"shuffled_labels": True},
        "without the graph": {"graph_weight": 0.0},
        "with a shuffled graph": {"shuffled_graph": True},
        "without grading": {"label_grading": 0.0},
        "with cosines alone as the target": {"label_grading": 1.0},
        "without classification": {"class_weight": 0.0},
        "without quantization": {"quantization_weight": 0.0},
        "without the cross-modal term": {"cross_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the label encoder": (
            "label",
            "guide",
        ),
        "without the graph": (
            "graph",
            "feedback",
            "graph_codes",
        ),
        "without classification": ("classes",),
        "without quantization": ("quantization",),
        "without the cross-modal term": ("cross",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "graph": NamedModule("without the graph", "with a shuffled graph"),
        "label encoder": NamedModule("without the label encoder", "with a shuffled label encoder"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Ms2gahHeads:
        """Make the networks of pictures, texts and labels, their classifiers, and the graph."""
        settings, n_classes = self.settings, shapes.n_classes
        assert n_classes is not None
        width = settings.feature_width
        inside: dict[str, Any] = {}
        if settings.graph_weight and settings.graph_path is GraphPath.IN_PATH:
            inside["n_attention_heads"] = settings.n_attention_heads
            inside["attention_dropout"] = settings.graph_dropout
        image = NormalisedHead(
            (shapes.image_width, width, n_bits),
            input_dropout=settings.input_dropout,
            dropout=settings.image_dropout,
            **inside,
        )
        text = NormalisedHead(
            (shapes.text_width, width, width, n_bits), dropout=settings.text_dropout, **inside
        )
        image_classes, text_classes = nn.Linear(width, n_classes), nn.Linear(width, n_classes)
        heads = Ms2gahHeads(image, text, image_classes, text_classes)
        if settings.guide_weight:
            heads.label = NormalisedHead((n_classes, width, width, n_bits))
            heads.label_classes = nn.Linear(width, n_classes)
        if settings.graph_weight and settings.graph_path is GraphPath.LANDMARKS:
            graphs = make_landmark_graphs(
                shapes, n_bits, n_landmarks=settings.n_landmarks, with_labels=True
            )
            heads.image, heads.text = (
                LandmarkHead(head, graph) for head, graph in zip((image, text), graphs, strict=True)
            )
        elif settings.graph_weight and not inside:
            heads.graph = ResidualGraphAttention(
                width, settings.n_attention_heads, dropout=settings.graph_dropout
            )
            heads.graph_codes = nn.Linear(width, n_bits)
            heads.graph_classes = nn.Linear(width, n_classes)
        return heads

    def before_training(self, heads: Ms2gahHeads, view: TrainingView) -> None:
        """Set landmarks, where the graph stands over them."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        set_landmarks(graphs, view, with_labels=True, is_shuffled=self.settings.shuffled_graph)

    def after_epoch(self, heads: Ms2gahHeads, view: TrainingView, moment: Moment) -> None:
        """Set landmarks anew where an encoder is tuned."""
        graphs = find_graphs((heads.image, None), (heads.text, None))
        renew_landmarks(graphs, view, with_labels=True, is_shuffled=self.settings.shuffled_graph)

    def batch_loss(self, heads: Ms2gahHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the weighted parts of the objective."""
        settings, labels = self.settings, batch.labels
        assert labels is not None
        target = LabelTarget(
            label_similarity(labels, settings.label_grading),
            settings.logit_scale or heads.image.n_bits / 2,
            settings.logit_offset,
        )
        hidden = trunk_outputs(heads, batch)
        graphs = find_graphs((heads.image, None), (heads.text, None))
        gathered = None if graphs is None else landmark_outputs(graphs, batch)
        students = student_outputs(heads, hidden, gathered=gathered)
        label = label_outputs(heads, shuffle_items(labels) if settings.shuffled_labels else labels)
        losses = student_losses(students, label, labels, target)
        relaxed, voters = [network.relaxed for network in students], list[Tensor]()
        if graphs is not None and gathered is not None:
            codes = torch.tanh(gathered.image), torch.tanh(gathered.text)
            losses["graph"] = target.code_loss(*codes) + label_guide(gathered, graphs, batch)
        elif settings.graph_weight:
            links = label_links(labels, settings.edge_threshold)
            if settings.shuffled_graph:
                links = shuffle_edges(links)
            if settings.graph_path is GraphPath.IN_PATH:
                linked = student_outputs(heads, hidden, links)
                teachers = [network.relaxed for network in linked]
                graph_losses = student_losses(linked, label, labels, target)
                losses["graph"] = LossReport(self.weighted(graph_losses)).total
            else:
                graph = self.graph_outputs(heads, hidden, links)
                teachers = [graph.relaxed, graph.relaxed]
                losses["graph"] = target.code_loss(
                    graph.relaxed, graph.relaxed
                ) + settings.class_weight * classification_loss([graph], labels)
            losses["feedback"] = feedback_loss(relaxed, teachers)
            voters = [(teachers[0] + teachers[1]) / 2]
        if label is not None:
            losses["label"] = label_encoder_loss(label, target)
            losses["classes"] = losses["classes"] + classification_loss([label], labels)
            relaxed = [*relaxed, label.relaxed]
        losses["quantization"] = quantization_loss(relaxed, voters)
        image, text = students
        watched = code_statistics(image.relaxed, text.relaxed)
        return LossReport(self.weighted(losses), watched)

    def graph_outputs(
        self, heads: Ms2gahHeads, hidden: tuple[Tensor, Tensor], links: Tensor
    ) -> Outputs:
        """Compute what the graph makes of a batch; its nodes are the means of both modalities."""
        assert heads.graph is not None
        assert heads.graph_codes is not None
        assert heads.graph_classes is not None
        features = heads.graph((hidden[0] + hidden[1]) / 2, links)
        relaxed = torch.tanh(heads.graph_codes(features))
        return Outputs(features, relaxed, heads.graph_classes(features))

    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Term]:
        """Give each of some losses its weight."""
        settings = self.settings
        weights = {
            "label": settings.guide_weight,
            "guide": settings.guide_weight,
            "classes": settings.class_weight,
            "cross": settings.cross_weight,
            "graph": settings.graph_weight,
            "feedback": settings.graph_weight,
            "quantization": settings.quantization_weight,
        }
        return {name: Term(loss, weights[name]) for name, loss in losses.items()}
