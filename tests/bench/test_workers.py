"""Tasks in processes: all are answered, a killed one is told, memory bounds how many run."""

import sys
from pathlib import Path

import pytest

from modalhash.bench.workers import Budget, Killed, Workers
from tests.oracles.worker_tasks import double_or_die, note_time

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")


def test_a_killed_task_is_told_and_the_others_go_on() -> None:
    workers = Workers(double_or_die, Budget(2), kind_of=lambda _: "", peak_of=lambda _: 0.0)
    found = dict(workers.run([1, 13, 2, 3]))
    assert isinstance(found.pop(13), Killed)
    assert found == {1: 2, 2: 4, 3: 6}


@pytest.mark.parametrize(
    ("memory", "most"),
    [(None, 2), (100.0, 2), (99.0, 2), (60.0, 1)],
    ids=["no bound", "room for both", "shares at first, then what was measured", "room for one"],
)
def test_memory_bounds_how_many_run(tmp_path: Path, memory: float | None, most: int) -> None:
    """Each task needs 50 MiB; without a measurement it is taken to need an equal share."""
    tasks = [(str(tmp_path), name) for name in "abcdef"]
    workers = Workers(note_time, Budget(2, memory), kind_of=lambda _: "", peak_of=lambda _: 50.0)
    answers = workers.run(tasks)
    running = [answer[1] for _, answer in answers if not isinstance(answer, Killed)]
    assert len(running) == 6
    # the first two begin before anything was measured
    later = running[2:]
    assert max(later) <= (1 if memory in (99.0, 60.0) else most)
