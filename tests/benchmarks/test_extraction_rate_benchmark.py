"""The extraction benchmark runs and records what the README of benchmarks asks for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.extraction.rate import main, rates


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def test_a_small_run_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results" / "rate.json"
    main(["--pictures", "3", "--threads", "1", "--repeats", "1", "--output", str(output)])
    document = json.loads(output.read_text(encoding="utf-8"))
    assert sorted(document) == ["benchmark", "machine", "results", "seed", "settings", "version"]
    assert document["settings"]["folder"] == "generated"
    measured = document["results"]["threads_1"]
    ours = measured["extraction"]["median_items_per_second"]
    assert measured["median_ratio_to_bare"] == ours / measured["bare"]["median_items_per_second"]
    assert "written to" in capsys.readouterr().out


def test_calls_are_made_in_turn_and_the_first_round_is_thrown_away() -> None:
    made: list[str] = []
    seen = rates({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, 10, 2)
    assert made == ["a", "b"] * 3
    assert sorted(seen) == ["a", "b"]
