"""What an answer as a whole is worth, so that an assistant doesn't present chance as a find."""

from typing import Final

from modalhash.search import Answer, EncodedQuery
from modalhash.search.answers import NEAR_CHANCE, UNKNOWN
from modalhash.search.strength import Strength

__all__ = ["find_verdict"]

NO_HITS: Final = "Nothing passes the filter and the other limits."
NO_MORE: Final = "There are no more hits."
ALL_WEAK: Final = "Nothing clearly relevant: even the best hit is weak."
NOT_GRADED: Final = "How relevant these hits are isn't known: the index isn't calibrated."


def find_verdict(
    query: EncodedQuery, answer: Answer, *, offset: int, hint: str | None = None
) -> str | None:
    """Find what must be said of an answer before its hits are believed; None if nothing must.

    Args:
        query: as it was encoded.
        answer: to it, from its first hit on.
        offset: hits that are passed over.
        hint: why nothing passes the filter.
    """
    if not answer.hits:
        return NO_HITS if hint is None else f"{NO_HITS} {hint}"
    if query.unknown:
        return f"Nothing relevant can be told. {UNKNOWN}"
    if answer.near_chance:
        return f"Nothing relevant. {NEAR_CHANCE}"
    if offset >= len(answer.hits):
        return NO_MORE
    strengths = {hit.strength for hit in answer.hits}
    if strengths == {None}:
        return NOT_GRADED
    return ALL_WEAK if strengths == {Strength.WEAK} else None
