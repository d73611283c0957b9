"""Where tensors live: the one place that decides, for encoders and for training."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

import modalhash.forked_children  # noqa: F401 - registers what children do
from modalhash.errors import SettingError

__all__ = ["split_batch", "torch_device"]


def torch_device(device: str) -> torch.device:
    """Find torch's device of that name, and try it.

    Args:
        device: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps", ...

    Raises:
        SettingError: if torch doesn't know the name or this machine doesn't have the device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen_device = torch.device(device)
        torch.empty(0, device=chosen_device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingError(f"device {device!r} can't be used ({reason}): try 'cpu'") from error
    return chosen_device


def split_batch(
    prepared: Sequence[NDArray[Any]], device_type: str
) -> Iterator[Sequence[NDArray[Any]]]:
    """Yield the pictures that are computed at once: each by itself on a CPU, else all.

    A core is as quick with one picture as with several; and a picture's features can't depend on
    the others then, whichever kernels the processor has.
    """
    if device_type != "cpu":
        yield prepared
        return
    for picture in prepared:
        yield [picture]
