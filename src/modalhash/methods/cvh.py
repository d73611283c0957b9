"""CVH: cross-view hashing, the generalised eigenvalue problem of two views.

S. Kumar and R. Udupa: "Learning hash functions for cross-view similarity search", IJCAI 2011.
https://doi.org/10.5591/978-1-57735-516-8/IJCAI11-230

Similar items shall have similar codes, within each view and across views. Codes are relaxed to
linear maps of centred features, decorrelated over the pairs, and the eigenvectors with the smallest
distances are the bits. Without labels, an item is similar to itself and, by a share s, to its
neighbours.

Objective, for n pairs with centred features X_v, X_t, maps A_v, A_t and similarities W (n, n), with
D = diag(W1) and L = D - W, over distances within both views and across them::

    min  sum over m of  tr A_m' X_m' (2 L + D) X_m A_m  -  2 tr A_v' X_v' W X_t A_t
    subject to  sum over m of  A_m' X_m'X_m A_m = n I
    W = (1 - s) I + s S,  S = (S_v + S_t) / 2,  S_m: the anchor graph of modality m, so that D = I

Where X_m'X_m stands by itself, n ridge s_m I is added, s_m being the mean variance of a feature:
noise that no two items share. The terms in D and in the identity are then constant; left is::

    max  sum over m of  2 s tr A_m' X_m' S X_m A_m  +  2 tr A_v' X_v' W X_t A_t

With s = 0, W is the identity and the problem is canonical correlation: the codes are those of
`cca-sign` at the same ridge. That is what benchmarks run under the name of CVH.

Differs from the paper: W comes from its labels or is the identity; the anchor graph is ours, and so
is the ridge as a share of the mean variance. The objective was written down from the definition of
its distances; the paper's own experiments could not be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.errors import SettingError
from modalhash.layers import canonical_maps, inverse_root, linear_head
from modalhash.methods.anchored import AnchoredMoments, anchored_moments
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.controls import NamedModule
from modalhash.methods.ranges import AT_LEAST_ONE, POSITIVE, SHARE, Settings

__all__ = ["Cvh", "CvhSettings", "cross_view_maps"]


@dataclass(frozen=True)
class CvhSettings(Settings):
    """Settings of CVH."""

    neighbour_share: Annotated[float, SHARE] = 0.5
    """Share s of an item's similarity that its neighbours have; 0 is the paper's two-view form."""
    ridge: Annotated[float, POSITIVE] = 0.5
    """Share of the mean variance that is added to each variance (ours)."""
    anchors: Annotated[int, AT_LEAST_ONE] = 300
    """Anchors of each modality's graph, at most (ours)."""
    nearest_anchors: Annotated[int, AT_LEAST_ONE] = 5
    """Anchors that an item is tied to (ours)."""
    sample: Annotated[int, AT_LEAST_ONE] = 10_000
    """Training pairs, evenly spaced, that anchors are placed by, at most (ours)."""
    shuffled_neighbours: bool = False
    """Tie items to the anchors of other items: a control (ours)."""


def smoothed(known: AnchoredMoments, rows: slice, columns: slice) -> Tensor:
    """Compute X_m' S X_k / n of two modalities, with S the mean of both anchor graphs."""
    total = torch.zeros(())
    for ties in (known.image_ties, known.text_ties):
        left, right = known.covariance(rows, ties), known.covariance(ties, columns)
        total = total + left * known.inverse_degrees(ties) @ right
    return total / 2


def cross_view_maps(
    known: AnchoredMoments, n_bits: int, *, neighbour_share: float, ridge: float
) -> tuple[Tensor, Tensor]:
    """Solve for the maps A_v, (d_v, b), and A_t, (d_t, b), float64; see the module's docstring.

    Args:
        known: moments of the features and their ties to anchors.
        n_bits: b.
        neighbour_share: s.
        ridge: share of the mean variance added to each variance, positive.

    Raises:
        SettingError: if `n_bits` is more than the smaller of the two widths.
    """
    places = known.image_features, known.text_features
    widths = [len(known.mean(place)) for place in places]
    if n_bits > min(widths):
        raise SettingError(
            f"n_bits is {n_bits}, CVH gives at most {min(widths)} on features of widths "
            f"{widths[0]} and {widths[1]}"
        )
    whiteners = [inverse_root(known.covariance(place, place), ridge) for place in places]
    rows = []
    for row, (row_place, row_whitener) in enumerate(zip(places, whiteners, strict=True)):
        blocks = []
        for column, (place, whitener) in enumerate(zip(places, whiteners, strict=True)):
            near = smoothed(known, row_place, place)
            if row == column:
                block = 2 * neighbour_share * near
            else:
                plain = known.covariance(row_place, place)
                block = (1 - neighbour_share) * plain + neighbour_share * near
            blocks.append(row_whitener @ block @ whitener)
        rows.append(torch.cat(blocks, dim=1))
    _, vectors = torch.linalg.eigh(torch.cat(rows))
    best = vectors.flip(1)[:, :n_bits]
    return whiteners[0] @ best[: widths[0]], whiteners[1] @ best[widths[0] :]


class Cvh(ClosedFormMethod):
    """Cross-view hashing; see the module's docstring."""

    name = "cvh"
    title = "CVH"
    settings_class = CvhSettings
    settings: CvhSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"neighbour_share": 0.0}}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "without neighbours": {"neighbour_share": 0.0},
        "with shuffled neighbours": {"shuffled_neighbours": True},
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "neighbours": NamedModule("without neighbours", "with shuffled neighbours"),
    }

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the maps as heads.

        Raises:
            SettingError: if `n_bits` is more than the smaller feature width.
        """
        settings = self.settings
        if not settings.neighbour_share:
            pairs = (
                (batch.image.pooled, batch.text.pooled) for batch in view.batches(shapes.batch_size)
            )
            return Heads(*canonical_maps(pairs, n_bits, ridge=settings.ridge).heads())
        known = anchored_moments(
            view,
            shapes.batch_size,
            n_anchors=settings.anchors,
            n_nearest=settings.nearest_anchors,
            sample=settings.sample,
            generator=generator,
            is_shuffled=settings.shuffled_neighbours,
        )
        image_map, text_map = cross_view_maps(
            known, n_bits, neighbour_share=settings.neighbour_share, ridge=settings.ridge
        )
        return Heads(
            linear_head(image_map, known.mean(known.image_features)),
            linear_head(text_map, known.mean(known.text_features)),
        )
