"""Where tensors live: the one place that decides."""

import torch

from modalhash.errors import SettingError

__all__ = ["choose_device"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to train or encode on.

    Args:
        name: "auto" (an accelerator if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        SettingError: if the name is unknown or that device isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    is_there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in is_there or (number and not number.isdigit()):
        raise SettingError(f"device is {name!r}, expected auto, cpu, cuda, cuda:N or mps")
    if not is_there[kind]:
        raise SettingError(f"device is {name!r}, but torch finds none here: use auto or cpu")
    if number and kind == "cuda" and int(number) >= torch.cuda.device_count():
        raise SettingError(f"device is {name!r}, but there are {torch.cuda.device_count()} of them")
    return torch.device(name)
