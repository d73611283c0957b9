"""What lies in an index folder, and what happens when saving or opening goes wrong."""

import json
import re
from collections.abc import Callable
from importlib import import_module
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
from modalhash.files import sealed, sha256_of_file, write_json
from modalhash.index import build_index, folder, open_index, verify_index
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.folder import newest_generation
from modalhash.index.manifest import Manifest, read_manifest

WAY_OUT = "keep what is whole with `modalhash repair`, or make the index again"


def index_of(n: int) -> EmbeddedIndex:
    codes = np.arange(n, dtype=np.uint8).reshape(n, 1)
    return EmbeddedIndex.build(
        [f"item {row}" for row in range(n)], codes, 8, kind="exact", model_fingerprint="abc"
    )


def rewrite_manifest(place: Path, **changes: Any) -> None:
    """Change a manifest and give it the checksum of what it says now."""
    document = json.loads((place / "manifest.json").read_text()) | changes
    write_json(place / "manifest.json", sealed(document))


def files_of(place: Path) -> dict[str, bytes]:
    """Return the content of all files but the lock's."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != "writer.lock"
    }


def test_the_manifest_says_what_the_folder_holds(tmp_path: Path) -> None:
    index_of(3).save(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert {
        name: document[name] for name in document if name not in ("segments", "checksum", "uid")
    } == {
        "format": 2,
        "artifact": "modalhash index",
        "modalhash": document["modalhash"],
        "bit_order": "little",
        "kind": "exact",
        "parameters": {},
        "generation": 1,
        "version": 1,
        "n_bits": 8,
        "n_items": 3,
        "id_kind": "text",
        "model_fingerprint": "abc",
        "dead": None,
        "log": "log.000001",
    }
    (segment,) = document["segments"]
    assert (segment["name"], segment["n_rows"], segment["n_dead"]) == ("000001", 3, 0)
    assert sorted(record["name"] for record in segment["files"]) == [
        "codes.npy",
        "id_ends.npy",
        "id_keys.npy",
        "id_order.npy",
        "id_text.npy",
        "items.sqlite",
    ]
    for record in segment["files"]:
        path = tmp_path / "000001" / record["name"]
        assert record["n_bytes"] == path.stat().st_size
        assert record["sha256"] == sha256_of_file(path)
    assert np.load(tmp_path / "000001" / "codes.npy").tolist() == [[0], [1], [2]]


def test_each_save_makes_a_generation_and_removes_the_last(tmp_path: Path) -> None:
    for n in (3, 2, 4):
        index_of(n).save(tmp_path)
    assert read_manifest(tmp_path).generation == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000003",
        "log.000003",
        "manifest.json",
        "writer.lock",
    ]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = ["README.md", "codes.npy", ".hidden", "dead.12.npy", "123"]
    for name in others:
        (tmp_path / name).write_text("mine")
    index_of(2).save(tmp_path)
    index_of(3).save(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_leftovers_of_a_killed_save_are_never_overwritten_and_go(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    leftovers = ["dead.000007.npy", ".log.000007.ab1_c.part", ".manifest.json.x.part"]
    for name in leftovers:
        (tmp_path / name).write_text("half")
    (tmp_path / "000006").mkdir()
    assert newest_generation(tmp_path) == 7
    index_of(3).save(tmp_path)
    assert read_manifest(tmp_path).generation == 8
    assert not any((tmp_path / name).exists() for name in [*leftovers, "000006"])
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
    message = f"there is no folder {missing}: check the path"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(missing)


@pytest.mark.parametrize("n_calls", range(8))
def test_a_full_disk_at_any_file_keeps_the_old_state(
    n_calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes, 4 arrays of ids, the database, the log, the manifest."""
    index_of(2).save(tmp_path)
    before, calls = files_of(tmp_path), 0

    def failing(write: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > n_calls:
                raise StorageError("No space left on device")
            return write(*arguments)

        return run

    for module, name in (
        ("segments", "write_codes"),
        ("segments", "write_array"),
        ("segments", "write_items"),
        ("log", "write_bytes"),
        ("folder", "write_json"),
    ):
        place = import_module(f"modalhash.index.{module}")
        monkeypatch.setattr(place, name, failing(getattr(place, name)))
    with pytest.raises(StorageError, match=re.escape("No space left on device")):
        index_of(3).save(tmp_path)
    assert calls == n_calls + 1
    assert files_of(tmp_path) == before
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
    assert not files_of(tmp_path)


def test_a_save_over_a_damaged_index_mends_it(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    index_of(3).save(tmp_path)
    assert len(open_index(tmp_path)) == 3


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, format=3, modalhash="9.9")
    message = (
        f"{tmp_path / 'manifest.json'} has format 3 (written by modalhash 9.9); this version "
        "reads index formats up to 2: upgrade modalhash"
    )
    with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_the_first_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, format=1, modalhash="0.1")
    message = (
        f"{tmp_path / 'manifest.json'} has format 1 (written by modalhash 0.1), which this version "
        "no longer reads: make the index again, from the collection or from the codes and ids "
        "that lie in the folder"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"abc"', '"abd"'))
    message = f"{path} is damaged: it was changed; make the index again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


def test_arrays_of_other_shapes_than_stated_are_refused(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, n_bits=16)
    with pytest.raises(DamagedArtifactError, match=re.escape("don't have the stated shapes")):
        open_index(tmp_path)


def test_another_number_of_items_than_stated_is_refused(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, n_items=5)
    message = f"{tmp_path} is damaged: its segments hold 2 items, its manifest states 5"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_index(tmp_path)


@pytest.mark.parametrize("part", ["codes.npy", "id_text.npy", "items.sqlite"])
def test_a_part_that_is_not_listed_is_noticed(part: str, tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    segments = json.loads((tmp_path / "manifest.json").read_text())["segments"]
    segments[0]["files"] = [one for one in segments[0]["files"] if one["name"] != part]
    rewrite_manifest(tmp_path, segments=segments)
    with pytest.raises(DamagedArtifactError, match=re.escape(f"its manifest lists no {part}")):
        open_index(tmp_path)


def test_a_manifest_of_another_sort_is_named(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    rewrite_manifest(tmp_path, segments=[{"name": "000001"}])
    with pytest.raises(DamagedArtifactError, match=re.escape("manifest.json is damaged: 'files'")):
        open_index(tmp_path)


def test_large_files_are_read_by_verify_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_of(50).save(tmp_path)
    path = tmp_path / "000001" / "codes.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    verify_index(tmp_path)
    path.write_bytes(content)
    monkeypatch.setattr(folder, "VERIFIED_BYTES", len(content) - 1)
    open_index(tmp_path)
    message = f"{path} is damaged: its content doesn't match its checksum; {WAY_OUT}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        verify_index(tmp_path)
    path.write_bytes(content[:-1])  # the size is always compared
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged: it has 177")):
        open_index(tmp_path)


def test_opened_arrays_are_mapped(tmp_path: Path) -> None:
    index_of(2).save(tmp_path)
    codes = EmbeddedIndex.open(tmp_path)._state.views[0].codes
    assert not codes.flags.owndata
    assert not codes.flags.writeable


def test_opening_during_a_save_finds_the_new_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first manifest read is that of a generation which is then removed."""
    index_of(2).save(tmp_path)
    is_first = True

    def read_then_save(place: Path) -> Manifest:
        nonlocal is_first
        manifest = read_manifest(place)
        if is_first:
            is_first = False
            index_of(3).save(place)
        return manifest

    monkeypatch.setattr("modalhash.index.embedded.read_manifest", read_then_save)
    assert len(open_index(tmp_path)) == 3


def test_an_index_may_be_built_in_its_folder(tmp_path: Path) -> None:
    codes = np.arange(5, dtype=np.uint8).reshape(5, 1)
    index = build_index(range(5), codes, 8, metadata=[{"n": 1}] * 5, folder=tmp_path)
    assert index.folder == tmp_path
    index.delete([3])
    with open_index(tmp_path) as again:
        assert again.ids.tolist() == [0, 1, 2, 4]
        assert again.metadata([4]) == [{"n": 1}]
