"""Ids and metadata in SQLite."""

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from modalhash.errors import DamagedArtifactError, InputError, StorageError
from modalhash.index.ids import IntegerIds, TextIds
from modalhash.index.items import ItemStore


def filled_store() -> ItemStore:
    store = ItemStore.empty()
    store.add(0, TextIds.of(["a", "b", "c"]), [{"year": 2019}, {}, {"year": 2021}])
    return store


def test_items_are_found_by_id() -> None:
    store = filled_store()
    assert store.numbers(["c", "x", "a"]) == [2, None, 0]
    assert store.metadata(["c", "x", "b"]) == [{"year": 2021}, None, {}]


def test_integers_and_texts_of_the_same_digits_differ() -> None:
    store = ItemStore.empty()
    store.add(0, TextIds.of(["1"]), None)
    assert store.numbers(["1", 1]) == [0, None]


def test_a_refused_add_is_taken_back() -> None:
    store = filled_store()
    with pytest.raises(InputError, match=re.escape("the index already has 'b'")):
        store.add(3, TextIds.of(["d", "b"]), None)
    assert store.numbers(["d"]) == [None]
    store.add(3, TextIds.of(["d"]), None)
    assert store.numbers(["d"]) == [3]


def test_the_saved_file_is_plain_sqlite_with_json(tmp_path: Path) -> None:
    """Any program can read and filter it."""
    filled_store().write(tmp_path / "items.sqlite")
    connection = sqlite3.connect(tmp_path / "items.sqlite")
    query = "SELECT id FROM items WHERE json_extract(metadata, '$.year') >= 2020"
    assert connection.execute(query).fetchall() == [("c",)]
    assert json.loads(connection.execute("SELECT metadata FROM items").fetchone()[0])
    connection.close()


def test_an_opened_file_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    filled_store().write(path)
    before = path.read_bytes()
    path.chmod(0o444)
    store = ItemStore.open(path)
    store.delete([1])
    store.add(3, TextIds.of(["d"]), [{"year": 1}])
    assert store.numbers(["a", "b", "c", "d"]) == [0, None, 2, 3]
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["items.sqlite"]
    store.write(tmp_path / "next.sqlite")
    assert ItemStore.open(tmp_path / "next.sqlite").metadata(["d"]) == [{"year": 1}]


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_database_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: ")):
        ItemStore.open(path)


def test_damage_found_while_reading_is_named(tmp_path: Path) -> None:
    """Large files aren't read when opened, so damage may show late."""
    path = tmp_path / "items.sqlite"
    store = ItemStore.empty()
    store.add(0, IntegerIds(np.arange(5000)), [{"text": "x" * 50}] * 5000)
    store.write(path)
    content = bytearray(path.read_bytes())
    content[20_000:] = bytes(len(content) - 20_000)
    path.write_bytes(content)
    opened = ItemStore.open(path)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: ")):
        opened.metadata(range(5000))


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "items.sqlite"
    with pytest.raises(StorageError, match=re.escape(f"can't write {path}: ")):
        filled_store().write(path)


def test_closing_twice_is_no_error() -> None:
    store = filled_store()
    store.close()
    store.close()
