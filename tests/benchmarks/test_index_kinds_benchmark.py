"""The benchmarks of kinds and of memory run and record what the README of benchmarks asks for."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import kinds, memory
from benchmarks.index.codes import clustered_codes, real_like_codes, uniform_codes

PARTS = ["benchmark", "machine", "results", "seed", "settings", "version"]


def test_a_small_run_of_kinds_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "kinds.json"
    np.save(tmp_path / "base.npy", uniform_codes(50, 8, np.random.default_rng(0)))
    base = str(tmp_path / "base.npy")
    small = ["--size", "600", "--queries", "40", "--singles", "5", "--repeats", "1"]
    kinds.main([*small, "--base-codes", base, "--base-queries", base, "--output", str(output)])
    document = json.loads(output.read_text())
    assert sorted(document) == PARTS
    assert document["settings"]["base_codes"] == "base.npy"  # no path of this machine
    for codes in ("real_like", "uniform"):
        results = document["results"][codes]
        assert list(results) == ["numpy", *kinds.KINDS]
        for name in ("flat", "flat-distinct", "mih", "auto"):
            assert results[name]["recall"] == 1
        for name in ("ivf", "ivf-distinct"):
            assert 0.8 < results[name]["recall"] <= 1
        assert results["flat"]["bare_recall"] == 1
        assert results["flat"]["bytes_per_item_on_disk"] > 16  # a code and an id


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_small_run_of_memory_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Spawned processes of a test would import it again; the step itself is what is tested.
    monkeypatch.setattr(memory, "in_a_process", lambda step, *arguments: step(*arguments))
    memory.main(
        ["--size", "2000", "--kinds", "flat,mih", "--output", str(tmp_path / "memory.json")]
    )
    document = json.loads((tmp_path / "memory.json").read_text())
    assert sorted(document) == PARTS
    for kind in ("flat", "mih"):
        measured = document["results"][kind]
        building, opening = measured["building"], measured["opening"]
        assert building["peak_resident_bytes"] >= building["peak_anonymous_bytes"] >= 0
        assert building["peak_anonymous_to_codes"] == building["peak_anonymous_bytes"] / 16_000
        assert 0 < opening["open_seconds"] < opening["open_and_first_answer_seconds"]


def test_codes_like_learned_ones_collide_as_they_say() -> None:
    generator = np.random.default_rng(0)
    base = uniform_codes(100, 8, generator)
    codes = real_like_codes(base, 4000, generator)
    flips = np.bitwise_count(codes[:, None] ^ base).sum(axis=2).min(axis=1)
    assert 0.45 < np.mean(flips == 0) < 0.57  # half copies, and 4 % of the others by chance
    assert 2.5 < flips[flips > 0].mean() < 4  # 64 bits at 5 %
    assert codes.shape == clustered_codes(4000, 8, generator).shape
