"""The flat benchmark runs and records what the README of benchmarks asks for."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.index.flat import check_equal, duplicate_rich_codes, main, measure_in_turn


def test_a_small_run_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results" / "flat.json"
    main(["--items", "500", "--queries", "60", "--repeats", "2", "--output", str(output)])
    document = json.loads(output.read_text())
    assert sorted(document) == ["benchmark", "machine", "results", "seed", "settings", "version"]
    assert document["settings"]["items"] == 500
    for name in ("uniform", "duplicate_rich"):
        for batch in ("batch_of_60", "batch_of_1_times_50"):
            measured = document["results"][name][batch]
            expected = measured["ours"]["min_seconds"] / measured["bare"]["min_seconds"]
            assert measured["ratio_of_minima"] == expected
    assert "written to" in capsys.readouterr().out


def test_duplicate_rich_codes_are_what_they_say() -> None:
    codes = duplicate_rich_codes(2000, 8, np.random.default_rng(0))
    assert codes.shape == (2000, 8)
    assert 20 < len(np.unique(codes, axis=0)) <= 200


def test_calls_are_made_in_turn_and_the_first_round_is_thrown_away() -> None:
    made: list[str] = []
    measured = measure_in_turn({"a": lambda: made.append("a"), "b": lambda: made.append("b")}, 3)
    assert made == ["a", "b"] * 4
    assert sorted(measured) == ["a", "b"]


def test_searches_that_differ_are_not_timed() -> None:
    with pytest.raises(AssertionError, match="our distances differ from those of FAISS"):
        check_equal(np.zeros((1, 2), np.int32), np.ones((1, 2), np.int32))
