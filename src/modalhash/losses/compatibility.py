"""What keeps a model's codes comparable with those of a former model.

The idea is that of Y. Shen et al.: "Towards backward-compatible representation learning", 2020
(https://arxiv.org/abs/2003.11942), for bits as in BEBR (Y. Gan et al.: "Binary embedding-based
retrieval at Tencent", 2023, https://arxiv.org/abs/2302.08714): new queries are learned against
stored codes of the former model. Ours: each bit counts by how sure the former model is of it, so
that a bit which it could have set either way is free.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["former_agreement"]


def former_agreement(relaxed: Tensor, former: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """Compute how far bits are from a former model's, each weighted by how sure that model is.

    The mean of `|former| / mean |former| * softplus(-sharpness * relaxed * sign(former))`: the
    logistic loss of telling the former bit by the new number.

    Args:
        relaxed: (n, b) of the model that learns.
        former: (n, b) relaxed codes of the former model for the same items; only their relative
            sizes count.
        sharpness: factor on the numbers that learn.

    Returns:
        Scalar, 0 or more; 0 for an empty batch.

    Example:
        >>> former_agreement(torch.zeros(1, 2), torch.tensor([[3.0, -1.0]]))  # log 2
        tensor(0.6931)
    """
    if not relaxed.numel():
        return relaxed.sum() * 0.0
    sizes = former.abs()
    weights = sizes / sizes.mean().clamp_min(torch.finfo(sizes.dtype).tiny)
    signs = torch.where(former >= 0, 1.0, -1.0).to(relaxed)
    return (weights * softplus(-sharpness * relaxed * signs)).mean()
