"""Codes bit by bit, slow and obvious."""

from collections.abc import Sequence


def plain_pack(signs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Put +1 of place j into bit j % 8 of byte j // 8."""
    packed = []
    for row in signs:
        row_bytes = [0] * ((len(row) + 7) // 8)
        for place, sign in enumerate(row):
            if sign == 1:
                row_bytes[place // 8] += 2 ** (place % 8)
        packed.append(row_bytes)
    return packed


def plain_distances(
    query_signs: Sequence[Sequence[int]], database_signs: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Count the places in which two rows of signs differ."""
    return [
        [
            sum(one != other for one, other in zip(query, item, strict=True))
            for item in database_signs
        ]
        for query in query_signs
    ]
