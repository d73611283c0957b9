"""Controls of named modules: the module turned off, and the module fed what belongs to others."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["NamedModule", "shuffle_edges", "shuffle_items"]


@dataclass(frozen=True)
class NamedModule:
    """The two controls of one structural module: a graph, a filter, a memory, a label network.

    A module acts where the method is better than with both. If it is better than without the
    module, but no better than with shuffled input, what helps isn't what the module knows.

    Attributes:
        off: name of the ablation that turns the module off.
        shuffled: name of the ablation that feeds it the input of other items.
    """

    off: str
    shuffled: str


def shuffle_items(values: Tensor) -> Tensor:
    """Give each item the values (n, ...) of the item before it; the first gets those of the last.

    Batches are drawn in random order, so these are the values of a random other item. Nothing is
    drawn here: a run with the control sees the same batches as one without.

    Example:
        >>> import torch
        >>> shuffle_items(torch.tensor([[1, 1], [2, 2], [3, 3]])).tolist()
        [[3, 3], [1, 1], [2, 2]]
    """
    return values.roll(1, 0)


def shuffle_edges(edges: Tensor) -> Tensor:
    """Give each two items the edge of the two before them, (n, n); the diagonal stays one.

    Example:
        >>> import torch
        >>> shuffle_edges(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]]))
        tensor([[1.0000, 0.0000, 0.2000],
                [0.0000, 1.0000, 0.5000],
                [0.2000, 0.5000, 1.0000]])
    """
    return edges.roll((1, 1), (0, 1))
