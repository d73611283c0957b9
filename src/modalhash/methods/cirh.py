"""CIRH: correlation-identity reconstruction hashing.

L. Zhu, X. Wu, J. Li, Z. Zhang, W. Guan, H. T. Shen: "Work Together: Correlation-Identity
Reconstruction Hashing for Unsupervised Cross-Modal Retrieval", IEEE Transactions on Knowledge and
Data Engineering 35(9), 2023. https://doi.org/10.1109/TKDE.2022.3218656

A network that sees both modalities of a batch is the teacher: graph convolutions within each
modality and over a graph of both, whose joint codes must reproduce the pairs' relations and from
which features must be decodable. Two hash heads, each of one modality alone, learn the teacher's
signs, to agree, and, with small weight, the relations. No labels are used.

Objective, for n pairs with features F_v, F_t; k = keep_share of all training pairs::

    A  = image_weight cos(F_v, F_v) + (1 - image_weight) cos(F_t, F_t)
    R  = A with all but the k strongest of each row, over all training pairs, at 0
    X  = 2 sigmoid(R) - 1 + I
    S  = direct_share R + (1 - direct_share) (X + X^T) / 2

    M  = .7 F + .2 F[second nearest] + .1 F[third nearest]     of each modality, nearest by S
    Y_v, Y_t, Y, D_v, D_t = network(M_v, M_t, S)               branches, joint codes, decoded
    B  = sign(Y)
    decode   = mse(D_v, M_v) + mse(D_t, M_t)
    relation = MSE(cos(Y_v, Y_v), S) + MSE(cos(Y_t, Y_t), S) + MSE(cos(Y, Y), S)
    teacher  = decode_weight decode + relation_weight relation + mse(Y, B)

    H_m = tanh(z_m)                                            z_m: output of the hash head
    follow = mse(H_v, B) + mse(H_t, B) + mse(H_v, H_t)         no gradient passes B
    heads  = follow + head_relation_weight
             (MSE(cos(H_v, H_t), S) + MSE(cos(H_v, H_v), S) + MSE(cos(H_t, H_t), S))
    L = teacher + heads

Differs from the paper: its text could not be read; this is the objective of the released code.
There the heads learn after each epoch from the codes that it gave; here in the same step as the
network, whose gradients they don't touch. There the heads' relations belong to other pairs than the
codes (the order of the one is drawn anew, that of the other isn't); here to the same. The least
similarity that R keeps is sought among at most `graph_nodes` evenly spaced training pairs, by first
captions; no matrix of all pairs is made. Features to decode are scaled to a mean square of 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from modalhash.layers import MlpHead
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    code_statistics,
    fused_rows,
    intra_gap,
    keep_thresholds,
    sign_gap,
    signs_of,
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
    Optimiser,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.cirh_networks import FusedCodes, FusionNetwork
from modalhash.methods.controls import NamedModule, shuffle_edges
from modalhash.methods.graph_nodes import fused_batches, read_nodes
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    Settings,
)

__all__ = ["Cirh", "CirhSettings", "collaborated_relations", "mixed_with_neighbours"]

MIXED_SHARES = (0.7, 0.2, 0.1)
"""Shares of an item, its second and its third nearest; the released code passes the first over."""


@dataclass(frozen=True)
class CirhSettings(Settings):
    """Settings of CIRH; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the image head's hidden layer."""
    text_hidden_width: Annotated[int, NOT_NEGATIVE] = 0
    """Units of the text head's hidden layer; 0 is as many as text features have."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.3
    """Share of hidden units of the heads dropped in training."""
    fusion_width: Annotated[int, AT_LEAST_ONE] = 512
    """Width of the network that fuses both modalities."""
    image_weight: Annotated[float, SHARE] = 0.6
    """Share of the image similarity in relations, texts have the rest."""
    keep_share: Annotated[float, SHARE_ABOVE_ZERO] = 0.4
    """Share of the nodes whose relation to a pair is kept (2,000 of 5,000)."""
    graph_nodes: Annotated[int, AT_LEAST_ONE] = 16384
    """Most pairs that relations are ranked among (ours; released: all, some 5,000)."""
    direct_share: Annotated[float, SHARE] = 0.6
    """Share of plain relations, squashed ones have the rest."""
    mix_neighbours: bool = True
    """Feed the network items mixed with near ones."""
    shuffled_filter: bool = False
    """Keep as many relations, but of other pairs: a control (ours)."""
    shuffled_neighbours: bool = False
    """Mix items with the near ones of other pairs: a control (ours)."""
    decode_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the features' reconstruction."""
    relation_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the relations' reconstruction by the network."""
    head_relation_weight: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the relations' reconstruction by the heads."""
    head_rate_scale: Annotated[float, POSITIVE] = 0.1
    """Factor on the learning rate of the heads."""


def collaborated_relations(
    similarity: Tensor, thresholds: Tensor, *, direct_share: float, is_shuffled: bool = False
) -> Tensor:
    """Compute how pairs of a batch are related.

    Args:
        similarity: (n, n) fused cosines.
        thresholds: (n,), below which a row's similarities count as 0; one's own is kept.
        direct_share: share of plain relations, in [0, 1]; squashed ones have the rest.
        is_shuffled: keep the places where other pairs' relations are strong.

    Returns:
        (n, n); weak relations are kept in the one row or the other, so it isn't quite symmetric.
    """
    itself = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    is_weak = similarity < thresholds[:, None]
    if is_shuffled:
        is_weak = shuffle_edges(is_weak)
    plain = similarity.masked_fill(is_weak & ~itself, 0.0)
    squashed = 2 * torch.sigmoid(plain) - 1 + itself.to(plain)
    return direct_share * plain + (1 - direct_share) * (squashed + squashed.T) / 2


def mixed_with_neighbours(features: Tensor, relations: Tensor) -> Tensor:
    """Mix each row of (n, d) features with the third and fourth most related, itself the first.

    Of equally related ones the first come first; n is 4 or more.
    """
    own, second, third = MIXED_SHARES
    nearest = relations.argsort(dim=1, descending=True, stable=True)
    return own * features + second * features[nearest[:, 2]] + third * features[nearest[:, 3]]


class Thresholds(nn.Module):
    """The weakest relation that each training pair keeps, as a buffer, which checkpoints keep.

    Args:
        n_pairs: N.
    """

    values: Tensor

    def __init__(self, n_pairs: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(n_pairs))


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "hidden_width": 1024,
    "text_hidden_width": 1024,
    "fusion_width": 256,
    "image_weight": 0.5,
    "graph_nodes": 4096,
    "head_rate_scale": 1.0,
    "batch_size": 128,
    "epochs": 12,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class CirhHeads(Heads):
    """Hash heads, the network that teaches them, and the weakest relation each pair keeps."""

    network: FusionNetwork
    thresholds: Thresholds


class Cirh(GradientMethod[CirhHeads]):
    """Correlation-identity reconstruction hashing; see the module's docstring."""

    name = "cirh"
    title = "CIRH"
    settings_class = CirhSettings
    settings: CirhSettings
    training = TrainingSettings(
        epochs=60,
        batch_size=512,
        optimiser=Optimiser.ADAM,
        learning_rate=1e-3,
        weight_decay=0.0,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 4
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "paper": {},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without decoding": {"decode_weight": 0.0},
        "without the network's relations": {"relation_weight": 0.0},
        "without the heads' relations": {"head_relation_weight": 0.0},
        "without mixing neighbours": {"mix_neighbours": False},
        "with shuffled neighbours": {"shuffled_neighbours": True},
        "with all relations": {"keep_share": 1.0},
        "with a shuffled filter": {"shuffled_filter": True},
        "image similarity only": {"image_weight": 1.0},
        "text similarity only": {"image_weight": 0.0},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without decoding": ("decode",),
        "without the network's relations": ("relation",),
        "without the heads' relations": ("head_relation",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "mixing of neighbours": NamedModule(
            "without mixing neighbours", "with shuffled neighbours"
        ),
        "filter": NamedModule("with all relations", "with a shuffled filter"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> CirhHeads:
        """Make two hash heads of one hidden layer, the network and room for thresholds."""
        settings = self.settings
        return CirhHeads(
            image=wide_head((shapes.image_width, settings.hidden_width, n_bits), settings.dropout),
            text=wide_head(
                (shapes.text_width, settings.text_hidden_width or shapes.text_width, n_bits),
                settings.dropout,
            ),
            network=FusionNetwork(
                shapes.image_width, shapes.text_width, width=settings.fusion_width, n_bits=n_bits
            ),
            thresholds=Thresholds(shapes.n_pairs),
            rate_scales={"image": settings.head_rate_scale, "text": settings.head_rate_scale},
        )

    def before_training(self, heads: CirhHeads, view: TrainingView) -> None:
        """Find how strong a relation each pair must have to be kept, by first captions."""
        settings = self.settings
        _, nodes = read_nodes(view, settings.image_weight, settings.graph_nodes)
        n_kept = max(1, round(settings.keep_share * len(nodes)))
        thresholds = heads.thresholds.values
        for positions, rows in fused_batches(view, settings.image_weight):
            thresholds[positions] = keep_thresholds(rows, nodes, n_kept).to(thresholds)

    def batch_loss(self, heads: CirhHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the loss of the network and that of the heads, which learn its signs."""
        settings = self.settings
        with torch.no_grad():
            relations = self.relations(heads, batch)
            inputs = self.inputs(batch, relations)
        fused = heads.network(*inputs, relations)
        teacher = self.teacher_terms(fused, inputs, relations)
        image = torch.tanh(heads.image(batch.image))
        text = torch.tanh(heads.text(batch.text))
        signs = signs_of(fused.joint)
        pupils = {
            "follow": Term(mse_loss(image, signs) + mse_loss(text, signs) + mse_loss(image, text)),
            "head_relation": Term(
                intra_gap(image, text, relations) + similarity_gap(image, text, relations),
                settings.head_relation_weight,
            ),
        }
        watched = target_range(relations) | code_statistics(image, text)
        return LossReport({**teacher, **pupils}, watched)

    def relations(self, heads: CirhHeads, batch: Batch) -> Tensor:
        """Compute how the pairs of a batch are related, (n, n)."""
        settings = self.settings
        rows = fused_rows(
            batch.image.reference, batch.text.reference, image_weight=settings.image_weight
        )
        thresholds = heads.thresholds.values[batch.positions].to(rows)
        return collaborated_relations(
            rows @ rows.T,
            thresholds,
            direct_share=settings.direct_share,
            is_shuffled=settings.shuffled_filter,
        )

    def inputs(self, batch: Batch, relations: Tensor) -> tuple[Tensor, Tensor]:
        """Collect what the network reads and decodes: image (n, d) and text (n, e) features."""
        image, text = even_rows(batch.image.reference), even_rows(batch.text.reference)
        settings = self.settings
        if not settings.mix_neighbours:
            return image, text
        if settings.shuffled_neighbours:
            relations = shuffle_edges(relations)
        return mixed_with_neighbours(image, relations), mixed_with_neighbours(text, relations)

    def teacher_terms(
        self, fused: FusedCodes, inputs: tuple[Tensor, Tensor], relations: Tensor
    ) -> dict[str, Term]:
        """Compute the terms of the network."""
        settings, (image, text) = self.settings, inputs
        decode = mse_loss(fused.decoded_image, image) + mse_loss(fused.decoded_text, text)
        relation = intra_gap(fused.image, fused.text, relations) + similarity_gap(
            fused.joint, fused.joint, relations
        )
        return {
            "decode": Term(decode, settings.decode_weight),
            "relation": Term(relation, settings.relation_weight),
            "sign": Term(sign_gap(fused.joint)),
        }


def even_rows(features: Tensor) -> Tensor:
    """Scale rows of (n, d) features to a mean square of 1; a zero row stays zero."""
    return normalize(features, dim=1) * math.sqrt(features.shape[1])


def wide_head(widths: tuple[int, int, int], dropout: float) -> MlpHead:
    """Make a head whose last layer starts with weights of deviation 1, as the released code."""
    head = MlpHead(widths, dropout=dropout)
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight)
    return head
