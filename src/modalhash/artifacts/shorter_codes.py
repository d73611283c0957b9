"""Models whose codes are the first bits of another model's codes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modalhash.errors import InputError

if TYPE_CHECKING:
    from modalhash.methods.hasher import HashTower

__all__ = ["check_shorter", "short_tower"]


def short_tower(tower: "HashTower", n_bits: int) -> "HashTower":
    """Shorten a tower to its first bits."""
    from modalhash.layers import KernelHead
    from modalhash.methods.hasher import HashTower

    assert isinstance(tower.head, KernelHead)
    return HashTower(tower.scaling, tower.head.first_bits(n_bits), tower.reduction)


def check_shorter(n_bits: int, lengths: Sequence[int], whose: str) -> None:
    """Refuse a number of first bits that are no code of their own.

    Args:
        n_bits: what was asked for.
        lengths: those that were trained; the last is the whole code's.
        whose: what would be shortened, for the message.

    Raises:
        InputError: naming the lengths there are.
    """
    *shorter, _ = lengths
    if not shorter:
        raise InputError(
            f"{whose}: the first bits are no codes of their own, only all bits together are; train "
            f"a model of {n_bits} bits, or one of all lengths with --method nested"
        )
    if n_bits not in shorter:
        raise InputError(
            f"n_bits is {n_bits}, expected one of {', '.join(map(str, shorter))}, the shorter "
            f"lengths that were trained ({whose})"
        )
