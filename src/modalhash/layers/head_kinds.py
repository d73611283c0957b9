"""Every kind of hash head, and how one is made from its description."""

from collections.abc import Mapping
from typing import Any

from modalhash.errors import ArtifactError
from modalhash.layers.fusion_transformer import fusion_head_from_spec
from modalhash.layers.graded_head import graded_head_from_spec
from modalhash.layers.hash_heads import GeluHead, HashHead, LinearHead, MlpHead, are_sizes
from modalhash.layers.kernel_head import kernel_head_from_spec
from modalhash.layers.landmark_graph import (
    LandmarkHead,
    is_graph_spec,
    landmark_graph_from_spec,
)
from modalhash.layers.normalised_head import NormalisedHead
from modalhash.layers.token_trunk import TrunkHead, trunk_from_spec

__all__ = ["build_head"]


def build_head(spec: Mapping[str, Any]) -> HashHead:
    """Make a head of the shape that `spec` describes; its weights are fresh.

    Raises:
        ArtifactError: if the kind is unknown, or a size is missing or out of range.
    """
    match spec:
        case {"kind": "linear", "in_width": in_width, "n_bits": n_bits} if are_sizes(
            in_width, n_bits
        ):
            return LinearHead(in_width, n_bits)
        case {
            "kind": "mlp",
            "widths": [_, _, *_] as widths,
            "dropout": float() | int() as dropout,
        } if are_sizes(*widths) and 0 <= dropout < 1:
            return MlpHead(widths, dropout=dropout)
        case {
            "kind": "gelu",
            "widths": [_, _, _] as widths,
            "dropout": float() | int() as dropout,
            "input_dropout": float() | int() as input_dropout,
        } if (
            are_sizes(*widths)
            and 0 <= min(dropout, input_dropout) <= max(dropout, input_dropout) < 1
        ):
            return GeluHead(widths, dropout=dropout, input_dropout=input_dropout)
    return build_composed_head(spec)


def build_composed_head(spec: Mapping[str, Any]) -> HashHead:
    """Make a head that is made of other parts.

    Raises:
        ArtifactError: if no kind has such a description.
    """
    match spec:
        case {
            "kind": "normalised",
            "widths": [_, _, _, *_] as widths,
            "n_attention_heads": int(n_heads),
        } if are_sizes(*widths) and (n_heads == 0 or (n_heads > 0 and widths[-2] % n_heads == 0)):
            return NormalisedHead(widths, n_attention_heads=n_heads)
        case {
            "kind": "fusion",
            "in_width": in_width,
            "transformer": dict(transformer),
            "head": dict(head),
        } if are_sizes(in_width):
            return fusion_head_from_spec(in_width, transformer, head)
        case {
            "kind": "kernel",
            "in_width": in_width,
            "n_landmarks": n_landmarks,
            "sharpness": float() | int() as sharpness,
            "width": width,
            "hidden_width": int(hidden_width),
            "n_bits": n_bits,
        } if are_sizes(in_width, n_landmarks, width, n_bits) and sharpness > 0 <= hidden_width:
            return kernel_head_from_spec(spec)
        case {"kind": "landmark", "head": dict(head), "graph": dict(graph)} if is_graph_spec(graph):
            return LandmarkHead(build_head(head), landmark_graph_from_spec(graph))
        case {
            "kind": "graded",
            "in_width": in_width,
            "counts": list(counts),
            "steps": list(steps),
        } if are_sizes(in_width):
            return graded_head_from_spec(in_width, counts, steps)
        case {"kind": "token", "trunk": dict(trunk), "head": dict(head)}:
            return TrunkHead(trunk_from_spec(trunk), build_head(head))
    raise ArtifactError(f"the model describes a hash head this version can't build: {dict(spec)}")
