"""Arrays of texts, however a file stores them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TextCells", "cells_of", "decode_texts", "pack_texts", "text_array"]

TextCells = list[tuple[str, ...]]
"""The texts of each entry; most have one."""
LARGEST_TABLE: Final = 1 << 28
"""NumPy gives every text the room of the longest; beyond so many bytes, texts are objects."""


def pack_texts(texts: Sequence[str]) -> NDArray[Any]:
    """Make an array of texts; of texts as objects, where one long text would take too much room.

    Returns:
        (n,) texts.
    """
    if 4 * len(texts) * max(map(len, texts), default=0) <= LARGEST_TABLE:
        return np.array(texts, dtype=str)
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def text_array(cells: Sequence[tuple[str, ...]]) -> NDArray[Any]:
    """Make one array of entries with texts.

    Args:
        cells: the texts of each of n entries.

    Returns:
        (n,) texts, where no entry has several; else (n,) tuples of texts.

    Example:
        >>> text_array([("a dog",), ()]).tolist(), text_array([("a", "b"), ("c",)]).tolist()
        (['a dog', ''], [('a', 'b'), ('c',)])
    """
    if all(len(own) < 2 for own in cells):
        return pack_texts(["".join(own) for own in cells])
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def cells_of(array: NDArray[Any]) -> TextCells:
    """Take an array of `text_array` apart again; an empty text is an entry without texts."""
    if array.dtype == object:
        return [own if isinstance(own, tuple) else (own,) if own else () for own in array.ravel()]
    return [(str(text),) if text else () for text in array.ravel()]


def decode_texts(array: NDArray[Any]) -> NDArray[Any]:
    """Turn an array of byte strings into texts; other arrays stay as they are.

    Raises:
        UnicodeDecodeError: if a byte string isn't UTF-8.

    Example:
        >>> decode_texts(np.array(["café".encode()])).tolist()
        ['café']
    """
    if array.dtype.kind != "S":
        return array
    texts = [bytes(text).decode("utf-8-sig") for text in array.ravel()]
    return pack_texts(texts).reshape(array.shape)
