"""Elasticsearch (8.15 or newer): a `dense_vector` of bits, and bodies of `_bulk` requests.

A code is spelt in hexadecimal, byte after byte. The field takes whole bytes; padding bits are zero,
change no distance, but count in the score, which is the share of agreeing bits of all.
"""

from pathlib import Path
from typing import Any, Final

from modalhash.bridges.bulk_bodies import LOADING, write_bulk
from modalhash.bridges.contents import Content, Written
from modalhash.bridges.forms import hex_strings
from modalhash.errors import InputError
from modalhash.files import write_json

__all__ = ["write"]

INDEX, QUERY, EXACT = "index.json", "query.json", "query-exact.json"
MOST_BITS: Final = 32_768
LONGEST_LEAF: Final = 8191
"""Characters of a value that is indexed: four bytes each must fit a term of 32,766."""
GUIDE: Final = (
    LOADING
    + """
Look for `"errors":true` in the answers. `_id` is the item's id; `metadata` is a `flattened` field:
equality of values filters, `{{"term": {{"metadata.tag": "dog"}}}}`.

`query.json` asks the HNSW graph (approximate): `_score` is the share of agreeing bits, so the
distance is {n_padded} * (1 - `_score`). `query-exact.json` compares every code: `_score` is
1 / (1 + distance). Both hold a code of zeros in the place of the query;
`modalhash.bridges.hex_strings` spells packed codes in hexadecimal and `signed_bytes` as the bytes
that the script takes.
"""
)


def write(folder: Path, content: Content) -> Written:
    """Write `index.json`, `bulk-*.ndjson` and two queries; see `Written`.

    Raises:
        InputError: if codes are longer than the field takes, or an id than `_id` may be.
    """
    if content.n_padded > MOST_BITS:
        raise InputError(f"codes have {content.n_bits} bits, Elasticsearch takes {MOST_BITS}")
    write_json(folder / INDEX, index_body(content.n_padded))
    names = write_bulk(folder, content, hex_strings)
    width = content.n_padded // 8
    knn = {"field": "code", "query_vector": "00" * width, "k": 10, "num_candidates": 100}
    write_json(folder / QUERY, {"knn": knn, "_source": ["metadata"]})
    script = {
        "source": "1.0 / (1.0 + hamming(params.code, 'code'))",
        "params": {"code": [0] * width},
    }
    exact = {"script_score": {"query": {"match_all": {}}, "script": script}}
    write_json(folder / EXACT, {"size": 10, "query": exact, "_source": ["metadata"]})
    about = {
        "field": f"dense_vector, element_type bit, dims {content.n_padded}",
        "distance": f"{content.n_padded} * (1 - _score)",
    }
    guide = GUIDE.format(name=content.name, n_padded=content.n_padded)
    return Written((INDEX, *names, QUERY, EXACT), about, guide)


def index_body(n_padded: int) -> dict[str, Any]:
    """Make the body of the request that makes the index."""
    code = {
        "type": "dense_vector",
        "element_type": "bit",
        "dims": n_padded,
        "index": True,
        "similarity": "l2_norm",
        "index_options": {"type": "hnsw"},
    }
    metadata = {"type": "flattened", "ignore_above": LONGEST_LEAF}
    return {"mappings": {"dynamic": False, "properties": {"code": code, "metadata": metadata}}}
