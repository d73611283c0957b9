"""GhostVLAD: content tokens of both modalities to the same few local embeddings an item.

Y. Zhong, R. Arandjelovic, A. Zisserman: "GhostVLAD for set-based face recognition", ACCV 2018.
https://arxiv.org/abs/1810.09951
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, normalize

from modalhash.errors import SettingError
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["AssignNorm", "GhostVlad", "LocalEmbeddings", "ProjectionNorm"]

Side = Literal["image", "text"]
MODALITIES: tuple[Side, ...] = ("image", "text")
NORM_RATE = 0.1
"""How fast running statistics follow batches."""
TINY = 1e-12
SHARPNESS = 10.0
"""Logits of a restart fall by this over the median squared distance to a centroid."""


class AssignNorm(StrEnum):
    """Whether assignment logits are normalised over a batch's tokens, or get a bias."""

    BATCH = "batch"
    NONE = "none"


class ProjectionNorm(StrEnum):
    """Where tokens are normalised: before or after the projection to the common width.

    Before it, a common rotation of the embeddings is exactly a rotation of the projection.
    """

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class LocalEmbeddings:
    """What an item's content tokens come to.

    Attributes:
        vectors: (n, k, w), one a concept, of length 1; 0 for an item without content.
        has_content: (n,) bool, whether an item has a real token.
        masses: (k + g,) sum of the assignments over all tokens, ghosts last; no gradient.
    """

    vectors: Tensor
    has_content: Tensor
    masses: Tensor


class GhostVlad(nn.Module):
    """Soft assignment of tokens to clusters and the sum of what remains to their centroids.

    Centroids, assignment weights and the normalisation's scale and shift are shared by the
    modalities, so that concept k means the same in both; projections and running statistics are
    each modality's own. Ghost clusters take part in the softmax and nowhere else: a token that
    goes to a ghost counts little.

    Args:
        image_width: w of the image tokens that come in.
        text_width: w of the text tokens.
        width: common width of local embeddings.
        n_concepts: k, real clusters.
        n_ghosts: g, ghost clusters; 0 for none.
        assign_norm: what is done to assignment logits.
        projection_norm: where tokens are normalised.

    Raises:
        SettingError: if a size isn't positive, or there are fewer than 0 ghosts.
    """

    image_mean: Tensor
    image_variance: Tensor
    text_mean: Tensor
    text_variance: Tensor

    def __init__(
        self,
        image_width: int,
        text_width: int,
        *,
        width: int = 128,
        n_concepts: int = 7,
        n_ghosts: int = 1,
        assign_norm: AssignNorm = AssignNorm.BATCH,
        projection_norm: ProjectionNorm = ProjectionNorm.AFTER,
    ) -> None:
        super().__init__()
        if min(image_width, text_width, width, n_concepts) < 1 or n_ghosts < 0:
            raise SettingError(
                "GhostVLAD needs positive widths, at least one concept and 0 or more ghosts, got "
                f"image_width {image_width}, text_width {text_width}, width {width}, n_concepts "
                f"{n_concepts} and n_ghosts {n_ghosts}"
            )
        self.width, self.n_concepts, self.n_ghosts = width, n_concepts, n_ghosts
        self.assign_norm = assign_norm
        self.projections = nn.ModuleDict(
            {
                modality: projection(in_width, width, projection_norm)
                for modality, in_width in zip(MODALITIES, (image_width, text_width), strict=True)
            }
        )
        n_clusters = n_concepts + n_ghosts
        self.assign = nn.Parameter(torch.randn(n_clusters, width) * width**-0.5)
        self.shift = nn.Parameter(torch.zeros(n_clusters))
        self.scale = nn.Parameter(
            torch.ones(n_clusters), requires_grad=assign_norm is AssignNorm.BATCH
        )
        self.centroids = nn.Parameter(torch.randn(n_concepts, width) * width**-0.5)
        for modality in MODALITIES:
            self.register_buffer(f"{modality}_mean", torch.zeros(n_clusters))
            self.register_buffer(f"{modality}_variance", torch.ones(n_clusters))

    def forward(self, content: ModalityFeatures, modality: Side) -> LocalEmbeddings:
        """Compute the local embeddings of n items.

        Args:
            content: with tokens (n, t, w) and their mask; its pooled features aren't read.
            modality: whose they are.
        """
        assert content.tokens is not None
        assert content.token_mask is not None
        mask = content.token_mask
        projected = self.project(content.tokens, mask, modality)
        assigned = self.assignments(projected, mask, modality)
        return LocalEmbeddings(
            normalize(self.residuals(projected, assigned), dim=2, eps=TINY),
            mask.any(dim=1),
            assigned.detach().sum(dim=(0, 1)),
        )

    def project(self, tokens: Tensor, mask: Tensor, modality: Side) -> Tensor:
        """Map tokens to the common space, (n, t, w); masked places hold no information."""
        projected: Tensor = self.projections[modality](tokens.masked_fill(~mask[:, :, None], 0.0))
        return projected

    def assignments(self, projected: Tensor, mask: Tensor, modality: Side) -> Tensor:
        """Compute (n, t, k + g) assignments: each real token's sum to 1, masked ones are 0."""
        logits = projected @ self.assign.T
        if self.assign_norm is AssignNorm.BATCH:
            logits = self.normalised(logits, mask, modality)
        else:
            logits = logits + self.shift
        assigned: Tensor = logits.softmax(dim=2) * mask[:, :, None]
        return assigned

    def residuals(self, projected: Tensor, assigned: Tensor) -> Tensor:
        """Compute (n, k, w) sums of assignment times token minus centroid, before normalisation."""
        real = assigned[:, :, : self.n_concepts]
        return torch.einsum("ntk,ntw->nkw", real, projected) - (
            real.sum(dim=1)[:, :, None] * self.centroids
        )

    def normalised(self, logits: Tensor, mask: Tensor, modality: Side) -> Tensor:
        """Normalise logits by the batch's own real tokens in training, else by running statistics.

        A batch of fewer than two real tokens has no variance and is normalised as in evaluation.
        """
        mean: Tensor = getattr(self, f"{modality}_mean")
        variance: Tensor = getattr(self, f"{modality}_variance")
        if self.training and int(mask.sum()) > 1:
            real = batch_norm(logits[mask], mean, variance, self.scale, self.shift, True, NORM_RATE)
            return torch.zeros_like(logits).masked_scatter(mask[:, :, None], real)
        return (logits - mean) * (variance + 1e-5).rsqrt() * self.scale + self.shift

    @torch.no_grad()
    def restart(self, samples: Tensor, generator: torch.Generator) -> None:
        """Put the clusters where tokens are: k-means++ centroids, assignment by distance.

        Logits become `-a |y - c|^2` up to what all clusters share, with `a` 10 over the median
        squared distance of a token to its centroid; ghosts sit at the mean of all tokens, for what
        is like everything.

        Args:
            samples: (s, w) projected tokens of both modalities, more than k.
            generator: of the draws, on the CPU.
        """
        chosen = plus_plus(samples, self.n_concepts, generator)
        centroids = lloyd(samples, chosen)
        ghosts = samples.mean(dim=0).expand(self.n_ghosts, -1)
        squared = torch.cdist(samples, centroids).square()
        sharpness = SHARPNESS / squared.min(dim=1).values.median().clamp_min(TINY)
        places = torch.cat([centroids, ghosts])
        self.centroids.copy_(centroids)
        self.assign.copy_(2 * sharpness * places)
        shift = -sharpness * places.square().sum(dim=1)
        logits = samples @ self.assign.T
        if self.assign_norm is AssignNorm.BATCH:
            # Undo what normalisation does to these logits; later ones it may move.
            mean, variance = logits.mean(dim=0), logits.var(dim=0, unbiased=False)
            self.scale.copy_((variance + 1e-5).sqrt())
            shift = shift + mean
            for modality in MODALITIES:
                getattr(self, f"{modality}_mean").copy_(mean)
                getattr(self, f"{modality}_variance").copy_(variance)
        self.shift.copy_(shift)


def projection(in_width: int, width: int, place: ProjectionNorm) -> nn.Sequential:
    """Find the map of one modality's tokens to the common width."""
    if place is ProjectionNorm.BEFORE:
        return nn.Sequential(nn.LayerNorm(in_width), nn.Linear(in_width, width))
    return nn.Sequential(nn.Linear(in_width, width), nn.LayerNorm(width))


def plus_plus(samples: Tensor, n_chosen: int, generator: torch.Generator) -> Tensor:
    """Choose (n_chosen, w) samples, each drawn by its squared distance to those before it."""
    rows = [int(torch.randint(len(samples), (), generator=generator))]
    nearest = (samples - samples[rows[0]]).square().sum(dim=1)
    while len(rows) < n_chosen:
        weights = nearest.double().cpu().clamp_min(TINY)
        rows.append(int(torch.multinomial(weights, 1, generator=generator)))
        nearest = nearest.minimum((samples - samples[rows[-1]]).square().sum(dim=1))
    return samples[rows]


def lloyd(samples: Tensor, centroids: Tensor, n_rounds: int = 10) -> Tensor:
    """Compute k-means centroids after some rounds; a cluster without samples stays where it is."""
    for _ in range(n_rounds):
        nearest = torch.cdist(samples, centroids).argmin(dim=1)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, samples)
        counts = torch.bincount(nearest, minlength=len(centroids))[:, None]
        centroids = torch.where(counts > 0, sums / counts.clamp_min(1), centroids)
    return centroids
