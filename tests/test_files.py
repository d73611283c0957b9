import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from modalhash.errors import DamagedArtifactError, NewerFormatError, StorageError
from modalhash.files import (
    check_writable,
    create_part_folder,
    peek_json,
    read_json,
    report_damage,
    sha256_of_file,
    write_array,
    write_bytes,
    write_json,
    write_text,
    write_with,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half(file: IO[bytes]) -> None:
        file.write(b"half of the ne")
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write_with(path, half)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = (
        f"can't write {path}: No space left on device; free some space or choose another folder, "
        "then run the same command again: what was finished is kept"
    )
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    for array in (np.arange(6, dtype=np.uint8).reshape(2, 3), np.asfortranarray(np.eye(3))):
        write_array(tmp_path / "x.npy", array)
        read = np.load(tmp_path / "x.npy", allow_pickle=False)
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "x.npy", np.array([{}], dtype=object))
    assert names(tmp_path) == []


def test_json_keeps_order_and_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"format": 1, "z": "ü", "a": [1, 2]})
    text = (tmp_path / "a" / "x.json").read_text("utf-8")
    assert list(json.loads(text)) == ["format", "z", "a"]
    assert "ü" in text
    assert read_json(tmp_path / "a" / "x.json", kind="thing", newest_format=1)["a"] == [1, 2]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DamagedArtifactError, "{folder} is no thing folder: it has no x.json"),
        ("[1]", DamagedArtifactError, "{path} is damaged: it states no format number"),
        ("{}", DamagedArtifactError, "{path} is damaged: it states no format number"),
        (
            '{"format": 3, "modalhash": "9.1"}',
            NewerFormatError,
            (
                "{path} has format 3 (written by modalhash 9.1); this version reads thing formats "
                "up to 2: upgrade modalhash"
            ),
        ),
    ],
)
def test_json_of_another_form_is_refused(
    tmp_path: Path, content: str | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    expected = message.format(path=path, folder=tmp_path)
    with pytest.raises(error, match=f"^{re.escape(expected)}$"):
        read_json(path, kind="thing", newest_format=2)


def test_broken_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"format": ')
    with pytest.raises(
        DamagedArtifactError, match=f"^{re.escape(str(path))} is damaged: not valid"
    ):
        read_json(path, kind="thing", newest_format=1)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"a": '])
def test_a_peek_at_what_is_no_object_finds_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert peek_json(tmp_path / "a.json") is None
    assert peek_json(tmp_path / "missing.json") is None
    assert peek_json(tmp_path) is None


def test_a_peek_takes_any_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 999, "artifact": "b"}')
    assert peek_json(tmp_path / "a.json") == {"format": 999, "artifact": "b"}


def test_checksum_of_abc(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(tmp_path / "x") == expected


def test_checksum_of_a_missing_file(tmp_path: Path) -> None:
    message = f"can't read {tmp_path / 'x'}: No such file or directory"
    with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
        sha256_of_file(tmp_path / "x")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(
    ("mask", "file_mode", "folder_mode"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755)]
)
def test_the_umask_says_who_may_read(
    tmp_path: Path, mask: int, file_mode: int, folder_mode: int
) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "folder" / "file", b"content")
        part = create_part_folder(tmp_path / "index")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == file_mode
    assert stat.S_IMODE(part.stat().st_mode) == folder_mode


def test_a_json_file_larger_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.json"
    write_json(path, {"format": 1})
    monkeypatch.setattr("modalhash.files.LARGEST_JSON", 64)
    assert read_json(path, kind="model", newest_format=1) == {"format": 1}
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(DamagedArtifactError, match="it is larger than 64 bytes"):
        read_json(path, kind="model", newest_format=1)


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("a"), IndexError(), OverflowError()])
def test_odd_values_are_damage_of_their_file(error: Exception) -> None:
    message = "^a.json is damaged: an entry is missing or of another sort .*; encode again$"
    with (
        pytest.raises(DamagedArtifactError, match=message),
        report_damage(Path("a.json"), "encode again"),
    ):
        raise error
    with pytest.raises(StorageError, match="full"), report_damage(Path("a.json"), ""):
        raise StorageError("full")


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_place_for_results_is_checked_without_a_trace(tmp_path: Path, *, is_folder: bool) -> None:
    check_writable(tmp_path / "a.json", is_folder=is_folder)
    check_writable(tmp_path / "new" / "folders" / "a", is_folder=is_folder)
    check_writable(tmp_path, is_folder=True)
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("x")
    for path, reason in (
        (tmp_path / "file" / "a", "Not a directory"),
        (Path("/proc/modalhash/a"), "No such file or directory"),
    ):
        message = f"can't write {path}: {reason}; choose another folder"
        with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
            check_writable(path, is_folder=is_folder)
