"""Finer codes beside the hash code: what reranks a shortlist, and can be left out.

A hash code says which items are worth a closer look, a finer code looks closer. An item keeps one
byte for each of s sub-spaces; a query isn't quantized: it keeps s sub-vectors, whose inner products
with the codewords that an item's bytes name add up to a similarity. What a coder reads is what a
hash head's trunk gives; a hash head never reads what a coder gives.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.errors import ArtifactError
from modalhash.layers.ghost_vlad import AssignNorm, GhostVlad, LocalEmbeddings, ProjectionNorm
from modalhash.layers.hash_heads import HashHead, are_sizes
from modalhash.layers.head_kinds import build_head
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.layers.product_quantizer import ProductQuantizer, RotationRule, SubspaceSimilarity
from modalhash.layers.token_trunk import TrunkHead
from modalhash.modalities import Modality

__all__ = ["FineCoder", "LocalCoder", "build_fine_coder", "content_of"]


FIRST_GAIN = 0.7
"""What local embeddings count at first beside the class vector's, where they are added to it."""


class FineCoder(nn.Module, ABC):
    """From what a hash head's trunk gives to finer codes, and to queries that meet them.

    Attributes:
        code_weight: weight of the similarity by hash code in the score that reranks.
        fine_weight: weight of the similarity by finer codes.
    """

    code_weight: float
    fine_weight: float

    @abstractmethod
    def queries(self, content: ModalityFeatures, modality: Modality) -> Tensor:
        """Compute the sub-vectors of n items, not quantized, (n, s, w).

        Args:
            content: what `content_of` gives.
            modality: whose it is.
        """

    @abstractmethod
    def codes(self, content: ModalityFeatures, modality: Modality) -> Tensor:
        """Compute the finer codes of n items, (n, s) uint8; arguments as in `queries`."""

    @abstractmethod
    def codewords(self) -> Tensor:
        """List the codewords of both modalities, (s, k, w)."""

    @property
    @abstractmethod
    def n_parts(self) -> int:
        """Number of vectors the sub-spaces are cut from; their inner products are averaged."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Describe, as JSON, what `build_fine_coder` needs for a coder of the same shape."""


class LocalCoder(FineCoder):
    """Finer codes of the local embeddings that GhostVLAD makes of content tokens.

    Each concept's embedding is rotated and quantized by itself; both modalities share all but the
    projection of their tokens. With class maps, an embedding of the class vector is one more part,
    after the concepts. An item without content has local queries of zeros, which like all items
    equally.

    Args:
        vlad: from content tokens to one embedding a concept; None for the class vector's embedding
            alone.
        image_width: w of the image tokens that it takes.
        text_width: w of the text tokens.
        quantizer: of all parts: the concepts, and the class vector's where there are class maps.
        class_maps: from the class vectors of each modality to embeddings as wide as the local ones;
            None for concepts alone.
        class_share: weight of the class vector's part among all parts, in [0, 1]; concepts share
            the rest.
        is_residual: each concept's part is the class vector's embedding plus the local one times a
            gain that is learned, scaled to length 1; needs class maps.
        code_weight: weight of the similarity by hash code.
        fine_weight: weight of the similarity by finer codes.
    """

    def __init__(
        self,
        vlad: GhostVlad | None,
        image_width: int,
        text_width: int,
        quantizer: ProductQuantizer,
        *,
        class_maps: Mapping[Modality, HashHead] | None = None,
        class_share: float = 0.0,
        is_residual: bool = False,
        code_weight: float,
        fine_weight: float,
    ) -> None:
        super().__init__()
        self.vlad, self.quantizer = vlad, quantizer
        self.image_width, self.text_width = image_width, text_width
        self.class_maps = nn.ModuleDict(dict((class_maps or {}).items()))
        self.class_share = class_share
        n_gains = quantizer.n_concepts - bool(class_maps) if is_residual else 0
        self.gains = nn.Parameter(torch.full((n_gains, 1), FIRST_GAIN)) if n_gains else None
        self.code_weight, self.fine_weight = code_weight, fine_weight

    def parts(self, content: ModalityFeatures, modality: Modality, local: Tensor) -> Tensor:
        """Compute the embeddings of all parts, of length 1 or 0, not rotated.

        Args:
            content: what the trunk gave.
            modality: whose it is.
            local: (n, k, d) the local embeddings of that content.

        Returns:
            (n, l, d); l is k, or k + 1 with class maps.
        """
        if not self.class_maps:
            return local
        whole = normalize(self.class_maps[modality](content), dim=1)[:, None]
        if self.gains is not None:
            local = normalize(whole + self.gains * local, dim=2)
        return torch.cat([local, whole], dim=1)

    def embeddings(self, content: ModalityFeatures, modality: Modality) -> Tensor:
        """Compute rotated embeddings of all parts, (n, l, d)."""
        local = self.local_embeddings(content, modality)
        return self.quantizer.rotate(self.parts(content, modality, local.vectors))

    def local_embeddings(self, content: ModalityFeatures, modality: Modality) -> LocalEmbeddings:
        """Compute the local embeddings of n items; without GhostVLAD, none of each."""
        if self.vlad is None:
            n_items = len(content)
            return LocalEmbeddings(
                content.pooled.new_zeros(n_items, 0, self.quantizer.width),
                torch.ones(n_items, dtype=torch.bool, device=content.pooled.device),
                content.pooled.new_zeros(0),
            )
        local: LocalEmbeddings = self.vlad(content, modality)
        return local

    def queries(self, content: ModalityFeatures, modality: Modality) -> Tensor:
        """Compute (n, s, w), part by part, its sub-spaces in order; parts times their weights.

        Weights are such that their mean is 1, since inner products of parts are averaged.
        """
        rotated = self.embeddings(content, modality)
        if self.class_maps and self.vlad is not None:
            n_concepts = self.n_parts - 1
            local = rotated[:, :-1] * ((1 - self.class_share) / n_concepts * self.n_parts)
            whole = rotated[:, -1:] * (self.class_share * self.n_parts)
            rotated = torch.cat([local, whole], dim=1)
        return self.quantizer.split(rotated).flatten(1, 2)

    def codes(self, content: ModalityFeatures, modality: Modality) -> Tensor:
        """Compute (n, s) uint8 in the same order."""
        return self.quantizer.encode(self.embeddings(content, modality)).flatten(1)

    def codewords(self) -> Tensor:
        """List the codewords (s, k, w) in the same order."""
        return self.quantizer.codewords().detach().flatten(0, 1)

    @property
    def n_parts(self) -> int:
        """Number of concepts, and one more for the class vector where it takes part."""
        return self.quantizer.n_concepts

    def spec(self) -> dict[str, Any]:
        """Describe everything but the weights that are learned."""
        n_ghosts, assign_norm, projection_norm = 0, AssignNorm.BATCH, ProjectionNorm.AFTER
        if self.vlad is not None:
            n_ghosts, assign_norm = self.vlad.n_ghosts, self.vlad.assign_norm
            first = self.vlad.projections["image"][0]  # type: ignore[index]
            if isinstance(first, nn.LayerNorm):
                projection_norm = ProjectionNorm.BEFORE
        return {
            "kind": "local",
            "image_width": self.image_width,
            "text_width": self.text_width,
            "n_ghosts": n_ghosts,
            "assign_norm": str(assign_norm),
            "projection_norm": str(projection_norm),
            "quantizer": self.quantizer.spec(),
            "class_maps": {name: self.class_map(name).spec() for name in self.class_maps},
            "class_share": self.class_share,
            **({} if self.gains is None else {"is_residual": True}),
            "code_weight": self.code_weight,
            "fine_weight": self.fine_weight,
        }

    def class_map(self, name: str) -> HashHead:
        """Find the class map of one modality."""
        stored = self.class_maps[name]
        assert isinstance(stored, HashHead)
        return stored


def content_of(head: HashHead, features: ModalityFeatures) -> ModalityFeatures:
    """Choose what a finer code is made of: the trunk's output, or the features of a bare head."""
    if isinstance(head, TrunkHead):
        seen: ModalityFeatures = head.trunk(features)
        return seen
    return features


def build_fine_coder(spec: Mapping[str, Any]) -> FineCoder:
    """Make a coder of the shape that `spec` describes; its weights are fresh.

    Raises:
        ArtifactError: if the kind is unknown, or a size is missing or out of range.
    """
    match spec:
        case {
            "kind": "local",
            "image_width": image_width,
            "text_width": text_width,
            "n_ghosts": int(n_ghosts),
            "assign_norm": str(assign_norm),
            "projection_norm": str(projection_norm),
            "quantizer": {
                "n_concepts": n_concepts,
                "width": width,
                "n_subspaces": n_subspaces,
                "n_codewords": n_codewords,
                "rotation": str(rotation),
                "similarity": str(similarity),
                "sharpness": float() | int() as sharpness,
            },
            "class_maps": dict(class_maps),
            "class_share": float() | int() as class_share,
            "code_weight": float() | int() as code_weight,
            "fine_weight": float() | int() as fine_weight,
        } if (
            are_sizes(image_width, text_width, n_concepts, width, n_subspaces, n_codewords)
            and n_ghosts >= 0
            and width % n_subspaces == 0
            and 2 <= n_codewords <= 256
            and assign_norm in list(AssignNorm)
            and projection_norm in list(ProjectionNorm)
            and rotation in list(RotationRule)
            and similarity in list(SubspaceSimilarity)
            and sharpness > 0
            and class_maps.keys() in (set(), {"image", "text"})
        ):
            n_local = n_concepts - bool(class_maps)
            vlad = (
                None
                if not n_local
                else GhostVlad(
                    image_width,
                    text_width,
                    width=width,
                    n_concepts=n_local,
                    n_ghosts=n_ghosts,
                    assign_norm=AssignNorm(assign_norm),
                    projection_norm=ProjectionNorm(projection_norm),
                )
            )
            return LocalCoder(
                vlad,
                image_width,
                text_width,
                ProductQuantizer(
                    n_concepts,
                    width,
                    n_subspaces=n_subspaces,
                    n_codewords=n_codewords,
                    rotation=RotationRule(rotation),
                    similarity=SubspaceSimilarity(similarity),
                    sharpness=sharpness,
                ),
                class_maps={name: build_head(head) for name, head in class_maps.items()},
                class_share=class_share,
                is_residual=spec.get("is_residual") is True,
                code_weight=code_weight,
                fine_weight=fine_weight,
            )
    raise ArtifactError(f"the model describes a finer coder this version can't build: {dict(spec)}")
