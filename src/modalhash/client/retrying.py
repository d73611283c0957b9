"""When a request is worth another try, and how long to wait before it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from modalhash.errors import ServiceError, SettingError

__all__ = ["Retries", "read_retry_after"]

UNTOUCHED = frozenset({"overloaded", "not_ready", "shutting_down", "rate_limited", "index_busy"})
"""Refusals before anything was done: any request may be sent again."""
PASSING = frozenset({"storage_failed", "bad_gateway"})
"""What may pass, but may have come after the request was worked on."""


@dataclass(frozen=True)
class Retries:
    """How a client tries again.

    A request that the server refused before touching it (it is busy, starting or stopping) is sent
    again; so is one that failed on the way, if it may be done twice. Adding items (`add`) may not.

    Attributes:
        tries: of one request at most; 1 never tries again.
        first_wait: seconds before the second try; it doubles each time. Up to half of a wait is
            left out at random, so that clients that failed together don't come back together.
        longest_wait: seconds; a server that asks for more (Retry-After) isn't tried again.

    Raises:
        SettingError: if a value is out of its range.
    """

    tries: int = 4
    first_wait: float = 0.25
    longest_wait: float = 20.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise SettingError(f"tries is {self.tries}, expected at least 1")
        if not 0 <= self.first_wait <= self.longest_wait:
            raise SettingError(
                f"first_wait is {self.first_wait}, expected 0 to longest_wait ({self.longest_wait})"
            )

    def wait(self, error: ServiceError, *, n_tried: int, can_repeat: bool) -> float | None:
        """Compute the seconds until the next try; None if there should be none.

        Args:
            error: of the last try.
            n_tried: tries so far.
            can_repeat: whether the request may be done twice.
        """
        if n_tried >= self.tries or not may_pass(error, can_repeat=can_repeat):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.longest_wait else None
        longest = min(self.longest_wait, self.first_wait * 2 ** (n_tried - 1))
        return secrets.SystemRandom().uniform(longest / 2, longest)


def may_pass(error: ServiceError, *, can_repeat: bool) -> bool:
    """Tell whether another try may go better and does no harm."""
    if error.code in UNTOUCHED or error.code == "no_connection":
        return True
    return can_repeat and (error.code in PASSING or error.code == "connection_lost")


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds that a server asks to wait, which it may also state as a date.

    Example:
        >>> read_retry_after({"Retry-After": "2"}), read_retry_after({})
        (2.0, None)
    """
    header = headers.get("Retry-After")
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
