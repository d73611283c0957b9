"""What lies in an index folder, and what happens when saving or opening goes wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    NewerFormatError,
    StorageError,
)
from modalhash.files import sha256_of_file, write_array, write_json
from modalhash.index import HashIndex, build_index, folder, open_index, verify_index
from modalhash.index.exact import ExactIndex
from modalhash.index.folder import checksum, newest_generation, read_manifest


def index_of(n: int) -> HashIndex:
    codes = np.arange(n, dtype=np.uint8).reshape(n, 1)
    return build_index(
        [f"item {row}" for row in range(n)], codes, 8, kind="exact", model_fingerprint="abc"
    )


def rewrite_manifest(place: Path, **changes: Any) -> None:
    """Change a manifest and give it the checksum of what it says now."""
    document = json.loads((place / "manifest.json").read_text()) | changes
    del document["checksum"]
    write_json(place / "manifest.json", document | {"checksum": checksum(document)})


def test_the_manifest_says_what_the_folder_holds(tmp_path: Path) -> None:
    index_of(3).save(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert {name: document[name] for name in document if name not in ("files", "checksum")} == {
        "format": 1,
        "artifact": "modalhash index",
        "modalhash": document["modalhash"],
        "bit_order": "little",
        "kind": "exact",
        "generation": 1,
        "n_bits": 8,
        "n_items": 3,
        "id_kind": "text",
        "model_fingerprint": "abc",
    }
    assert sorted(document["files"]) == ["codes", "id_ends", "id_text", "items", "numbers"]
    for part, record in document["files"].items():
        assert record["name"] == f"{part}.000001.{'sqlite' if part == 'items' else 'npy'}"
        assert record["n_bytes"] == (tmp_path / record["name"]).stat().st_size
        assert record["sha256"] == sha256_of_file(tmp_path / record["name"])
    assert np.load(tmp_path / "codes.000001.npy").tolist() == [[0], [1], [2]]


def test_each_save_makes_a_generation_and_removes_the_last(tmp_path: Path) -> None:
    for n in (3, 2, 4):
        index_of(n).save(tmp_path)
    assert read_manifest(tmp_path).generation == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "codes.000003.npy",
        "id_ends.000003.npy",
        "id_text.000003.npy",
        "items.000003.sqlite",
        "manifest.json",
        "numbers.000003.npy",
    ]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = ["README.md", "codes.npy", ".hidden", "codes.12.npy"]
    for name in others:
        (tmp_path / name).write_text("mine")
    index_of(2).save(tmp_path)
    index_of(3).save(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_leftovers_of_a_killed_save_are_never_overwritten_and_go(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    leftovers = ["codes.000007.npy", ".items.000007.sqlite.ab1_c.part", ".manifest.json.x.part"]
    for name in leftovers:
        (tmp_path / name).write_text("half")
    assert newest_generation(tmp_path) == 7
    index_of(3).save(tmp_path)
    assert read_manifest(tmp_path).generation == 8
    assert not any((tmp_path / name).exists() for name in leftovers)
    assert len(open_index(tmp_path)) == 3


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"format": 1, "encoder": "clip"})
    message = (
        f"folder {tmp_path} holds something else: its manifest.json isn't that of an index; "
        "choose another folder"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        index_of(2).save(tmp_path)
    message = f"{tmp_path} is no index folder: its manifest.json is of another sort"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file")
    with pytest.raises(StorageError, match=re.escape(f"can't write {tmp_path / 'index'}")):
        index_of(2).save(tmp_path / "index")


def test_no_folder_is_no_index(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    message = f"{missing} is no index folder: it has no manifest.json"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(missing)


@pytest.mark.parametrize("n_calls", range(5))
def test_a_full_disk_at_any_file_keeps_the_old_state(
    n_calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 arrays, then the manifest."""
    index_of(2).save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    count = 0

    def failing(write: Callable[[Path, Any], None]) -> Callable[[Path, Any], None]:
        def run(path: Path, content: Any) -> None:
            nonlocal count
            count += 1
            if count > n_calls:
                raise StorageError(f"can't write {path}: No space left on device")
            write(path, content)

        return run

    monkeypatch.setattr(folder, "write_array", failing(write_array))
    monkeypatch.setattr(folder, "write_json", failing(write_json))
    with pytest.raises(StorageError, match=re.escape("No space left on device")):
        index_of(3).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    index_of(3).save(tmp_path)
    assert len(open_index(tmp_path)) == 3


def test_a_first_save_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: Any) -> None:
        raise StorageError(f"can't write {path}: No space left on device")

    monkeypatch.setattr(folder, "write_json", full)
    with pytest.raises(StorageError, match=re.escape("No space left on device")):
        index_of(3).save(tmp_path / "index")
    assert not list((tmp_path / "index").iterdir())


def test_a_save_over_a_damaged_index_mends_it(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    index_of(3).save(tmp_path)
    assert len(open_index(tmp_path)) == 3


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, format=2, modalhash="9.9")
    message = (
        f"{tmp_path / 'manifest.json'} has format 2 (written by modalhash 9.9); this version "
        "reads index formats up to 1: upgrade modalhash"
    )
    with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"abc"', '"abd"'))
    message = f"{path} is damaged: it was changed; make the index again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_a_folder_is_opened_by_its_own_kind_only(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, kind="flat")
    message = f"{tmp_path} holds an index of kind 'flat', not 'exact': open it with open_index"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        ExactIndex.open(tmp_path)


@pytest.mark.parametrize("changes", [{"n_items": 5}, {"n_bits": 16}])
def test_arrays_of_other_shapes_than_stated_are_refused(
    changes: dict[str, int], tmp_path: Path
) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, **changes)
    with pytest.raises(DamagedArtifactError, match=re.escape("don't have the stated shapes")):
        open_index(tmp_path)


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    del files["codes"]
    rewrite_manifest(tmp_path, files=files)
    with pytest.raises(DamagedArtifactError, match=re.escape("it lists no codes")):
        open_index(tmp_path)


def test_large_files_are_read_by_verify_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_of(50).save(tmp_path)
    path = tmp_path / "codes.000001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    verify_index(tmp_path)
    path.write_bytes(content)
    monkeypatch.setattr(folder, "VERIFIED_BYTES", len(content) - 1)
    open_index(tmp_path)
    message = f"{path} is damaged: its content doesn't match its checksum; make the index again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        verify_index(tmp_path)
    path.write_bytes(content[:-1])  # the size is always compared
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: it has 177")):
        open_index(tmp_path)


def test_opened_arrays_are_mapped(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    index = ExactIndex.open(tmp_path)
    assert not index._rows.codes.flags.owndata
    assert not index._rows.codes.flags.writeable


def test_opening_during_a_save_finds_the_new_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first manifest read is that of a generation which is then removed."""
    index_of(2).save(tmp_path)
    is_first = True

    def read_then_save(place: Path) -> folder.Manifest:
        nonlocal is_first
        manifest = read_manifest(place)
        if is_first:
            is_first = False
            index_of(3).save(place)
        return manifest

    monkeypatch.setattr("modalhash.index.embedded.read_manifest", read_then_save)
    assert len(ExactIndex.open(tmp_path)) == 3
