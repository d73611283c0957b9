"""Choices that cross the boundary as texts, and become members of an enum once, at the edge."""

from enum import StrEnum
from typing import TypeVar

from modalhash.errors import UnknownNameError

__all__ = ["read_choice"]

Choice = TypeVar("Choice", bound=StrEnum)


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
