"""The verbs: the same on the command line and in Python (`import modalhash as mh`).

Each takes and returns plain objects of the rooms below; the CLI only parses, calls one of these and
prints. Those that train load torch, so they are loaded on first use: searching needs no torch where
a model is in ONNX files.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from modalhash.api.calibrating import calibrate
from modalhash.api.exporting import export_onnx, export_sentence_model, export_site
from modalhash.api.finding import find, open_folder_index
from modalhash.api.indexing import CodeFolder, add_to_index, build_index, encode, open_index
from modalhash.api.measuring import evaluate
from modalhash.api.pushing import PushedFiles, push
from modalhash.api.reranking import RerankSweep, SweepRow, rerank_sweep
from modalhash.api.sharding import ShardCodes, encode_shards
from modalhash.api.shortening import shorten, shorten_codes
from modalhash.api.syncing import SyncCounts, sync
from modalhash.api.upgrading import upgrade_index
from modalhash.artifacts import load_model, ready_model
from modalhash.bridges import export_codes, import_codes
from modalhash.data import load_collection
from modalhash.scoring import score
from modalhash.search import IndexRepair, IndexReport
from modalhash.search import repair_search_index as repair_index
from modalhash.search import verify_search_index as verify_index
from modalhash.search.hub_indexes import push_index

if TYPE_CHECKING:
    from modalhash.api.learning import extract_features, train
    from modalhash.api.suspecting import suspects

__all__ = [
    "CodeFolder",
    "IndexRepair",
    "IndexReport",
    "PushedFiles",
    "RerankSweep",
    "ShardCodes",
    "SweepRow",
    "SyncCounts",
    "add_to_index",
    "build_index",
    "calibrate",
    "encode",
    "encode_shards",
    "evaluate",
    "export_codes",
    "export_onnx",
    "export_sentence_model",
    "export_site",
    "extract_features",
    "find",
    "import_codes",
    "load_collection",
    "load_model",
    "open_folder_index",
    "open_index",
    "push",
    "push_index",
    "ready_model",
    "repair_index",
    "rerank_sweep",
    "score",
    "shorten",
    "shorten_codes",
    "suspects",
    "sync",
    "train",
    "upgrade_index",
    "verify_index",
]

LOADED_ON_USE = {
    "extract_features": "modalhash.api.learning",
    "suspects": "modalhash.api.suspecting",
    "train": "modalhash.api.learning",
}
"""Verb to its module."""


def __getattr__(name: str) -> Any:
    """Load a verb that needs torch on its first use (PEP 562)."""
    if name not in LOADED_ON_USE:
        raise AttributeError(f"module 'modalhash.api' has no attribute {name!r}")
    value = getattr(import_module(LOADED_ON_USE[name]), name)
    globals()[name] = value
    return value
