"""How many relevant items a random part of a tie group holds, and where the relevant ones stand.

Both distributions are worked out from ratios of neighbouring probabilities, which keeps thirteen
digits at any size, inside a window that leaves out less than 1e-20: a count of draws without
replacement is a sum of independent Bernoulli variables (its generating polynomial has only real
roots), so Bernstein's inequality bounds its tails by the window below.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["hit_still_ahead", "hits_among_drawn"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

WINDOW_DEVIATIONS = 10
WINDOW_MARGIN = 40


def hits_among_drawn(size: Counts, hits: Counts, drawn: Counts) -> tuple[Counts, Floats]:
    """Compute the distribution of hits among items drawn from a group without replacement.

    Args:
        size: (q,) items of the group.
        hits: (q,) relevant ones among them.
        drawn: (q,) items drawn, at most `size`.

    Returns:
        counts: (q, w) numbers of hits; those beyond a row's window have probability 0 and are cut
            to its largest.
        probabilities: (q, w), each row sums to 1.

    Example:
        Two of four are relevant, two are drawn: 1/6, 4/6, 1/6.

        >>> counts, chances = hits_among_drawn(np.array([4]), np.array([2]), np.array([2]))
        >>> counts.tolist(), (6 * chances).round(9).tolist()
        ([[0, 1, 2]], [[1.0, 4.0, 1.0]])
    """
    share = hits / np.maximum(size, 1)
    mean = drawn * share
    variance = mean * (1 - share) * (size - drawn) / np.maximum(size - 1, 1)
    reach = WINDOW_DEVIATIONS * np.sqrt(variance) + WINDOW_MARGIN
    least = np.maximum(
        np.maximum(0, drawn - (size - hits)), np.floor(mean - reach).astype(np.int64)
    )
    most = np.minimum(np.minimum(drawn, hits), np.ceil(mean + reach).astype(np.int64))
    counts = least[:, None] + np.arange(int((most - least).max(initial=0)) + 1)
    is_step = counts[:, :-1] < most[:, None]
    ups = (drawn[:, None] - counts) * (hits[:, None] - counts)
    downs = (counts + 1) * ((size - hits - drawn)[:, None] + counts + 1)
    probabilities = from_ratios(ups[:, :-1], downs[:, :-1], is_step)
    return np.minimum(counts, most[:, None]), probabilities


def hit_still_ahead(
    size: Counts, hits: Counts, number: Counts, positions: Counts, last: Counts
) -> Floats:
    """Compute how likely hit number `number` of a shuffled group stands at a position or after it.

    Args:
        size: (q,) items of the group.
        hits: (q,) relevant ones among them.
        number: (q,) which of them, from 1 to `hits`.
        positions: (q, w) neighbouring positions in the group, counted from 1; before the first
            the hit must be impossible or negligible.
        last: (q,) last position that the hit can take; what follows counts 0.

    Returns:
        (q, w) probabilities.
    """
    is_step = positions[:, :-1] < last[:, None]
    behind = (hits - number)[:, None]
    ups = positions * (size[:, None] - positions - behind)
    downs = (positions - number[:, None] + 1) * (size[:, None] - positions)
    probabilities = from_ratios(ups[:, :-1], downs[:, :-1], is_step)
    ahead: Floats = np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(ahead, 1.0)


def from_ratios(ups: Counts, downs: Counts, is_step: NDArray[np.bool_]) -> Floats:
    """Compute (q, w) probabilities from their neighbours' ratios `ups / downs`, (q, w - 1).

    The values behind the first step of a row that is False are 0.
    """
    ratios = np.where(is_step, ups, 1) / np.where(is_step, downs, 1)
    logs = np.zeros((len(ratios), ratios.shape[1] + 1))
    np.cumsum(np.log(ratios), axis=1, out=logs[:, 1:])
    weights: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights[:, 1:] *= is_step
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
