"""What a search index is asked: the code of a query, and what is known of it beside the code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modalhash.artifacts import HashModel
from modalhash.codes import Codes, binarise, pack, unpack
from modalhash.encoders import TowerOutput
from modalhash.modalities import Modality

__all__ = ["EncodedQuery", "combined_query", "encoded_query", "query_of_code"]


@dataclass(frozen=True)
class EncodedQuery:
    """A query after the encoder.

    Attributes:
        stated: the query as answers state it, `{"text": ...}`.
        code: (1, p) uint8.
        relaxed: (1, b) float32; where only the code is known, its signs.
        modality: what asks; None if that isn't known, or it is a combination: how relevant items
            are at which distance isn't known then.
        output: what the encoder gave for a single text or picture; None for all else.
    """

    stated: Mapping[str, str]
    code: Codes
    relaxed: NDArray[np.float32]
    modality: Modality | None = None
    output: TowerOutput | None = None


def encoded_query(
    model: HashModel, output: TowerOutput, modality: Modality, stated: Mapping[str, str]
) -> EncodedQuery:
    """Return the query of what the encoder gave for one text or picture."""
    relaxed = model.relaxed_features(
        output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
    )
    return EncodedQuery(stated, pack(binarise(relaxed)), relaxed, modality, output)


def query_of_code(
    code: Codes, n_bits: int, stated: Mapping[str, str], modality: Modality | None = None
) -> EncodedQuery:
    """Return the query of a code, (1, p) uint8.

    Raises:
        ShapeError: if the code isn't one of this length.
    """
    return EncodedQuery(stated, code, unpack(code, n_bits).astype(np.float32), modality)


def combined_query(parts: Sequence[tuple[EncodedQuery, float]]) -> EncodedQuery:
    """Return the query that several make together: the signs of a weighted sum.

    The relaxed code of each part is divided by its Euclidean length, so that each counts by its
    weight alone; a part of zeros adds nothing.

    Args:
        parts: queries and weights; a negative weight leads away. A single part with a positive
            weight is returned as it is.

    Example:
        >>> dog, snow = (query_of_code(np.array([[byte]], np.uint8), 4, {}) for byte in (3, 5))
        >>> combined_query([(dog, 1.0), (snow, -0.5)]).code.tolist()
        [[3]]
    """
    if len(parts) == 1 and parts[0][1] > 0:
        return parts[0][0]
    total = np.zeros_like(parts[0][0].relaxed)
    for query, weight in parts:
        length = float(np.linalg.norm(query.relaxed))
        if length > 0:
            total += np.float32(weight / length) * query.relaxed
    stated: dict[str, str] = {}
    for query, _ in parts:
        stated |= query.stated
    return EncodedQuery(stated, pack(binarise(total)), total)
