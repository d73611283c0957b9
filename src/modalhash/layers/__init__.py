"""Network parts that two methods or more share."""

from modalhash.layers.adapted_edges import (
    AttentionMatrix,
    PairMatrix,
    PositionMatrix,
)
from modalhash.layers.anchor_graph import AnchorGraph
from modalhash.layers.canonical_correlation import (
    CanonicalMaps,
    canonical_maps,
    inverse_root,
    linear_head,
)
from modalhash.layers.feature_scaling import FeatureScaling, ScalingRule
from modalhash.layers.fusion_transformer import FusionHead, FusionTransformer
from modalhash.layers.ghost_vlad import AssignNorm, GhostVlad, LocalEmbeddings, ProjectionNorm
from modalhash.layers.graded_head import GradedHead
from modalhash.layers.graph_attention import GraphAttention, ResidualGraphAttention, masked_softmax
from modalhash.layers.graph_convolution import GraphConvolution, GraphNetwork, row_normalised
from modalhash.layers.hash_heads import (
    GeluHead,
    HashHead,
    LinearHead,
    MlpHead,
    hash_head,
)
from modalhash.layers.head_kinds import build_head
from modalhash.layers.kernel_head import BitMap, KernelHead
from modalhash.layers.kernel_regression import (
    FurtherRows,
    KernelFit,
    gaussian_kernel,
    kernel_ridge,
    kernel_weights,
)
from modalhash.layers.landmark_graph import LandmarkGraph, LandmarkHead
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.layers.normalised_head import NormalisedHead, hidden_head
from modalhash.layers.pair_moments import PairMoments, pair_moments
from modalhash.layers.random_hyperplanes import random_hyperplanes
from modalhash.layers.spacing import evenly_spaced
from modalhash.layers.token_reduction import TokenReduction, grid_pooling
from modalhash.layers.token_trunk import TokenTrunk, TrunkHead, TrunkKind, trunk_from_spec

__all__ = [
    "AnchorGraph",
    "AssignNorm",
    "AttentionMatrix",
    "BitMap",
    "CanonicalMaps",
    "FeatureScaling",
    "FurtherRows",
    "FusionHead",
    "FusionTransformer",
    "GeluHead",
    "GhostVlad",
    "GradedHead",
    "GraphAttention",
    "GraphConvolution",
    "GraphNetwork",
    "HashHead",
    "KernelFit",
    "KernelHead",
    "LandmarkGraph",
    "LandmarkHead",
    "LinearHead",
    "LocalEmbeddings",
    "MlpHead",
    "ModalityFeatures",
    "NormalisedHead",
    "PairMatrix",
    "PairMoments",
    "PositionMatrix",
    "ProjectionNorm",
    "ResidualGraphAttention",
    "ScalingRule",
    "TokenReduction",
    "TokenTrunk",
    "TrunkHead",
    "TrunkKind",
    "build_head",
    "canonical_maps",
    "evenly_spaced",
    "gaussian_kernel",
    "grid_pooling",
    "hash_head",
    "hidden_head",
    "inverse_root",
    "kernel_ridge",
    "kernel_weights",
    "linear_head",
    "masked_softmax",
    "pair_moments",
    "random_hyperplanes",
    "row_normalised",
    "trunk_from_spec",
]
