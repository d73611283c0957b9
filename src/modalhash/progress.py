"""What a long job tells whoever watches it; only `cli` draws bars."""

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """A watcher of long jobs, called as they advance."""

    def __call__(
        self, stage: str, done: int, total: int, values: Mapping[str, float] | None = None
    ) -> None:
        """Take note of an advance.

        Args:
            stage: what is being done ("train", "image features"); a new name starts a new bar.
            done: units finished, from 0 to `total`.
            total: units in all.
            values: named numbers to show beside the bar (losses, rates).
        """


def silent(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
    """Show nothing: the default watcher."""
