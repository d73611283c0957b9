"""How methods with a continuation relax codes at a moment of training."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from modalhash.losses import relaxed_codes
from modalhash.methods.base import Moment

__all__ = ["ContinuationSettings", "make_relaxation"]


class ContinuationSettings(Protocol):
    """Settings of a method whose tanh gets steeper; see `modalhash.losses.relaxed_codes`."""

    @property
    def continuation(self) -> bool:
        """Whether the tanh gets steeper at all."""

    @property
    def scale_free(self) -> bool:
        """Whether its factor is relative to the outputs' own size."""


def make_relaxation(settings: ContinuationSettings, moment: Moment) -> Callable[[Tensor], Tensor]:
    """Make the function that squashes outputs of a head, (n, b), to relaxed codes, (n, b).

    Args:
        settings: of the method.
        moment: of the training.
    """
    return partial(
        relaxed_codes,
        continuation=settings.continuation,
        scale_free=settings.scale_free,
        epoch=moment.epoch,
        progress=moment.progress,
    )
