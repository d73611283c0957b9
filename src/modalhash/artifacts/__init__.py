"""What users keep: trained models with their cards, and indexes that answer texts and pictures."""

from modalhash.artifacts.card import model_card
from modalhash.artifacts.model import HashModel, ModelRecord, load_model, save_model
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
    "HashModel",
    "Hit",
    "ModelRecord",
    "SearchIndex",
    "Side",
    "SideContent",
    "load_model",
    "model_card",
    "open_search_index",
    "save_model",
]
