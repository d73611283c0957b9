"""Network parts that two methods or more share."""

from modalhash.layers.canonical_correlation import CanonicalMaps, canonical_maps
from modalhash.layers.feature_scaling import FeatureScaling, ScalingRule
from modalhash.layers.hash_heads import HashHead, LinearHead, MlpHead, build_head
from modalhash.layers.modality_features import ModalityFeatures

__all__ = [
    "CanonicalMaps",
    "FeatureScaling",
    "HashHead",
    "LinearHead",
    "MlpHead",
    "ModalityFeatures",
    "ScalingRule",
    "build_head",
    "canonical_maps",
]
