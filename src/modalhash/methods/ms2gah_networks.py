"""What the networks of MS2GAH make of a batch: features, relaxed codes and classes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modalhash.layers import NormalisedHead
from modalhash.methods.base import Batch, Heads

__all__ = [
    "Outputs",
    "graph_outputs",
    "label_outputs",
    "network_outputs",
    "student_outputs",
    "trunk_outputs",
]


@dataclass(frozen=True)
class Outputs:
    """What one network makes of a batch.

    Attributes:
        features: (n, d).
        relaxed: (n, b) in (-1, 1).
        classes: (n, c) logits.
    """

    features: Tensor
    relaxed: Tensor
    classes: Tensor


def label_outputs(heads: Heads, labels: Tensor) -> Outputs:
    """Return what the label encoder makes of (n, c) labels."""
    encoder = network(heads.auxiliary["label"])
    return network_outputs(encoder, heads.auxiliary["label_classes"], encoder.trunk(labels))


def network(part: nn.Module) -> NormalisedHead:
    """Return a part as what `build_heads` made it."""
    assert isinstance(part, NormalisedHead)
    return part


def network_outputs(
    head: NormalisedHead, classifier: nn.Module, hidden: Tensor, links: Tensor | None = None
) -> Outputs:
    """Return what a network makes of its trunk's output, (n, d), attending along (n, n) links."""
    features = head.attended(hidden, links)
    return Outputs(features, torch.tanh(head.last(features)), classifier(features))


def trunk_outputs(heads: Heads, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what the trunks make of the pictures and of the texts of a batch, (n, d) each."""
    image, text = network(heads.image), network(heads.text)
    return image.trunk(batch.image.pooled), text.trunk(batch.text.pooled)


def student_outputs(
    heads: Heads, hidden: tuple[Tensor, Tensor], links: Tensor | None = None
) -> tuple[Outputs, Outputs]:
    """Return what the networks of pictures and of texts make of their trunks' outputs."""
    parts = heads.auxiliary
    return (
        network_outputs(network(heads.image), parts["image_classes"], hidden[0], links),
        network_outputs(network(heads.text), parts["text_classes"], hidden[1], links),
    )


def graph_outputs(heads: Heads, hidden: tuple[Tensor, Tensor], links: Tensor) -> Outputs:
    """Return what the graph makes of a batch, whose nodes are the means of both modalities."""
    parts = heads.auxiliary
    features = parts["graph"]((hidden[0] + hidden[1]) / 2, links)
    return Outputs(
        features, torch.tanh(parts["graph_codes"](features)), parts["graph_classes"](features)
    )
