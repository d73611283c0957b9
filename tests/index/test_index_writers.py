"""One writer, many readers; checkpoints, compaction and bulk adds."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.codes import Codes
from modalhash.errors import (
    ArtifactError,
    IndexLockedError,
    InputError,
    StorageError,
    UnknownNameError,
)
from modalhash.index import build_index, open_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.manifest import read_manifest


def codes_of(n: int, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (n, 2), dtype=np.uint8)


def saved(folder: Path, n: int = 5) -> EmbeddedIndex:
    build_index(range(n), codes_of(n), 16, metadata=[{"n": row} for row in range(n)]).save(folder)
    return EmbeddedIndex.open(folder)


# --- the lock ----------------------------------------------------------------------------------


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    with saved(tmp_path) as first, open_index(tmp_path) as second:
        first.delete([0])
        with pytest.raises(IndexLockedError) as caught:
            second.delete([1])
        pattern = (
            f"{re.escape(str(tmp_path))} is being changed by process {os.getpid()} on .* "
            r"\(.*, since 2.*\): an index has one writer at a time; wait until it is done, or "
            "close it there"
        )
        assert re.fullmatch(pattern, str(caught.value))
        with pytest.raises(IndexLockedError):
            build_index([1], codes_of(1), 16).save(tmp_path)
        assert second.ids.tolist() == [1, 2, 3, 4]
        first.close()
        second.delete([1])
    assert open_index(tmp_path).ids.tolist() == [2, 3, 4]


HOLDER = """
import sys
from modalhash.index import open_index
index = open_index(sys.argv[1])
index.delete([int(sys.argv[2])])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_a_kill_gives_the_lock_back(tmp_path: Path) -> None:
    with saved(tmp_path) as index:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), "3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"ready\n"
        assert index.ids.tolist() == [0, 1, 2, 4]
        with pytest.raises(IndexLockedError, match=f"by process {child.pid} on"):
            index.delete([4])
        child.kill()
        child.stdout.close()
        child.stdin.close()
        child.wait()
        index.delete([4])
        assert index.ids.tolist() == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_write_into_its_parents_log(tmp_path: Path) -> None:
    script = f"""
import os
from modalhash.index import open_index
index = open_index({str(tmp_path)!r})
index.delete([0])
child = os.fork()
if child == 0:
    try:
        index.delete([1])
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
index.delete([2])
print(index.ids.tolist())
"""
    saved(tmp_path).close()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    refused, left = done.stdout.splitlines()
    assert re.match(f"{re.escape(str(tmp_path))} is being changed by process [0-9]+ on ", refused)
    assert left == "[1, 3, 4]"


def test_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    saved(tmp_path).close()
    (tmp_path / "writer.lock").unlink()
    with open_index(tmp_path) as index:
        assert len(index.search(codes_of(1), 3, "n > 2").ids[0]) == 2
    assert not (tmp_path / "writer.lock").exists()


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    with saved(tmp_path) as index:
        (tmp_path / "writer.lock").unlink()
        (tmp_path / "writer.lock").mkdir()
        with pytest.raises(StorageError, match=re.escape("changing an index needs a folder that")):
            index.delete([1])
        assert len(index) == 5


# --- following ---------------------------------------------------------------------------------


def test_a_reader_follows_changes_checkpoints_and_compaction(tmp_path: Path) -> None:
    with saved(tmp_path) as writer, open_index(tmp_path) as reader:
        for step in range(5, 30):
            writer.add([step], codes_of(1, step), [{"n": step}])
            if step % 3 == 0:
                writer.delete([step - 4])
            if step % 5 == 0:
                writer.checkpoint()
            if step % 11 == 0:
                writer.compact()
            assert reader.ids.tolist() == writer.ids.tolist()
            assert reader.version == writer.version
            queries = codes_of(3, 100)
            np.testing.assert_array_equal(
                reader.search(queries, 9, "n >= 3").ids, writer.search(queries, 9, "n >= 3").ids
            )
            assert reader.metadata(reader.ids) == writer.metadata(writer.ids)


def test_a_reader_uses_segments_again_that_stayed(tmp_path: Path) -> None:
    with saved(tmp_path, 1000) as writer, EmbeddedIndex.open(tmp_path) as reader:
        segment = reader._current().views[0].source
        writer.add([1000], codes_of(1))
        writer.checkpoint()
        assert len(reader) == 1001
        assert reader._current().views[0].source is segment
        assert len(reader._current().views) == 3


def test_a_replaced_index_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with saved(tmp_path) as reader:
        build_index(["other"], codes_of(1), 16).save(tmp_path)
        with caplog.at_level(logging.WARNING):
            assert reader.ids.tolist() == [0, 1, 2, 3, 4]
        message = f"{tmp_path} holds another index than when it was opened: open it again"
        assert message in caplog.text
        with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
            reader.delete([1])


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = saved(tmp_path)
    index.close()
    for call in (
        lambda: index.search(codes_of(1), 1),
        lambda: index.delete([1]),
        lambda: len(index),
    ):
        with pytest.raises(InputError, match=re.escape("the index is closed: open it again")):
            call()
    index.close()


# --- checkpoints -------------------------------------------------------------------------------


def test_segments_grow_as_a_binary_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows a checkpoint: 4, 8, 8+4, 16, 16+4, 16+8, 16+8+4, 32."""
    monkeypatch.setattr("modalhash.index.writing.CHECKPOINT_ROWS", 4)
    build_index([], np.empty((0, 2), np.uint8), 16).save(tmp_path)
    sizes = []
    with open_index(tmp_path) as index:
        for item in range(32):
            index.add([item], codes_of(1, item), [{"n": item}])
            if item % 4 == 3:
                sizes.append([record.n_rows for record in read_manifest(tmp_path).segments])
        assert sizes == [[4], [8], [8, 4], [16], [16, 4], [16, 8], [16, 8, 4], [32]]
        assert index.ids.tolist() == list(range(32))
        assert index.metadata([7, 31]) == [{"n": 7}, {"n": 31}]


def test_what_is_largely_deleted_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.index.writing.FEW_DEAD", 10)
    with saved(tmp_path, 100) as index:
        index.delete(range(25))
        assert [(one.n_rows, one.n_dead) for one in read_manifest(tmp_path).segments] == [(100, 0)]
        index.checkpoint()
        assert [(one.n_rows, one.n_dead) for one in read_manifest(tmp_path).segments] == [(100, 25)]
        with open_index(tmp_path) as again:
            assert again.ids.tolist() == list(range(25, 100))
        index.delete([25])
        assert [(one.n_rows, one.n_dead) for one in read_manifest(tmp_path).segments] == [(74, 0)]
        assert index.ids.tolist() == list(range(26, 100))


def test_damaged_bits_of_deleted_rows_are_noticed(tmp_path: Path) -> None:
    with saved(tmp_path, 100) as index:
        index.delete([3])
        index.checkpoint()
    path = tmp_path / "dead.000002.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=re.escape(f"{path} is damaged")):
        open_index(tmp_path)


def test_compaction_leaves_nothing_of_deleted_items(tmp_path: Path) -> None:
    """What the law demands to be deleted is in no file afterwards."""
    build_index(
        ["secret-1", "kept"], codes_of(2), 16, metadata=[{"name": "secret-2"}, {"name": "x"}]
    ).save(tmp_path)
    with open_index(tmp_path) as index:
        index.upsert(["kept", "secret-3"], codes_of(2, 1), [{"name": "y"}, {"name": "secret-4"}])
        index.delete(["secret-1", "secret-3"])
        index.compact()
        assert index.ids.tolist() == ["kept"]
        assert index.metadata(["kept"]) == [{"name": "y"}]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes()
    before = sorted(path.name for path in tmp_path.iterdir())
    with open_index(tmp_path) as index:
        index.compact()
        index.checkpoint()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_many_items_at_once_become_a_segment_without_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.index.writing.BULK_ROWS", 50)
    for place in (tmp_path, None):
        index = build_index(range(500), codes_of(500), 16)
        if place is not None:
            index.save(place)
            index = open_index(place)
        index.add([500], codes_of(1, 1), [{"n": 500}])
        new = codes_of(60, 2)
        index.upsert([*range(441, 500), 1000], new, [{"n": row} for row in range(60)])
        assert index.ids.tolist() == [*range(441), 500, *range(441, 500), 1000]
        assert index.version == 3
        assert index.metadata([441, 500, 1000]) == [{"n": 0}, {"n": 500}, {"n": 59}]
        np.testing.assert_array_equal(index.reconstruct([441, 1000]), new[[0, 59]])
        ids = list(range(2000, 2060))
        with pytest.raises(InputError, match=re.escape("ids holds 2001 more than once")):
            index.add([*ids[:-1], 2001], new)
        with pytest.raises(InputError, match=re.escape("the index already has 1000")):
            index.add([*ids[:-1], 1000], new)
        assert len(index) == 502
        index.close()
    with open_index(tmp_path) as again:
        assert len(again) == 502
        assert again.version == 3
        assert (tmp_path / "log.000002").stat().st_size < 100


def test_adding_one_item_copies_nothing_of_the_index(tmp_path: Path) -> None:
    with saved(tmp_path, 20_000) as index:
        index.add([20_000], codes_of(1))
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        segment = index._state.views[0].source
        index.add([20_001], codes_of(1))
        index.delete([5])
        changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
        assert changed == ["log.000001"]
        assert index._state.views[0].source is segment


def test_the_manifest_states_kind_and_parameters(tmp_path: Path) -> None:
    parameters = {"n_cells": 3, "n_probes": 2}
    index = build_index(range(99), codes_of(99), 16, kind="ivf", parameters=parameters)
    index.save(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert (document["kind"], document["parameters"]) == ("ivf", parameters)
    assert document["segments"][0]["parameters"]["n_probes"] == 2
    with EmbeddedIndex.open(tmp_path) as opened:
        assert opened.parameters == parameters
        assert opened.searcher_parameters["n_probes"] == 2
        assert not opened.is_exact
        opened.add([100], codes_of(1, 5))
        opened.compact()
        assert opened.searcher_parameters["n_cells"] == 3
    assert build_index(range(9), codes_of(9), 16).is_exact


# --- upsert and delete -------------------------------------------------------------------------


def test_delete_counts_and_ignores_what_is_missing_if_asked() -> None:
    index = build_index(range(5), codes_of(5), 16, metadata=[{"n": row} for row in range(5)])
    assert index.delete([1, 9, 1], missing="ignore") == 1
    assert index.delete([9], missing="ignore") == 0
    assert index.version == 2
    with pytest.raises(InputError, match=re.escape("the index has no item 1: nothing was deleted")):
        index.delete([1])
    with pytest.raises(UnknownNameError, match=re.escape("unknown way with missing ids 'skip'")):
        index.delete([1], missing="skip")
    assert index.delete_where("n >= 3 or n == 1") == 2
    assert index.delete_where("n >= 3") == 0
    assert index.ids.tolist() == [0, 2]


def test_upsert_replaces_all_of_an_item_and_puts_it_last() -> None:
    codes = np.zeros((3, 2), np.uint8)
    index = build_index(["a", "b", "c"], codes, 16, metadata=[{"n": 1, "m": 2}] * 3)
    assert index.upsert(["a", "d"], codes[:2], [{"n": 7}, {}]) == 1
    assert index.ids.tolist() == ["b", "c", "a", "d"]
    assert index.metadata(["a"]) == [{"n": 7}]
    assert index.upsert(["a"], codes[:1]) == 1
    assert index.ids.tolist() == ["b", "c", "d", "a"]
    assert index.search(codes[:1], 9).ids.tolist() == [["b", "c", "d", "a"]]
    assert index.metadata(["a"]) == [{}]
    with pytest.raises(InputError, match=re.escape("ids holds 'x' more than once: nothing was")):
        index.upsert(["x", "x"], codes[:2])


def test_hits_come_with_the_metadata_of_their_moment() -> None:
    documents: list[dict[str, Any]] = [{"n": 0}, {}, {"n": 2}]
    codes = np.array([[0, 0], [1, 0], [3, 0]], np.uint8)
    index = build_index([10, 11, 12], codes, 16, metadata=documents)
    hits = index.search(codes[[0, 2]], 2, with_metadata=True)
    assert hits.ids.tolist() == [[10, 11], [12, 11]]
    assert [list(one) for one in hits.metadata or []] == [[{"n": 0}, {}], [{"n": 2}, {}]]
    assert hits[1].metadata == [{"n": 2}, {}]
    near = index.search_radius(codes[:1], 1, "n is null", with_metadata=True)
    assert (near.ids.tolist(), near[0].metadata) == ([11], [{}])
    assert index.search(codes, 1).metadata is None


def test_distances_are_counted() -> None:
    codes = np.array([[0, 0], [1, 0], [3, 0], [255, 255]], np.uint8)
    index = build_index(range(4), codes, 16, metadata=[{"n": row} for row in range(4)])
    counts = index.distance_histogram(codes[:2])
    assert counts.shape == (2, 17)
    assert {d: int(c) for d, c in enumerate(counts[0]) if c} == {0: 1, 1: 1, 2: 1, 16: 1}
    assert {d: int(c) for d, c in enumerate(counts[1]) if c} == {0: 1, 1: 2, 15: 1}
    index.delete([1])
    counts = index.distance_histogram(codes[:1], "n < 3")
    assert {d: int(c) for d, c in enumerate(counts[0]) if c} == {0: 1, 2: 1}
    assert index.distance_histogram(codes[:0]).shape == (0, 17)
