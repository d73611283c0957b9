"""Optimisers: made from settings, their state as named tensors for checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modalhash.methods.base import Optimiser, TrainingSettings

__all__ = ["make_optimiser", "optimiser_tensors", "restore_optimiser"]


def make_optimiser(
    parts: nn.ModuleDict, rate_scales: Mapping[str, float], settings: TrainingSettings
) -> Optimizer:
    """Make the optimiser over all parts that aren't frozen, with learning-rate scales as groups.

    Args:
        parts: what learns.
        rate_scales: name of a part or parameter to a factor on the learning rate; of several that
            fit, the first counts.
        settings: which optimiser, rate and decay.
    """
    # A group a stated part: parts whose gradients begin later than others' can't share a group, for
    # fused SGD makes the momentum of a whole group at once.
    groups: dict[tuple[float, str], list[nn.Parameter]] = {}
    for name, parameter in parts.named_parameters():
        if not parameter.requires_grad:
            continue
        fitting = (
            (scale, prefix)
            for prefix, scale in rate_scales.items()
            if f"{name}.".startswith(f"{prefix}.")
        )
        groups.setdefault(next(fitting, (1.0, "")), []).append(parameter)
    listed = [{"params": members, "scale": key[0]} for key, members in sorted(groups.items())]
    # Fused updates read each parameter once: with small batches on a CPU they halve a step's time.
    shared: Any = {
        "lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True,
    }  # fmt: skip
    match settings.optimiser:
        case Optimiser.SGD:
            return torch.optim.SGD(listed, momentum=settings.momentum, **shared)
        case Optimiser.ADAM:
            return torch.optim.Adam(listed, **shared)
        case Optimiser.ADAMW:
            return torch.optim.AdamW(listed, **shared)


def optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """Convert an optimiser's state to named tensors."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entry in state.items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )
