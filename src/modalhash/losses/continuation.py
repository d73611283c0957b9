"""The iterative approximation of the sign by ever steeper tanh."""

import math

__all__ = ["continuation_factor"]


def continuation_factor(epoch: int) -> float:
    """Return `sqrt(epoch + 1)`, by which relaxed codes are multiplied before the tanh.

    The rule of DJSRH's line of methods: constant within an epoch, 1 in the first. As it grows,
    tanh(factor * z) approaches sign(z).

    Args:
        epoch: from 0.

    Example:
        >>> continuation_factor(0), continuation_factor(3)
        (1.0, 2.0)
    """
    return math.sqrt(epoch + 1)
