"""Metadata in SQLite."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.index.filter_tree import Compare
from modalhash.index.items import ItemStore, write_items

ROWS = [(0, "a", '{"year": 2019}'), (2, "c", '{"year": 2021}')]


def filled_store() -> ItemStore:
    store = ItemStore.empty()
    store.append(ROWS)
    return store


def test_metadata_is_found_by_row() -> None:
    assert filled_store().metadata([2, 1, 0]) == [{"year": 2021}, {}, {"year": 2019}]


def test_rows_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalhash.index.items.BLOCK", 2)
    store, rows = ItemStore.empty(), [(row, f"{row}", "{}") for row in range(7)]
    store.append(rows)
    for end in (0, 1, 4, 7, 9):
        assert list(store.rows(0, end)) == rows[:end]
    assert list(store.rows(2, 5)) == rows[2:5]


def test_what_is_taken_back_is_gone() -> None:
    store = filled_store()
    store.take_back(1)
    assert store.metadata([0, 2]) == [{"year": 2019}, {}]
    store.append([(2, "d", '{"year": 1}')])
    assert store.metadata([2]) == [{"year": 1}]


def test_the_saved_file_is_plain_sqlite_with_json(tmp_path: Path) -> None:
    """Any program can read and filter it."""
    write_items(tmp_path / "items.sqlite", ROWS)
    connection = sqlite3.connect(tmp_path / "items.sqlite")
    query = "SELECT id FROM items WHERE json_extract(metadata, '$.year') >= 2020"
    assert connection.execute(query).fetchall() == [("c",)]
    assert json.loads(connection.execute("SELECT metadata FROM items").fetchone()[0])
    connection.close()


def test_a_saved_file_may_be_read_only(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    write_items(path, ROWS)
    path.chmod(0o444)
    store = ItemStore.open(path)
    assert store.matching(Compare(("year",), ">", 2019), 0, 5).tolist() == [2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["items.sqlite"]


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_database_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: ")):
        ItemStore.open(path)


def test_damage_found_while_reading_is_named(tmp_path: Path) -> None:
    """Large files aren't read when opened, so damage may show late."""
    path = tmp_path / "items.sqlite"
    write_items(path, [(row, row, json.dumps({"text": "x" * 50})) for row in range(5000)])
    content = bytearray(path.read_bytes())
    content[20_000:] = bytes(len(content) - 20_000)
    path.write_bytes(content)
    opened = ItemStore.open(path)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: ")):
        opened.metadata(range(5000))


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "items.sqlite"
    with pytest.raises(StorageError, match=re.escape(f"can't write {path}: ")):
        write_items(path, ROWS)


def test_closing_twice_is_no_error() -> None:
    store = filled_store()
    store.close()
    store.close()
