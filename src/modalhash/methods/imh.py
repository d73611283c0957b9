"""IMH: inter-media hashing, eigenvectors that keep neighbours within and across media.

J. Song, Y. Yang, Y. Yang, Z. Huang, H. T. Shen: "Inter-media hashing for large-scale retrieval from
heterogeneous data sources", SIGMOD 2013. https://doi.org/10.1145/2463676.2465274

Every pair gets one relaxed code F. Neighbours within a medium get similar ones (intra-media
consistency), the two media of a pair the same one (inter-media consistency), and linear regression
from either medium's features must be able to give it, which is how new items are encoded. A bit's
threshold is its median, so that it splits the items in halves. No labels are used.

Objective, for n pairs, centred features X_m and graph Laplacians L_m of m in {v, t}::

    min over F, W_m:  sum over m of
        lambda tr F' L_m F + || X_m W_m - F ||^2 + n beta s_m || W_m ||^2
    subject to  F'F = n I,  F'1 = 0

s_m is the mean variance of a feature. With the best W_m = (X_m'X_m + n beta s_m I)^-1 X_m' F, and
anchor graphs, L_m = I - Z_m diag(Z_m'1)^-1 Z_m', F holds the b first left singular vectors, times
sqrt(n), of the centred columns of ::

    H = [X_m (X_m'X_m + n beta s_m I)^(-1/2),  sqrt(lambda) Z_m diag(Z_m'1)^(-1/2)]   for both m

They are found by the eigenvectors of H'H, whose size doesn't grow with n: exact, without sampling.

With lambda = 0 and a small beta, this is canonical correlation.

Differs from the paper: its Laplacians are of k-nearest-neighbour graphs, n x n; ours are of anchor
graphs. Each medium has an F of its own there, tied to the other's where items are paired by a
weight that is meant to be infinite (released code of others: 1e10); we take the limit, one F. There
the constant solution takes a bit; here it is left out. Where nothing of the paper's text could be
read, this follows that released code; its lambda and beta depend on the data, ours were chosen on
Flickr8k.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers import inverse_root, linear_head
from modalhash.methods.anchored import AnchoredMoments, anchored_moments, sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Settings

__all__ = ["Imh", "ImhSettings", "inter_media_maps"]

SMALLEST_SHARE = 1e-10
"""Least share of the largest eigenvalue that isn't rounding."""


@dataclass(frozen=True)
class ImhSettings(Settings):
    """Settings of IMH."""

    intra_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight lambda of neighbours within each medium."""
    ridge: Annotated[float, POSITIVE] = 0.1
    """Weight beta of the regressions' size, as a share of the mean variance."""
    anchors: Annotated[int, AT_LEAST_ONE] = 300
    """Anchors of each medium's graph, at most (ours)."""
    nearest_anchors: Annotated[int, AT_LEAST_ONE] = 5
    """Anchors that an item is tied to (ours)."""
    sample: Annotated[int, AT_LEAST_ONE] = 10_000
    """Training pairs, evenly spaced, that anchors and medians are found by, at most (ours)."""


def inter_media_maps(
    known: AnchoredMoments, n_bits: int, *, intra_weight: float, ridge: float
) -> tuple[Tensor, Tensor]:
    """Solve for the regressions W_v, (d_v, b), and W_t, (d_t, b), float64.

    Args:
        known: moments of the features and their ties to anchors.
        n_bits: b.
        intra_weight: lambda.
        ridge: beta, positive.

    Raises:
        SettingError: if there are fewer than `n_bits` solutions.
    """
    scaling = torch.zeros_like(known.moments.covariance)  # rows of pairs times this are H sqrt(n)
    whiteners = []
    for place in (known.image_features, known.text_features):
        whiteners.append(inverse_root(known.covariance(place, place), ridge))
        scaling[place, place] = whiteners[-1]
    for ties in (known.image_ties, known.text_ties):
        scaling[ties, ties] = (intra_weight * known.inverse_degrees(ties)).sqrt().diag()
    values, vectors = torch.linalg.eigh(scaling @ known.moments.covariance @ scaling)
    values, vectors = values.flip(0), vectors.flip(1)
    n_solutions = int((values > SMALLEST_SHARE * values[0]).sum())
    if n_bits > n_solutions:
        raise SettingError(
            f"n_bits is {n_bits}, IMH gives at most {n_solutions} on these features and anchors: "
            "choose fewer bits or raise anchors"
        )
    directions = scaling @ vectors[:, :n_bits] * values[:n_bits].rsqrt()  # rows times this are F
    targets = known.moments.covariance @ directions  # covariance of features and ties with F
    image_map, text_map = (
        whitener @ whitener @ targets[place]
        for whitener, place in zip(
            whiteners, (known.image_features, known.text_features), strict=True
        )
    )
    return image_map, text_map


class Imh(ClosedFormMethod):
    """Inter-media hashing; see the module's docstring."""

    name = "imh"
    title = "IMH"
    settings_class = ImhSettings
    settings: ImhSettings
    # An item that came once with each of its texts would be its own nearest neighbour.
    training = TrainingSettings(captions=CaptionChoice.MEAN, batch_size=4096, drop_last=False)

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the regressions, less their medians, as heads.

        Raises:
            SettingError: if `n_bits` is more than there are solutions.
        """
        settings = self.settings
        known = anchored_moments(
            view,
            shapes.batch_size,
            n_anchors=settings.anchors,
            n_nearest=settings.nearest_anchors,
            sample=settings.sample,
            generator=generator,
        )
        maps = inter_media_maps(
            known, n_bits, intra_weight=settings.intra_weight, ridge=settings.ridge
        )
        image, text = (
            linear_head(matrix, known.mean(place))
            for matrix, place in zip(maps, (known.image_features, known.text_features), strict=True)
        )
        drawn = sampled_pairs(view, shapes.batch_size, settings.sample)
        with torch.no_grad():
            relaxed = [(image.map(pictures), text.map(texts)) for pictures, texts in drawn]
            for head, parts in zip((image, text), zip(*relaxed, strict=True), strict=True):
                head.map.bias.sub_(medians(torch.cat(parts)))
        return Heads(image, text)


def medians(rows: Tensor) -> Tensor:
    """Compute the median of each column, (b,); of an even number, the mean of the middle two."""
    ordered = rows.sort(dim=0).values
    return (ordered[(len(rows) - 1) // 2] + ordered[len(rows) // 2]) / 2
