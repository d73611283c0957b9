"""Pictures and words to features: encoders, and the feature store they fill.

Towers that need torch or a model load on demand; importing this room loads neither.
"""

from modalhash.encoders.base import (
    Encoder,
    FeatureTable,
    Identity,
    ImageTower,
    TextTower,
    Tower,
    TowerOutput,
)
from modalhash.encoders.extraction import Features, default_cache_folder, extract_features
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.encoders.loading import ENCODERS, load_encoder
from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import FeatureDtype

__all__ = [
    "ENCODERS",
    "ArrayTable",
    "Encoder",
    "FeatureDtype",
    "FeatureStore",
    "FeatureTable",
    "Features",
    "Identity",
    "ImageTower",
    "TextTower",
    "Tower",
    "TowerOutput",
    "default_cache_folder",
    "extract_features",
    "load_encoder",
]
