"""Watchers of long jobs: what they write, and where the verbs show progress by themselves."""

import inspect
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import modalhash as mh
from modalhash import progress as progress_file
from modalhash.options import RunOptions
from modalhash.progress import automatic, line_watcher, rewriting_watcher, silent


def clock_of(*times: float) -> Callable[[], float]:
    iterator: Iterator[float] = iter(times)
    return lambda: next(iterator)


def test_a_line_is_written_over() -> None:
    written: list[str] = []
    watch = rewriting_watcher(clock_of(0, 0.1, 10, 20), write=written.append)
    for done in (0, 1, 50, 100):
        watch("encode pictures", done, 100, {"loss": 0.25})
    first, half, whole = "".join(written).split("\r")[1:]
    assert first.rstrip() == "encode pictures      .................... 0/100  loss 0.25"
    assert (
        half.rstrip() == "encode pictures      ##########.......... 50/100 0:10 min left loss 0.25"
    )
    assert whole.rstrip() == (
        "encode pictures      #################### 100/100 0:20 min in all loss 0.25"
    )
    assert whole.endswith("\n")
    assert {len(line.rstrip("\n")) for line in (first, half, whole)} == {79}


def test_time_left_counts_only_what_was_done_since_the_first_report() -> None:
    """60 of 200 were done before; 20 more in 10 seconds leave 120, at 2 a second."""
    rewritten: list[str] = []
    lines: list[str] = []
    for watch in (
        rewriting_watcher(clock_of(0, 10), write=rewritten.append),
        line_watcher(clock_of(0, 10), write=lines.append),
    ):
        watch("train", 60, 200)
        watch("train", 80, 200)
    first, second = "".join(rewritten).split("\r")[1:]
    assert "left" not in first
    assert "80/200 1:00 min left" in second
    assert lines == ["train: 60 of 200", "train: 80 of 200, 1:00 min left"]


def test_stages_have_a_line_each_and_may_come_again() -> None:
    written: list[str] = []
    watch = rewriting_watcher(clock_of(*range(9)), write=written.append)
    watch("one", 1, 2)
    watch("two", 2, 2)
    watch("two", 2, 2)  # nothing more to show
    watch("two", 0, 2)
    watch("two", 2, 2)
    lines = "".join(written).split("\n")
    assert [line.split("\r")[-1].split()[0] for line in lines[:3]] == ["one", "two", "two"]
    assert lines[3:] == [""]


def test_a_short_job_writes_no_lines_where_it_is_not_wanted() -> None:
    lines: list[str] = []
    watch = line_watcher(clock_of(0, 1, 4.9, 5, 7, 10, 20), write=lines.append, first_after=5)
    watch("short", 0, 2)
    watch("short", 2, 2)
    watch("long", 0, 100)
    for done in (1, 10, 60, 100):
        watch("long", done, 100)
    assert lines == ["long: 60 of 100, 0:03 min left", "long: 100 done"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the two watchers `automatic` chose."""
    chosen: list[str] = []
    for name in ("REWRITING", "LINES"):
        monkeypatch.setattr(progress_file, name, lambda *_, name=name: chosen.append(name))
    monkeypatch.delenv("MODALHASH_PROGRESS", raising=False)
    return chosen


def test_a_terminal_and_a_notebook_show_a_line_that_is_written_over(
    shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    automatic("train", 0, 1)
    assert shown.pop() == "LINES"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    automatic("train", 0, 1)
    assert shown.pop() == "REWRITING"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    automatic("train", 0, 1)
    assert shown.pop() == "REWRITING"


def test_progress_is_turned_off(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODALHASH_PROGRESS", "0")
    automatic("train", 0, 1)
    monkeypatch.delenv("MODALHASH_PROGRESS")
    monkeypatch.setattr(progress_file, "is_worker", lambda: True)
    automatic("train", 0, 1)
    silent("train", 0, 1)
    assert shown == []


def test_without_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    progress_file.write_line("text")
    automatic("a stage that is new", 0, 1)


def test_verbs_show_progress_unless_told_not_to() -> None:
    verbs: list[Any] = [
        mh.load_collection, mh.encode, mh.build_index, mh.add_to_index, mh.find, mh.sync,
        mh.open_folder_index, mh.calibrate, mh.encode_shards, mh.rerank_sweep,
    ]  # fmt: skip
    for verb in verbs:
        assert inspect.signature(verb).parameters["progress"].default is automatic, verb
    assert RunOptions.progress is automatic
