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
    SearchPlan,
    Side,
    SideContent,
    is_search_index,
    open_search_index,
)
from modalhash.artifacts.search_items import NewItem, NewText, contents_of_items
from modalhash.artifacts.search_query import (
    EncodedQuery,
    combined_query,
    encoded_query,
    query_of_code,
)

__all__ = [
    "Answer",
    "CaptionUse",
    "CollectionCodes",
    "EncodedQuery",
    "Explanation",
    "HashModel",
    "Hit",
    "ModelCalibration",
    "ModelRecord",
    "NewItem",
    "NewText",
    "RunFolder",
    "SearchIndex",
    "SearchPlan",
    "Side",
    "SideContent",
    "combined_query",
    "contents_of_items",
    "encoded_query",
    "is_search_index",
    "load_model",
    "model_card",
    "open_search_index",
    "query_of_code",
    "read_calibration",
    "save_model",
    "write_calibration",
]
