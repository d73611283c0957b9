"""What every method ends as: two towers from features to codes, one modality at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modalhash.codes import Codes, binarise, pack
from modalhash.errors import ArtifactError, FeatureError
from modalhash.layers import (
    FeatureScaling,
    HashHead,
    ModalityFeatures,
    ScalingRule,
    TokenReduction,
    build_head,
)
from modalhash.layers.exact_arithmetic import ExactArithmetic, OperandCache
from modalhash.layers.exact_operations import UnlistedOperationError
from modalhash.layers.fine_codes import FineCoder, build_fine_coder, content_of
from modalhash.methods.feature_checks import check_pooled

__all__ = ["HashTower", "Hasher"]

CHUNK = 256
"""Rows encoded at a time."""
BuildHead = Callable[[Mapping[str, Any]], HashHead]
TOKEN_STEP = 16
"""Token places come in multiples of this, decided by each row's own tokens: what fills a row up
can't depend on the others."""


class HashTower(nn.Module):
    """Scaling and hash head of one modality.

    Args:
        scaling: fitted scaling of pooled features.
        head: learned hash head.
        reduction: fitted reduction of content tokens, if there is one.
    """

    def __init__(
        self, scaling: FeatureScaling, head: HashHead, reduction: TokenReduction | None = None
    ) -> None:
        super().__init__()
        self.scaling, self.head, self.reduction = scaling, head, reduction
        self.operands = OperandCache()

    @property
    def width(self) -> int:
        """Width d of the pooled features it takes."""
        return len(self.scaling.mean)

    @property
    def reads_tokens(self) -> bool:
        """Whether the head reads content tokens besides pooled features."""
        return self.head.reads_tokens

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes of unscaled features."""
        relaxed: Tensor = self.head(self.prepared(features))
        return relaxed

    def prepared(self, features: ModalityFeatures) -> ModalityFeatures:
        """Prepare features as the head reads them: pooled ones scaled, tokens reduced."""
        scaled: ModalityFeatures = self.scaling(features)
        if self.reduction is None or scaled.tokens is None:
            return scaled
        reduced: ModalityFeatures = self.reduction(scaled)
        return reduced

    def relaxed(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Compute relaxed codes; their signs are the codes.

        Args:
            pooled: (n, d) float32, unscaled; n may be 0.
            tokens: (n, t, w) float32, where the head reads tokens.
            token_mask: (n, t) bool with them.

        Returns:
            (n, b) float32. A row's values depend on that row alone.

        Raises:
            FeatureError: if a width differs from the model's, a value isn't finite, or the head
                reads tokens and none are given.
        """
        if self.head.reads_tokens and (tokens is None or token_mask is None):
            raise FeatureError(
                "the model reads content tokens, but only pooled features are given: extract them "
                "with tokens, and give `tokens` and `token_mask` too"
            )
        check_pooled(pooled, self.width)
        if self.reduction and tokens is not None and tokens.shape[2] != self.reduction.token_width:
            raise FeatureError(
                f"tokens have shape {tokens.shape}, the model takes a width of "
                f"{self.reduction.token_width}: use the encoder it was trained with"
            )
        return self.apply_by_rows(self, self.n_bits, pooled, tokens, token_mask)

    def apply_by_rows(
        self,
        function: Callable[[ModalityFeatures], Tensor],
        width: int,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
        *networks: nn.Module,
    ) -> NDArray[np.float32]:
        """Compute a function of features so that each row's result depends on that row alone.

        Heads of known kinds are computed in `ExactArithmetic`. Where a head uses an operation that
        isn't listed there, rows are computed one at a time.

        Args:
            function: from unscaled features of n items to (n, `width`), row by row.
            width: of its result.
            pooled: (n, d) float32, unscaled; n may be 0.
            tokens: (n, t, w) float32, or None.
            token_mask: (n, t) bool with them.
            networks: that the function uses besides this tower.

        Returns:
            (n, width) float32.
        """
        result = np.zeros((len(pooled), width), np.float32)
        device = self.scaling.mean.device
        with torch.inference_mode():
            for rows, length in same_length(len(pooled), token_mask):
                batch = chunk(rows, length, pooled, tokens, token_mask, device=device)
                result[rows] = self.apply_exactly(function, batch, *networks).cpu().numpy()
        return result

    def apply_exactly(
        self,
        function: Callable[[ModalityFeatures], Tensor],
        batch: ModalityFeatures,
        *networks: nn.Module,
    ) -> Tensor:
        """Compute a function of a batch in `ExactArithmetic`, or row by row where that can't be."""
        try:
            with ExactArithmetic(self.operands, self, *networks):
                return function(batch)
        except UnlistedOperationError:
            return torch.cat([function(batch.row(place)) for place in range(len(batch))])

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def encode(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> Codes:
        """Compute packed codes, (n, p) uint8; arguments and errors as in `relaxed`."""
        return pack(binarise(self.relaxed(pooled, tokens, token_mask)))

    def spec(self) -> dict[str, Any]:
        """Describe, as JSON, all that `from_spec` needs to make a tower of the same shape."""
        spec: dict[str, Any] = {
            "width": self.width,
            "scaling": str(self.scaling.rule),
            "head": self.head.spec(),
        }
        return spec | ({"tokens": self.reduction.spec()} if self.reduction else {})

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], build: BuildHead = build_head) -> "HashTower":
        """Make a tower of the shape that `spec` describes; its weights are fresh.

        Args:
            spec: what `spec` returned.
            build: makes the head of its description.

        Raises:
            ArtifactError: if the description is of no known form.
        """
        match spec:
            case {"width": int(width), "scaling": str(rule), "head": dict(head)}:
                if rule not in ScalingRule.__members__.values():
                    raise ArtifactError(f"the model describes an unknown scaling {rule!r}")
                tokens = spec.get("tokens")
                reduction = TokenReduction.from_spec(tokens) if tokens is not None else None
                return cls(FeatureScaling(ScalingRule(rule), width), build(head), reduction)
        raise ArtifactError(f"the model describes a tower this version can't build: {dict(spec)}")


class Hasher(nn.Module):
    """The towers of both modalities; never needs both at once.

    Args:
        image: tower of pictures.
        text: tower of texts.
        fine: makes finer codes beside the hash codes, if the method learned any.
    """

    def __init__(self, image: HashTower, text: HashTower, fine: FineCoder | None = None) -> None:
        super().__init__()
        self.image, self.text, self.fine = image, text, fine
        self.eval()

    @property
    def n_bits(self) -> int:
        """Number of bits b of both towers' codes."""
        return self.image.n_bits

    def set_reductions(self, image: TokenReduction | None, text: TokenReduction | None) -> None:
        """Let the towers reduce content tokens before their heads read them."""
        self.image.reduction, self.text.reduction = image, text

    @property
    def reads_tokens(self) -> bool:
        """Whether a head reads content tokens besides pooled features."""
        return self.image.head.reads_tokens or self.text.head.reads_tokens

    def fine_codes(
        self,
        modality: Literal["image", "text"],
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32],
        token_mask: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        """Compute the finer codes of items of one modality.

        Args:
            modality: whose features these are.
            pooled: (n, d) float32, unscaled; n may be 0.
            tokens: (n, t, w) float32.
            token_mask: (n, t) bool.

        Returns:
            (n, s) uint8. A row depends on that row's features alone.

        Raises:
            FeatureError: if the method learned no finer codes.
        """
        fine, tower = self.fine_coder(), self.tower(modality)

        def codes(features: ModalityFeatures) -> Tensor:
            return fine.codes(content_of(tower.head, tower.prepared(features)), modality)

        width = len(fine.codewords())
        return tower.apply_by_rows(codes, width, pooled, tokens, token_mask, fine).astype(np.uint8)

    def fine_queries(
        self,
        modality: Literal["image", "text"],
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32],
        token_mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Compute the sub-vectors by which items meet finer codes, (n, s, w) float32.

        Arguments and errors as in `fine_codes`.
        """
        fine, tower = self.fine_coder(), self.tower(modality)
        n_subspaces, _, width = fine.codewords().shape

        def queries(features: ModalityFeatures) -> Tensor:
            content = content_of(tower.head, tower.prepared(features))
            return fine.queries(content, modality).flatten(1)

        vectors = tower.apply_by_rows(
            queries, n_subspaces * width, pooled, tokens, token_mask, fine
        )
        return vectors.reshape(-1, n_subspaces, width)

    def fine_coder(self) -> FineCoder:
        """Find what makes finer codes.

        Raises:
            FeatureError: if the method learned none.
        """
        if self.fine is None:
            raise FeatureError(
                "the model has no finer codes to rerank by: train one that learns them, with "
                "--method hugging-hash-plus"
            )
        return self.fine

    def tower(self, modality: Literal["image", "text"]) -> HashTower:
        """Find the tower of one modality."""
        return self.image if modality == "image" else self.text

    def spec(self) -> dict[str, Any]:
        """Describe both towers and, if there, the finer coder, as JSON."""
        towers = {"image": self.image.spec(), "text": self.text.spec()}
        return towers if self.fine is None else {**towers, "fine": self.fine.spec()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], build: BuildHead = build_head) -> "Hasher":
        """Make a hasher of the shape that `spec` describes; its weights are fresh.

        Args:
            spec: what `spec` returned.
            build: makes the heads of their descriptions.

        Raises:
            ArtifactError: if the description is of no known form.
        """
        match spec:
            case {"image": dict(image), "text": dict(text), **rest} if not rest.keys() - {"fine"}:
                return cls(
                    HashTower.from_spec(image, build),
                    HashTower.from_spec(text, build),
                    build_fine_coder(rest["fine"]) if "fine" in rest else None,
                )
        raise ArtifactError(f"the model describes towers this version can't build: {dict(spec)}")


def same_length(
    n_rows: int, token_mask: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield up to `CHUNK` rows at a time that have room for their tokens in the same length.

    Args:
        n_rows: n.
        token_mask: (n, t) bool, or None.

    Yields:
        Row numbers, and the length: a multiple of `TOKEN_STEP`, 0 without tokens.
    """
    lengths = np.zeros(n_rows, np.int64)
    if token_mask is not None and token_mask.shape[1]:
        places = np.arange(1, token_mask.shape[1] + 1)
        lengths = -(-(token_mask * places).max(axis=1) // TOKEN_STEP) * TOKEN_STEP
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for start in range(0, len(rows), CHUNK):
            yield rows[start : start + CHUNK], int(length)


def chunk(
    rows: NDArray[np.int64],
    length: int,
    pooled: NDArray[np.float32],
    tokens: NDArray[np.float32] | None,
    token_mask: NDArray[np.bool_] | None,
    *,
    device: torch.device,
) -> ModalityFeatures:
    """Take the features of some rows, with tokens filled up by zeros to `length`."""
    chosen = torch.from_numpy(pooled[rows]).to(device)
    if tokens is None or token_mask is None:
        return ModalityFeatures(chosen)
    length = max(length, TOKEN_STEP)
    used = min(length, tokens.shape[1])
    filled_tokens = np.zeros((len(rows), length, tokens.shape[2]), np.float32)
    filled_tokens[:, :used] = tokens[rows, :used]
    mask = np.zeros((len(rows), length), np.bool_)
    mask[:, :used] = token_mask[rows, :used]
    return ModalityFeatures(
        chosen,
        torch.from_numpy(filled_tokens).to(device),
        torch.from_numpy(mask).to(device),
    )
