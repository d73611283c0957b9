"""The benchmarks of relaxed queries run, and refuse to time what doesn't answer alike."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import asymmetric, shortlist
from modalhash.codes import pack
from modalhash.index import build_index


def test_a_small_run_beside_faiss_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "results" / "asymmetric.json"
    asked = ["--size", "2000", "--queries", "30", "--checked", "20", "--repeats", "2"]
    asymmetric.main([*asked, "--output", str(output)])
    document = json.loads(output.read_text())
    assert sorted(document) == ["benchmark", "machine", "results", "seed", "settings", "version"]
    for name in ("uniform", "clustered"):
        for batch in ("batch_of_1", "batch_of_256"):
            measured = document["results"][name][batch]
            expected = measured["ours_asymmetric"]["min_cpu_ms"] / measured["bare"]["min_cpu_ms"]
            assert measured["ours_asymmetric"]["ratio_of_minima"] == expected
        assert "relaxed_anonymous_to_codes" in document["results"][name]["memory"]


def test_answers_that_differ_are_not_timed() -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 256, (300, 2), dtype=np.uint8)
    index = build_index(np.arange(300), codes, 16)
    queries = asymmetric.relaxed_queries(codes, 5, 1)
    asymmetric.check_equal(index, codes, queries, 10)
    with pytest.raises(AssertionError, match="our answers differ from those of the kind exact"):
        asymmetric.check_equal(index, codes[::-1].copy(), queries, 10)


def test_a_shortlist_of_all_items_misses_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    signs = generator.choice(np.array([-1, 1], np.int8), (500, 16))
    np.save(tmp_path / "codes.npy", pack(signs))
    np.save(tmp_path / "queries.npy", generator.standard_normal((20, 16)).astype(np.float32))
    output = tmp_path / "shortlist.json"
    shortlist.main(
        [
            "--base-codes",
            str(tmp_path / "codes.npy"),
            "--base-queries",
            str(tmp_path / "queries.npy"),
            "--sizes",
            "0",
            "--output",
            str(output),
        ]
    )
    recalls = json.loads(output.read_text())["results"]["base"]["shortlist_recall_by_length"]
    assert recalls["500"] == 1
    assert list(recalls.values()) == sorted(recalls.values())
    assert "1000" not in recalls
