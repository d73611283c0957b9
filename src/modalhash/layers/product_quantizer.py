"""Optimized product quantization that a gradient can pass, one quantizer for each concept.

A vector is rotated, cut into sub-vectors, and each sub-vector is replaced by the nearest of a few
learned codewords: its code is one byte a sub-space. In training the replacement is soft (a mixture
of codewords), or hard in what comes out and soft in what the gradient sees (straight-through).

Because inner products don't change under a rotation, searching never rotates back: the rotated
query meets the codewords as they are.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import orthogonal

from modalhash.errors import SettingError

__all__ = [
    "MOST_CODEWORDS",
    "ProductQuantizer",
    "Quantized",
    "Rotation",
    "RotationRule",
    "SubspaceSimilarity",
    "nearest_rotation",
]

MOST_CODEWORDS = 256
"""Codewords of a sub-space at most: a code is one byte."""
ROWS_AT_ONCE = 1024
LLOYD_ROUNDS = 10
ALTERNATIONS = 5
NOISE = 0.01
"""Noise on a codeword that is set anew, as a share of the sub-vector's length."""


class RotationRule(StrEnum):
    """How the rotation is kept orthogonal.

    - `cayley`: `(I - A)^-1 (I + A)` of a free skew-symmetric A; exact, D^3 a concept and step.
    - `expm`: the matrix exponential of A.
    - `penalty`: a free matrix, drawn to orthogonality by a loss term and put on the nearest
      orthogonal matrix by `project`.
    - `procrustes`: no gradient; `align` solves for it between epochs, as classic OPQ does.
    - `none`: no rotation, plain product quantization.
    """

    CAYLEY = "cayley"
    EXPM = "expm"
    PENALTY = "penalty"
    PROCRUSTES = "procrustes"
    NONE = "none"


class SubspaceSimilarity(StrEnum):
    """What makes a codeword near to a sub-vector.

    - `l2`: minus the squared distance, times the number of sub-spaces S (sub-vectors of a unit
      vector have a mean squared length of 1 / S).
    - `cosine`: the cosine. Codewords have the length `1 / sqrt(S)`, so that S of them make a unit
      vector; the lengths of sub-vectors are lost.
    """

    L2 = "l2"
    COSINE = "cosine"


class Rotation(nn.Module):
    """One rotation a concept; all start at the identity.

    Args:
        rule: how they are kept orthogonal.
        n_concepts: L.
        width: D.
    """

    matrix: Tensor

    def __init__(self, rule: RotationRule, n_concepts: int, width: int) -> None:
        super().__init__()
        self.rule = rule
        identity = torch.eye(width).repeat(n_concepts, 1, 1)
        match rule:
            case RotationRule.NONE:
                return
            case RotationRule.PROCRUSTES:
                self.register_buffer("matrix", identity)
            case RotationRule.PENALTY:
                self.matrix = nn.Parameter(identity)
            case RotationRule.CAYLEY | RotationRule.EXPM:
                self.matrix = nn.Parameter(identity.clone())
                if identity.is_meta:  # `orthogonal` reads values; shapes are all that counts here
                    self.register_buffer("base", identity)
                    return
                name = "cayley" if rule is RotationRule.CAYLEY else "matrix_exp"
                orthogonal(self, "matrix", orthogonal_map=name)
                self.matrix = identity

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute `R_k e_k` for (n, l, d) embeddings."""
        if self.rule is RotationRule.NONE:
            return embeddings
        return torch.einsum("lij,nlj->nli", self.matrix, embeddings)

    def set_to(self, matrices: Tensor) -> None:
        """Put orthogonal (l, d, d) matrices in place; nothing happens without a rotation."""
        if self.rule is RotationRule.NONE:
            return
        if self.rule in (RotationRule.CAYLEY, RotationRule.EXPM):
            self.matrix = matrices
        else:
            with torch.no_grad():
                self.matrix.copy_(matrices)

    def penalty(self) -> Tensor:
        """Compute the mean over concepts of `||R R^T - I||_F^2`, a scalar; 0 without a rotation."""
        if self.rule is RotationRule.NONE:
            return torch.zeros(())
        matrices = self.matrix
        gap = matrices @ matrices.mT - torch.eye(matrices.shape[-1]).to(matrices)
        return gap.square().sum(dim=(1, 2)).mean()

    def project(self) -> None:
        """Put free matrices on the nearest orthogonal ones; others are orthogonal already."""
        if self.rule is RotationRule.PENALTY:
            self.set_to(nearest_rotation(self.matrix.detach()))

    def error(self) -> float:
        """Find the largest entry of `|R R^T - I|` over all concepts."""
        if self.rule is RotationRule.NONE:
            return 0.0
        matrices = self.matrix.detach()
        gap = matrices @ matrices.mT - torch.eye(matrices.shape[-1]).to(matrices)
        return float(gap.abs().max())


@dataclass(frozen=True)
class Quantized:
    """Rotated embeddings and what the quantizer makes of them.

    Attributes:
        output: (n, l, d) what goes on: the soft mixtures, or the hard codewords with the gradient
            of the soft ones.
        hard: (n, l, d) the nearest codewords, with a gradient to the codebooks alone.
        assignment: (n, l, s, k) shares of the codewords in the soft mixtures; they sum to 1.
        codes: (n, l, s) int64, the nearest codewords.
    """

    output: Tensor
    hard: Tensor
    assignment: Tensor
    codes: Tensor


class ProductQuantizer(nn.Module):
    """A rotation and S codebooks of K codewords for each of L concepts.

    Args:
        n_concepts: L.
        width: D, a multiple of `n_subspaces`.
        n_subspaces: S.
        n_codewords: K, from 2 to 256.
        rotation: how the rotations are kept orthogonal.
        similarity: what makes a codeword near.
        sharpness: factor on similarities before the softmax; the larger, the harder.

    Raises:
        SettingError: if a size is out of range or D isn't a multiple of S.
    """

    use: Tensor

    def __init__(
        self,
        n_concepts: int,
        width: int,
        *,
        n_subspaces: int = 8,
        n_codewords: int = 64,
        rotation: RotationRule = RotationRule.CAYLEY,
        similarity: SubspaceSimilarity = SubspaceSimilarity.L2,
        sharpness: float = 10.0,
    ) -> None:
        super().__init__()
        if min(n_concepts, width, n_subspaces) < 1 or width % n_subspaces:
            raise SettingError(
                "a product quantizer cuts vectors into equal parts, but width "
                f"{width} isn't a multiple of n_subspaces {n_subspaces}, or n_concepts "
                f"{n_concepts} isn't positive"
            )
        if not 2 <= n_codewords <= MOST_CODEWORDS or not sharpness > 0:
            raise SettingError(
                f"n_codewords is {n_codewords} and sharpness {sharpness}, expected 2 to "
                f"{MOST_CODEWORDS} and a positive number"
            )
        self.n_concepts, self.width = n_concepts, width
        self.n_subspaces, self.n_codewords = n_subspaces, n_codewords
        self.similarity, self.sharpness = similarity, sharpness
        self.rotation = Rotation(rotation, n_concepts, width)
        shape = (n_concepts, n_subspaces, n_codewords, width // n_subspaces)
        self.codebooks = nn.Parameter(torch.randn(shape) * width**-0.5)
        self.register_buffer("use", torch.zeros(shape[:3], dtype=torch.int64), persistent=False)

    def codewords(self) -> Tensor:
        """List the codewords that decoding uses, (l, s, k, w)."""
        if self.similarity is SubspaceSimilarity.COSINE:
            return normalize(self.codebooks, dim=-1) / math.sqrt(self.n_subspaces)
        return self.codebooks

    def rotate(self, embeddings: Tensor) -> Tensor:
        """Rotate (n, l, d) embeddings."""
        rotated: Tensor = self.rotation(embeddings)
        return rotated

    def split(self, rotated: Tensor) -> Tensor:
        """Cut (n, l, d) into sub-vectors, (n, l, s, w)."""
        return rotated.reshape(*rotated.shape[:-1], self.n_subspaces, -1)

    def similarities(self, rotated: Tensor) -> Tensor:
        """Compute how near each codeword is to each sub-vector of (n, l, d), as (n, l, s, k)."""
        parts, codewords = self.split(rotated), self.codewords()
        if self.similarity is SubspaceSimilarity.COSINE:
            parts = normalize(parts, dim=-1)
            return self.products(parts, normalize(codewords, dim=-1))
        lengths = parts.square().sum(dim=-1, keepdim=True)
        distances = lengths - 2 * self.products(parts, codewords) + codewords.square().sum(dim=-1)
        return -self.n_subspaces * distances

    @staticmethod
    def products(parts: Tensor, codewords: Tensor) -> Tensor:
        """Compute the inner products of (n, l, s, w) with (l, s, k, w), (n, l, s, k)."""
        return torch.einsum("nlsw,lskw->nlsk", parts, codewords)

    def forward(self, rotated: Tensor, *, straight_through: bool = False) -> Quantized:
        """Quantize rotated embeddings.

        Args:
            rotated: (n, l, d).
            straight_through: give out the hard codewords, with the gradient of the soft ones.
        """
        similarities, codewords = self.similarities(rotated), self.codewords()
        assignment = torch.softmax(self.sharpness * similarities, dim=-1)
        soft = torch.einsum("nlsk,lskw->nlsw", assignment, codewords).flatten(2)
        codes = similarities.argmax(dim=-1)
        hard = self.decode(codes)
        output = soft + (hard - soft).detach() if straight_through else soft
        return Quantized(output, hard, assignment, codes)

    def encode(self, rotated: Tensor) -> Tensor:
        """Find the nearest codeword of each sub-vector of (n, l, d), (n, l, s) uint8."""
        return self.similarities(rotated).argmax(dim=-1).to(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (n, l, s) codes to rotated embeddings, (n, l, d)."""
        places = codes.long()
        concepts = torch.arange(self.n_concepts, device=codes.device)[:, None]
        subspaces = torch.arange(self.n_subspaces, device=codes.device)
        return self.codewords()[concepts, subspaces, places].flatten(2)

    def count(self, codes: Tensor) -> None:
        """Note that (n, l, s) codes were used; `renew` asks."""
        flat = codes.flatten(1).T.contiguous()  # (l s, n)
        ones = torch.ones_like(flat)
        self.use.view(-1, self.n_codewords).scatter_add_(1, flat, ones)

    @torch.no_grad()
    def start(self, embeddings: Tensor) -> None:
        """Set rotations and codebooks from embeddings.

        Where rotations are learned, a few rounds of the classic alternation (codewords for the
        rotation, rotation for the codewords) come first; then k-means in each sub-space. Draws
        from torch's generator.

        Args:
            embeddings: (n, l, d), not rotated, at least one.
        """
        self.rotation.project()
        self.draw_codewords(self.rotate(embeddings))
        if self.rotation.rule is not RotationRule.NONE:
            for _ in range(ALTERNATIONS):
                self.improve(self.rotate(embeddings), n_rounds=1)
                self.align(embeddings)
        self.improve(self.rotate(embeddings), n_rounds=LLOYD_ROUNDS)

    @torch.no_grad()
    def draw_codewords(self, rotated: Tensor) -> None:
        """Set every codeword to a sub-vector drawn from (n, l, d)."""
        self.codebooks.copy_(self.draw_subvectors(rotated).to(self.codebooks))

    def draw_subvectors(self, rotated: Tensor) -> Tensor:
        """Draw noisy sub-vectors from (n, l, d), one for each codeword, (l, s, k, w)."""
        parts = self.split(rotated).permute(1, 2, 0, 3)  # (l, s, n, w)
        n_rows, groups = parts.shape[2], self.n_concepts * self.n_subspaces
        # Distinct ones as far as there are enough.
        order = torch.stack([torch.randperm(n_rows) for _ in range(groups)])
        places = order.repeat(1, -(-self.n_codewords // n_rows))[:, : self.n_codewords]
        places = places.view(self.n_concepts, self.n_subspaces, -1, 1).to(parts.device)
        chosen = parts.gather(2, places.expand(-1, -1, -1, parts.shape[-1]))
        noise = torch.randn(chosen.shape).to(chosen)
        lengths = chosen.norm(dim=-1, keepdim=True) / math.sqrt(parts.shape[-1])
        fresh: Tensor = chosen + NOISE * lengths * noise
        return fresh

    @torch.no_grad()
    def improve(self, rotated: Tensor, *, n_rounds: int) -> None:
        """Move codewords to the means of the sub-vectors nearest to them, `n_rounds` times.

        Unused codewords stay. In cosine mode sub-vectors are scaled to length 1 first.

        Args:
            rotated: (n, l, d).
            n_rounds: of Lloyd's algorithm.
        """
        is_cosine = self.similarity is SubspaceSimilarity.COSINE
        shape = (self.n_concepts * self.n_subspaces * self.n_codewords, -1)
        offsets = torch.arange(self.n_concepts * self.n_subspaces, device=rotated.device)
        for _ in range(n_rounds):
            sums = torch.zeros_like(self.codebooks).view(shape)
            counts = torch.zeros(shape[0]).to(sums)
            for rows in torch.split(rotated, ROWS_AT_ONCE):
                parts = normalize(self.split(rows), dim=-1) if is_cosine else self.split(rows)
                codes = self.similarities(rows).argmax(dim=-1)
                places = (codes.flatten(1) + offsets * self.n_codewords).flatten()
                sums.index_add_(0, places, parts.flatten(0, 2))
                counts.index_add_(0, places, torch.ones_like(places, dtype=counts.dtype))
            means = sums / counts.clamp_min(1)[:, None]
            is_used = (counts > 0)[:, None]
            self.codebooks.copy_(
                torch.where(is_used, means, self.codebooks.view(shape)).view_as(self.codebooks)
            )

    @torch.no_grad()
    def align(self, embeddings: Tensor) -> None:
        """Set each rotation to the one that brings embeddings nearest to what they are coded as.

        With embeddings E and their hard reconstructions Q as rows, the solution of the orthogonal
        Procrustes problem is `V U^T` for `E^T Q = U S V^T`.

        Args:
            embeddings: (n, l, d), not rotated.
        """
        products = torch.zeros(self.n_concepts, self.width, self.width).to(embeddings)
        for rows in torch.split(embeddings, ROWS_AT_ONCE):
            decoded = self.decode(self.encode(self.rotate(rows)))
            products += torch.einsum("nli,nlj->lij", rows, decoded)
        left, _, right = torch.linalg.svd(products)
        self.rotation.set_to(right.mT @ left.mT)

    @torch.no_grad()
    def renew(self, embeddings: Tensor) -> int:
        """Set codewords that were not used since the last call to sub-vectors drawn at random.

        Args:
            embeddings: (n, l, d) to draw from, not rotated.

        Returns:
            How many were set anew; the counts start from 0 again.
        """
        is_dead = self.use == 0
        n_dead = int(is_dead.sum())
        if n_dead:
            fresh = self.draw_subvectors(self.rotate(embeddings)).to(self.codebooks)
            self.codebooks.copy_(torch.where(is_dead[..., None], fresh, self.codebooks))
        self.use.zero_()
        return n_dead

    def spec(self) -> dict[str, Any]:
        """List the arguments that make a quantizer of the same shape, as JSON."""
        return {
            "n_concepts": self.n_concepts,
            "width": self.width,
            "n_subspaces": self.n_subspaces,
            "n_codewords": self.n_codewords,
            "rotation": str(self.rotation.rule),
            "similarity": str(self.similarity),
            "sharpness": self.sharpness,
        }


def nearest_rotation(matrices: Tensor) -> Tensor:
    """Compute the orthogonal matrices nearest to (l, d, d) ones: `U V^T` of their SVDs."""
    left, _, right = torch.linalg.svd(matrices)
    nearest: Tensor = left @ right
    return nearest
