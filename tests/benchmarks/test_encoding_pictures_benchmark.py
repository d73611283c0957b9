"""The benchmark of scaled decoding runs and records what the README of benchmarks asks for."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.encoding import pictures


def test_a_small_run_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGE", (960, 900))
    n_threads = torch.get_num_threads()
    output = tmp_path / "results" / "pictures.json"
    counts = ["--large", "2", "--small", "2", "--repeats", "1"]
    pictures.main([*counts, "--output", str(output)])
    torch.set_num_threads(n_threads)
    document = json.loads(output.read_text(encoding="utf-8"))
    assert sorted(document) == ["benchmark", "machine", "results", "seed", "settings", "version"]
    large = document["results"]["large"]
    key = "median_items_per_cpu_second"
    assert large["encode_ratio"] == large["scaled_encode"][key] / large["full_encode"][key]
    assert "written to" in capsys.readouterr().out
