"""OpenSearch (2.16 or newer): a `knn_vector` of binary data, and bodies of `_bulk` requests.

A code is spelt as bytes from -128 to 127. The field takes whole bytes; padding bits are zero and
change neither distance nor score.
"""

from pathlib import Path
from typing import Any, Final

from modalhash.bridges.bulk_bodies import LOADING, write_bulk
from modalhash.bridges.contents import Content, Written
from modalhash.bridges.forms import signed_bytes
from modalhash.errors import InputError
from modalhash.files import write_json

__all__ = ["write"]

INDEX, QUERY, EXACT = "index.json", "query.json", "query-exact.json"
MOST_BITS: Final = 16_000
GUIDE: Final = (
    LOADING
    + """
Look for `"errors":true` in the answers. `_id` is the item's id; `metadata` is a `flat_object`
field: equality of values filters, `{{"term": {{"metadata.tag": "dog"}}}}`.

`query.json` asks the HNSW graph of FAISS (approximate): `_score` is 1 / (1 + distance), so the
distance is 1 / `_score` - 1. `query-exact.json` compares every code, with the same score. Both hold
a code of zeros in the place of the query; `modalhash.bridges.signed_bytes` spells packed codes.
"""
)


def write(folder: Path, content: Content) -> Written:
    """Write `index.json`, `bulk-*.ndjson` and two queries; see `Written`.

    Raises:
        InputError: if codes are longer than the field takes, or an id than `_id` may be.
    """
    if content.n_padded > MOST_BITS:
        raise InputError(f"codes have {content.n_bits} bits, OpenSearch takes {MOST_BITS}")
    write_json(folder / INDEX, index_body(content.n_padded))
    names = write_bulk(folder, content, signed_bytes)
    zeros = [0] * (content.n_padded // 8)
    nearest = {"knn": {"code": {"vector": zeros, "k": 10}}}
    write_json(folder / QUERY, {"size": 10, "query": nearest, "_source": ["metadata"]})
    script = {
        "lang": "knn",
        "source": "knn_score",
        "params": {"field": "code", "query_value": zeros, "space_type": "hamming"},
    }
    exact = {"script_score": {"query": {"match_all": {}}, "script": script}}
    write_json(folder / EXACT, {"size": 10, "query": exact, "_source": ["metadata"]})
    about = {
        "field": f"knn_vector, data_type binary, dimension {content.n_padded}",
        "distance": "1 / _score - 1",
    }
    guide = GUIDE.format(name=content.name)
    return Written((INDEX, *names, QUERY, EXACT), about, guide)


def index_body(n_padded: int) -> dict[str, Any]:
    """Make the body of the request that makes the index."""
    code = {
        "type": "knn_vector",
        "dimension": n_padded,
        "data_type": "binary",
        "method": {"name": "hnsw", "engine": "faiss", "space_type": "hamming"},
    }
    return {
        "settings": {"index": {"knn": True}},
        "mappings": {
            "dynamic": False,
            "properties": {"code": code, "metadata": {"type": "flat_object"}},
        },
    }
