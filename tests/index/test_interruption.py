"""Filters that stop when nobody waits for them, and lookups that don't wait for filters."""

import json
import re
import threading
import time
from pathlib import Path

import pytest

from modalhash.errors import SearchStoppedError
from modalhash.index.filter_tree import Leaf, leaves
from modalhash.index.filters import parse_filter
from modalhash.index.interruption import check_interruption, interrupt_when
from modalhash.index.items import ItemStore, write_items

ROWS = 60_000


def leaf(text: str) -> Leaf:
    return next(leaves(parse_filter(text)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of items whose filters take some time."""
    path = tmp_path_factory.mktemp("items") / "items.sqlite"
    document = json.dumps({"words": ["word"] * 40, "year": 2020})
    write_items(path, ((row, f"item-{row}", document) for row in range(ROWS)))
    return path


def test_a_filter_stops_when_its_time_is_over(saved: Path) -> None:
    store = ItemStore.open(saved)
    end = time.monotonic() + 0.02
    tests = [leaf(f'"none-{number}" in words') for number in range(100)]
    with (
        interrupt_when(lambda: time.monotonic() > end),
        pytest.raises(SearchStoppedError, match=re.escape("the search took too long")),
    ):
        _ = [store.matching(test, 0, ROWS) for test in tests]
    assert time.monotonic() - end < 2
    assert store.matching(leaf("year == 2020"), 0, ROWS).tolist() == list(range(ROWS))
    store.close()


def test_work_without_a_condition_is_never_stopped() -> None:
    check_interruption()
    with interrupt_when(lambda: False):
        check_interruption()


def test_metadata_is_looked_up_while_a_filter_reads_every_row(saved: Path) -> None:
    store = ItemStore.open(saved)
    is_over, waits = threading.Event(), []

    def test_rows() -> None:
        try:
            with interrupt_when(is_over.is_set):
                for number in range(1000):
                    store.matching(leaf(f'"none-{number}" in words'), 0, ROWS)
        except SearchStoppedError:
            pass

    filtering = threading.Thread(target=test_rows)
    filtering.start()
    time.sleep(0.05)
    for row in range(5):
        began = time.monotonic()
        assert store.metadata([row])[0]["year"] == 2020
        waits.append(time.monotonic() - began)
    assert filtering.is_alive(), "the filter was over before anything was looked up"
    is_over.set()
    filtering.join(10)
    assert not filtering.is_alive()
    assert sorted(waits)[2] < 0.2
    store.close()
