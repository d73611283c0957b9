"""What users keep: run folders, models with their cards, codes of collections, calibrations."""

from modalhash.artifacts.calibration import (
    ModelCalibration,
    read_calibration,
    write_calibration,
)
from modalhash.artifacts.card import model_card
from modalhash.artifacts.collection_codes import CaptionUse, CollectionCodes
from modalhash.artifacts.model import HashModel
from modalhash.artifacts.model_files import load_model, save_model
from modalhash.artifacts.model_record import ModelRecord
from modalhash.artifacts.ready_model import ready_model
from modalhash.artifacts.run_folder import RunFolder

__all__ = [
    "CaptionUse",
    "CollectionCodes",
    "HashModel",
    "ModelCalibration",
    "ModelRecord",
    "RunFolder",
    "load_model",
    "model_card",
    "read_calibration",
    "ready_model",
    "save_model",
    "write_calibration",
]
