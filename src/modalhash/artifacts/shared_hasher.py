"""The hasher of an encoder whose pictures and texts lie in one space."""

import torch
from torch import Tensor

from modalhash.codes import GradedBits
from modalhash.layers import FeatureScaling, GradedHead, LinearHead, ScalingRule, linear_head
from modalhash.methods.hasher import Hasher, HashTower

__all__ = ["make_graded_hasher", "make_shared_hasher"]


def make_shared_hasher(
    directions: Tensor, image_mean: Tensor, text_mean: Tensor, scaling: ScalingRule
) -> Hasher:
    """Make the hasher of a shared space: the same directions for both modalities.

    Args:
        directions: (d, b) float64; the sign of an item along each is a bit.
        image_mean: (d,) float64, subtracted from pictures.
        text_mean: (d,) float64, subtracted from texts.
        scaling: of features before that; one that isn't fitted.
    """

    def tower(head: LinearHead) -> HashTower:
        return HashTower(FeatureScaling(scaling, len(directions)), head)

    return Hasher(
        tower(linear_head(directions, image_mean)), tower(linear_head(directions, text_mean))
    )


def make_graded_hasher(directions: Tensor, bits: GradedBits) -> Hasher:
    """Make the hasher of a shared space in which pictures have several bits a direction.

    Args:
        directions: (d, w) float64 of orthonormal columns.
        bits: of each of the w directions.
    """
    image = GradedHead(len(directions), bits)
    with torch.no_grad():
        image.map.weight.copy_(directions.T)
        image.map.bias.zero_()
    numbers = torch.from_numpy(bits.numbers)
    weights = torch.from_numpy(bits.weights).double()
    text = linear_head(directions[:, numbers] * weights, torch.zeros(len(directions)).double())
    scaling = FeatureScaling(ScalingRule.NONE, len(directions))
    return Hasher(HashTower(scaling, image), HashTower(scaling, text))
