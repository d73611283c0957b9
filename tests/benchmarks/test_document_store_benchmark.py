"""The benchmark of stores of embeddings, small."""

import json
from pathlib import Path

import numpy as np

from benchmarks.quality.document_store import main


def test_a_small_run_is_recorded(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((120, 16)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    output = tmp_path / "result.json"
    main([str(tmp_path / "rows.npy"), "--queries", "20", "--bits", "64", "512", "-o", str(output)])
    document = json.loads(output.read_text(encoding="utf-8"))
    assert document["settings"]["embeddings"] == "rows.npy"
    short, long = document["results"]["lengths"]
    assert document["results"]["documents"] == 100
    assert 0.3 < short["recall_10_of_10"] < long["recall_10_of_10"] <= 1
    assert long["recall_10_of_10_kept"] > 0.95
    assert long["bytes_per_document_kept"] == 64 + 4 * 7
