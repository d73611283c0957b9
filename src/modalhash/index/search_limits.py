"""What limits a search: its number of hits, its radius, its least score; and its queries' sort."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from modalhash.codes import Queries
from modalhash.errors import InputError

__all__ = ["check_limits", "check_min_score", "check_radius", "check_top_k", "is_relaxed"]


def check_whole_number(name: str, value: object) -> None:
    """Refuse what isn't a whole number, also a NumPy one.

    Raises:
        InputError: if it isn't.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {value!r}, expected a whole number")


def check_top_k(k: int) -> None:
    """Refuse a k below 1.

    Raises:
        InputError: if it is, or isn't a whole number.
    """
    check_whole_number("k", k)
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")


def check_radius(radius: int) -> None:
    """Refuse a negative radius.

    Raises:
        InputError: if it is, or isn't a whole number.
    """
    check_whole_number("radius", radius)
    if radius < 0:
        raise InputError(f"radius is {radius}, expected 0 or more")


def check_min_score(min_score: float) -> None:
    """Refuse a score that is no number.

    Raises:
        InputError: if it isn't a finite number.
    """
    value: Any = min_score
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise InputError(f"min_score is {min_score!r}, expected a number from -1 to 1")


def check_limits(queries: Queries, radius: int | None, min_score: float | None) -> None:
    """Refuse a radius search without a limit, or with one that its queries can't have.

    Raises:
        InputError: if there is neither a radius nor a score, if packed codes come with a score, or
            if either is out of range.
    """
    if radius is not None:
        check_radius(radius)
    if min_score is not None:
        check_min_score(min_score)
        if not is_relaxed(queries):
            raise InputError(
                f"min_score is {min_score}, but the queries are packed codes, which have distances "
                "and no scores: give a radius, or relaxed queries (q, n_bits) of floats"
            )
    if radius is None and min_score is None:
        ways = "a radius or a min_score" if is_relaxed(queries) else "a radius"
        raise InputError(f"the search has no limit: give {ways}, or search for the k nearest")


def is_relaxed(queries: object) -> bool:
    """Tell whether queries are floats, which keep their numbers.

    Example:
        >>> is_relaxed(np.zeros((1, 8), np.float32)), is_relaxed(np.zeros((1, 1), np.uint8))
        (True, False)
    """
    return isinstance(queries, np.ndarray) and queries.dtype.kind == "f"
