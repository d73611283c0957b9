"""The hasher of an encoder whose pictures and texts lie in one space."""

from torch import Tensor

from modalhash.layers import FeatureScaling, LinearHead, ScalingRule, linear_head
from modalhash.methods.hasher import Hasher, HashTower

__all__ = ["make_shared_hasher"]


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
