"""Work that stops when nobody waits for its result any more.

The caller of a search knows until when the answer is needed. A filter may read every row, so its
statements ask now and then. The condition belongs to the thread that works, not to the index.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from modalhash.errors import SearchStoppedError

__all__ = ["check_interruption", "interrupt_when", "is_interrupted"]

condition: ContextVar[Callable[[], bool] | None] = ContextVar("condition", default=None)


@contextmanager
def interrupt_when(is_over: Callable[[], bool]) -> Iterator[None]:
    """Stop the work of this thread when a condition holds.

    Args:
        is_over: is asked often, also from inside SQLite; must be quick and must not raise.

    Raises:
        SearchStoppedError: from the work inside, soon after `is_over` begins to return True.
    """
    token = condition.set(is_over)
    try:
        yield
    finally:
        condition.reset(token)


def is_interrupted() -> bool:
    """Tell whether the work of this thread should stop."""
    is_over = condition.get()
    return is_over is not None and is_over()


def check_interruption() -> None:
    """Stop here if the work of this thread should stop.

    Raises:
        SearchStoppedError: if it should.
    """
    if is_interrupted():
        raise SearchStoppedError(
            "the search took too long, or nobody waits for its answer: use a simpler filter"
        )
