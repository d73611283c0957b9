"""Fewer and narrower content tokens, fitted on training tokens and saved with the model."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from modalhash.errors import ArtifactError, FeatureError, SettingError
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["TokenReduction", "grid_pooling"]


class TokenReduction(nn.Module):
    """Pool a square grid of tokens to a smaller one, and project tokens on principal directions.

    Projected tokens are divided by one number, so that a training token has a mean square of 1;
    directions keep their relative sizes. Pooled features pass unchanged.

    Args:
        token_width: w of the tokens that come in.
        width: of those that come out, at most w; 0 keeps tokens as wide as they come.
        side: tokens come as a square of this side, row by row; 0 pools nothing.
        grid: side of the square they are pooled to, at most `side`; 0 with it.

    Raises:
        SettingError: if the width is more than tokens have, or the grid finer than they come.
    """

    mean: Tensor
    map: Tensor
    pooling: Tensor

    def __init__(self, token_width: int, width: int = 0, *, side: int = 0, grid: int = 0) -> None:
        super().__init__()
        if not 0 <= width <= token_width:
            raise SettingError(
                f"tokens have a width of {token_width}, which can't be reduced to {width}: choose "
                "0, to leave it, or less"
            )
        if not 0 <= grid <= side or (side > 0) != (grid > 0):
            raise SettingError(
                f"a grid of {side} x {side} tokens can't be pooled to {grid} x {grid}: choose "
                "0, to leave it, or less"
            )
        self.token_width, self.width, self.side, self.grid = token_width, width, side, grid
        self.register_buffer("mean", torch.zeros(token_width if width else 0))
        self.register_buffer("map", torch.zeros(token_width if width else 0, width))
        self.register_buffer("pooling", grid_pooling(side, grid), persistent=False)

    @property
    def out_width(self) -> int:
        """Width of the tokens that come out."""
        return self.width or self.token_width

    def fit(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> "TokenReduction":
        """Fit mean and directions to training tokens in one pass; returns itself.

        Args:
            blocks: tokens (n, t, w) and their mask (n, t) bool, with more than one real token in
                all.

        Raises:
            FeatureError: if there are more tokens an item than the grid holds, or all are the same.
        """
        if not self.width:
            return self
        count = 0
        total = torch.zeros(self.token_width, dtype=torch.float64)
        squares = torch.zeros(self.token_width, self.token_width, dtype=torch.float64)
        for tokens, mask in blocks:
            pooled, is_real = self.gridded(tokens, mask)
            rows = pooled[is_real]
            count += len(rows)
            total += rows.double().sum(dim=0)
            squares += (rows.T @ rows).double()
        mean = total / max(1, count)
        covariance = squares / max(1, count) - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        variances, directions = values.flip(0)[: self.width], vectors.flip(1)[:, : self.width]
        spread = variances.clamp_min(0).sum()
        if not spread > 1e-12 * squares.trace() / max(1, count):
            raise FeatureError(
                f"all {count} sampled content tokens are the same: check the encoder and its input"
            )
        # Eigenvectors come with either sign: the largest entry is made positive.
        largest = directions.abs().argmax(dim=0)
        directions = directions * directions[largest, torch.arange(self.width)].sign()
        self.mean.copy_(mean)
        self.map.copy_(directions * (self.width / spread).sqrt())
        return self

    def forward(self, features: ModalityFeatures) -> ModalityFeatures:
        """Reduce features to fewer, narrower tokens; masked places hold zeros.

        Raises:
            FeatureError: if an item has more tokens than the grid holds.
        """
        assert features.tokens is not None
        assert features.token_mask is not None
        tokens, mask = self.gridded(features.tokens, features.token_mask)
        if self.width:
            tokens = ((tokens - self.mean) @ self.map).masked_fill(~mask[:, :, None], 0.0)
        return replace(features, tokens=tokens, token_mask=mask)

    def gridded(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool tokens to the grid, each the mean of the real ones of its window."""
        if not self.side:
            return tokens, mask
        n_places = self.side**2
        if mask[:, n_places:].any():
            most = int(mask.sum(dim=1).max())
            raise FeatureError(
                f"an item has {most} content tokens, the model pools a grid of {self.side} x "
                f"{self.side}: use the encoder it was trained with"
            )
        tokens, mask = tokens[:, :n_places], mask[:, :n_places]
        window = self.pooling[:, : mask.shape[1]]
        weights = mask.to(tokens.dtype) @ window.T  # (n, g * g)
        summed = torch.einsum("gt,ntw->ngw", window, tokens.masked_fill(~mask[:, :, None], 0.0))
        return summed / weights.clamp_min(1.0 / n_places**2)[:, :, None], weights > 0

    def spec(self) -> dict[str, int]:
        """Describe, as JSON, all that `from_spec` needs to make one of the same shape."""
        return {
            "token_width": self.token_width,
            "width": self.width,
            "side": self.side,
            "grid": self.grid,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "TokenReduction":
        """Make a reduction of the shape that `spec` describes, to be loaded.

        Raises:
            ArtifactError: if the description is of no known form.
        """
        match spec:
            case {
                "token_width": int(token_width),
                "width": int(width),
                "side": int(side),
                "grid": int(grid),
            } if 0 <= width <= token_width and 0 <= grid <= side and (side > 0) == (grid > 0):
                return cls(token_width, width, side=side, grid=grid)
        raise ArtifactError(
            f"the model describes a reduction of tokens this version can't build: {dict(spec)}"
        )


def grid_pooling(side: int, grid: int) -> Tensor:
    """Build the adaptive average pooling of a square as a matrix, (grid * grid, side * side).

    Window i of an axis reaches from `floor(i side / grid)` up to `ceil((i + 1) side / grid)`.

    Example:
        >>> grid_pooling(2, 1)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    axis = torch.zeros(grid, side)
    for place in range(grid):
        start, end = place * side // grid, math.ceil((place + 1) * side / grid)
        axis[place, start:end] = 1 / (end - start)
    return torch.einsum("ac,bd->abcd", axis, axis).reshape(grid * grid, side * side)
