"""Similarity by labels, and the pairwise loss that codes and features are fitted to it by."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize, softplus

from modalhash.losses.affinity import cosine_similarities

__all__ = ["LabelTarget", "label_links", "label_similarity", "pairwise_logistic"]


def label_similarity(labels: Tensor, grading: float) -> Tensor:
    """Compute how alike the labels of every two items are.

    `(1 - grading) B + grading F`, where B is 1 if a label is shared and else 0, and F is the cosine
    of the label rows: 0 where nothing is shared, `1 - grading` to 1 elsewhere, growing with the
    overlap. An item is always wholly like itself, even if it has no labels.

    Args:
        labels: (n, c) of 0 and 1.
        grading: in [0, 1]; 0 asks only whether a label is shared.

    Returns:
        (n, n) in [0, 1], the diagonal 1.

    Example:
        >>> import torch
        >>> label_similarity(torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1]]), 0.5)[0]
        tensor([1.0000, 0.8536, 0.0000])
    """
    is_shared = (labels @ labels.T > 0).to(labels.dtype)
    cosines = cosine_similarities(labels, labels).clamp(max=1)  # of rounding
    return ((1 - grading) * is_shared + grading * cosines).fill_diagonal_(1)


def label_links(labels: Tensor, threshold: float = 0.0) -> Tensor:
    """Mark which items share a label, (n, n) bool; each is linked with itself.

    Args:
        labels: (n, c) of 0 and 1.
        threshold: smallest cosine of the label rows of linked items, in [0, 1]; above 0 it thins
            the links out where one class links nearly all.
    """
    rows = normalize(labels, dim=1)
    # The small slack keeps pairs that are at the threshold but for rounding.
    is_linked = (labels @ labels.T > 0) & (rows @ rows.T >= threshold - 1e-6)
    return is_linked.fill_diagonal_(True)


def pairwise_logistic(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the logistic loss of soft labels, averaged over all pairs.

    `mean_ij [log(1 + exp(logits_ij)) - target_ij logits_ij]`, smallest where the sigmoid of the
    logits is the target. Its gradient is `(sigmoid(logits) - target) / (n m)`.

    Args:
        logits: (n, m).
        target: (n, m) in [0, 1]; no gradient is meant to pass it.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> pairwise_logistic(torch.zeros(2, 2), torch.eye(2))  # log 2
        tensor(0.6931)
    """
    return (softplus(logits) - target * logits).mean()


@dataclass(frozen=True)
class LabelTarget:
    """What the labels of a batch ask of codes and features: pairs as alike as their labels are.

    Two equal codes have the logit `scale - offset`, unrelated ones `-offset`. With `scale` half of
    the bits and no offset, logits are the half inner products of the literature.

    Attributes:
        similarity: (n, n) in [0, 1].
        scale: positive.
        offset: taken from every logit.
    """

    similarity: Tensor
    scale: float
    offset: float = 0.0

    def code_loss(self, relaxed: Tensor, other_relaxed: Tensor) -> Tensor:
        """Compute the pairwise loss of relaxed codes, both (n, b), by mean products of bits."""
        products = relaxed @ other_relaxed.T / relaxed.shape[1]
        return pairwise_logistic(self.scale * products - self.offset, self.similarity)

    def feature_loss(self, features: Tensor, other_features: Tensor) -> Tensor:
        """Compute the pairwise loss of features, both (n, d), by their cosines."""
        cosines = cosine_similarities(features, other_features)
        return pairwise_logistic(self.scale * cosines - self.offset, self.similarity)
