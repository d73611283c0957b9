"""Compute texts in chunks of like length, so that almost nothing is spent on padding."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders.base import TowerOutput

__all__ = ["TextComputation", "chunks_by_length", "encode_by_length", "positions_at_once"]


class TextComputation(Protocol):
    """What a text tower computes for a padded chunk."""

    def __call__(
        self, pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Compute pooled features (n, d) and, on request, the states (n, t, w).

        Args:
            pieces: (n, t) numbers of word pieces, filled up at the end of each row.
            mask: (n, t), False where filled up.
            with_tokens: also return the states of every position.
        """


def positions_at_once(device_type: str) -> int:
    """Choose how many positions suit a device: a CPU is fastest while they fit its caches."""
    return 1024 if device_type == "cpu" else 65_536


def chunks_by_length(lengths: NDArray[np.int64], limit: int) -> Iterator[NDArray[np.int64]]:
    """Yield the places of texts in chunks of like length, each text once, shortest first.

    Args:
        lengths: (n,) positions each text takes.
        limit: positions of a chunk at most, padding included; a longer text stands alone.

    Example:
        >>> [places.tolist() for places in chunks_by_length(np.array([600, 3, 300]), 1000)]
        [[1, 2], [0]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > limit:
            yield order[start:end]
            start = end


def encode_by_length(
    pieces: Sequence[Sequence[int]],
    contents: Sequence[Sequence[bool]],
    compute: TextComputation,
    *,
    limit: int,
    fill: int = 0,
    pad_to: int = 0,
    with_tokens: bool = False,
) -> TowerOutput:
    """Run a text tower over chunks of like length and return the features in the order given.

    Args:
        pieces: the word pieces of each text, start and end marks included.
        contents: the same lengths; True where a piece counts as a content token.
        compute: the tower's computation of a padded chunk.
        limit: positions of a chunk at most, padding included.
        fill: the number that fills rows up.
        pad_to: fill every row up to at least this length (models trained on one fixed length).
        with_tokens: also return content tokens, which stand at the front of each row.
    """
    lengths = np.array([max(len(row), pad_to) for row in pieces], np.int64)
    n_content = np.array([sum(row) for row in contents], np.int64)
    token_mask = np.arange(max(1, int(n_content.max()))) < n_content[:, None]
    pooled: NDArray[np.float32] | None = None
    tokens: NDArray[np.float32] | None = None
    for places in chunks_by_length(lengths, limit):
        padded = np.full((len(places), int(lengths[places].max())), fill, np.int64)
        mask = np.zeros(padded.shape, np.bool_)
        content = np.zeros(padded.shape, np.bool_)
        for row, place in enumerate(places):
            length = len(pieces[place])
            padded[row, :length] = pieces[place]
            mask[row, :length] = True
            content[row, :length] = contents[place]
        vectors, states = compute(padded, mask, with_tokens=with_tokens)
        if pooled is None:
            pooled = np.empty((len(pieces), vectors.shape[1]), np.float32)
        pooled[places] = vectors
        if states is not None:
            if tokens is None:
                tokens = np.zeros((*token_mask.shape, states.shape[2]), np.float32)
            part = np.zeros((len(places), *tokens.shape[1:]), np.float32)
            part[token_mask[places]] = states[content]  # both run row by row
            tokens[places] = part
    assert pooled is not None
    return TowerOutput(pooled, tokens, token_mask if tokens is not None else None)
