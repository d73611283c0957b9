"""Choices that cross the boundary as texts, and become members of an enum once, at the edge.

This file imports nothing slow, so that help texts can use it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypedDict, TypeVar

from modalhash.errors import UnknownNameError

__all__ = ["BitOrder", "MeasureChoices", "Scoring", "read_choice", "reverse_bits"]

Choice = TypeVar("Choice", bound=StrEnum)
REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""


class BitOrder(StrEnum):
    """Which end of a byte its first bit is.

    - `little`: the low end; ours, and `np.packbits(..., bitorder="little")`.
    - `big`: the high end; `np.packbits` without more, and sentence-transformers.
    """

    LITTLE = "little"
    BIG = "big"


def reverse_bits(content: bytes) -> bytes:
    """Write packed codes in the other bit order.

    Example:
        >>> reverse_bits(bytes([0b101])) == bytes([0b10100000])
        True
    """
    return content.translate(REVERSED)


class Scoring(StrEnum):
    """What ranks items for a query.

    - `asymmetric`: the inner product of the query's own numbers with an item's signs, divided by
      the sum of the numbers' sizes: 1 where every bit agrees, -1 where none does. Items are bits as
      ever; the query keeps its numbers, because nothing stores it.
    - `hamming`: the number of bits in which the query's code differs from an item's.
    """

    ASYMMETRIC = "asymmetric"
    HAMMING = "hamming"


class MeasureChoices(TypedDict, total=False):
    """The fields of `modalhash.metrics.MeasureSettings` as keywords, enums also by their names."""

    top_k: Sequence[int | None]
    conventions: Sequence[str]
    ties: str
    relevances: Sequence[str] | None
    jaccard_threshold: float
    gain: str
    recall_at: Sequence[int]
    radius: int
    n_resamples: int
    level: float
    seed: int
    n_threads: int | None


def read_choice(kind: str, choices: type[Choice], name: str) -> Choice:
    """Read a name as the member of an enum.

    Args:
        kind: what it chooses, for the message.
        choices: the enum.
        name: a member or its value.

    Raises:
        UnknownNameError: if there is none of that name, listing those there are.

    Example:
        >>> from modalhash.modalities import Side
        >>> read_choice("side", Side, "images").name
        'IMAGES'
    """
    try:
        return choices(name)
    except ValueError:
        raise UnknownNameError(kind, str(name), [choice.value for choice in choices]) from None
