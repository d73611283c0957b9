"""What a former model says of training pairs, for models that are to be compatible with it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FormerCodes", "join_former"]


@dataclass(frozen=True)
class FormerCodes:
    """Relaxed codes that a former model gives to pairs; their signs are the codes it stored.

    Attributes:
        image: (n, b) of the pairs' pictures.
        text: (n, b) of their texts.
    """

    image: Tensor
    text: Tensor

    def select(self, chosen: Tensor) -> "FormerCodes":
        """Select what it says of some of the pairs."""
        return FormerCodes(self.image[chosen], self.text[chosen])


def join_former(parts: Iterable[FormerCodes | None]) -> FormerCodes | None:
    """Join what a former model says of batches, on the CPU.

    Returns:
        None where there is no such model; then only the first batch is read.
    """
    images, texts = list[Tensor](), list[Tensor]()
    for part in parts:
        if part is None:
            return None
        images.append(part.image.cpu())
        texts.append(part.text.cpu())
    return FormerCodes(torch.cat(images), torch.cat(texts))
