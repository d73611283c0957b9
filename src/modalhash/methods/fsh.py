"""FSH: fusion similarity hashing, on anchors.

H. Liu, R. Ji, Y. Wu, F. Huang, B. Zhang: "Cross-Modality Binary Code Learning via Fusion Similarity
Hashing", CVPR 2017. https://doi.org/10.1109/CVPR.2017.672

Two pairs are alike if the pictures near the one are like the texts near the other: neighbours are
looked up in either modality and compared across, by way of a few anchor pairs. Codes and anchors'
codes are signs throughout the solution, and linear maps of either modality must give them. No
labels are used.

Objective, for n pairs with centred features X_m (n, d_m) and a anchors among them::

    N_m (n, a)  1/k at the k anchors nearest to a pair in modality m, else 0; M_m (a, a) of anchors
    K_m (a, a)  exp(-distance / (2 bandwidth * mean distance)) between anchors in modality m
    D           image_weight N_v K_v M_t' + (1 - image_weight) N_t K_t M_v'
    L = -tr(B' D A) + lambda sum over m of (|| B - X_m W_m ||^2 + ridge s_m || W_m ||^2)

with codes B (n, b) and A (a, b) of -1 and +1, s_m the mean sum of squares of a feature. Each is
solved for in turn, the others fixed, which never raises L::

    A   = sign(D' B)
    W_m = (X_m'X_m + ridge s_m I)^-1 X_m' B
    B   = sign(D A + 2 lambda sum over m of X_m W_m)

Differs from the paper: distances are taken relative to their mean, so that one bandwidth suits all
features; `ridge` is ours. The start is a random mixture of canonical variates; the released code
has random maps, or canonical ones as an option. That code also moves `image_weight` in each round
by a rule that we could not check against the paper; here it stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.layers import canonical_maps, linear_head, pair_moments
from modalhash.losses import signs_of
from modalhash.methods.anchored import sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import AT_LEAST_ONE, POSITIVE, SHARE, Settings

__all__ = ["Fsh", "FshSettings", "Fused", "fused_similarities", "one_round"]

Both = tuple[Tensor, Tensor]
"""One of images, one of texts."""


@dataclass(frozen=True)
class FshSettings(Settings):
    """Settings of FSH."""

    anchors: Annotated[int, AT_LEAST_ONE] = 50
    """Anchor pairs a, drawn at random (released: 50)."""
    neighbours: Annotated[int, AT_LEAST_ONE] = 10
    """Anchors k that are near a pair, at most (released: 10)."""
    image_weight: Annotated[float, SHARE] = 0.5
    """Share of neighbours of pictures in the similarity (released: 0.5 at first)."""
    bandwidth: Annotated[float, POSITIVE] = 1.0
    """Reach of the kernel, in mean distances between anchors (released: 1, in distances)."""
    regression_weight: Annotated[float, POSITIVE] = 300.0
    """Weight lambda of codes being linear in the features (released: 300)."""
    ridge: Annotated[float, POSITIVE] = 0.5
    """Share of the mean sum of squares of a feature that steadies the maps (ours)."""
    rounds: Annotated[int, AT_LEAST_ONE] = 100
    """Most rounds; they end where no code changes (released: 100)."""
    sample: Annotated[int, AT_LEAST_ONE] = 5_000
    """Training pairs, evenly spaced, that are learned from, at most (ours)."""


@dataclass(frozen=True)
class Fused:
    """What the objective is minimised over, float64.

    Attributes:
        codes: (n, b), B.
        anchor_codes: (a, b), A.
        maps: W_m, (d_m, b) each, of images and texts.
    """

    codes: Tensor
    anchor_codes: Tensor
    maps: Both


def memberships(rows: Tensor, anchors: Tensor, neighbours: int) -> Tensor:
    """Compute (n, a): 1/k at the k anchors nearest to a row, else 0."""
    count = min(neighbours, len(anchors))
    nearest = torch.cdist(rows, anchors).topk(count, largest=False).indices
    shares = rows.new_zeros(len(rows), len(anchors))
    return shares.scatter(1, nearest, 1 / count)


def kernel(anchors: Tensor, bandwidth: float) -> Tensor:
    """Compute (a, a): exp(-distance / (2 bandwidth mean distance)); 1 where all are the same."""
    distances = torch.cdist(anchors, anchors, compute_mode="donot_use_mm_for_euclid_dist")
    scale = 2 * bandwidth * distances.mean()
    return torch.exp(-distances / scale.clamp_min(torch.finfo(distances.dtype).tiny))


def fused_similarities(features: Both, anchors: Tensor, settings: FshSettings) -> Tensor:
    """Compute D (n, a), in [0, 1]; larger is more alike.

    Args:
        features: (n, d_m) of images and texts.
        anchors: (a,) int64, rows that are anchors.
        settings: with neighbours, weight and bandwidth.
    """
    near = [memberships(rows, rows[anchors], settings.neighbours) for rows in features]
    kernels = [kernel(rows[anchors], settings.bandwidth) for rows in features]
    of_images = near[0] @ kernels[0] @ near[1][anchors].T
    of_texts = near[1] @ kernels[1] @ near[0][anchors].T
    return settings.image_weight * of_images + (1 - settings.image_weight) * of_texts


def map_solvers(features: Both, ridge: float) -> Both:
    """Compute the Cholesky factors of X_m'X_m + ridge s_m I."""
    solvers = []
    for rows in features:
        squares = rows.T @ rows
        damping = ridge * squares.diagonal().mean()
        solvers.append(torch.linalg.cholesky(squares + damping * torch.eye(len(squares)).double()))
    return solvers[0], solvers[1]


def one_round(
    features: Both, similarities: Tensor, fused: Fused, solvers: Both, settings: FshSettings
) -> tuple[Fused, Fused, Fused]:
    """Compute the parts after each step of a round; none raises the loss.

    Args:
        features: (n, d_m) of images and texts, centred.
        similarities: (n, a), D.
        fused: to begin from.
        solvers: from `map_solvers`.
        settings: with the weights.
    """
    after_anchors = replace(fused, anchor_codes=signs_of(similarities.T @ fused.codes))
    image_map, text_map = (
        torch.cholesky_solve(rows.T @ fused.codes, solver)
        for rows, solver in zip(features, solvers, strict=True)
    )
    after_maps = replace(after_anchors, maps=(image_map, text_map))
    predicted = features[0] @ image_map + features[1] @ text_map
    pull = similarities @ after_anchors.anchor_codes
    after_codes = replace(
        after_maps, codes=signs_of(pull + 2 * settings.regression_weight * predicted)
    )
    return after_anchors, after_maps, after_codes


def first_codes(features: Both, n_bits: int, ridge: float, generator: torch.Generator) -> Tensor:
    """Compute signs of random mixtures of what both modalities share, (n, b).

    Canonical variates, each weighted by its correlation and summed over both modalities, times a
    random matrix: there may be fewer of them than bits.
    """
    count = min(n_bits, *(rows.shape[1] for rows in features))
    maps = canonical_maps([features], count, ridge=ridge)
    maps = maps.weighted(maps.correlations)
    mixing = torch.randn(count, n_bits, generator=generator, dtype=torch.float64)
    return signs_of((features[0] @ maps.image_map + features[1] @ maps.text_map) @ mixing)


class Fsh(ClosedFormMethod):
    """Signs that follow fused neighbourhoods; see the module's docstring."""

    name = "fsh"
    title = "FSH"
    settings_class = FshSettings
    settings: FshSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"ridge": 1e-6},
        "dense": {"image_scaling": "centred_unit", "text_scaling": "centred_unit"},
    }

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the maps W_m of centred features as heads."""
        settings = self.settings
        sample = list(sampled_pairs(view, shapes.batch_size, settings.sample))
        moments = pair_moments(sample)
        image, text = (torch.cat(rows).double() for rows in zip(*sample, strict=True))
        features = (image - moments.image_mean, text - moments.text_mean)
        anchors = torch.randperm(len(image), generator=generator)[: settings.anchors]
        similarities = fused_similarities(features, anchors, settings)
        solvers = map_solvers(features, settings.ridge)
        codes = first_codes(features, n_bits, settings.ridge, generator)
        fused = Fused(codes, codes[anchors], features)
        for _ in range(settings.rounds):
            codes = fused.codes
            *_, fused = one_round(features, similarities, fused, solvers, settings)
            if torch.equal(codes, fused.codes):
                break
        return Heads(
            linear_head(fused.maps[0], moments.image_mean),
            linear_head(fused.maps[1], moments.text_mean),
        )
