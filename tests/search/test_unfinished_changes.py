"""Whoever only reads never sees half of a change of both sides."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modalhash.errors import StorageError
from modalhash.index import ItemChange
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.lock import WriterLock
from modalhash.search import SearchIndex, Side, SideContent, open_search_index, pending_changes

pytestmark = [
    pytest.mark.usefixtures("tiny_encoder", "own_cache"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child"),
]


@pytest.fixture
def folder(scene_index: Path, tmp_path: Path) -> Path:
    """A copy of the index that may be changed."""
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def contents(name: str) -> dict[Side, SideContent]:
    codes = np.zeros((1, 2), np.uint8)
    return {
        Side.IMAGES: SideContent([name], codes, [{"n": 1}]),
        Side.TEXTS: SideContent([f"{name}#0"], codes, [{"item": name}]),
    }


def last_ids(index: SearchIndex) -> tuple[str, str]:
    """Return the newest id of each side."""
    return index.sides[Side.IMAGES].ids[-1], index.sides[Side.TEXTS].ids[-1]


def kill_between(folder: Path, *, n_sides: int) -> None:
    """Add an item in another process, which dies after so many sides were changed."""
    child = os.fork()
    if child == 0:
        apply_changes, n_changed = EmbeddedIndex.apply_changes, 0

        def apply_or_die(self: EmbeddedIndex, changes: Sequence[ItemChange]) -> None:
            nonlocal n_changed
            if n_changed == n_sides:
                os._exit(9)
            apply_changes(self, changes)
            n_changed += 1

        pytest.MonkeyPatch().setattr(EmbeddedIndex, "apply_changes", apply_or_die)
        pytest.MonkeyPatch().setattr(pending_changes, "complete", lambda *_: os._exit(9))
        with open_search_index(folder) as index:
            index.add(contents("half"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (folder / "pending.json").exists()


def forbid_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse locks as a folder does that can't be written to."""

    def refuse(self: WriterLock) -> int:
        raise StorageError(f"can't write {self.path}: Read-only file system")

    monkeypatch.setattr(WriterLock, "open", refuse)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_that_cannot_be_written_to_shows_the_state_before_the_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_search_index(folder) as index:
        before, n_codes = last_ids(index), len(index)
    kill_between(folder, n_sides=1)
    files = digest(folder)
    with monkeypatch.context() as patch:
        forbid_writing(patch)
        reader = open_search_index(folder)
        assert (last_ids(reader), len(reader)) == (before, n_codes)
        assert not reader.sides[Side.IMAGES].contains(["half"]).any()
        assert reader.sides[Side.IMAGES].select("n == 1").tolist() == []
    assert digest(folder) == files
    with reader, open_search_index(folder) as index:
        assert not (folder / "pending.json").exists()
        assert last_ids(index) == last_ids(reader) == before
        index.add(contents("whole"))
        assert last_ids(reader) == ("whole", "whole#0")


def test_a_change_that_is_whole_is_shown_though_its_writer_died(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_between(folder, n_sides=2)
    forbid_writing(monkeypatch)
    with open_search_index(folder) as reader:
        assert last_ids(reader) == ("half", "half#0")


def test_a_reader_that_was_there_before_sees_no_half_change(folder: Path) -> None:
    with open_search_index(folder) as reader:
        before = last_ids(reader)
        kill_between(folder, n_sides=1)
        for _ in range(2):
            assert last_ids(reader) == before
        with open_search_index(folder) as index:
            index.add(contents("next"))
            assert last_ids(reader) == last_ids(index) == ("next", "next#0")
            index.compact()
            index.delete(["next"])
        assert last_ids(reader) == before


def test_a_reader_sees_a_change_once_both_sides_have_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_search_index(folder) as index, open_search_index(folder) as reader:
        before = last_ids(reader)
        apply_changes, seen = EmbeddedIndex.apply_changes, []

        def apply_and_look(self: EmbeddedIndex, changes: Sequence[ItemChange]) -> None:
            apply_changes(self, changes)
            with open_search_index(folder) as newcomer:
                seen.extend([last_ids(reader), last_ids(newcomer)])

        monkeypatch.setattr(EmbeddedIndex, "apply_changes", apply_and_look)
        index.add(contents("new"))
        # A newcomer that comes when both sides have the change may see it at once.
        assert seen[:3] == [before] * 3
        assert seen[3] in (before, ("new", "new#0"))
        assert last_ids(reader) == ("new", "new#0")


def test_a_damaged_record_hides_nothing(folder: Path) -> None:
    with open_search_index(folder) as index, open_search_index(folder) as reader:
        index.add(contents("new"))
        (folder / "pending.json").write_text("{", encoding="utf-8")
        assert last_ids(reader) == ("new", "new#0")
