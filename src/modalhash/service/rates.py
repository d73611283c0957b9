"""How often somebody may ask: a bucket of tokens each, filled at a steady rate."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

__all__ = ["Rates"]

MOST_BUCKETS: Final = 10_000
"""Of those who asked last; an older one starts full again, as it would be by then."""


@dataclass
class Bucket:
    """Requests that somebody may still make.

    Attributes:
        left: how many, a fraction too.
        at: when that was so.
    """

    left: float
    at: float


class Rates:
    """Says who has asked too often.

    Args:
        rate: requests a second in the long run; 0 is no limit.
        burst: requests at once.
        now: a steady clock.

    Example:
        >>> rates = Rates(2, 1, now=lambda: 0.0)
        >>> rates.wait("ann"), rates.wait("ann"), rates.wait("bob")
        (0, 1, 0)
    """

    def __init__(
        self, rate: float, burst: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self._now = rate, max(burst, 1.0), now
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, client: str) -> int:
        """Take a request, and return 0; or the whole seconds until there is one to take."""
        if not self.rate:
            return 0
        now = self._now()
        bucket = self._buckets.pop(client, None) or Bucket(self.burst, now)
        bucket.left = min(self.burst, bucket.left + (now - bucket.at) * self.rate)
        bucket.at = now
        self._buckets[client] = bucket
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return max(1, ceil((1 - bucket.left) / self.rate))
        bucket.left -= 1
        return 0
