"""An index in processes that are forked or spawned from the one that opened it."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import IndexLockedError
from modalhash.index import HashIndex, build_index, open_index

METHODS = multiprocessing.get_all_start_methods()
CODES = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8)


def search_in_child(queue: Any, place: str) -> None:
    """Search an index of one's own."""
    with open_index(place) as index:
        queue.put(index.search(CODES[:3], 1, "n >= 0").ids[:, 0].tolist())


@pytest.mark.parametrize("method", METHODS)
def test_a_child_opens_and_searches(method: str, tmp_path: Path) -> None:
    rows = [{"n": row} for row in range(3000)]
    build_index(range(3000), CODES, 64, metadata=rows, folder=tmp_path).close()
    with open_index(tmp_path) as index:
        index.search(CODES, 5)
        index.upsert([3000], CODES[:1])
        context: Any = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=search_in_child, args=(queue, str(tmp_path)))
        child.start()
        assert queue.get(timeout=120) == [0, 1, 2]
        child.join(60)
        assert child.exitcode == 0


def run_in_fork(work: Callable[[Any], None]) -> Any:
    """Return what a forked child puts into a queue."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=work, args=(queue,))
    child.start()
    try:
        result = queue.get(timeout=60)
    finally:
        child.join(20)
        if child.is_alive():
            child.kill()
    assert child.exitcode == 0
    return result


def opened(tmp_path: Path, is_saved: bool, kind: str) -> HashIndex:
    """Return an index with recent rows and metadata."""
    rows = [{"n": row} for row in range(3000)]
    index = build_index(range(3000), CODES, 64, metadata=rows, kind=kind)
    if is_saved:
        index.save(tmp_path)
        index = open_index(tmp_path)
    index.add([3000], CODES[:1], [{"n": 3000}])
    index.search(CODES, 5, "n >= 0")
    return index


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize("kind", ["flat", "exact", "ivf", "mih"])
def test_a_forked_child_goes_on_searching(kind: str, is_saved: bool, tmp_path: Path) -> None:
    """Also while its parent is the folder's writer."""
    with opened(tmp_path, is_saved, kind) as index:

        def work(queue: Any) -> None:
            hits = index.search(CODES[:50], 1, "n >= 0")
            queue.put((hits.distances.tolist(), index.metadata([3000]), len(index)))

        assert run_in_fork(work) == ([[0]] * 50, [{"n": 3000}], 3001)
        index.add([3001], CODES[1:2])
        assert len(index) == 3002


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_a_lock_held_at_the_fork_stops_no_child(tmp_path: Path) -> None:
    index: Any = opened(tmp_path, is_saved=True, kind="flat")
    with index._writing, index._refreshing, index._state.views[0].source.items.lock:
        assert run_in_fork(lambda queue: queue.put(len(index.select("n > 10")))) == 2990


ORPHAN = """
import os, sys, time
from modalhash.index import open_index
index = open_index(sys.argv[1])
index.delete([0])
if os.fork() == 0:
    os.close(1)
    time.sleep(30)
    os._exit(0)
print("forked", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_the_lock_of_a_dead_writer_is_free_though_its_child_lives(tmp_path: Path) -> None:
    build_index(range(5), CODES[:5], 64, folder=tmp_path).close()
    writer = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert writer.stdout is not None
    assert writer.stdin is not None
    try:
        assert writer.stdout.readline() == b"forked\n"
        with open_index(tmp_path) as index:
            with pytest.raises(IndexLockedError, match=f"by process {writer.pid} on"):
                index.delete([1])
            writer.kill()
            writer.wait()
            index.delete([1])
            assert index.ids.tolist() == [2, 3, 4]
    finally:
        writer.stdin.close()
        writer.stdout.close()
        os.killpg(writer.pid, 9)


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
def test_a_child_may_write_once_its_parent_lets_go(tmp_path: Path) -> None:
    index = opened(tmp_path, is_saved=True, kind="flat")
    with index.writing():
        index.delete([7])

    def work(queue: Any) -> None:
        with index.writing():
            index.add([9999], CODES[:1])
        queue.put(len(index))

    assert run_in_fork(work) == 3001
    assert index.contains([9999]).tolist() == [True]
