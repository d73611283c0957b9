"""The same script against the embedded index and against a Milvus server.

It makes codes, adds, replaces and deletes some, and prints distances and a checksum of all answers:
two runs that print the same lines gave the same answers. Only where the codes are kept differs::

    python -m benchmarks.index.same_script /some/new/folder
    python -m benchmarks.index.same_script http://localhost:19530
"""

import argparse
import hashlib
import tempfile
from typing import Any

import numpy as np

from modalhash.index import build_index, open_index


def codes_of(n: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return codes of 64 bits of which many are equal, as learned ones are."""
    generator = np.random.default_rng(seed)
    distinct = generator.integers(0, 256, (max(n // 10, 1), 8), dtype=np.uint8)
    return distinct[generator.integers(0, len(distinct), n)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print what an index answers.")
    parser.add_argument("place", help="a new folder, or the url of a Milvus server")
    parser.add_argument("--items", type=int, default=2000)
    given = parser.parse_args(arguments)
    n, is_remote = given.items, given.place.startswith(("http://", "https://"))
    codes, metadata = codes_of(n, 1), [{"year": 2000 + row % 25} for row in range(n)]
    folder = tempfile.mkdtemp() if is_remote else given.place
    kind: dict[str, Any] = (
        {"kind": "milvus", "parameters": {"url": given.place}} if is_remote else {}
    )
    build_index(range(n), codes, 64, metadata=metadata, folder=folder, **kind).close()
    digest = hashlib.sha256()
    with open_index(folder) as index:
        index.delete(range(0, n, 7))
        index.upsert(range(1, n, 50), codes[: len(range(1, n, 50))])
        index.add([n], codes[:1], [{"year": 2030}])
        for where in (None, "year >= 2020", "year == 2003 or year is null"):
            hits = index.search(codes[:20], 10, where)
            near = index.search_radius(codes[:20], 20, where)
            for array in (hits.ids, hits.distances, near.starts, near.ids, near.distances):
                digest.update(np.ascontiguousarray(array).tobytes())
            print(f"where {where}: distances of the first query {hits.distances[0].tolist()}")
        print(f"{len(index)} items, answers {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
