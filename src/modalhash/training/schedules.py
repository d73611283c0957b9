"""The course of the learning rate, as a pure function of the step."""

import math

from modalhash.methods.base import Schedule

__all__ = ["rate_factor"]

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1e-4 / 25
EXPONENTIAL_END = 1e-3


def rate_factor(schedule: Schedule, step: int, n_steps: int) -> float:
    """Compute the factor of the learning rate at a step.

    - constant: 1.
    - cosine: `(1 + cos(pi step / n_steps)) / 2`.
    - one-cycle: rises from 1/25 to 1 over the first 30 % of steps, then falls to 1/250,000, both
      along half cosines (L. Smith and N. Topin, "Super-convergence", 2019).
    - exponential: falls from 1 towards 1/1,000 by the same ratio each step.

    Args:
        schedule: which course.
        step: from 0.
        n_steps: of the whole training.

    Example:
        >>> rate_factor(Schedule.COSINE, 5, 10)
        0.5
    """
    share = step / n_steps
    match schedule:
        case Schedule.CONSTANT:
            return 1.0
        case Schedule.COSINE:
            return half_cosine(1.0, 0.0, share)
        case Schedule.ONE_CYCLE:
            if share < ONE_CYCLE_RISE:
                return half_cosine(ONE_CYCLE_START, 1.0, share / ONE_CYCLE_RISE)
            return half_cosine(1.0, ONE_CYCLE_END, (share - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
        case Schedule.EXPONENTIAL:
            return float(EXPONENTIAL_END**share)


def half_cosine(start: float, end: float, share: float) -> float:
    """Compute the value at `share` in [0, 1] of the way from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
