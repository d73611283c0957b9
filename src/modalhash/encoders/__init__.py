"""Pictures and words to features: encoders, and the feature store they fill.

Towers that need torch or a model load on demand; importing this room loads neither.
"""

from modalhash.encoders.base import (
    Encoder,
    EncoderFactory,
    FeatureTable,
    Identity,
    ImageTower,
    TextTower,
    Tower,
    TowerOutput,
    TowerRequest,
)
from modalhash.encoders.extraction import Features, default_cache_folder, extract_features
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.encoders.loading import ENCODERS, check_encoder, encoder_name, load_encoder
from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import FeatureDtype

__all__ = [
    "ENCODERS",
    "ArrayTable",
    "Encoder",
    "EncoderFactory",
    "FeatureDtype",
    "FeatureStore",
    "FeatureTable",
    "Features",
    "Identity",
    "ImageTower",
    "TextTower",
    "Tower",
    "TowerOutput",
    "TowerRequest",
    "check_encoder",
    "default_cache_folder",
    "encoder_name",
    "extract_features",
    "load_encoder",
]
