"""Whether models may be fetched from a hub: only if the user named them in this call."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_local_only", "local_models_only"]

is_local_only: ContextVar[bool] = ContextVar("is_local_only", default=False)
"""Whether models are looked for on this machine only."""


@contextmanager
def local_models_only() -> Iterator[None]:
    """Look for models on this machine only: a file names them, not the user."""
    token = is_local_only.set(True)
    try:
        yield
    finally:
        is_local_only.reset(token)
