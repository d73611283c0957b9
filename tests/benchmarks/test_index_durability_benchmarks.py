"""Small runs of the kill test and of searches beside changes."""

import os
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.index import kills, mixed, sync_kills


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_no_acknowledged_change_is_lost_by_kills(tmp_path: Path) -> None:
    result = kills.run(tmp_path, n_kills=15, seed=3)
    assert result["lost"] == 0
    assert result["changes"] >= 15


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_no_item_is_lost_by_kills_of_a_sync(tmp_path: Path) -> None:
    result = sync_kills.run(tmp_path, n_kills=2, n_photos=10, seed=2)
    assert (result["lost"], result["finished_syncs"]) == (0, 1)


def test_answers_beside_changes_are_those_of_some_moment_of_the_call(tmp_path: Path) -> None:
    result = mixed.run(tmp_path, n_changes=2000, n_readers=1, seed=5, kind="flat")
    assert result["wrong"] == []
    assert result["checked"] > 20


def test_changes_follow_from_the_seed() -> None:
    first = [(step, dict(held)) for step, held in islice(mixed.steps(1), 500)]
    again = [(step, dict(held)) for step, held in islice(mixed.steps(1), 500)]
    assert first == again
    assert {step.operation for step, _ in first} == {"add", "upsert", "delete"}
    held: set[int] = set()
    for step, after in first:
        held = held - set(step.ids) if step.operation == "delete" else held | set(step.ids)
        assert held == set(after)
