"""What word pieces say of whether a text encoder knows a text."""

from collections.abc import Sequence

__all__ = ["UNKNOWN_PIECE", "has_latin_piece"]

UNKNOWN_PIECE = "[UNK]"


def has_latin_piece(
    pieces: Sequence[str], special_mask: Sequence[int], unknown: str = UNKNOWN_PIECE
) -> bool:
    """Tell whether a text has a word piece of Latin letters or digits.

    Args:
        pieces: of the text, marks included.
        special_mask: as many; not 0 where a piece is a mark.
        unknown: the piece that stands for words without one.

    Example:
        >>> has_latin_piece(["[CLS]", "cat", "[SEP]"], [1, 0, 1])
        True
        >>> has_latin_piece(["[CLS]", "[UNK]", "!", "[SEP]"], [1, 0, 0, 1])
        False
    """
    return any(
        piece != unknown and not is_mark and any(map(is_latin_or_digit, piece))
        for piece, is_mark in zip(pieces, special_mask, strict=True)
    )


def is_latin_or_digit(character: str) -> bool:
    """Tell whether a character of a word piece, without its accents, is a Latin letter or digit.

    Example:
        >>> [is_latin_or_digit(one) for one in ("a", "7", "#", "д")]
        [True, True, False, False]
    """
    return character.isascii() and character.isalnum()
