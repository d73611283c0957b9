"""Tokens of the training items, reduced once and kept in memory, so that epochs are quick."""

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray

from modalhash.encoders.base import FeatureTable
from modalhash.layers import ModalityFeatures, TokenReduction

__all__ = ["ReducedTable", "fit_reduction"]

Rows = NDArray[np.int64]
logger = logging.getLogger(__name__)
BLOCK = 256
"""Rows of tokens read at once."""
FIT_ROWS = 2_000
"""Rows whose tokens a reduction is fitted on, evenly spread over those of training."""
MEMORY = 1 << 30
"""Bytes of reduced tokens that are kept, a modality; what is beyond is reduced when it is read."""


def fit_reduction(
    table: FeatureTable, rows: Rows, *, width: int, grid: int, modality: str
) -> TokenReduction | None:
    """Fit the reduction that the settings ask for on training rows.

    Tokens that are no wider than asked for keep their width, and those that aren't a square of a
    larger side in every sampled row aren't pooled.

    Args:
        table: features with tokens.
        rows: of the training items.
        width: of reduced tokens; 0 as they come.
        grid: side that a square of tokens is pooled to; 0 as they come.
        modality: for the log.

    Returns:
        The reduction, or None if there is nothing to reduce.
    """
    shape = table.token_shape
    assert shape is not None
    longest, token_width = shape
    chosen = parts(rows[:: max(1, len(rows) // FIT_ROWS)])
    width = width if width < token_width else 0
    side = math.isqrt(longest)
    is_square = side**2 == longest and all(table.tokens(part)[1].all() for part in chosen[:1])
    side, grid = (side, grid) if 0 < grid < side and is_square else (0, 0)
    if not (width or side):
        return None
    logger.info(
        "%s tokens: %s",
        modality,
        ", ".join(
            [f"{side} x {side} pooled to {grid} x {grid}"] * bool(side)
            + [f"width {token_width} projected to {width}"] * bool(width)
        ),
    )
    reduction = TokenReduction(token_width, width, side=side, grid=grid)
    tokens_of = (table.tokens(part) for part in chosen)
    return reduction.fit(
        (torch.from_numpy(tokens), torch.from_numpy(mask)) for tokens, mask in tokens_of
    )


class ReducedTable:
    """A table of features whose tokens are reduced; those of some rows are kept in memory.

    Kept tokens are float16, one after the other without padding.

    Args:
        table: where features come from.
        reduction: fitted.
        rows: whose tokens are kept, as far as memory goes.
        memory: bytes that kept tokens may take.
    """

    def __init__(
        self, table: FeatureTable, reduction: TokenReduction, rows: Rows, *, memory: int = MEMORY
    ) -> None:
        self.table, self.reduction = table, reduction
        self.starts = np.full(len(table), -1, np.int64)
        self.lengths = np.zeros(len(table), np.int64)
        blocks: list[NDArray[np.float16]] = []
        self.longest = n_kept = 0
        for part in parts(np.unique(rows)):
            tokens, mask = self.reduced(part)
            self.longest = max(self.longest, mask.shape[1])
            lengths = mask.sum(axis=1)
            if 2 * (n_kept + lengths.sum()) * reduction.out_width > memory:
                logger.info(
                    "reduced tokens of %d rows take more than %d MiB: the others are reduced "
                    "whenever they are read",
                    len(rows),
                    memory >> 20,
                )
                break
            self.starts[part] = n_kept + np.cumsum(lengths) - lengths
            self.lengths[part] = lengths
            blocks.append(tokens[mask].astype(np.float16))
            n_kept += int(lengths.sum())
        self.kept = np.concatenate([np.zeros((0, reduction.out_width), np.float16), *blocks])

    @property
    def width(self) -> int:
        """Width d of pooled features."""
        return self.table.width

    @property
    def dtype(self) -> str:
        """Name of the dtype that the numbers are kept in."""
        return self.table.dtype

    @property
    def token_shape(self) -> tuple[int, int]:
        """(t, w): most tokens of an item and their width."""
        return self.longest, self.reduction.out_width

    def __len__(self) -> int:
        """Count the number of rows."""
        return len(self.table)

    def pooled(self, rows: Rows) -> NDArray[np.float32]:
        """Read the pooled features of some rows, (k, d) float32."""
        return self.table.pooled(rows)

    def tokens(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read the reduced tokens of some rows: (k, t, w) float32 and their mask (k, t) bool.

        t is the number of tokens of the longest of them, at least 1.
        """
        starts = self.starts[rows]
        if (starts < 0).any():
            blocks = [self.reduced(part) for part in parts(rows)]
            length = max(mask.shape[1] for _, mask in blocks)
            return (
                np.concatenate([padded(tokens, length) for tokens, _ in blocks]),
                np.concatenate([padded(mask, length) for _, mask in blocks]),
            )
        lengths = self.lengths[rows]
        mask = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
        tokens = np.zeros((*mask.shape, self.reduction.out_width), np.float32)
        # Every kept row is a run of the flat array: its places are its start and those that follow.
        places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        tokens[mask] = self.kept[places + np.arange(len(places))]
        return tokens, mask

    def reduced(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read tokens and mask of some rows and reduce them, real tokens first."""
        tokens, mask = self.table.tokens(rows)
        with torch.inference_mode():
            output = self.reduction(
                ModalityFeatures(
                    torch.zeros(len(rows), 0), torch.from_numpy(tokens), torch.from_numpy(mask)
                )
            )
        return output.tokens.numpy(), output.token_mask.numpy()


def parts(rows: Rows) -> list[Rows]:
    """Divide the rows into blocks of up to `BLOCK`."""
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def padded(array: NDArray, length: int) -> NDArray:  # type: ignore[type-arg]
    """Fill up axis 1 of an array with zeros to a length."""
    filled = np.zeros((len(array), length, *array.shape[2:]), array.dtype)
    filled[:, : array.shape[1]] = array
    return filled
