"""VTM-UCH: vision-guided text mining with community similarity quantization, on features.

H. Fan, Y. Cao: "Vision-guided Text Mining for Unsupervised Cross-modal Hashing with Community
Similarity Quantization", AAAI Conference on Artificial Intelligence 39(3), 2025.
https://doi.org/10.1609/aaai.v39i3.32290

Texts are compared by what they say of the pictures, and two pairs are alike if their pictures or
their texts are. Communities of the graph of alike pairs give centres; where both say that two pairs
are alike, or that they aren't, codes must be equal or opposite. In between the target is the
similarity itself. No labels are used.

Objective, for n pairs with features F_v, F_t; nodes are some training pairs::

    T   = (1 - guide_share) F_t + guide_share mean(F_t of the nodes with the nearest pictures)
    A   = cos(F_v, F_v) > mean + image_deviations deviation, or cos(T, T) > the same of texts
    E   = A among nodes, the strongest edges of each; its communities (Louvain) have means
    c   = each pair's nearest of the means, and of the points halfway between two, moved once
    C   = image_weight cos(F_v, F_v) + (1 - image_weight) cos(T, T), each row stretched so that its
          smallest value is far_target and 1 stays 1
    Q   = 1 if A and c[i] = c[j];  far_target if neither;  else C
    S   = (1 - quantised_share) C + quantised_share Q

    H_m = tanh(z_m)                                z_m: output of the hash head of modality m
    K_vv, K_tt, K_vt = H_v H_v^T / b, H_t H_t^T / b, H_v H_t^T / b         b: number of bits
    similarity = text_share MSE(K_tt, S) + (1 - text_share) MSE(K_vv, S) + MSE(K_vt, S)
    alignment  = MSE(K_vv, K_tt) + MSE(K_vt, K_vv) + MSE(K_vt, K_tt)
    L = similarity + alignment_weight alignment

Differs from the paper: only its abstract could be read, so the formulas are those of the released
code. There a detector cuts objects out of pictures, words are matched with objects by CLIP, and
texts are alike if objects that they name share one of some k-means clusters; pictures are alike by
the best matches of their objects. Pooled features have neither words nor objects: here a text is
mixed with those of near pictures, which keeps what near pictures' texts share, and both modalities
have the rule of mean and deviations. There communities are sought by the Leiden method in the graph
of all pairs. Products of codes are divided by b, which changes the scale of the loss alone.
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
    cosine_similarities,
    fused_rows,
    strongest_nodes,
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
    Schedule,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.communities import community_centres, find_communities, nearest_centres
from modalhash.methods.controls import NamedModule, shuffle_items
from modalhash.methods.graph_nodes import READ_BATCH, read_nodes
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Settings,
)

__all__ = [
    "VtmUch",
    "VtmUchSettings",
    "alignment_loss",
    "code_products",
    "cosine_threshold",
    "quantised_similarity",
    "stretched_similarity",
]

LARGEST_LEAST = 0.999
"""Upper bound of a row's smallest similarity, so that rows of equal items can be stretched."""


@dataclass(frozen=True)
class VtmUchSettings(Settings):
    """Settings of VTM-UCH; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 2048
    """Units of the hidden layer of each hash head."""
    guide_share: Annotated[float, SHARE] = 0.5
    """Share of near pictures' texts in a text (ours; released: words matched with objects)."""
    n_guides: Annotated[int, AT_LEAST_ONE] = 10
    """Near pictures whose texts guide a text (ours)."""
    shuffled_guides: bool = False
    """Guide texts by the near pictures of other pairs: a control (ours)."""
    image_deviations: Annotated[float, NOT_NEGATIVE] = 1.1
    """Deviations above the mean cosine from which pictures are alike."""
    text_deviations: Annotated[float, NOT_NEGATIVE] = 1.1
    """The same of guided texts (ours; released: a shared cluster of objects)."""
    image_weight: Annotated[float, SHARE] = 1.0
    """Share of the image similarity in centres and undecided pairs; guided texts have the rest."""
    graph_nodes: Annotated[int, AT_LEAST_TWO] = 4096
    """Most pairs that communities and guides are sought among (ours; released: all, 5,000)."""
    most_edges: Annotated[int, AT_LEAST_ONE] = 32
    """Most alike nodes that each node is tied to, in each modality (ours; released: all)."""
    communities: bool = True
    """Let communities decide with the similarities; without them A alone is quantised."""
    shuffled_communities: bool = False
    """Give pairs the centres of other pairs: a control (ours)."""
    resolution: Annotated[float, POSITIVE] = 1.0
    """Resolution of the communities; larger values give more of them."""
    most_communities: Annotated[int, AT_LEAST_ONE] = 64
    """Communities that give centres, the largest (ours; released: all)."""
    community_seed: Annotated[int, NOT_NEGATIVE] = 1
    """Seed of the search for communities."""
    midpoints: bool = True
    """Put centres between every two communities too."""
    far_target: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What codes of pairs that aren't alike should have in common."""
    quantised_share: Annotated[float, SHARE] = 1.0
    """Share of the quantised target, the similarity itself has the rest."""
    text_share: Annotated[float, SHARE] = 0.1
    """Share of reconstruction within texts, within pictures has the rest; rho."""
    alignment_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the agreement of similarities across modalities; alpha."""
    by_cosine: bool = False
    """Compare codes by their cosine, whatever their size (ours; released: inner products)."""


def cosine_threshold(rows: Tensor, deviations: float) -> Tensor:
    """Compute the mean and so many deviations of the cosines of all different rows.

    Args:
        rows: (m, d) of length 1 or 0.
        deviations: how many above the mean.

    Returns:
        Scalar float64; infinite for fewer than two rows, of which none are alike.

    Example:
        >>> cosine_threshold(torch.eye(2)[[0, 0, 1]], 2.0)  # cosines 1, 0, 0
        tensor(1.2761, dtype=torch.float64)
    """
    n_pairs = len(rows) * (len(rows) - 1)
    if not n_pairs:
        return torch.tensor(math.inf, dtype=torch.float64, device=rows.device)
    rows = rows.double()
    own = rows.square().sum(dim=1)
    mean = (rows.sum(dim=0).square().sum() - own.sum()) / n_pairs
    mean_square = ((rows.T @ rows).square().sum() - own.square().sum()) / n_pairs
    return mean + deviations * (mean_square - mean.square()).clamp_min(0).sqrt()


def stretched_similarity(cosines: Tensor, least: Tensor, far_target: float) -> Tensor:
    """Stretch each row so that its smallest value becomes `far_target` and 1 stays 1.

    Args:
        cosines: (n, n).
        least: (n,) the smallest of each row, over the whole training set.
        far_target: in [-1, 1).
    """
    low = least.clamp_max(LARGEST_LEAST)[:, None]
    return far_target + (1 - far_target) * (cosines - low) / (1 - low)


def quantised_similarity(
    undecided: Tensor, is_alike: Tensor, has_same_centre: Tensor, far_target: float
) -> Tensor:
    """Put 1 where both say that items are alike, `far_target` where both say that they aren't.

    Args:
        undecided: (n, n) what is kept where they differ.
        is_alike: (n, n) bool, by similarities.
        has_same_centre: (n, n) bool, by communities.
        far_target: what items that aren't alike get.
    """
    near = undecided.masked_fill(is_alike & has_same_centre, 1.0)
    return near.masked_fill(~is_alike & ~has_same_centre, far_target)


def code_products(relaxed: Tensor, other_relaxed: Tensor) -> Tensor:
    """Compute inner products (n, m) of relaxed codes, divided by the number of bits."""
    return relaxed @ other_relaxed.T / relaxed.shape[1]


def alignment_loss(among_images: Tensor, among_texts: Tensor, across: Tensor) -> Tensor:
    """Compute how far three (n, n) matrices of products differ from each other."""
    return (
        mse_loss(among_images, among_texts)
        + mse_loss(across, among_images)
        + mse_loss(across, among_texts)
    )


class PairKnowledge(nn.Module):
    """What is known of the training pairs before training, as buffers, which checkpoints keep.

    Args:
        n_pairs: N.
        n_nodes: m.
        n_guides: g, nodes that guide a text.
        text_width: d of text features.
    """

    guides: Tensor
    node_texts: Tensor
    least: Tensor
    centres: Tensor
    thresholds: Tensor

    def __init__(self, n_pairs: int, n_nodes: int, n_guides: int, text_width: int) -> None:
        super().__init__()
        self.register_buffer("guides", torch.zeros(n_pairs, n_guides, dtype=torch.int32))
        self.register_buffer("node_texts", torch.zeros(n_nodes, text_width))
        self.register_buffer("least", torch.zeros(n_pairs))
        self.register_buffer("centres", torch.zeros(n_pairs, dtype=torch.int32))
        self.register_buffer("thresholds", torch.zeros(2))

    def guided_texts(self, texts: Tensor, positions: Tensor, share: float) -> Tensor:
        """Mix texts (n, d) at some positions with those of their guides; rows of length 1 or 0."""
        texts = normalize(texts, dim=1)
        guides = self.guides[positions].long()
        if guides.shape[1]:
            texts = torch.lerp(texts, self.node_texts[guides].mean(dim=1).to(texts), share)
        return normalize(texts, dim=1)


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "hidden_width": 1024,
    "image_deviations": 3.0,
    "text_deviations": 3.0,
    "image_weight": 0.5,
    "resolution": 4.0,
    "far_target": -0.3,
    "quantised_share": 0.2,
    "text_share": 0.5,
    "alignment_weight": 2.0,
    "by_cosine": True,
}
"""For dense text features and small collections (ours, chosen on training items of icons)."""


@dataclass
class VtmUchHeads(Heads):
    """Hash heads and what is known of the training pairs before training."""

    knowledge: PairKnowledge


class VtmUch(GradientMethod[VtmUchHeads]):
    """Vision-guided text mining with community similarity quantization; see the module."""

    name = "vtm-uch"
    title = "VTM-UCH"
    settings_class = VtmUchSettings
    settings: VtmUchSettings
    training = TrainingSettings(
        epochs=30,
        batch_size=128,
        optimiser=Optimiser.ADAMW,
        learning_rate=1e-4,
        weight_decay=0.01,
        schedule=Schedule.COSINE,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without guided texts": {"guide_share": 0.0},
        "with shuffled guides": {"shuffled_guides": True},
        "without communities": {"communities": False},
        "with shuffled communities": {"shuffled_communities": True},
        "without midpoints": {"midpoints": False},
        "without quantisation": {"quantised_share": 0.0},
        "image similarity only": {"image_weight": 1.0},
        "without alignment": {"alignment_weight": 0.0},
        "by inner products": {"by_cosine": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without alignment": ("alignment",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "guided texts": NamedModule("without guided texts", "with shuffled guides"),
        "communities": NamedModule("without communities", "with shuffled communities"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> VtmUchHeads:
        """Make two hash heads of one hidden layer, and room for what is known of all pairs."""
        settings = self.settings
        n_nodes = min(settings.graph_nodes, shapes.n_pairs)
        n_guides = max(0, min(settings.n_guides, n_nodes - 1))
        widths = (settings.hidden_width, n_bits)
        return VtmUchHeads(
            image=MlpHead((shapes.image_width, *widths)),
            text=MlpHead((shapes.text_width, *widths)),
            knowledge=PairKnowledge(shapes.n_pairs, n_nodes, n_guides, shapes.text_width),
        )

    def before_training(self, heads: VtmUchHeads, view: TrainingView) -> None:
        """Find guides, thresholds and centres of all pairs, by first captions."""
        settings, knowledge = self.settings, heads.knowledge
        places, nodes = read_nodes(view, 0.5, len(knowledge.node_texts))
        width = knowledge.node_texts.shape[1]
        pictures, texts = (
            normalize(part, dim=1) for part in (nodes[:, :-width], nodes[:, -width:])
        )
        knowledge.node_texts.copy_(texts)
        for batch in view.batches(READ_BATCH):
            positions = batch.positions
            own = torch.searchsorted(places, positions).clamp_max(len(places) - 1)
            own = own.masked_fill(places[own] != positions, -1)
            rows = normalize(batch.image.reference, dim=1)
            guides, _ = strongest_nodes(rows, pictures, knowledge.guides.shape[1], own_places=own)
            knowledge.guides[positions] = guides.int()
        if settings.shuffled_guides:
            knowledge.guides.copy_(knowledge.guides.roll(view.n_pairs // 2, 0))
        texts = knowledge.guided_texts(texts, places, settings.guide_share)
        knowledge.thresholds[0] = cosine_threshold(pictures, settings.image_deviations)
        knowledge.thresholds[1] = cosine_threshold(texts, settings.text_deviations)
        joined = fused_rows(pictures, texts, image_weight=settings.image_weight)
        centres = self.find_centres(knowledge, (pictures, texts), joined)
        for batch in view.batches(READ_BATCH):
            rows = fused_rows(*self.sides(knowledge, batch), image_weight=settings.image_weight)
            knowledge.least[batch.positions] = (rows @ joined.T).amin(dim=1).to(knowledge.least)
            knowledge.centres[batch.positions] = nearest_centres(rows, centres).int()

    def find_centres(
        self, knowledge: PairKnowledge, sides: tuple[Tensor, Tensor], joined: Tensor
    ) -> Tensor:
        """Compute centres (c, d) of communities of the nodes.

        Args:
            knowledge: with its thresholds.
            sides: pictures and guided texts of the nodes, (m, d) each.
            joined: (m, d) of the nodes, in which centres lie.
        """
        settings = self.settings
        if not settings.communities:
            return community_centres(joined, [])
        n_edges = min(settings.most_edges, len(joined) - 1)
        own, edges = torch.arange(len(joined), device=joined.device), []
        for rows, threshold in zip(sides, knowledge.thresholds, strict=True):
            others, cosines = strongest_nodes(rows, rows, n_edges, own_places=own)
            node, rank = torch.nonzero(cosines > threshold, as_tuple=True)
            edges.append(torch.stack([node, others[node, rank]], dim=1))
        communities = find_communities(
            torch.cat(edges),
            resolution=settings.resolution,
            seed=settings.community_seed,
            most=settings.most_communities,
        )
        return community_centres(joined, communities, has_midpoints=settings.midpoints)

    def sides(self, knowledge: PairKnowledge, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute pictures (n, d) and guided texts (n, e) of a batch, rows of length 1 or 0."""
        texts = knowledge.guided_texts(
            batch.text.reference, batch.positions, self.settings.guide_share
        )
        return normalize(batch.image.reference, dim=1), texts

    def target(self, knowledge: PairKnowledge, batch: Batch) -> Tensor:
        """Compute what the products of codes should be, (n, n)."""
        settings = self.settings
        pictures, texts = self.sides(knowledge, batch)
        among_images, among_texts = pictures @ pictures.T, texts @ texts.T
        image_threshold, text_threshold = knowledge.thresholds
        is_alike = (among_images > image_threshold) | (among_texts > text_threshold)
        is_alike.fill_diagonal_(True)
        similarity = stretched_similarity(
            torch.lerp(among_texts, among_images, settings.image_weight),
            knowledge.least[batch.positions].to(pictures),
            settings.far_target,
        )
        has_same_centre = is_alike
        if settings.communities:
            centres = knowledge.centres[batch.positions]
            if settings.shuffled_communities:
                centres = shuffle_items(centres)
            has_same_centre = centres[:, None] == centres
        quantised = quantised_similarity(similarity, is_alike, has_same_centre, settings.far_target)
        return torch.lerp(similarity, quantised, settings.quantised_share)

    def batch_loss(self, heads: VtmUchHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the two parts of the objective."""
        settings = self.settings
        image = torch.tanh(heads.image(batch.image))
        text = torch.tanh(heads.text(batch.text))
        with torch.no_grad():
            target = self.target(heads.knowledge, batch)
        compare = cosine_similarities if settings.by_cosine else code_products
        among_images, among_texts = compare(image, image), compare(text, text)
        across = compare(image, text)
        similarity = (
            settings.text_share * mse_loss(among_texts, target)
            + (1 - settings.text_share) * mse_loss(among_images, target)
            + mse_loss(across, target)
        )
        alignment = alignment_loss(among_images, among_texts, across)
        terms = {
            "similarity": Term(similarity),
            "alignment": Term(alignment, settings.alignment_weight),
        }
        return LossReport(terms, target_range(target) | code_statistics(image, text))
