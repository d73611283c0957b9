"""A new folder appears whole or not at all, and killed builds leave nothing for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modalhash import files
from modalhash.errors import StorageError
from modalhash.files import write_text
from modalhash.index import new_folders
from modalhash.index.lock import ProcessLock
from modalhash.index.new_folders import new_folder


def build(output: Path, text: str) -> None:
    """Build a folder of two files."""
    with new_folder(output) as part:
        write_text(part / "a" / "one.txt", text)
        write_text(part / "two.txt", text)


def state_of(output: Path) -> str:
    """Return the text of a folder, whose files must agree."""
    texts = {(output / "a" / "one.txt").read_text(), (output / "two.txt").read_text()}
    assert len(texts) == 1
    return texts.pop()


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    build(tmp_path / "x", "old")
    assert state_of(tmp_path / "x") == "old"
    build(tmp_path / "x", "new")
    assert state_of(tmp_path / "x") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["a", "two.txt"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    build(tmp_path / "x", "old")
    with pytest.raises(KeyError), new_folder(tmp_path / "x") as part:
        write_text(part / "two.txt", {"new": "new"}["old"])
    with pytest.raises(StorageError, match="No such file"), new_folder(tmp_path / "x") as part:
        (part / "missing").rename(part / "other")
    assert state_of(tmp_path / "x") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("is_there", [False, True])
def test_the_parent_is_flushed_after_the_exchange_and_before_the_old_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    if is_there:
        build(tmp_path / "x", "old")
    events = []

    def flush(folder: Path) -> None:
        n_parts = len(list(tmp_path.glob(".x.*")))
        events.append((folder, state_of(tmp_path / "x"), n_parts))
        files.sync_folder(folder)

    monkeypatch.setattr(new_folders, "sync_folder", flush)
    build(tmp_path / "x", "new")
    assert events == [(tmp_path, "new", int(is_there))]


def test_what_killed_builds_left_is_removed_and_living_builds_stay(tmp_path: Path) -> None:
    dead, living, other = (
        tmp_path / f".{name}" for name in ("x.0000000a", "x.0000000b", "y.12345678")
    )
    for folder in (dead, living, other):
        folder.mkdir()
        (folder / ".building.lock").touch()
    discarded: list[Path] = []
    lock = ProcessLock(living / ".building.lock", "it is being built by")
    with new_folder(tmp_path / "x", discard=discarded.append) as part:
        assert discarded == [dead]
        with new_folder(tmp_path / "x") as second:
            assert part != second
            assert part.is_dir()
    lock.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.0000000b", ".y.12345678", "x"]


KILLED = """
import os, shutil, sys
from pathlib import Path
from modalhash import files
from modalhash.files import write_text
from modalhash.index import new_folders
from modalhash.index.new_folders import new_folder
from tests.oracles.kill_steps import kill_at

place, is_there = Path(sys.argv[1]), sys.argv[2] == "True"

def build(text):
    with new_folder(place / "x") as part:
        write_text(part / "a" / "one.txt", text)
        write_text(part / "two.txt", text)

def die_at(step):
    watched = kill_at(step)
    os.fsync, os.unlink, os.rmdir = map(watched, (os.fsync, os.unlink, os.rmdir))
    Path.mkdir, Path.rename, Path.replace = map(watched, (Path.mkdir, Path.rename, Path.replace))
    new_folders.exchange, files.swap = watched(new_folders.exchange), watched(files.swap)

states, step, finished = [], 0, False
while not finished:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    if is_there:
        build("old")
    child = os.fork()
    if child == 0:
        die_at(step)
        build("new")
        os._exit(0)
    finished = os.waitpid(child, 0)[1] == 0
    texts = {path.read_text() for path in (place / "x").rglob("*.txt")}
    assert len(texts) <= 1 and len(list((place / "x").rglob("*.txt"))) in (0, 2), (step, texts)
    states.append(texts.pop() if texts else "none")
    build("next")
    left = sorted(path.name for path in place.iterdir() if any(path.iterdir()))
    assert left == ["x"], (step, left)
    step += 1
before = "old" if is_there else "none"
assert states == [before] * states.count(before) + ["new"] * states.count("new"), states
print(states.count(before), states.count("new"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
@pytest.mark.parametrize("is_there", [False, True])
def test_killed_at_any_step_the_old_folder_is_there_or_the_new(
    tmp_path: Path, is_there: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "place"), str(is_there)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    n_before, n_after = map(int, done.stdout.split())
    assert n_before > 10
    assert n_after > 3
