"""A graph between an item and landmarks: training pairs that a model keeps in both modalities.

An item is known by one modality. It attends to the landmarks that it is near to in that modality,
and gathers what they are in both, so that a picture meets the texts of pictures like it. A code
still depends on one item and on the model: landmarks are part of the model, other items aren't.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from modalhash.layers.adapted_edges import PairMatrix
from modalhash.layers.hash_heads import HashHead, are_sizes
from modalhash.layers.modality_features import ModalityFeatures

__all__ = ["LandmarkGraph", "LandmarkHead", "is_graph_spec", "landmark_graph_from_spec"]

FIRST_SHARPNESS = 10.0
"""Of the attention, before it learns: of some hundred landmarks, some twenty then count."""
NO_OWNER = -1
"""Owner of a landmark that is no training item."""
HIDDEN_SCORE = -1e9
"""Score of a landmark that an item mustn't attend to."""
SIZES = ("in_width", "node_width", "n_landmarks", "hidden_width", "n_bits", "rank")


class LandmarkGraph(nn.Module):
    """One graph convolution from landmarks to an item, and an affine map to bits.

    The edge to landmark j of an item with features x is the softmax over all landmarks of
    `sharpness (cos(x, key_j) + attention_weight W(x, key_j))`, with W a learned matrix of pairs and
    a learned sharpness. The output is `M relu(sum_j edge_j T node_j + t) + m`, T and M learned.

    Args:
        in_width: d of the features of the items' modality.
        node_width: e of what landmarks are in both modalities.
        n_landmarks: k; all zeros until `set_landmarks`.
        hidden_width: units of the convolution.
        n_bits: b.
        rank: of the learned matrix.
        attention_weight: of the learned matrix beside the cosine.
    """

    keys: Tensor
    nodes: Tensor
    owners: Tensor

    def __init__(
        self,
        in_width: int,
        node_width: int,
        n_landmarks: int,
        *,
        hidden_width: int,
        n_bits: int,
        rank: int,
        attention_weight: float,
    ) -> None:
        super().__init__()
        self.rank, self.attention_weight = rank, attention_weight
        self.matrix = PairMatrix(in_width, rank)
        self.log_sharpness = nn.Parameter(torch.tensor([FIRST_SHARPNESS]).log())
        self.convolution = nn.Linear(node_width, hidden_width)
        self.map = nn.Linear(hidden_width, n_bits)
        self.register_buffer("keys", torch.zeros(n_landmarks, in_width))
        self.register_buffer("nodes", torch.zeros(n_landmarks, node_width))
        self.register_buffer("owners", torch.full((n_landmarks,), NO_OWNER))

    def set_landmarks(self, keys: Tensor, nodes: Tensor, owners: Tensor) -> None:
        """Take over landmarks.

        Args:
            keys: (k, d) features in the items' modality; kept with length 1.
            nodes: (k, e) in both modalities.
            owners: (k,) int64, the training items that they are.
        """
        self.keys.copy_(normalize(keys, dim=1))
        self.nodes.copy_(nodes)
        self.owners.copy_(owners)

    def scores(self, features: Tensor, owners: Tensor | None = None) -> Tensor:
        """Compute how much items attend to landmarks, before the softmax.

        Args:
            features: (n, d).
            owners: (n,) int64, training items, which mustn't attend to themselves, as an unseen
                item can't either; None for items that may be anything.

        Returns:
            (n, k).
        """
        cosines = normalize(features, dim=1) @ self.keys.T
        learned = normalize(self.matrix.left(features), dim=1) @ self.learned_keys().T
        scores = (cosines + self.attention_weight * learned) * self.sharpness()
        if owners is None:
            return scores
        return scores.masked_fill(owners[:, None] == self.owners, HIDDEN_SCORE)

    def sharpness(self) -> Tensor:
        """Compute the factor of the scores, (1,)."""
        return widen(self.log_sharpness).exp().to(self.log_sharpness.dtype)

    def learned_keys(self) -> Tensor:
        """Compute the landmarks' rows (k, r) of the learned matrix, of length 1."""
        rows = widen(self.keys) @ widen(self.matrix.right.weight).T
        return normalize(rows, dim=1).to(self.keys.dtype)

    def convolved_nodes(self) -> Tensor:
        """Compute what items gather of landmarks, (k, h)."""
        convolved = widen(self.nodes) @ widen(self.convolution.weight).T
        return convolved.to(self.nodes.dtype)

    def forward(self, features: Tensor, owners: Tensor | None = None) -> Tensor:
        """Compute (n, b) outputs of (n, d) features; `owners` as of `scores`."""
        return self.gather(self.scores(features, owners))

    def gather(self, scores: Tensor) -> Tensor:
        """Compute (n, b) outputs of items with (n, k) scores."""
        edges = scores.softmax(dim=1)
        hidden = torch.relu(edges @ self.convolved_nodes() + self.convolution.bias)
        outputs: Tensor = self.map(hidden)
        return outputs

    def spec(self) -> dict[str, Any]:
        """Describe all sizes and the weight of the learned matrix."""
        return {
            "in_width": self.keys.shape[1],
            "node_width": self.nodes.shape[1],
            "n_landmarks": len(self.keys),
            "hidden_width": self.convolution.out_features,
            "n_bits": self.map.out_features,
            "rank": self.rank,
            "attention_weight": self.attention_weight,
        }


def is_graph_spec(spec: Mapping[str, Any]) -> bool:
    """Tell whether `spec` describes a graph: all sizes, and the weight of the learned matrix."""
    weight = spec.get("attention_weight")
    is_weight = isinstance(weight, int | float) and not isinstance(weight, bool)
    return (
        spec.keys() == {*SIZES, "attention_weight"}
        and is_weight
        and are_sizes(*(spec[name] for name in SIZES))
    )


def landmark_graph_from_spec(spec: Mapping[str, Any]) -> LandmarkGraph:
    """Make a graph of the shape that `spec` returned, whose sizes are checked already."""
    return LandmarkGraph(
        spec["in_width"],
        spec["node_width"],
        spec["n_landmarks"],
        hidden_width=spec["hidden_width"],
        n_bits=spec["n_bits"],
        rank=spec["rank"],
        attention_weight=spec["attention_weight"],
    )


def widen(weights: Tensor) -> Tensor:
    """Widen weights to float64 where no gradient is wanted.

    What encoding makes of weights alone is rounded from float64, so that a code doesn't depend on
    the kernels of a processor; training needs no such care, and takes half of the time without.
    """
    return weights if torch.is_grad_enabled() else weights.double()


class LandmarkHead(HashHead):
    """The sum of a hash head of an item's own features and of what its landmarks say.

    Args:
        head: of the item's features.
        graph: of the same width and number of bits.
    """

    def __init__(self, head: HashHead, graph: LandmarkGraph) -> None:
        super().__init__()
        self.head, self.graph = head, graph

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Compute (n, b) relaxed codes."""
        relaxed: Tensor = self.head(features) + self.graph(features.pooled)
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def spec(self) -> dict[str, Any]:
        """Describe the kind and both parts."""
        return {"kind": "landmark", "head": self.head.spec(), "graph": self.graph.spec()}
