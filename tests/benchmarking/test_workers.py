"""Tasks in processes: all are answered, a killed one is told, memory bounds how many run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modalhash.benchmarking.workers import Budget, Killed, Workers
from tests.oracles.worker_tasks import double_or_die, note_time

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
ROOT = Path(__file__).parents[2]


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


WAITING = """
import os, sys, time
from pathlib import Path
from modalhash.benchmarking.workers import Budget, Workers
from tests.oracles.worker_tasks import write_and_wait

if __name__ == "__main__":
    workers = Workers(
        write_and_wait, Budget(2), kind_of=lambda task: "", peak_of=lambda answer: 0.0
    )
    list(workers.run([sys.argv[1] + "/a", sys.argv[1] + "/b"]))
"""


def test_workers_end_when_what_began_them_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    try:
        numbers = [int(wait_for_text(tmp_path / name)) for name in ("a", "b")]
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while any(map(is_running, numbers)):
        assert time.monotonic() < deadline, "a worker still runs"
        time.sleep(0.05)


def wait_for_text(path: Path) -> str:
    """Return a file's text as soon as there is some."""
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(0.05)
    return path.read_text()


def is_running(number: int) -> bool:
    """Return whether a process runs; one that has ended and isn't asked for doesn't."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
