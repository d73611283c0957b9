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
        extract_features,
        import_codes,
        load_collection,
        load_model,
        open_index,
        rerank_sweep,
        score,
        shorten,
        shorten_codes,
        train,
    )
    from modalhash.client import AsyncClient, Client, NewItem, Query

__all__ = [
    "AsyncClient",
    "Client",
    "NewItem",
    "Query",
    "add_to_index",
    "build_index",
    "calibrate",
    "encode",
    "encode_shards",
    "evaluate",
    "export_codes",
    "extract_features",
    "import_codes",
    "load_collection",
    "load_model",
    "open_index",
    "rerank_sweep",
    "score",
    "shorten",
    "shorten_codes",
    "train",
]

LOADED_ON_USE = dict.fromkeys(__all__, "modalhash.api") | {
    # Reading a collection, scoring codes and carrying them over need no torch.
    "export_codes": "modalhash.bridges",
    "import_codes": "modalhash.bridges",
    "load_collection": "modalhash.data",
    # Asking a server needs neither torch nor an index.
    "AsyncClient": "modalhash.client",
    "Client": "modalhash.client",
    "NewItem": "modalhash.client",
    "Query": "modalhash.client",
    "score": "modalhash.scoring",
}


def __getattr__(name: str) -> Any:
    """Load a verb when it is first asked for (PEP 562)."""
    if name == "__version__":
        return version("modalhash")
    if name not in LOADED_ON_USE:
        raise AttributeError(f"module 'modalhash' has no attribute {name!r}")
    value = getattr(import_module(LOADED_ON_USE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
