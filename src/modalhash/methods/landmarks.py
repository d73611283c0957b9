"""Landmarks of graph methods: which training pairs they are, and what they teach.

A graph over the items of a batch is gone when a single item is encoded. A graph over landmarks,
training pairs that the model keeps, can act then too: `modalhash.layers.landmark_graph`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.layers import LandmarkGraph, LandmarkHead, evenly_spaced
from modalhash.layers.hash_heads import HashHead
from modalhash.losses import soft_contrast
from modalhash.methods.base import Batch, FeatureShapes, Heads, Method, TrainingView

__all__ = [
    "GraphPath",
    "LandmarkOutputs",
    "find_graphs",
    "fused_guide",
    "guide_loss",
    "head_outputs",
    "label_guide",
    "landmark_heads",
    "landmark_outputs",
    "make_landmark_graphs",
    "renew_landmarks",
    "set_landmarks",
    "without_landmarks",
]

READ_BATCH = 1024
TINY = 1e-12
NODE_LENGTH = 3.0
"""Length of each part of a node, so that convolutions begin with outputs of some size."""
GUIDE_SHARPNESS = 15.0
"""Multiplies similarities where they guide attention."""
HIDDEN_WIDTH, RANK, ATTENTION_WEIGHT = 128, 16, 0.45
Graphs = tuple[LandmarkGraph, LandmarkGraph]
"""Of pictures and of texts."""


class GraphPath(StrEnum):
    """Where a graph acts.

    - `batch`: among the items of a batch, in training only, as released.
    - `teacher`: between items and landmarks, in training only; its codes teach the hash heads.
    - `landmarks`: between items and landmarks, and part of the hash function: what an item gathers
      is added to the output of its hash head, in training as in encoding.
    """

    BATCH = "batch"
    TEACHER = "teacher"
    LANDMARKS = "landmarks"


def make_landmark_graphs(
    shapes: FeatureShapes,
    n_bits: int,
    *,
    n_landmarks: int,
    hidden_width: int = HIDDEN_WIDTH,
    rank: int = RANK,
    attention_weight: float = ATTENTION_WEIGHT,
    with_labels: bool = False,
) -> Graphs:
    """Make the graphs of both modalities, with room for at most `n_landmarks` training pairs.

    Args:
        shapes: of the training.
        n_bits: b.
        n_landmarks: at most; fewer where there are fewer pairs.
        hidden_width: units of the convolution.
        rank: of the learned matrix.
        attention_weight: of the learned matrix.
        with_labels: whether nodes hold the landmarks' labels too.
    """
    node_width = shapes.image_width + shapes.text_width
    node_width += (shapes.n_classes or 0) if with_labels else 0
    image, text = (
        LandmarkGraph(
            width,
            node_width,
            max(1, min(n_landmarks, shapes.n_pairs)),
            hidden_width=hidden_width,
            n_bits=n_bits,
            rank=rank,
            attention_weight=attention_weight,
        )
        for width in (shapes.image_width, shapes.text_width)
    )
    return image, text


def set_landmarks(
    graphs: Graphs | None,
    view: TrainingView,
    *,
    with_labels: bool = False,
    is_shuffled: bool = False,
) -> None:
    """Choose landmarks evenly among the training pairs, with first captions.

    Args:
        graphs: of both modalities; None where there are none.
        view: the training pairs.
        with_labels: as of `make_landmark_graphs`.
        is_shuffled: give each landmark the node of another: a control.
    """
    if graphs is None:
        return
    places = evenly_spaced(view.n_pairs, len(graphs[0].keys))
    images, texts, owners, labels = (list[Tensor]() for _ in range(4))
    for batch in view.batches(READ_BATCH):
        is_landmark = torch.isin(batch.positions.cpu(), places)
        images.append(batch.image.pooled.cpu()[is_landmark])
        texts.append(batch.text.pooled.cpu()[is_landmark])
        owners.append(owners_of(batch).cpu()[is_landmark])
        if with_labels:
            assert batch.labels is not None
            labels.append(batch.labels.cpu()[is_landmark])
    keys = torch.cat(images), torch.cat(texts)
    parts = [*keys, torch.cat(labels)] if with_labels else keys
    nodes = NODE_LENGTH * torch.cat([normalize(part, dim=1) for part in parts], dim=1)
    if is_shuffled:
        nodes = nodes[torch.randperm(len(nodes))]
    for graph, own_keys in zip(graphs, keys, strict=True):
        graph.set_landmarks(own_keys, nodes, torch.cat(owners))


def renew_landmarks(
    graphs: Graphs | None,
    view: TrainingView,
    *,
    with_labels: bool = False,
    is_shuffled: bool = False,
) -> None:
    """Set landmarks anew where an encoder is tuned, whose features are others after an epoch.

    Args:
        graphs: of both modalities; None where there are none.
        view: the training pairs.
        with_labels: as of `set_landmarks`.
        is_shuffled: as of `set_landmarks`.
    """
    if graphs is None:
        return
    first = next(view.batches(1))
    if first.image.untuned is not None or first.text.untuned is not None:
        set_landmarks(graphs, view, with_labels=with_labels, is_shuffled=is_shuffled)


def owners_of(batch: Batch) -> Tensor:
    """Look up the item (n,) of each pair, or its place where pairs are items of their own."""
    return batch.positions if batch.items is None else batch.items


@dataclass(frozen=True)
class LandmarkOutputs:
    """What a batch's items gather of their landmarks, in training.

    Attributes:
        image: (n, b) outputs of the graph of pictures.
        text: (n, b) of that of texts.
        image_scores: (n, k) attention of pictures before the softmax.
        text_scores: (n, k) of texts.
        is_itself: (n, k) bool, which landmark is the item itself, hidden from it.
    """

    image: Tensor
    text: Tensor
    image_scores: Tensor
    text_scores: Tensor
    is_itself: Tensor


def landmark_outputs(graphs: Graphs, batch: Batch) -> LandmarkOutputs:
    """Let a batch's items gather of their landmarks, none of itself."""
    owners = owners_of(batch)
    scores = [
        graph.scores(part.pooled, owners)
        for graph, part in zip(graphs, (batch.image, batch.text), strict=True)
    ]
    return LandmarkOutputs(
        graphs[0].gather(scores[0]),
        graphs[1].gather(scores[1]),
        scores[0],
        scores[1],
        owners[:, None] == graphs[0].owners,
    )


def guide_loss(outputs: LandmarkOutputs, similarities: Tensor) -> Tensor:
    """Compute how far attention by one modality is from similarities that both modalities know.

    Args:
        outputs: of a batch.
        similarities: (n, k) of items to landmarks, without gradient.

    Returns:
        Scalar: the cross-entropy of both modalities' attention to the softmax of the similarities,
        times `GUIDE_SHARPNESS`; the sum of two means over items.
    """
    hidden = (GUIDE_SHARPNESS * similarities).masked_fill(outputs.is_itself, -torch.inf)
    is_alone = outputs.is_itself.all(dim=1, keepdim=True)
    targets = hidden.masked_fill(is_alone, 0.0).softmax(dim=1)
    return soft_contrast(outputs.image_scores, targets) + soft_contrast(
        outputs.text_scores, targets
    )


def fused_guide(
    graphs: Graphs,
    batch: Batch,
    outputs: LandmarkOutputs,
    image_weight: float,
    text_weight: float,
) -> Tensor:
    """Compute `guide_loss` with cosines of pairs to landmarks in both modalities, weighted."""
    with torch.no_grad():
        image, text = (
            normalize(part.reference, dim=1) @ graph.keys.T
            for graph, part in zip(graphs, (batch.image, batch.text), strict=True)
        )
        mixed = image_weight * image + text_weight * text
        mixed = mixed / max(image_weight + text_weight, TINY)
    return guide_loss(outputs, mixed)


def label_guide(outputs: LandmarkOutputs, graphs: Graphs, batch: Batch) -> Tensor:
    """Compute `guide_loss` with cosines of the labels of items and of landmarks."""
    assert batch.labels is not None
    with torch.no_grad():
        labels = graphs[0].nodes[:, -batch.labels.shape[1] :] / NODE_LENGTH
        similarities = normalize(batch.labels, dim=1) @ labels.T
    return guide_loss(outputs, similarities)


def landmark_heads(heads: tuple[HashHead, HashHead], graphs: Graphs) -> tuple[HashHead, HashHead]:
    """Put graphs into hash heads of the same modalities."""
    image, text = (LandmarkHead(head, graph) for head, graph in zip(heads, graphs, strict=True))
    return image, text


def find_graphs(
    image: tuple[HashHead, nn.Module | None], text: tuple[HashHead, nn.Module | None]
) -> Graphs | None:
    """Find graphs over landmarks: inside hash heads, or beside them; None where there are none.

    Args:
        image: head of pictures, and the part that may stand beside it.
        text: the same of texts.
    """
    graphs = [
        head.graph if isinstance(head, LandmarkHead) else beside for head, beside in (image, text)
    ]
    first, second = graphs
    if isinstance(first, LandmarkGraph) and isinstance(second, LandmarkGraph):
        return first, second
    return None


def head_outputs(
    heads: Heads, batch: Batch, gathered: LandmarkOutputs | None
) -> tuple[Tensor, Tensor]:
    """Compute outputs (n, b) of both heads; heads with a graph inside add what was gathered."""
    image, text = heads.image, heads.text
    if gathered is None or not (isinstance(image, LandmarkHead) and isinstance(text, LandmarkHead)):
        return image(batch.image), text(batch.text)
    return image.head(batch.image) + gathered.image, text.head(batch.text) + gathered.text


def without_landmarks(method: Method) -> Method:
    """Move a method's graph from landmarks back to batches; a method without landmarks stays.

    Landmarks are frozen features, which can't be compared with those that a trunk learns.
    """
    settings: Any = method.settings
    path: Any = getattr(settings, "graph_path", None)
    if path in (GraphPath.LANDMARKS, GraphPath.TEACHER):
        return type(method)(replace(settings, graph_path=next(iter(path.__class__))))
    if getattr(settings, "over_landmarks", False):
        return type(method)(replace(settings, over_landmarks=False))
    return method
