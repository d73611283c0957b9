"""Values without gradient, held still, so that finite differences see what gradients see."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor


class HeldDetached:
    """Notes what `detach` gives in a first run, and gives the same again in later ones."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note every detached value, in order."""
        plain = torch.Tensor.detach

        def detach(tensor: Tensor) -> Tensor:
            value = plain(tensor)
            self.values.append(plain(value.clone()))
            return value

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "detach", detach)
            yield

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Give the noted values in place of detached ones."""
        noted = iter(self.values)

        def detach(tensor: Tensor) -> Tensor:
            value = next(noted)
            assert value.shape == tensor.shape
            return value.clone()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "detach", detach)
            yield
