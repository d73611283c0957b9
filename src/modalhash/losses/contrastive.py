"""Contrastive terms: the partner must stand out among the other items of a batch.

InfoNCE: A. van den Oord et al., 2018, https://arxiv.org/abs/1807.03748; debiased form: C.-Y. Chuang
et al., NeurIPS 2020, https://arxiv.org/abs/2007.00224.
"""

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.losses.signs import signs_of

__all__ = [
    "NceForm",
    "contrast",
    "info_nce",
    "local_alignment",
    "sign_gap",
]


class NceForm(StrEnum):
    """Which items of a batch are negatives.

    - `cross`: the other items' codes of the other modality.
    - `full`: the other items' codes of both modalities.
    """

    CROSS = "cross"
    FULL = "full"


def info_nce(
    image: Tensor,
    text: Tensor,
    *,
    temperature: float,
    form: NceForm = NceForm.CROSS,
    positive_prior: float = 0.0,
    items: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE of cosines, the mean of both directions.

    Equal similarities give log n; perfectly told apart ones go to 0 as the temperature falls.

    Args:
        image: (n, d), row i the partner of row i of `text`.
        text: (n, d).
        temperature: t, divides cosines.
        form: which items are negatives.
        positive_prior: in [0, 1): share of the negatives that are thought to be positives in truth;
            0 is the plain form. See `contrast`.
        items: (n,) what pairs belong to; pairs of one item aren't each other's negatives. None:
            each to an item of its own.

    Returns:
        Scalar.

    Example:
        >>> info_nce(torch.ones(4, 3), torch.ones(4, 3), temperature=0.5)  # log 4
        tensor(1.3863)
    """
    n = len(image)
    places = torch.arange(n, device=image.device)
    image, text = normalize(image, dim=1), normalize(text, dim=1)
    is_other = own_items(items, n, image.device)
    if form is NceForm.FULL:
        both = torch.cat([image, text])
        return contrast(
            both @ both.T / temperature,
            partners=torch.cat([places + n, places]),
            is_negative=is_other.repeat(2, 2),
            temperature=temperature,
            positive_prior=positive_prior,
        )
    scores = image @ text.T / temperature
    forward, backward = (
        contrast(
            direction_scores,
            partners=places,
            is_negative=is_other,
            temperature=temperature,
            positive_prior=positive_prior,
        )
        for direction_scores in (scores, scores.T)
    )
    return (forward + backward) / 2


def local_alignment(
    image: Tensor,
    text: Tensor,
    *,
    temperature: float,
    has_content: Tensor | None = None,
    positive_prior: float = 0.0,
    items: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE between the same concepts of both modalities, averaged over concepts.

    Args:
        image: (n, k, w) local embeddings, rows of length 1 or 0.
        text: (n, k, w) of the partners.
        temperature: divides inner products.
        has_content: (n,) bool, which pairs take part; None is all. Without any, the result is 0.
        positive_prior: as in `info_nce`.
        items: as in `info_nce`.

    Returns:
        Scalar.
    """
    if has_content is not None:
        image, text = image[has_content], text[has_content]
        items = None if items is None else items[has_content]
    n, n_concepts = image.shape[:2]
    if not n:
        return (image.sum() + text.sum()) * 0.0
    scores = torch.einsum("ikw,jkw->kij", image, text) / temperature
    both = torch.stack([scores, scores.transpose(1, 2)]).reshape(2 * n_concepts * n, n)
    places = torch.arange(n, device=image.device)
    is_other = own_items(items, n, image.device)
    return contrast(
        both,
        partners=places.repeat(2 * n_concepts),
        is_negative=is_other.repeat(2 * n_concepts, 1),
        temperature=temperature,
        positive_prior=positive_prior,
    )


def contrast(
    scores: Tensor,
    *,
    partners: Tensor,
    is_negative: Tensor,
    temperature: float,
    positive_prior: float = 0.0,
) -> Tensor:
    """Compute the mean over rows of `-log(P / (P + N))` for scores in one direction.

    P is the exponential of the partner's score and N the sum of those of the m negatives. The
    debiased form takes out of N what positives among the negatives are thought to add,
    `N' = max((N - prior m P) / (1 - prior), m exp(-1 / temperature))`; the floor is the least that
    m negatives can sum to.

    Args:
        scores: (q, n) cosines over the temperature.
        partners: (q,) int64, the column of each row's partner.
        is_negative: (q, n) bool; False at the partner.
        temperature: that the scores were divided by.
        positive_prior: in [0, 1).

    Returns:
        Scalar; 0 for a batch without negatives.
    """
    positive = scores.gather(1, partners[:, None])[:, 0]
    others = scores.masked_fill(~is_negative, -torch.inf)
    if not positive_prior:
        return (torch.cat([positive[:, None], others], dim=1).logsumexp(dim=1) - positive).mean()
    # Exponentials relative to the row's largest, so that none overflows.
    largest = torch.maximum(positive, others.amax(dim=1)).detach()
    partner, summed = (positive - largest).exp(), (others - largest[:, None]).exp().sum(dim=1)
    n_negatives = is_negative.sum(dim=1).to(scores.dtype)
    debiased = (summed - positive_prior * n_negatives * partner) / (1 - positive_prior)
    floor = n_negatives * (-1 / temperature - largest).exp()
    return ((partner + torch.maximum(debiased, floor)).log() + largest - positive).mean()


def own_items(items: Tensor | None, n: int, device: torch.device) -> Tensor:
    """Mark where two pairs belong to different items, (n, n) bool."""
    if items is None:
        items = torch.arange(n, device=device)
    return items[:, None] != items[None]


def sign_gap(relaxed: Tensor) -> Tensor:
    """Compute the mean squared difference of relaxed codes (n, b) to their signs; a scalar."""
    return (relaxed - signs_of(relaxed)).square().mean()
