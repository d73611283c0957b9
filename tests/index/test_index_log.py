"""The write log: what is cut off, what is damage, and a full disk."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.files import write_json
from modalhash.index import build_index, open_index, verify_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.item_changes import Operation
from modalhash.index.log import HEADER_BYTES, Change, decode_change, encode_change

WAY_OUT = "keep what is whole with `modalhash repair`, or make the index again"

CODES = np.arange(10, dtype=np.uint8).reshape(10, 1)


def changed_index(folder: Path) -> list[int]:
    """Make an index with four changes in its log, and return where each ends."""
    build_index(["a", "b"], CODES[:2], 8, metadata=[{"n": 0}, {}]).save(folder)
    log, ends = folder / "log.000001", []
    with open_index(folder) as index:
        for change in (
            lambda: index.add(["c", "d"], CODES[2:4], [{"n": 2}, {}]),
            lambda: index.upsert(["a", "e"], CODES[4:6]),
            lambda: index.delete(["b"]),
            lambda: index.add(["ü"], CODES[6:7], [{"n": "犬"}]),
        ):
            change()
            ends.append(log.stat().st_size)
    return ends


STATES = [["a", "b"], ["a", "b", "c", "d"], ["b", "c", "d", "a", "e"], ["c", "d", "a", "e"]]
STATES.append([*STATES[-1], "ü"])


def test_a_record_is_what_the_formats_page_says() -> None:
    change = Change(7, Operation.UPSERT, ["é", "b"], CODES[:2], [None, '{"a":1}'])
    record = encode_change(change)
    body = '{"op":"upsert","ids":["é","b"],"metadata":[null,"{\\"a\\":1}"]}'.encode()
    body = len(body).to_bytes(4, "little") + body + b"\x00\x01"
    assert record[:16] == b"mhrc" + len(body).to_bytes(4, "little") + (7).to_bytes(8, "little")
    assert record[20:-4] == body
    decoded = decode_change(b"x" + record, 1, 8)
    assert decoded is not None
    again, end = decoded
    assert end == 1 + len(record)
    assert (again.version, again.operation, again.ids, again.documents) == (
        7,
        Operation.UPSERT,
        ["é", "b"],
        [None, '{"a":1}'],
    )
    np.testing.assert_array_equal(again.codes, CODES[:2])


def test_cut_off_anywhere_the_log_holds_the_changes_before(tmp_path: Path) -> None:
    """Every length from the header to the end, and the next writer goes on from there."""
    ends = [HEADER_BYTES, *changed_index(tmp_path)]
    log = tmp_path / "log.000001"
    whole = log.read_bytes()
    assert len(whole) == ends[-1]
    for length in range(HEADER_BYTES, len(whole) + 1):
        log.write_bytes(whole[:length])
        n_changes = sum(end <= length for end in ends) - 1
        with open_index(tmp_path) as index:
            assert index.ids.tolist() == STATES[n_changes]
            assert index.version == 1 + n_changes
            if length % 7 == 0:
                index.add(["new"], CODES[9:])
                with open_index(tmp_path) as again:
                    assert again.ids.tolist() == [*STATES[n_changes], "new"]


def test_zeros_after_the_last_record_are_passed_over(tmp_path: Path) -> None:
    """As a file system may leave them behind when the power goes."""
    changed_index(tmp_path)
    with (tmp_path / "log.000001").open("ab") as file:
        file.write(bytes(5000))
    with open_index(tmp_path) as index:
        assert index.ids.tolist() == STATES[-1]


def test_damage_before_the_last_record_is_said(tmp_path: Path) -> None:
    ends = [HEADER_BYTES, *changed_index(tmp_path)]
    log = tmp_path / "log.000001"
    whole = log.read_bytes()
    verify_index(tmp_path)
    for place in range(HEADER_BYTES, ends[-2]):
        content = bytearray(whole)
        content[place] ^= 4
        log.write_bytes(content)
        start = max(end for end in ends if end <= place)
        message = (
            f"{log} is damaged at byte {start}, before its last record: what follows was "
            "acknowledged and can't be told; restore the file from a copy, or keep what is "
            "whole with `modalhash repair`"
        )
        with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
            open_index(tmp_path)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{log} is damaged at byte")):
        verify_index(tmp_path)


def test_a_log_of_another_index_is_refused(tmp_path: Path) -> None:
    changed_index(tmp_path / "one")
    changed_index(tmp_path / "other")
    log = tmp_path / "one" / "log.000001"
    log.write_bytes((tmp_path / "other" / "log.000001").read_bytes())
    message = f"{log} is damaged: it doesn't begin as this index's log; {WAY_OUT}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path / "one")


def test_a_record_left_out_is_noticed(tmp_path: Path) -> None:
    ends = changed_index(tmp_path)
    log = tmp_path / "log.000001"
    whole = log.read_bytes()
    log.write_bytes(whole[: ends[0]] + whole[ends[1] :])
    message = f"{log} is damaged: change 4 follows 2; {WAY_OUT}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    changed_index(tmp_path)
    (tmp_path / "log.000001").unlink()
    message = f"{tmp_path / 'log.000001'} is missing; {WAY_OUT}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


# --- a full disk -------------------------------------------------------------------------------


def full_after(n_bytes: int) -> Callable[[int, Any], int]:
    """Return a `write` of a disk that takes so many bytes more."""
    write, left = os.write, n_bytes

    def limited(file: int, content: Any) -> int:
        nonlocal left
        part = bytes(content)[:left]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= len(part)
        return write(file, part)

    return limited


@pytest.mark.parametrize("n_bytes", [0, 1, 20, 100, 131])
def test_a_full_disk_refuses_the_change_and_keeps_the_rest(
    n_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_index(tmp_path)
    log = tmp_path / "log.000001"
    before = log.read_bytes()
    with EmbeddedIndex.open(tmp_path) as index:
        index._for_writing()
        monkeypatch.setattr(os, "write", full_after(n_bytes))
        message = f"can't write {log}: No space left on device; nothing was changed: free some "
        for change in (
            lambda: index.add(["x", "y"], CODES[7:9], [{"n": "x" * 50}, {}]),
            lambda: index.upsert(["c", "y"], CODES[7:9], [{"n": "x" * 50}, {}]),
            lambda: index.delete(["c", "d", "a", "e", "ü"] * 20),
        ):
            with pytest.raises(StorageError, match=re.escape(message)):
                change()
            assert index.ids.tolist() == STATES[-1]
            assert index.metadata(["c", "d"]) == [{"n": 2}, {}]
            assert log.read_bytes() == before
        monkeypatch.undo()
        index.add(["x"], CODES[7:8])
        assert index.metadata(["x"]) == [{}]
    with open_index(tmp_path) as again:
        assert again.ids.tolist() == [*STATES[-1], "x"]


def test_a_log_that_cannot_be_mended_takes_no_more_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_index(tmp_path)
    with EmbeddedIndex.open(tmp_path) as index:
        index._for_writing()

        def failing(*arguments: Any) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "ftruncate", failing)
        monkeypatch.setattr(os, "write", full_after(30))
        with pytest.raises(StorageError, match=re.escape("No space left on device")):
            index.delete(["c"])
        monkeypatch.undo()
        message = (
            f"{tmp_path / 'log.000001'} couldn't be mended after a failed write: close the index "
            "and open it again; what was acknowledged is kept"
        )
        with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
            index.delete(["c"])
        assert index.ids.tolist() == STATES[-1]
    with open_index(tmp_path) as again:
        again.delete(["c"])
        assert again.ids.tolist() == STATES[-1][1:]


def test_a_checkpoint_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changed_index(tmp_path)
    monkeypatch.setattr("modalhash.index.writing.CHECKPOINT_ROWS", 1)

    def full(*arguments: Any) -> None:
        raise StorageError("can't write: No space left on device")

    monkeypatch.setattr("modalhash.index.segments.write_items", full)
    with open_index(tmp_path) as index:
        index.add(["x"], CODES[7:8])
        assert "the change is kept, but no checkpoint could be made" in caplog.text
        with pytest.raises(StorageError, match=re.escape("No space left")):
            index.checkpoint()
        assert index.ids.tolist() == [*STATES[-1], "x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000001",
        "log.000001",
        "manifest.json",
        "writer.lock",
    ]
    monkeypatch.undo()
    with open_index(tmp_path) as again:
        again.checkpoint()
        assert again.ids.tolist() == [*STATES[-1], "x"]


def test_a_manifest_that_may_or_may_not_be_there_stops_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed, then the folder can't be flushed: the log on disk is another than the one open."""
    changed_index(tmp_path)

    def unsure(folder: Path, document: Any) -> None:
        write(folder, document)
        raise StorageError("can't write: Input/output error")

    write = write_json
    monkeypatch.setattr("modalhash.index.folder.write_json", unsure)
    with open_index(tmp_path) as index:
        with pytest.raises(StorageError, match=re.escape("Input/output error")):
            index.checkpoint()
        with pytest.raises(StorageError, match=re.escape("close the index and open it again")):
            index.delete(["c"])
        assert index.ids.tolist() == STATES[-1]
    monkeypatch.undo()
    with open_index(tmp_path) as again:
        assert again.ids.tolist() == STATES[-1]
