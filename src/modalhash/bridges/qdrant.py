"""Qdrant: codes as vectors of -1 and +1, since it has no bit vectors.

The dot product of two such vectors is bits - 2 * distance, so the order is that of Hamming
distances. Qdrant's binary quantization keeps one bit a dimension in memory, which of such vectors
loses nothing; the vectors themselves stay on disk, two bytes a bit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import as_json, write_parts
from modalhash.choices import Scoring
from modalhash.codes import unpack
from modalhash.errors import InputError
from modalhash.files import write_json

__all__ = ["write"]

COLLECTION, QUERY = "collection.json", "query.json"
PART_BYTES: Final = 16 << 20
"""A request may have 32 MB by default."""
MOST_BITS: Final = 65_536
GUIDE: Final = """\
```
curl -X PUT "$URL/collections/{name}" -H "Content-Type: application/json" \\
    --data-binary @collection.json
for file in points-*.json; do
    curl -X PUT "$URL/collections/{name}/points?wait=true" -H "Content-Type: application/json" \\
        --data-binary @"$file"
done
curl -X POST "$URL/collections/{name}/points/query" -H "Content-Type: application/json" \\
    --data-binary @query.json
```

Qdrant has no bit vectors and no Hamming distance: a code is a vector of {n_bits} numbers, -1 for
bit 0 and +1 for bit 1, and the score is their dot product, {n_bits} - 2 * distance. So the distance
is ({n_bits} - score) / 2, and larger scores are nearer. The points' ids are integers; the item's id
is `id` in the payload, its metadata is `metadata`, so that a filter's key is `metadata.year`.

`query.json` compares every vector (`exact`) with a code of all -1 in the place of the query;
`modalhash.bridges.sign_vectors` makes such vectors of packed codes. Without `exact` Qdrant asks its
graph over the quantized bits, which is approximate.
"""


def write(folder: Path, content: Content) -> Written:
    """Write `collection.json`, `points-*.json` and `query.json`; see `Written`.

    Raises:
        InputError: if an id is negative: Qdrant has unsigned ids; or codes are longer than its
            vectors.
    """
    n_bits = content.n_bits
    if n_bits > MOST_BITS:
        raise InputError(f"codes have {n_bits} bits, Qdrant's vectors up to {MOST_BITS}")

    def records() -> Iterator[bytes]:
        for keys, block in content.keyed_blocks():
            ids: list[Any] = block.ids.tolist()
            vectors = unpack(block.codes, n_bits).tolist()
            for key, value, vector, metadata in zip(
                keys.tolist(), ids, vectors, block.metadata, strict=True
            ):
                payload = {"id": value, "metadata": metadata}
                yield as_json({"id": key, "vector": vector, "payload": payload})

    write_json(folder / COLLECTION, collection_body(n_bits))
    names = write_parts(
        folder, "points-{:05d}.json", records(),
        n_bytes=PART_BYTES, head=b'{"points":[\n', separator=b",\n", tail=b"\n]}\n",
    )  # fmt: skip
    query = {
        "query": [-1] * n_bits,
        "limit": 10,
        "with_payload": True,
        "params": {"exact": True},
    }
    write_json(folder / QUERY, query)
    about = {
        "vector": f"{n_bits} numbers, -1 or +1, distance Dot",
        "distance": f"({n_bits} - score) / 2",
    }
    guide = GUIDE.format(name=content.name, n_bits=n_bits)
    scorings = (Scoring.HAMMING, Scoring.ASYMMETRIC)
    return Written((COLLECTION, *names, QUERY), about, guide, scorings)


def collection_body(n_bits: int) -> dict[str, Any]:
    """Make the body of the request that makes the collection."""
    vectors = {"size": n_bits, "distance": "Dot", "datatype": "float16", "on_disk": True}
    return {
        "vectors": vectors,
        "quantization_config": {"binary": {"always_ram": True}},
    }
