"""A hasher's weights as bytes."""

from safetensors.torch import save as save_tensors

from modalhash.methods.hasher import Hasher

__all__ = ["serialise_weights"]


def serialise_weights(hasher: Hasher) -> bytes:
    """Serialise a hasher's tensors in the safetensors format; equal tensors give equal bytes."""
    # Clones, since towers may share tensors and the format has no shared ones.
    weights: bytes = save_tensors(
        {name: value.contiguous().clone() for name, value in hasher.state_dict().items()}
    )
    return weights
