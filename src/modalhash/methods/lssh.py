"""LSSH: latent semantic sparse hashing.

J. Zhou, G. Ding, Y. Guo: "Latent Semantic Sparse Hashing for Cross-Modal Similarity Search", SIGIR
2014. https://doi.org/10.1145/2600428.2609610

Pictures are written as sums of few atoms of a dictionary, which catches their salient structures;
texts as sums of latent concepts. A linear map from a picture's sparse code must give the concepts
of its text, and the sign of the concepts is the code. No labels are used.

Objective, for n pairs with X (n, q) the leading principal components of image features and T (n,
d_t) text features, both centred and with rows of length 1::

    L = || X - S B ||^2 + rho sum |S_ij| + mu || T - V U ||^2 + lambda || V - S R ||^2
        with no row of B, R and U longer than 1

S (n, k) are the sparse codes, B (k, q) the atoms of pictures, V (n, b) the latent concepts, U (b,
d_t) their texts, R (k, b) the concepts of the atoms. Each is solved for in turn, the others fixed,
which never raises L: V = (mu T U' + lambda S R) (mu U U' + lambda I)^-1; S by accelerated proximal
steps from where it was; the rows of U, B and R one after the other, each by its best value.

A text's code is the sign of T U' (U U' + lambda / mu I)^-1, with no need for the picture.

Differs from the paper: there, a new picture is coded sparsely, which takes an optimisation for each
query, and S R is its concepts; here its concepts come from a linear map, found by ridge regression
of V on image features (ours), which also did better on the features we tried. The paper's code
weighs |S| anew in each step, as a share of the largest correlation with an atom; here its weight is
fixed, so that there is one objective. It solves for B, R and U by a Lagrange dual.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.layers import PairMoments, linear_head, pair_moments
from modalhash.methods.anchored import sampled_pairs
from modalhash.methods.base import (
    CaptionChoice,
    ClosedFormMethod,
    FeatureShapes,
    Heads,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.ranges import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Settings

__all__ = [
    "Concepts",
    "Lssh",
    "LsshSettings",
    "fit_latent",
    "fit_rows",
    "one_round",
    "sparse_codes",
]


@dataclass(frozen=True)
class LsshSettings(Settings):
    """Settings of LSSH."""

    atoms: Annotated[int, AT_LEAST_ONE] = 512
    """Rows k of the dictionary (released: 512)."""
    components: Annotated[int, AT_LEAST_ONE] = 64
    """Principal components q of pictures, at most (released: 64)."""
    sparsity: Annotated[float, NOT_NEGATIVE] = 0.2
    """Weight rho of the sizes of sparse codes (released: 0.2, as a share)."""
    text_weight: Annotated[float, POSITIVE] = 0.5
    """Weight mu of rebuilding texts (released: 0.5)."""
    link_weight: Annotated[float, POSITIVE] = 1.0
    """Weight lambda of concepts being a map of sparse codes (released: 1)."""
    rounds: Annotated[int, AT_LEAST_ONE] = 20
    """Rounds over all parts (released: 20)."""
    code_steps: Annotated[int, AT_LEAST_ONE] = 30
    """Proximal steps of sparse coding in a round (released: 30)."""
    sample: Annotated[int, AT_LEAST_ONE] = 5_000
    """Training pairs, evenly spaced, that are learned from, at most (released: 5,000)."""
    ridge: Annotated[float, POSITIVE] = 0.5
    """Share of the mean variance added to each variance in the map from pictures (ours)."""


@dataclass(frozen=True)
class Concepts:
    """What the objective is minimised over; see the module's docstring for the letters.

    Attributes:
        codes: (n, k), S.
        latent: (n, b), V.
        atoms: (k, q), B.
        links: (k, b), R.
        texts: (b, d_t), U.
    """

    codes: Tensor
    latent: Tensor
    atoms: Tensor
    links: Tensor
    texts: Tensor


def sparse_codes(
    crossed: Tensor, squares: Tensor, sparsity: float, start: Tensor, steps: int
) -> Tensor:
    """Minimise || Y - S D ||^2 + sparsity sum |S_ij| over S, by accelerated proximal steps.

    An item's momentum begins anew when it leads uphill (O'Donoghue and Candes, 2015); an item that
    ends above where it started keeps its start, so that the sum never rises.

    Args:
        crossed: (n, k), Y D'.
        squares: (k, k), D D'.
        sparsity: weight of the sizes.
        start: (n, k), codes to begin from.
        steps: how many.

    Returns:
        (n, k), with zeros where an atom isn't worth its weight.
    """
    slope = 2 * float(torch.linalg.eigvalsh(squares)[-1])  # the gradient's Lipschitz constant
    if slope <= 0:
        return torch.zeros_like(start)
    codes = ahead = start
    momentum = torch.ones_like(start[:, :1])
    for _ in range(steps):
        moved = ahead - 2 / slope * (ahead @ squares - crossed)
        following = moved - moved.clamp(-sparsity / slope, sparsity / slope)
        uphill = ((ahead - following) * (following - codes)).sum(dim=1, keepdim=True) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        grown = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
        ahead = following + (momentum - 1) / grown * (following - codes)
        codes, momentum = following, grown
    before, after = (
        ((vectors @ squares - 2 * crossed) * vectors).sum(dim=1)
        + sparsity * vectors.abs().sum(dim=1)
        for vectors in (start, codes)
    )
    return torch.where((after <= before)[:, None], codes, start)


def fit_rows(squares: Tensor, crossed: Tensor, rows: Tensor) -> Tensor:
    """Lower || Y - S D ||^2 over D, no row longer than 1, by one pass over its rows.

    Each row gets its best value while the others stay; one that no item uses stays as well.

    Args:
        squares: (k, k), S'S.
        crossed: (k, d), S'Y.
        rows: (k, d), D to begin from.

    Returns:
        (k, d).
    """
    rows = rows.clone()
    sizes = squares.diagonal().tolist()
    for place, size in enumerate(sizes):
        if size > 0:
            best = rows[place] + (crossed[place] - squares[place] @ rows) / size
            rows[place] = best / best.norm().clamp_min(1)
    return rows


def fit_latent(texts: Tensor, concepts: Concepts, settings: LsshSettings) -> Tensor:
    """Fit the V (n, b) with least loss, from texts T (n, d_t) and all other parts."""
    mu, lam = settings.text_weight, settings.link_weight
    pulls = mu * texts @ concepts.texts.T + lam * concepts.codes @ concepts.links
    solved: Tensor = torch.linalg.solve(text_system(concepts.texts, settings), pulls.T)
    return solved.T


def text_system(texts: Tensor, settings: LsshSettings) -> Tensor:
    """Compute mu U U' + lambda I, (b, b)."""
    identity = torch.eye(len(texts), dtype=texts.dtype)
    return settings.text_weight * texts @ texts.T + settings.link_weight * identity


def text_map(texts: Tensor, settings: LsshSettings) -> Tensor:
    """Compute the (d_t, b) map from a text alone to its concepts, mu U' (mu U U' + lambda I)^-1."""
    system = text_system(texts, settings)
    solved: Tensor = torch.linalg.solve(system, settings.text_weight * texts)
    return solved.T


def first_concepts(
    pictures: Tensor, texts: Tensor, n_bits: int, settings: LsshSettings, generator: torch.Generator
) -> Concepts:
    """Draw random rows of length 1, and compute sparse codes of pictures (n, q) with them."""
    atoms, links, basis = (
        normalize(torch.randn(*shape, generator=generator).to(pictures), dim=1)
        for shape in (
            (settings.atoms, pictures.shape[1]),
            (settings.atoms, n_bits),
            (n_bits, texts.shape[1]),
        )
    )
    codes = sparse_codes(
        pictures @ atoms.T,
        atoms @ atoms.T,
        settings.sparsity,
        pictures.new_zeros(len(pictures), settings.atoms),
        settings.code_steps,
    )
    return Concepts(codes, codes @ links, atoms, links, basis)


def one_round(
    pictures: Tensor, texts: Tensor, concepts: Concepts, settings: LsshSettings
) -> Iterator[Concepts]:
    """Yield the parts after each step of a round; none raises the loss.

    Args:
        pictures: (n, q), X.
        texts: (n, d_t), T.
        concepts: to begin from.
        settings: with the weights.
    """
    latent = fit_latent(texts, concepts, settings)
    concepts = replace(concepts, latent=latent)
    yield concepts
    basis = fit_rows(latent.T @ latent, latent.T @ texts, concepts.texts)
    concepts = replace(concepts, texts=basis)
    yield concepts
    atoms, links, lam = concepts.atoms, concepts.links, settings.link_weight
    codes = sparse_codes(
        pictures @ atoms.T + lam * latent @ links.T,
        atoms @ atoms.T + lam * links @ links.T,
        settings.sparsity,
        concepts.codes,
        settings.code_steps,
    )
    concepts = replace(concepts, codes=codes)
    yield concepts
    squares = codes.T @ codes
    concepts = replace(concepts, atoms=fit_rows(squares, codes.T @ pictures, atoms))
    yield concepts
    yield replace(concepts, links=fit_rows(squares, codes.T @ latent, links))


class Lssh(ClosedFormMethod):
    """Concepts of sparse codes; see the module's docstring."""

    name = "lssh"
    title = "LSSH"
    settings_class = LsshSettings
    settings: LsshSettings
    training = TrainingSettings(captions=CaptionChoice.ALL, batch_size=4096, drop_last=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "dense": {
            "atoms": 256,
            "code_steps": 10,
            "image_scaling": "centred_unit",
            "text_scaling": "centred_unit",
        },
    }

    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for linear maps to the concepts: of texts as learned, of pictures by regression."""
        settings = self.settings
        sample = list(sampled_pairs(view, shapes.batch_size, settings.sample))
        moments = pair_moments(sample)
        image, text = (torch.cat(rows).double() for rows in zip(*sample, strict=True))
        image, text = image - moments.image_mean, text - moments.text_mean
        # Sparse coding is most of the work; single precision halves it.
        pictures = normalize(image @ components(moments, settings.components), dim=1).float()
        texts = normalize(text, dim=1).float()
        concepts = first_concepts(pictures, texts, n_bits, settings, generator)
        for _ in range(settings.rounds):
            *_, concepts = one_round(pictures, texts, concepts, settings)
        image_map = ridge_map(moments, image.T @ concepts.latent.double(), settings.ridge)
        return Heads(
            linear_head(image_map, moments.image_mean),
            linear_head(text_map(concepts.texts.double(), settings), moments.text_mean),
        )


def components(moments: PairMoments, count: int) -> Tensor:
    """Compute the (d_v, q) leading principal directions of image features."""
    vectors: Tensor = torch.linalg.eigh(moments.within_images).eigenvectors
    return vectors.flip(1)[:, :count]


def ridge_map(moments: PairMoments, crossed: Tensor, ridge: float) -> Tensor:
    """Compute the (d_v, b) ridge regression of concepts on image features.

    Args:
        moments: of the features.
        crossed: (d_v, b), sums of products of centred features and concepts.
        ridge: share of the mean variance that is added to each.
    """
    covariance = moments.within_images
    damping = ridge * covariance.trace() / len(covariance)
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    solved: Tensor = torch.linalg.solve(covariance + damping * identity, crossed / moments.count)
    return solved
