"""Where tensors live: the one place that decides, for encoders and for training."""

import torch

from modalhash.errors import SettingError

__all__ = ["torch_device"]


def torch_device(device: str) -> torch.device:
    """Return torch's device of that name after trying it.

    Args:
        device: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps", ...

    Raises:
        SettingError: if torch doesn't know the name or this machine doesn't have the device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingError(f"device {device!r} can't be used ({reason}): try 'cpu'") from error
    return found
