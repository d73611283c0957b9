"""CMFH: collective matrix factorization hashing.

G. Ding, Y. Guo, J. Zhou: "Collective Matrix Factorization Hashing for Multimodal Data", CVPR 2014.
https://doi.org/10.1109/CVPR.2014.267

The picture and the text of a pair are two views of one latent vector: it must rebuild the features
of both, each by a basis of its modality, and a linear map of either modality's features must give
it. The sign of that map, centred, is the code. No labels are used.

Objective, for n pairs of centred features X_v (n, d_v), X_t (n, d_t), with weights w_v + w_t = 1::

    L = sum over m of  w_m || X_m - V U_m ||^2  +  mu || V - X_m P_m ||^2
        + gamma (||U_v||^2 + ||U_t||^2 + ||P_v||^2 + ||P_t||^2 + ||V||^2)
        + mu ridge sum over m of  s_m || P_m ||^2

V (n, b) are the latent vectors, U_m (b, d_m) the bases, P_m (d_m, b) the maps, s_m the mean sum of
squares of a feature. Each is solved for in turn, the others fixed, which never raises L::

    U_m = (V'V + gamma / w_m I)^-1  V' X_m
    V   = sum over m of X_m (w_m U_m' + mu P_m)  (sum over m of w_m U_m U_m' + (2 mu + gamma) I)^-1
    P_m = (X_m'X_m + (gamma / mu + ridge s_m) I)^-1  X_m' V

V is a linear map of both modalities' features from the second step on, V = [X_v X_t] W. All steps
are written in W and the features' moments, so nothing is kept per pair.

Differs from the paper: it starts from a random map W, not from random V. Where the released code
has gamma for gamma / w_m and gamma / mu, these are the exact solutions. `ridge` and the rotation of
the latent space, which changes no term of L, are ours; `paper` is without them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from modalhash.layers import ModalityFeatures, PairMoments, linear_head, pair_moments
from modalhash.methods.anchored import sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.cca_itq import itq_rotation
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE_BETWEEN, Settings

__all__ = ["Cmfh", "CmfhSettings", "Factors", "Views"]

Both = tuple[Tensor, Tensor]
"""One of images, one of texts."""

TINY_SHARE = 1e-12
"""Share of a trace that is rounding."""


@dataclass(frozen=True)
class CmfhSettings(Settings):
    """Settings of CMFH."""

    image_weight: Annotated[float, SHARE_BETWEEN] = 0.5
    """Share w_v of rebuilding images; texts have the rest (the paper's lambda, 0.5)."""
    projection_weight: Annotated[float, POSITIVE] = 100.0
    """Weight mu of the maps from features to latent vectors (the paper's 100)."""
    regularisation: Annotated[float, POSITIVE] = 0.01
    """Weight gamma of all sizes (the paper's 0.01)."""
    ridge: Annotated[float, NOT_NEGATIVE] = 0.0
    """Share of the mean sum of squares of a feature that steadies the maps (ours)."""
    rounds: Annotated[int, AT_LEAST_ONE] = 25
    """Most rounds of the three steps (released: 25, or until the objective stands still)."""
    rotation_rounds: Annotated[int, NOT_NEGATIVE] = 0
    """Rounds of ITQ on the latent vectors of both modalities (ours)."""
    sample: Annotated[int, AT_LEAST_ONE] = 20_000
    """Training pairs, evenly spaced, that the rotation is fitted on, at most (ours)."""


@dataclass(frozen=True)
class Views:
    """Sums of products of the centred features X_v and X_t, (d_v + d_t)^2 float64 in all.

    Attributes:
        products: Z'Z with Z = [X_v X_t].
        image_width: d_v.
    """

    products: Tensor
    image_width: int

    @classmethod
    def of(cls, moments: PairMoments) -> "Views":
        """Compute the sums behind means and covariances."""
        return cls(moments.covariance * moments.count, moments.image_width)

    @property
    def places(self) -> tuple[slice, slice]:
        """Rows of images and of texts in `products` and in W."""
        return slice(self.image_width), slice(self.image_width, None)


@dataclass(frozen=True)
class Factors:
    """What the objective is minimised over, float64; pairs of tensors are of images and texts.

    Attributes:
        latent: (d_v + d_t, b), W: the latent vectors are V = [X_v X_t] W.
        bases: U_m, (b, d_m) each.
        maps: P_m, (d_m, b) each.
    """

    latent: Tensor
    bases: Both
    maps: Both


def weights(settings: CmfhSettings) -> tuple[float, float]:
    """Find w_v and w_t."""
    return settings.image_weight, 1 - settings.image_weight


def damping(views: Views, place: slice, settings: CmfhSettings) -> float:
    """Compute gamma / mu + ridge s_m, at least what rounding makes of a zero eigenvalue."""
    sizes = views.products.diagonal()[place]
    own = settings.regularisation / settings.projection_weight
    return max(own + settings.ridge * float(sizes.mean()), TINY_SHARE * float(sizes.sum()))


def map_solvers(views: Views, settings: CmfhSettings) -> tuple[Tensor, Tensor]:
    """Compute the Cholesky factors of X_m'X_m + (gamma / mu + ridge s_m) I of both modalities."""
    image, text = (
        torch.linalg.cholesky(
            plus_diagonal(views.products[place, place], damping(views, place, settings))
        )
        for place in views.places
    )
    return image, text


def fit_bases(latent: Tensor, crossed: Tensor, views: Views, settings: CmfhSettings) -> Both:
    """Fit the bases U_m (b, d_m) that rebuild the features from latent vectors with least loss.

    Args:
        latent: (d_v + d_t, b), W.
        crossed: (d_v + d_t, b), Z'V = Z'Z W.
        views: of the features.
        settings: with the weights.
    """
    squares = latent.T @ crossed  # (b, b): V'V
    image, text = (
        torch.linalg.solve(
            plus_diagonal(squares, settings.regularisation / weight), crossed[place].T
        )
        for place, weight in zip(views.places, weights(settings), strict=True)
    )
    return image, text


def fit_latent(bases: Both, maps: Both, settings: CmfhSettings) -> Tensor:
    """Fit the W (d_v + d_t, b) of the latent vectors with least loss."""
    mu = settings.projection_weight
    shares = list(zip(weights(settings), bases, maps, strict=True))
    squares = sum((weight * basis @ basis.T for weight, basis, _ in shares), torch.zeros(()))
    pulls = torch.cat([weight * basis.T + mu * projected for weight, basis, projected in shares])
    system = plus_diagonal(squares, 2 * mu + settings.regularisation)
    solved: Tensor = torch.linalg.solve(system, pulls.T)
    return solved.T


def fit_maps(crossed: Tensor, views: Views, solvers: Both) -> Both:
    """Fit the maps P_m (d_m, b) that give the latent vectors from features with least loss.

    Args:
        crossed: (d_v + d_t, b), Z'V.
        views: of the features.
        solvers: from `map_solvers`.
    """
    image, text = (
        torch.cholesky_solve(crossed[place], solver)
        for place, solver in zip(views.places, solvers, strict=True)
    )
    return image, text


def factorised(
    views: Views, n_bits: int, settings: CmfhSettings, generator: torch.Generator
) -> Factors:
    """Compute the factors after all rounds.

    Args:
        views: of the features.
        n_bits: b.
        settings: with weights and rounds.
        generator: draws the map W that it starts from.
    """
    solvers = map_solvers(views, settings)
    size = len(views.products)
    latent = torch.randn(size, n_bits, generator=generator, dtype=torch.float64)
    crossed = views.products @ latent
    bases = fit_bases(latent, crossed, views, settings)
    maps = fit_maps(crossed, views, solvers)
    for _ in range(settings.rounds):
        latent = fit_latent(bases, maps, settings)
        crossed = views.products @ latent
        maps = fit_maps(crossed, views, solvers)
        bases = fit_bases(latent, crossed, views, settings)
    return Factors(latent, bases, maps)


def plus_diagonal(matrix: Tensor, amount: float) -> Tensor:
    """Compute `matrix + amount I`."""
    return matrix + amount * torch.eye(len(matrix), dtype=matrix.dtype)


class Cmfh(ClosedFormMethod):
    """Collective matrix factorization; see the module's docstring."""

    name = "cmfh"
    title = "CMFH"
    settings_class = CmfhSettings
    settings: CmfhSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "dense": {
            "rounds": 200,
            "ridge": 0.5,
            "rotation_rounds": 50,
            "image_scaling": "centred_unit",
            "text_scaling": "centred_unit",
        },
    }

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the maps P_m of centred features as heads."""
        moments = pair_moments(
            (batch.image.pooled, batch.text.pooled) for batch in view.batches(shapes.batch_size)
        )
        image_map, text_map = factorised(Views.of(moments), n_bits, self.settings, generator).maps
        image = linear_head(image_map, moments.image_mean)
        text = linear_head(text_map, moments.text_mean)
        if self.settings.rotation_rounds:
            latents = self.sampled_latents(view, shapes.batch_size, Heads(image, text))
            rotation = itq_rotation(latents, self.settings.rotation_rounds, generator)
            image = linear_head(image_map, moments.image_mean, rotation)
            text = linear_head(text_map, moments.text_mean, rotation)
        return Heads(image, text)

    def sampled_latents(self, view: TrainingView, batch_size: int, heads: Heads) -> Tensor:
        """Compute the (n, b) float64 outputs of both heads for the sample, one below the other."""
        sample = sampled_pairs(view, batch_size, self.settings.sample)
        return torch.cat(
            [
                head(ModalityFeatures(rows)).detach().double()
                for pair in sample
                for head, rows in zip((heads.image, heads.text), pair, strict=True)
            ]
        )
