"""The verbs: the same on the command line and in Python (`import modalhash as mh`).

Each takes and returns plain objects of the rooms below; the CLI only parses, calls one of these and
prints.
"""

from modalhash.api.calibrating import calibrate
from modalhash.api.finding import find, open_folder_index
from modalhash.api.indexing import CodeFolder, add_to_index, build_index, encode, open_index
from modalhash.api.learning import extract_features, train
from modalhash.api.measuring import evaluate
from modalhash.api.reranking import RerankSweep, SweepRow, rerank_sweep
from modalhash.api.sharding import ShardCodes, encode_shards
from modalhash.api.shortening import shorten, shorten_codes
from modalhash.api.syncing import SyncCounts, sync
from modalhash.artifacts import load_model, ready_model
from modalhash.bridges import export_codes, import_codes
from modalhash.data import load_collection
from modalhash.scoring import score
from modalhash.search import IndexRepair, IndexReport
from modalhash.search import repair_search_index as repair_index
from modalhash.search import verify_search_index as verify_index

__all__ = [
    "CodeFolder",
    "IndexRepair",
    "IndexReport",
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
    "extract_features",
    "find",
    "import_codes",
    "load_collection",
    "load_model",
    "open_folder_index",
    "open_index",
    "ready_model",
    "repair_index",
    "rerank_sweep",
    "score",
    "shorten",
    "shorten_codes",
    "sync",
    "train",
    "verify_index",
]
