"""Loss terms of the scores of both directions at once: queries of each modality by all items."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["measure_scaled_difference", "partner_contrast"]


def partner_contrast(scores: Tensor) -> Tensor:
    """Compute the mean cross-entropy of each row's softmax to its partner, that on the diagonal.

    Args:
        scores: (2, n, n) of queries of each direction, divided by their temperature.
    """
    own = torch.arange(scores.shape[1], device=scores.device)
    return cross_entropy(scores.flatten(0, 1), own.repeat(2))


def measure_scaled_difference(cosines: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean squared difference between targets and the best multiple of cosines.

    Cosines of codes have a range of their own, the narrower the shorter the codes are and the more
    a query's numbers differ in size. A ranking has no use for it, so the multiple is free, if not
    negative: `targets^2 - <cosines, targets>^2 / cosines^2`, each a mean.

    Args:
        cosines: (2, n, n) of queries of each direction.
        targets: (n, n).

    Example:
        >>> targets = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> measure_scaled_difference(torch.eye(2).expand(2, 2, 2), targets)  # twice the cosines
        tensor(0.)
    """
    agreement = (cosines * targets).mean().clamp_min(0)
    size = cosines.square().mean().clamp_min(torch.finfo(cosines.dtype).tiny)
    return targets.square().mean() - agreement.square() / size
