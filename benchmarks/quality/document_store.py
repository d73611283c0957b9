"""Measure what codes of any embeddings, made without training, find of what the embeddings find.

Rows of a file are embeddings. Some are queries, the others documents; the exact answer is the ten
documents of largest cosine. Stores of several lengths of codes are asked for ten and for fifty, and
for ten where they keep the embeddings, a byte a number.

Run it: `python -m benchmarks.quality.document_store EMBEDDINGS.npy`
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result_files import RESULTS, write_result
from modalhash.retrievers import EmbeddedDocuments
from modalhash.retrievers.documents import NewDocument

N_BEST, N_ASKED = 10, 50
Floats = NDArray[np.float32]


def measure_bits(documents: Floats, queries: Floats, n_bits: int, seed: int) -> dict[str, Any]:
    """Measure one length of codes.

    Args:
        documents: (m, d) of length 1.
        queries: (q, d) of length 1.
        n_bits: bits of a code.
        seed: of the rotation.
    """
    stores = [EmbeddedDocuments(n_bits=n_bits, seed=seed, keep_embeddings=keep)
              for keep in (False, True)]  # fmt: skip
    for store in stores:
        store.add_embeddings(
            [NewDocument(str(row), "", {}) for row in range(len(documents))], documents
        )
    shares_kept = []
    shares: dict[int, list[float]] = {N_BEST: [], N_ASKED: []}
    errors = []
    for query in queries:
        cosines = documents @ query
        best = set(np.argsort(-cosines, kind="stable")[:N_BEST].tolist())
        kept_rows = [int(hit.id) for hit in stores[1].search_embedding(query, N_BEST)]
        shares_kept.append(len(best & set(kept_rows)) / N_BEST)
        hits = stores[0].search_embedding(query, N_ASKED)
        rows = [int(hit.id) for hit in hits]
        for k, found in shares.items():
            found.append(len(best & set(rows[:k])) / N_BEST)
        errors.append(np.abs([hit.score for hit in hits] - cosines[rows]).mean())
    return {
        "n_bits": n_bits,
        "bytes_per_document": -(-n_bits // 8),
        "recall_10_of_10": round(float(np.mean(shares[N_BEST])), 4),
        "recall_10_of_50": round(float(np.mean(shares[N_ASKED])), 4),
        "recall_10_of_10_kept": round(float(np.mean(shares_kept)), 4),
        # A byte a number and four for the scale, as text of base 64.
        "bytes_per_document_kept": -(-n_bits // 8) + 4 * -(-(documents.shape[1] + 4) // 3),
        "mean_error_of_cosine": round(float(np.mean(errors)), 4),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--bits", type=int, nargs="+", default=[256, 384, 768])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "document-store.json")
    options = parser.parse_args(arguments)
    rows = np.load(options.embeddings).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = np.random.default_rng(options.seed).permutation(len(rows))
    queries, documents = rows[order[: options.queries]], rows[order[options.queries :]]
    results = [measure_bits(documents, queries, n_bits, options.seed) for n_bits in options.bits]
    for row in results:
        print(row)
    sizes = {"documents": len(documents), "dimensions": rows.shape[1]}
    write_result(
        options.output, "quality.document_store", vars(options), {**sizes, "lengths": results}
    )


if __name__ == "__main__":
    main()
