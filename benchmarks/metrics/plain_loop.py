"""Mean average precision as research code usually computes it: a loop over queries, a sort in each.

Written plainly from the formula; it is what `speed.py` compares with, and nothing else uses it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["loop_mean_average_precision"]


def loop_mean_average_precision(
    query_signs: NDArray[np.float32],
    database_signs: NDArray[np.float32],
    query_labels: NDArray[np.float32],
    database_labels: NDArray[np.float32],
    *,
    top_k: Sequence[int | None],
) -> list[float]:
    """Compute truncated MAP at each cut-off; ties in whatever order the sort leaves them.

    Args:
        query_signs: (q, b) of -1 and +1.
        database_signs: (m, b) of -1 and +1.
        query_labels: (q, c) of 0 and 1.
        database_labels: (m, c) of 0 and 1.
        top_k: cut-offs; None is the whole list.

    Returns:
        One mean for each cut-off.
    """
    n_bits = query_signs.shape[1]
    totals = [0.0] * len(top_k)
    for signs, labels in zip(query_signs, query_labels, strict=True):
        is_relevant = database_labels @ labels > 0
        distances = 0.5 * (n_bits - database_signs @ signs)
        is_relevant = is_relevant[np.argsort(distances)]
        for place, k in enumerate(top_k):
            ranks = np.flatnonzero(is_relevant[:k]) + 1
            if len(ranks):
                totals[place] += float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return [total / len(query_signs) for total in totals]
