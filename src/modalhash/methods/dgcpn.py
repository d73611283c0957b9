"""DGCPN: deep graph-neighbour coherence preserving network.

J. Yu, H. Zhou, Y. Zhan, D. Tao: "Deep Graph-neighbor Coherence Preserving Network for Unsupervised
Cross-modal Hashing", AAAI Conference on Artificial Intelligence 35(5), 2021.
https://doi.org/10.1609/aaai.v35i5.16592

Two pairs are alike if their features are, and if they are like the same others of the training
set: the coherence of their neighbourhoods in a graph. Codes must reproduce the mixture of both,
partners must agree, and similarities may not depend on modality. So that little is lost by taking
signs, each modality also learns against the signs of the other. No labels are used.

Objective, for n pairs with features F_v, F_t; k neighbours a pair::

    A   = image_weight cos(F_v, F_v) + (1 - image_weight) cos(F_t, F_t)    over all training pairs
    P   = A with all but the k strongest others of each row at 0, rows divided by their sum
    T   = (1 - coherence_share) A + coherence_share coherence_scale k P P^T
    S   = phi + (1 - phi) T                           phi = unrelated_similarity

    H_m = tanh(z_m);  B_m = sign(H_m)                 z_m: output of the hash head of modality m
    K_vv, K_tt, K_vt: cosines among image codes, among text codes, of image with text codes
    pair        = mean_i (K_vt[i, i] - pair_target)^2
    similarity  = the sum over K_vv, K_tt, K_vt of mean_ij [i != j] (K[i, j] - S[i, j])^2
    consistency = MSE(K_vt, K_vv) + MSE(K_vt, K_tt) + MSE(K_vv, K_tt) + MSE(K_vt, K_vt^T)
    L(H_v, H_t) = pair_weight pair + similarity_weight similarity + consistency_weight consistency
    L = L(H_v, H_t) + L(H_v, B_t) + L(B_v, H_t)       no gradient passes signs

Differs from the paper: its text could not be read, so the formulas follow what is known of the
released code. There the last line's parts are three steps one after the other, here one. The
released factor of P P^T is 4,000 for k = 2,000 of 5,000 pairs; here it is a multiple of k, so that
it fits any k. Coherence is that of the neighbours among at most `graph_nodes` evenly spaced
training pairs, as the graph of all grows with their square. Negative similarities to neighbours
count as 0 in P. The text head's dropout is inferred.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from modalhash.errors import SettingError
from modalhash.layers import MlpHead, row_normalised
from modalhash.layers.feature_scaling import ScalingRule
from modalhash.losses import (
    code_statistics,
    cosine_similarities,
    count_kept_neighbours,
    diagonal_gap,
    fused_rows,
    signs_of,
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
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.controls import NamedModule, shuffle_items
from modalhash.methods.graph_nodes import fused_batches, read_nodes
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    Settings,
)

__all__ = [
    "Dgcpn",
    "DgcpnSettings",
    "consistency_loss",
    "off_diagonal_gap",
]

LARGEST_GRAPH_BYTES = 2**29
"""Most memory of the graph of a training set."""


@dataclass(frozen=True)
class DgcpnSettings(Settings):
    """Settings of DGCPN; values of the released code unless the line says otherwise."""

    hidden_width: Annotated[int, AT_LEAST_ONE] = 4096
    """Units of the hidden layer of each hash head."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.5
    """Share of hidden units dropped in training."""
    image_weight: Annotated[float, SHARE] = 0.99
    """Share of the image similarity, texts have the rest."""
    keep_share: Annotated[float, SHARE_ABOVE_ZERO] = 0.4
    """Share of the other nodes that are a pair's neighbours (2,000 of 5,000)."""
    most_neighbours: Annotated[int, AT_LEAST_ONE] = 2000
    """Most neighbours of a pair."""
    graph_nodes: Annotated[int, AT_LEAST_TWO] = 16384
    """Most pairs that neighbours are sought among (ours; released: all, some 5,000)."""
    coherence_share: Annotated[float, SHARE] = 0.3
    """Share of the neighbourhoods' coherence in the target, the direct similarity has the rest."""
    coherence_scale: Annotated[float, NOT_NEGATIVE] = 2.0
    """Coherence of a pair whose neighbours are all equally strong with itself (4,000 / 2,000)."""
    shuffled_graph: bool = False
    """Give pairs the neighbours of other pairs: a control (ours)."""
    unrelated_similarity: Annotated[float, COSINE_BELOW_ONE] = -1.0
    """What a similarity of 0 asks of codes; phi."""
    pair_target: Annotated[float, NOT_NEGATIVE] = 1.5
    """What the partners' cosine is pulled to; beyond 1 it pushes codes towards signs."""
    pair_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the partners' part."""
    similarity_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the reproduction of the target."""
    consistency_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the agreement of similarities across modalities."""
    half_binary: bool = True
    """Let each modality also learn against the signs of the other."""


def off_diagonal_gap(similarity: Tensor, target: Tensor) -> Tensor:
    """Compute the squared distance of two (n, n) matrices off their diagonals, a mean over n n."""
    return (similarity - target).fill_diagonal_(0.0).square().mean()


def consistency_loss(among_images: Tensor, among_texts: Tensor, across: Tensor) -> Tensor:
    """Compute how far the codes' similarities depend on modality; all (n, n)."""
    return (
        mse_loss(across, among_images)
        + mse_loss(across, among_texts)
        + mse_loss(among_images, among_texts)
        + mse_loss(across, across.T)
    )


class Neighbours(nn.Module):
    """Neighbours of all training pairs as buffers, which checkpoints keep.

    Args:
        n_pairs: N.
        n_nodes: m, the pairs that neighbours are sought among.
        n_neighbours: k.
    """

    places: Tensor
    weights: Tensor

    def __init__(self, n_pairs: int, n_nodes: int, n_neighbours: int) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        self.register_buffer("places", torch.zeros(n_pairs, n_neighbours, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(n_pairs, n_neighbours))

    def coherence(self, positions: Tensor) -> Tensor:
        """Compute k times the inner products (n, n) of the pairs' weights over all nodes."""
        rows = self.weights.new_zeros(len(positions), self.n_nodes)
        rows.scatter_(1, self.places[positions].long(), self.weights[positions])
        return self.weights.shape[1] * (rows @ rows.T)


DENSE: Mapping[str, Any] = {
    **DENSE_TRAINING,
    "hidden_width": 1024,
    "dropout": 0.0,
    "image_weight": 0.5,
    "keep_share": 0.05,
    "most_neighbours": 300,
    "graph_nodes": 8192,
    "coherence_share": 0.2,
    "unrelated_similarity": 0.0,
    "pair_weight": 0.2,
    "epochs": 12,
}
"""For dense text features and small collections (ours, chosen on Flickr8k dev)."""


@dataclass
class DgcpnHeads(Heads):
    """Hash heads and the neighbours of all training pairs."""

    neighbours: Neighbours


class Dgcpn(GradientMethod[DgcpnHeads]):
    """Deep graph-neighbour coherence preserving network; see the module's docstring."""

    name = "dgcpn"
    title = "DGCPN"
    settings_class = DgcpnSettings
    settings: DgcpnSettings
    training = TrainingSettings(
        epochs=100,
        learning_rate=0.005,
        image_scaling=ScalingRule.CENTRED_RMS,
        text_scaling=ScalingRule.CENTRED_RMS,
    )
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dense": DENSE, "paper": {}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without coherence": {"coherence_share": 0.0},
        "with shuffled coherence": {"shuffled_graph": True},
        "coherence alone": {"coherence_share": 1.0},
        "image similarity only": {"image_weight": 1.0},
        "text similarity only": {"image_weight": 0.0},
        "without the partners' part": {"pair_weight": 0.0},
        "without consistency": {"consistency_weight": 0.0},
        "without half-binary parts": {"half_binary": False},
    }
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "without the partners' part": ("pair",),
        "without consistency": ("consistency",),
        "without half-binary parts": ("half_binary",),
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "graph coherence": NamedModule("without coherence", "with shuffled coherence"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> DgcpnHeads:
        """Make two hash heads of one hidden layer, and room for the neighbours of all pairs.

        Raises:
            SettingError: if these would take more than 512 MiB.
        """
        settings = self.settings
        n_nodes = min(settings.graph_nodes, shapes.n_pairs)
        n_neighbours = min(
            settings.most_neighbours, count_kept_neighbours(n_nodes, settings.keep_share)
        )
        n_bytes = 8 * shapes.n_pairs * n_neighbours
        if n_bytes > LARGEST_GRAPH_BYTES:
            raise SettingError(
                f"most_neighbours is {settings.most_neighbours}: the neighbours of "
                f"{shapes.n_pairs} pairs would take {n_bytes / 2**20:.0f} MiB, at most "
                f"{LARGEST_GRAPH_BYTES // 2**20} are allowed: lower most_neighbours or keep_share"
            )
        widths = (settings.hidden_width, n_bits)
        return DgcpnHeads(
            image=MlpHead((shapes.image_width, *widths), dropout=settings.dropout),
            text=MlpHead((shapes.text_width, *widths), dropout=settings.dropout),
            neighbours=Neighbours(shapes.n_pairs, n_nodes, n_neighbours),
        )

    def before_training(self, heads: DgcpnHeads, view: TrainingView) -> None:
        """Find the neighbours of all pairs, by first captions."""
        weight, neighbours = self.settings.image_weight, heads.neighbours
        places, nodes = read_nodes(view, weight, neighbours.n_nodes)
        for positions, rows in fused_batches(view, weight):
            own = torch.searchsorted(places, positions).clamp_max(len(places) - 1)
            own = own.masked_fill(places[own] != positions, -1)
            strongest, similarities = strongest_nodes(
                rows, nodes, neighbours.places.shape[1], own_places=own
            )
            neighbours.places[positions] = strongest.int()
            neighbours.weights[positions] = row_normalised(similarities.clamp_min(0))

    def batch_loss(self, heads: DgcpnHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the loss of relaxed codes and, with signs, of either modality against them."""
        image = torch.tanh(heads.image(batch.image))
        text = torch.tanh(heads.text(batch.text))
        with torch.no_grad():
            target = self.target(heads, batch)
        terms = self.comparison(image, text, target)
        if self.settings.half_binary:
            half = (
                LossReport(self.comparison(image, signs_of(text), target)).total
                + LossReport(self.comparison(signs_of(image), text, target)).total
            )
            terms["half_binary"] = Term(half)
        return LossReport(terms, target_range(target) | code_statistics(image, text))

    def target(self, heads: DgcpnHeads, batch: Batch) -> Tensor:
        """Compute what the cosines of codes should be, (n, n); the diagonal isn't used."""
        settings = self.settings
        rows = fused_rows(
            batch.image.reference, batch.text.reference, image_weight=settings.image_weight
        )
        positions = batch.positions
        if settings.shuffled_graph:
            positions = shuffle_items(positions)
        coherence = settings.coherence_scale * heads.neighbours.coherence(positions)
        similarity = torch.lerp(rows @ rows.T, coherence.to(rows), settings.coherence_share)
        low = settings.unrelated_similarity
        return low + (1 - low) * similarity

    def comparison(self, image: Tensor, text: Tensor, target: Tensor) -> dict[str, Term]:
        """Compute the three weighted terms of codes, relaxed or signs, each (n, b)."""
        settings = self.settings
        among_images = cosine_similarities(image, image)
        among_texts = cosine_similarities(text, text)
        across = cosine_similarities(image, text)
        pair = diagonal_gap(across, settings.pair_target)
        similarity = (
            off_diagonal_gap(among_images, target)
            + off_diagonal_gap(among_texts, target)
            + off_diagonal_gap(across, target)
        )
        consistency = consistency_loss(among_images, among_texts, across)
        return {
            "pair": Term(pair, settings.pair_weight),
            "similarity": Term(similarity, settings.similarity_weight),
            "consistency": Term(consistency, settings.consistency_weight),
        }
