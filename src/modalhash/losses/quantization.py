"""Terms that teach a product quantizer: its output must still find the items, and be near them."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.losses.contrastive import contrast

__all__ = [
    "asymmetric_alignment",
    "float_share",
    "reconstruction_error",
]

TINY = 1e-12


def asymmetric_alignment(
    queries: Tensor,
    quantized: Tensor,
    *,
    temperature: float,
    has_content: Tensor | None = None,
    positive_prior: float = 0.0,
    items: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE of exact queries against quantized items, averaged over concepts.

    As a search does it: the query is exact, what is searched is quantized; one direction only.

    Args:
        queries: (n, k, w) rotated embeddings of one modality, rows of length 1.
        quantized: (n, k, w) of the partners; scaled to length 1 here.
        temperature: divides inner products.
        has_content: (n,) bool, which pairs take part; None is all. Without any, the result is 0.
        positive_prior: in [0, 1), see `contrast`.
        items: (n,) what pairs belong to; pairs of one item aren't each other's negatives.

    Returns:
        Scalar.

    Example:
        >>> asymmetric_alignment(torch.ones(4, 2, 1), torch.ones(4, 2, 1), temperature=1.0)  # log 4
        tensor(1.3863)
    """
    if has_content is not None:
        queries, quantized = queries[has_content], quantized[has_content]
        items = None if items is None else items[has_content]
    n, n_concepts = queries.shape[:2]
    if not n:
        return (queries.sum() + quantized.sum()) * 0.0
    places = torch.arange(n, device=queries.device)
    if items is None:
        items = places
    quantized_items = normalize(quantized, dim=2, eps=TINY)
    scores = torch.einsum("ikw,jkw->kij", queries, quantized_items) / temperature
    return contrast(
        scores.flatten(0, 1),
        partners=places.repeat(n_concepts),
        is_negative=(items[:, None] != items[None]).repeat(n_concepts, 1),
        temperature=temperature,
        positive_prior=positive_prior,
    )


def reconstruction_error(rotated: Tensor, decoded: Tensor) -> Tensor:
    """Compute the mean over items and concepts of the squared distance of (n, k, w); a scalar.

    Example:
        >>> reconstruction_error(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 4.0]]]))
        tensor(25.)
    """
    if not len(rotated):
        return (rotated.sum() + decoded.sum()) * 0.0
    return (rotated - decoded).square().sum(dim=2).mean()


def float_share(epoch: int, n_epochs: int, first_epoch: int) -> float:
    """Compute the weight of exact local embeddings in the blend with quantized ones.

    1 before the quantizer starts, then `cos(pi epoch / (2 n_epochs))`, which falls towards 0.

    Args:
        epoch: from 0.
        n_epochs: in all.
        first_epoch: first that the quantizer takes part in.

    Example:
        >>> float_share(1, 20, 4), round(float_share(10, 20, 4), 4)
        (1.0, 0.7071)
    """
    if epoch < first_epoch:
        return 1.0
    return math.cos(math.pi * epoch / (2 * n_epochs))
