"""What threads need to know of the request that they work for: whose it is, and until when."""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Work", "current_work", "is_all_over"]


@dataclass(eq=False)
class Work:
    """The work for one request.

    Attributes:
        client: who asked; requests of different clients take turns.
        ends_at: when nobody waits for it any more, by `time.monotonic`.
        is_abandoned: whether the client has left, or was answered.
    """

    client: str = ""
    ends_at: float = float("inf")
    is_abandoned: bool = False

    def is_over(self) -> bool:
        """Tell whether nobody waits for the result any more."""
        return self.is_abandoned or time.monotonic() > self.ends_at


current_work: ContextVar[Work | None] = ContextVar("current_work", default=None)
"""The work of the request that a task answers; None outside of requests."""


def is_all_over(works: Sequence[Work]) -> bool:
    """Tell whether nobody waits for what is done for several requests at once."""
    return all(work.is_over() for work in works)
