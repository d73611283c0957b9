"""Contrast with soft targets: items whose features are alike aren't told apart at any price."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["neighbour_targets", "others_contrast", "soft_contrast"]

TINY = 1e-12


def neighbour_targets(
    image_features: Tensor,
    text_features: Tensor,
    *,
    share: float,
    temperature: float,
    text_weight: float,
) -> Tensor:
    """Compute how much of each item's match every item of the batch deserves.

    `(1 - share) I + share softmax(S / temperature)`, with S the weighted mean of the cosines of
    both modalities' features after the batch's mean is taken out of each. No gradient passes.

    Args:
        image_features: (n, d).
        text_features: (n, e) of the partners.
        share: in [0, 1], what neighbours get, the partner among them.
        temperature: of the softmax; the larger, the more even.
        text_weight: in [0, 1], of the text cosines; images have the rest.

    Returns:
        (n, n), rows sum to 1.
    """
    text = centred_cosines(text_features.detach())
    image = centred_cosines(image_features.detach())
    similarity = text_weight * text + (1 - text_weight) * image
    own = torch.eye(len(text)).to(text)
    return (1 - share) * own + share * (similarity / temperature).softmax(dim=1)


def centred_cosines(features: Tensor) -> Tensor:
    """Compute (n, n) cosines of (n, d) rows minus their mean; rows are scaled to length 1 first."""
    rows = normalize(features, dim=1, eps=TINY)
    rows = normalize(rows - rows.mean(dim=0), dim=1, eps=TINY)
    return rows @ rows.T


def soft_contrast(scores: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy of the softmax of each row of scores to its targets.

    With targets that are the identity this is InfoNCE.

    Args:
        scores: (..., n, n), divided by their temperature.
        targets: (n, n), rows sum to 1.

    Returns:
        Scalar.

    Example:
        >>> soft_contrast(torch.zeros(3, 2, 2), torch.tensor([[0.7, 0.3], [0.0, 1.0]]))  # log 2
        tensor(0.6931)
    """
    return -(targets * scores.log_softmax(dim=-1)).sum(dim=-1).mean()


def others_contrast(scores: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy within one modality, each item left out of its own row.

    Targets are what `neighbour_targets` gives the other items, scaled to sum to 1.

    Args:
        scores: (..., n, n) of items with themselves, divided by their temperature.
        targets: (n, n), rows sum to 1.

    Returns:
        Scalar; 0 for fewer than two items.

    Example:
        >>> others_contrast(torch.zeros(3, 3), torch.full((3, 3), 1 / 3))  # log 2
        tensor(0.6931)
    """
    n = len(targets)
    if n < 2:
        return scores.sum() * 0.0
    is_own = torch.eye(n, dtype=torch.bool, device=scores.device)
    others = targets.masked_fill(is_own, 0.0)
    others = others / others.sum(dim=1, keepdim=True).clamp_min(TINY)
    shares = scores.masked_fill(is_own, -torch.inf).log_softmax(dim=-1)
    return -(others * shares.masked_fill(is_own, 0.0)).sum(dim=-1).mean()
