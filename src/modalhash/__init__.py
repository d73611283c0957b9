"""Cross-modal hashing retrieval: short binary codes that let texts find pictures and back.

The verbs are loaded on first use, so that importing this costs nothing::

    import modalhash as mh

    model = mh.train("icons", output="runs/icons")
    index = mh.build_index(model, output="icons.index")
    index.search(text="a cup of coffee").hits[0].id
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modalhash.api import (
        add_to_index,
        build_index,
        calibrate,
        encode,
        encode_shards,
        evaluate,
        export_codes,
        export_onnx,
        export_sentence_model,
        export_site,
        extract_features,
        find,
        import_codes,
        load_collection,
        load_model,
        open_folder_index,
        open_index,
        push,
        push_index,
        ready_model,
        repair_index,
        rerank_sweep,
        score,
        shorten,
        shorten_codes,
        suspects,
        sync,
        train,
        upgrade_index,
        verify_index,
    )
    from modalhash.benchmarking import ablate, bench, bench_quantizers, reproduce, robustness
    from modalhash.client import AsyncClient, Client, NewItem, Query
    from modalhash.options import (
        EvaluationOptions,
        FeatureOptions,
        GridOptions,
        LabelNoiseOptions,
        QuantizerOptions,
        RunOptions,
        TrainingOptions,
        TuningOptions,
    )
    from modalhash.search_request import SearchRequest
    from modalhash.trec import score_trec
    from modalhash.tuning import tune

__all__ = [
    "AsyncClient",
    "Client",
    "EvaluationOptions",
    "FeatureOptions",
    "GridOptions",
    "LabelNoiseOptions",
    "NewItem",
    "QuantizerOptions",
    "Query",
    "RunOptions",
    "SearchRequest",
    "TrainingOptions",
    "TuningOptions",
    "ablate",
    "add_to_index",
    "bench",
    "bench_quantizers",
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
    "reproduce",
    "rerank_sweep",
    "robustness",
    "score",
    "score_trec",
    "shorten",
    "shorten_codes",
    "suspects",
    "sync",
    "train",
    "tune",
    "upgrade_index",
    "verify_index",
]

ROOMS = {
    "modalhash.benchmarking": ("ablate", "bench", "bench_quantizers", "reproduce", "robustness"),
    # Sending requests to a server needs neither torch nor an index.
    "modalhash.client": ("AsyncClient", "Client", "NewItem", "Query"),
    # Reading a collection, scoring codes and exporting them need no torch.
    "modalhash.bridges": ("export_codes", "import_codes"),
    "modalhash.data": ("load_collection",),
    "modalhash.scoring": ("score",),
    "modalhash.trec": ("score_trec",),
    "modalhash.search_request": ("SearchRequest",),
    "modalhash.options": (
        "EvaluationOptions",
        "FeatureOptions",
        "GridOptions",
        "LabelNoiseOptions",
        "QuantizerOptions",
        "RunOptions",
        "TrainingOptions",
        "TuningOptions",
    ),
    "modalhash.tuning": ("tune",),
}
"""Room to the names that are loaded from it; all others are loaded from `modalhash.api`."""
LOADED_ON_USE = dict.fromkeys(__all__, "modalhash.api") | {
    name: room for room, names in ROOMS.items() for name in names
}


def __getattr__(name: str) -> Any:
    """Load a verb on its first use (PEP 562)."""
    if name == "__version__":
        return version("modalhash")
    if name not in LOADED_ON_USE:
        raise AttributeError(f"module 'modalhash' has no attribute {name!r}")
    value = getattr(import_module(LOADED_ON_USE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
