"""Hash heads as ONNX graphs: features in, relaxed codes and packed codes out."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modalhash.codes import code_width
from modalhash.errors import InputError
from modalhash.layers import (
    FeatureScaling,
    FusionHead,
    GradedHead,
    KernelHead,
    LandmarkGraph,
    LandmarkHead,
    LinearHead,
    NormalisedHead,
    ScalingRule,
)
from modalhash.layers.byte_dropout import ByteDropout
from modalhash.layers.feature_scaling import TINY
from modalhash.layers.graph_attention import GraphAttention, ResidualGraphAttention
from modalhash.layers.hash_heads import HashHead, LayeredHead
from modalhash.layers.kernel_head import BitMap
from modalhash.layers.token_trunk import TransformerLayer
from modalhash.methods.hasher import HashTower
from modalhash.model_export.exact_graph import ExactGraph
from modalhash.model_export.graph import GraphBuilder

__all__ = ["head_graph"]

UNIT_LEAST = 1e-12
"""Least length that torch's `normalize` divides by."""


def head_graph(
    tower: HashTower, feature_dtype: str, metadata: Mapping[str, str], *, about: str
) -> bytes:
    """Write the hash function of one modality as an ONNX model.

    Its input `features` is (n, d) float32 as the encoder makes them; its outputs are `relaxed`,
    (n, b) float32, and `codes`, (n, p) uint8, whose bit j is bit j % 8 of byte j // 8, counted from
    the low end.

    Args:
        tower: of the modality.
        feature_dtype: that features are rounded to first.
        metadata: texts that runtimes show.
        about: a sentence on the model.

    Raises:
        InputError: if the head is of a kind that can't be written.
        MissingExtraError: if the package `onnx` isn't installed.
    """
    if tower.head.reads_tokens:
        raise InputError(
            "the model's hash head reads content tokens, which the export to ONNX doesn't write: "
            "train a model that reads pooled features, as the default method `nested` does"
        )
    graph = GraphBuilder()
    writer = HeadWriter(ExactGraph(graph))
    features = "features"
    if feature_dtype != "float32":
        features = graph.cast(graph.cast(features, np.dtype(feature_dtype)), np.float32)
    relaxed = writer.head(tower.head, writer.scaling(tower.scaling, features))
    graph.add("Identity", relaxed, name="relaxed")
    pack_signs(graph, "relaxed", tower.n_bits)
    return graph.serialise(
        {"features": (np.float32, ["n", tower.width])},
        {
            "relaxed": (np.float32, ["n", tower.n_bits]),
            "codes": (np.uint8, ["n", code_width(tower.n_bits)]),
        },
        metadata,
        about=about,
    )


def pack_signs(graph: GraphBuilder, relaxed: str, n_bits: int) -> None:
    """Add the packed codes of relaxed ones, under the name `codes`."""
    width = code_width(n_bits)
    bits = graph.cast(graph.add("GreaterOrEqual", relaxed, graph.constant(0.0)), np.float32)
    weights = np.zeros((n_bits, width), np.float32)
    places = np.arange(n_bits)
    weights[places, places // 8] = 2.0 ** (places % 8)
    packed = graph.add("MatMul", bits, graph.constant(weights))  # whole numbers below 256: exact
    kind = graph.cast(packed, np.uint8)
    graph.add("Identity", kind, name="codes")


class HeadWriter:
    """Adds heads and their layers to a graph; values are (n, width) float32.

    Args:
        exact: adds exact computations.
    """

    def __init__(self, exact: ExactGraph) -> None:
        self.exact, self.graph = exact, exact.graph
        self._layers: Mapping[type[nn.Module], Callable[[Any, str], str]] = {
            nn.Linear: self.linear,
            nn.LayerNorm: self.layer_norm,
            nn.BatchNorm1d: self.batch_norm,
            nn.GELU: self.gelu,
            nn.ReLU: lambda _, values: self.graph.add("Relu", values),
            nn.LeakyReLU: self.leaky_relu,
            nn.Dropout: lambda _, values: values,
            ByteDropout: lambda _, values: values,
            nn.Sequential: self.sequence,
        }
        self._heads: Mapping[type[nn.Module], Callable[[Any, str], str]] = {
            LinearHead: lambda head, values: self.layer(head.map, values),
            GradedHead: self.graded,
            KernelHead: self.kernel,
            LandmarkHead: self.landmarks,
            NormalisedHead: self.normalised,
            FusionHead: self.fusion,
        }

    def scaling(self, scaling: FeatureScaling, features: str) -> str:
        """Scale pooled features as the tower does."""
        width = len(scaling.mean)
        mean = self.graph.constant(array_of(scaling.mean))
        match scaling.rule:
            case ScalingRule.NONE:
                return features
            case ScalingRule.UNIT:
                return self.exact.unit_rows(features, width, TINY)
            case ScalingRule.CENTRED_UNIT | ScalingRule.CENTRED_RMS:
                unit = self.exact.unit_rows(features, width, TINY)
                centred = self.exact.unit_rows(self.graph.add("Sub", unit, mean), width, TINY)
                if scaling.rule is ScalingRule.CENTRED_UNIT:
                    return centred
                length = self.graph.constant(np.asarray(math.sqrt(width), np.float32))
                return self.graph.add("Mul", centred, length)
            case ScalingRule.STANDARDISED:
                scale = self.graph.constant(array_of(scaling.scale))
                return self.graph.add("Mul", self.graph.add("Sub", features, mean), scale)

    def head(self, head: HashHead, values: str) -> str:
        """Add a head of a known kind.

        Raises:
            InputError: if the kind isn't known.
        """
        if isinstance(head, LayeredHead):
            return self.layer(head.layers, values)
        write = self._heads.get(type(head))
        if write is None:
            raise InputError(
                f"the export to ONNX can't write hash heads of the class {type(head).__name__}: it "
                "writes those of this library"
            )
        return write(head, values)

    def layer(self, layer: nn.Module, values: str) -> str:
        """Add a layer of torch.

        Raises:
            InputError: if the layer isn't known.
        """
        write = self._layers.get(type(layer))
        if write is None:
            raise InputError(
                f"the export to ONNX can't write layers of the class {type(layer).__name__}"
            )
        return write(layer, values)

    def sequence(self, layers: nn.Sequential, values: str) -> str:
        """Add layers one after the other."""
        for layer in layers:
            values = self.layer(layer, values)
        return values

    def linear(self, layer: nn.Linear, values: str) -> str:
        """Add an affine map."""
        return self.exact.linear(values, layer.weight, layer.bias)

    def layer_norm(self, layer: nn.LayerNorm, values: str) -> str:
        """Add a layer normalisation."""
        (width,) = layer.normalized_shape
        return self.exact.normalise_layer(values, width, layer.weight, layer.bias, layer.eps)

    def batch_norm(self, layer: nn.BatchNorm1d, values: str) -> str:
        """Add a batch normalisation by the statistics of training."""
        graph = self.graph
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean = graph.constant(array_of(layer.running_mean), np.float64)
        deviation = (layer.running_var.double() + layer.eps).sqrt()
        result = graph.add("Sub", self.exact.wide(values), mean)
        result = graph.add("Div", result, graph.constant(array_of(deviation), np.float64))
        weight = graph.constant(array_of(layer.weight), np.float64)
        bias = graph.constant(array_of(layer.bias), np.float64)
        return self.exact.narrow(graph.add("Add", graph.add("Mul", result, weight), bias))

    def gelu(self, layer: nn.GELU, values: str) -> str:
        """Add a GELU.

        Raises:
            InputError: if it is the approximate one.
        """
        if layer.approximate != "none":
            raise InputError("the export to ONNX can't write an approximate GELU")
        return self.exact.gelu(values)

    def leaky_relu(self, layer: nn.LeakyReLU, values: str) -> str:
        """Add a leaky ReLU."""
        below = self.exact.with_number("Mul", values, layer.negative_slope, np.float32)
        is_positive = self.graph.add("Greater", values, self.graph.constant(0.0))
        return self.graph.add("Where", is_positive, values, below)

    def graded(self, head: GradedHead, values: str) -> str:
        """Add a head of several bits a number."""
        graph = self.graph
        rest = self.layer(head.map, values)
        parts = [rest]
        for level in range(1, head.bits.counts[0]):
            width = head.bits.width_of(level)
            ends = [graph.constant([number], np.int64) for number in (0, width, 1)]
            before = graph.add("Slice", rest, *ends[:2], ends[2])
            step = graph.constant(array_of(head.steps[:width] * 2.0 ** (1 - level)))
            is_set = graph.add("GreaterOrEqual", before, graph.constant(0.0))
            less, more = graph.add("Sub", before, step), graph.add("Add", before, step)
            rest = graph.add("Where", is_set, less, more)
            parts.append(rest)
        return graph.add("Concat", *parts, axis=1)

    def kernel(self, head: KernelHead, rows: str) -> str:
        """Add a kernel regression and its bits."""
        graph, exact = self.graph, self.exact
        landmarks = head.landmarks.detach()
        squares = exact.wide(graph.add("Mul", rows, rows))
        lengths = exact.narrow(exact.sum(squares, landmarks.shape[1]))
        own_lengths = landmarks.square().sum(dim=1)
        lengths = graph.add("Add", lengths, graph.constant(array_of(own_lengths)))
        products = exact.with_number("Mul", exact.product(rows, landmarks.T), -2.0)
        distances = exact.narrow(graph.add("Add", products, exact.wide(lengths)))
        distances = exact.with_number("Max", distances, 0.0, np.float32)
        scaled = exact.with_number("Mul", distances, -head.sharpness, np.float32)
        kernel = exact.narrow(exact.exp(exact.wide(scaled)))
        return self.bits(head.bits, exact.narrow(exact.product(kernel, head.weights)))

    def landmarks(self, head: LandmarkHead, rows: str) -> str:
        """Add a head and what its landmarks say, its own output first."""
        return self.graph.add("Add", self.head(head.head, rows), self.gathered(head.graph, rows))

    @torch.no_grad()
    def gathered(self, landmarks: LandmarkGraph, rows: str) -> str:
        """Add attention to landmarks, one convolution and an affine map."""
        exact, graph = self.exact, self.graph
        unit = exact.unit_rows(rows, landmarks.keys.shape[1], UNIT_LEAST)
        cosines = exact.narrow(exact.product(unit, landmarks.keys.T))
        left = exact.narrow(exact.product(rows, landmarks.matrix.left.weight.t()))
        left = exact.unit_rows(left, landmarks.rank, UNIT_LEAST)
        learned = exact.narrow(exact.product(left, landmarks.learned_keys().T))
        learned = exact.with_number("Mul", learned, landmarks.attention_weight, np.float32)
        sharpness = graph.constant(array_of(landmarks.sharpness()))
        scores = graph.add("Mul", graph.add("Add", cosines, learned), sharpness)
        edges = exact.softmax(scores, len(landmarks.keys))
        hidden = exact.narrow(exact.product(edges, landmarks.convolved_nodes()))
        bias = graph.constant(array_of(landmarks.convolution.bias))
        hidden = graph.add("Relu", graph.add("Add", hidden, bias))
        return self.layer(landmarks.map, hidden)

    def bits(self, bits: BitMap, common: str) -> str:
        """Add the map from the common space to relaxed codes."""
        relaxed = self.layer(bits.affine, common)
        if bits.hidden is None:
            return relaxed
        scaled = self.exact.with_number("Mul", common, math.sqrt(bits.sizes[0]), np.float32)
        return self.graph.add("Add", relaxed, self.layer(bits.hidden, scaled))

    def normalised(self, head: NormalisedHead, values: str) -> str:
        """Add a batch-normalised head, with graph attention of an item to itself."""
        hidden = self.layer(head.trunk, values)
        if head.attention is not None:
            hidden = self.graph_attention(head.attention, hidden)
        return self.layer(head.last, hidden)

    def graph_attention(self, attention: ResidualGraphAttention, nodes: str) -> str:
        """Add graph attention of nodes that have no neighbours: linear maps."""
        for layer in attention.layers:
            assert isinstance(layer, GraphAttention)
            mapped = self.exact.elu(self.layer(layer.map, nodes))
            nodes = self.graph.add("Add", mapped, nodes)
        return nodes

    def fusion(self, head: FusionHead, values: str) -> str:
        """Add a transformer over a single token, and its head."""
        token = self.layer(head.token_map, values)
        for layer in head.transformer.layers:
            token = self.transformer_layer(layer, token)
        width = head.transformer.width
        unit = self.exact.unit_rows(token, width, UNIT_LEAST)
        return self.head(head.head, self.exact.with_number("Mul", unit, width**0.5, np.float32))

    def transformer_layer(self, layer: Any, token: str) -> str:
        """Add a transformer layer over a single token, which attends to itself alone."""
        assert isinstance(layer, TransformerLayer)
        value = self.layer(layer.attention.value, self.layer(layer.attention_norm, token))
        # Its attention is 1, times the value as a factor of an exact product.
        gathered = self.exact.narrow(self.exact.factor(value, axis=None))
        token = self.graph.add("Add", token, self.layer(layer.attention.last, gathered))
        added = self.layer(layer.feed_forward, self.layer(layer.forward_norm, token))
        return self.graph.add("Add", token, added)


@torch.no_grad()
def array_of(tensor: Tensor) -> Any:
    """Convert a tensor to an array."""
    return tensor.detach().cpu().numpy()
