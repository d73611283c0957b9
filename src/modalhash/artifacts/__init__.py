"""What users keep: run folders, models with their cards, indexes that answer texts and pictures."""

from modalhash.artifacts.calibration import (
    ModelCalibration,
    read_calibration,
    write_calibration,
)
from modalhash.artifacts.card import model_card
from modalhash.artifacts.collection_codes import CaptionUse, CollectionCodes
from modalhash.artifacts.model import HashModel, ModelRecord, load_model, save_model
from modalhash.artifacts.run_folder import RunFolder
from modalhash.artifacts.search_explanation import Explanation
from modalhash.artifacts.search_index import (
    Answer,
    Hit,
    SearchIndex,
    Side,
    SideContent,
    open_search_index,
)

__all__ = [
    "Answer",
    "CaptionUse",
    "CollectionCodes",
    "Explanation",
    "HashModel",
    "Hit",
    "ModelCalibration",
    "ModelRecord",
    "RunFolder",
    "SearchIndex",
    "Side",
    "SideContent",
    "load_model",
    "model_card",
    "open_search_index",
    "read_calibration",
    "save_model",
    "write_calibration",
]
