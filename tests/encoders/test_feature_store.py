import errno
import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modalhash.encoders import store
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import StoreSpec
from modalhash.encoders.store_writer import StoreWriter
from modalhash.errors import (
    DamagedArtifactError,
    FeatureError,
    InputError,
    ModalhashError,
    NewerFormatError,
    SettingError,
    ShapeError,
    StorageError,
)

N_ROWS, WIDTH, TOKEN_WIDTH = 8, 3, 2
SPEC = StoreSpec("image", {"name": "fake"}, "f" * 64, "float32", WIDTH, TOKEN_WIDTH, N_ROWS, 3)
N_TOKENS = np.array([2, 0, 1, 4, 1, 1, 0, 3])  # of each row; shards are rows 0-2, 3-5, 6-7
POOLED = np.arange(N_ROWS * WIDTH, dtype=np.float32).reshape(N_ROWS, WIDTH)
TOKENS = np.arange(N_TOKENS.sum() * TOKEN_WIDTH, dtype=np.float32).reshape(-1, TOKEN_WIDTH)


def fill(writer: StoreWriter, shards: list[int], content: str = "c" * 64) -> None:
    starts = np.concatenate([[0], np.cumsum(N_TOKENS)])
    for shard in shards:
        rows = writer.spec.rows_of(shard)
        arrays: dict[str, Any] = {}
        if writer.spec.token_width is not None:
            arrays["tokens"] = TOKENS[starts[rows.start] : starts[rows.stop]]
            arrays["token_ends"] = np.cumsum(N_TOKENS[rows.start : rows.stop])
        writer.write(shard, POOLED[rows.start : rows.stop], content=content, stamp="s", **arrays)


def made(folder: Path, spec: StoreSpec = SPEC) -> FeatureStore:
    writer = StoreWriter(folder, spec)
    fill(writer, list(range(spec.n_shards)))
    return writer.finish()


@settings(deadline=None)
@given(st.lists(st.integers(0, N_ROWS - 1), max_size=20))
def test_rows_come_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    table = made(tmp_path_factory.mktemp("store"))
    wanted = np.array(rows, np.int64)
    pooled = table.pooled(wanted)
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, POOLED[wanted])
    tokens, mask = table.tokens(wanted)
    assert tokens.shape == (len(rows), 4, TOKEN_WIDTH)
    assert mask.sum(axis=1).tolist() == N_TOKENS[wanted].tolist()
    starts = np.concatenate([[0], np.cumsum(N_TOKENS)])
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(
            tokens[place, : N_TOKENS[row]], TOKENS[starts[row] : starts[row + 1]]
        )
        assert not tokens[place, N_TOKENS[row] :].any()


def test_a_store_says_its_shape(tmp_path: Path) -> None:
    table = made(tmp_path)
    assert (len(table), table.width, table.token_shape) == (N_ROWS, WIDTH, (4, TOKEN_WIDTH))
    assert FeatureStore(tmp_path).spec == SPEC


def test_half_precision_comes_back_as_single(tmp_path: Path) -> None:
    table = made(tmp_path, replace(SPEC, dtype="float16"))
    pooled = table.pooled(np.arange(N_ROWS))
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, POOLED)  # small integers are exact in float16
    n_bytes = sum(path.stat().st_size - 128 for path in tmp_path.glob("pooled-*.npy"))
    assert n_bytes == N_ROWS * WIDTH * 2


def test_a_store_without_tokens_says_how_to_get_them(tmp_path: Path) -> None:
    table = made(tmp_path, replace(SPEC, token_width=None))
    assert table.token_shape is None
    message = (
        f"the image features of {tmp_path} hold no content tokens: extract them with "
        "`with_tokens=True` and an encoder that has them ('offline' or 'clip')"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        table.tokens(np.array([0]))


@pytest.mark.parametrize("rows", [[8], [-1], [0, 99]])
def test_rows_outside_are_refused(tmp_path: Path, rows: list[int]) -> None:
    message = f"rows reach from {min(rows)} to {max(rows)}, but there are 8, counted from 0"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        made(tmp_path).pooled(np.array(rows))


@pytest.mark.parametrize("rows", [np.array([[0]]), np.array([0.5]), np.array([True])])
def test_rows_that_are_no_numbers_are_refused(tmp_path: Path, rows: NDArray[Any]) -> None:
    message = f"rows has shape {rows.shape} and dtype {rows.dtype}, expected integers"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        made(tmp_path).pooled(rows)


def test_only_some_shards_stay_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OPEN_ARRAYS", 2)
    table = made(tmp_path)
    for _ in range(2):
        np.testing.assert_array_equal(table.pooled(np.arange(N_ROWS)), POOLED)
        assert len(table._open) == 2


def test_an_unfinished_store_cannot_be_read(tmp_path: Path) -> None:
    fill(StoreWriter(tmp_path, SPEC), [0, 2])
    message = (
        f"{tmp_path} is unfinished (2 of 3 shards): run the extraction again, it goes on from there"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path)


def test_a_writer_goes_on_where_another_stopped(tmp_path: Path) -> None:
    first = StoreWriter(tmp_path / "broken", SPEC)
    first.batch_size = 5
    fill(first, [0])
    second = StoreWriter(tmp_path / "broken", SPEC)
    assert second.batch_size == 5
    assert [second.record(shard) is not None for shard in range(3)] == [True, False, False]
    fill(second, [1, 2])
    second.finish()
    whole = StoreWriter(tmp_path / "whole", SPEC)
    whole.batch_size = 5
    fill(whole, [0, 1, 2])
    whole.finish()
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_more_rows_keep_the_full_shards(tmp_path: Path) -> None:
    made(tmp_path)
    longer = StoreWriter(tmp_path, replace(SPEC, n_rows=12))
    assert [longer.record(shard) is not None for shard in range(4)] == [True, True, False, False]
    shorter = StoreWriter(tmp_path, replace(SPEC, n_rows=6))
    assert [shorter.record(shard) is not None for shard in range(2)] == [True, True]
    assert len(shorter.finish()) == 6
    assert len(FeatureStore(tmp_path)) == 6


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "e" * 64}, {"width": 4}, {"dtype": "float16"}, {"token_width": None}],
)
def test_features_of_another_kind_are_not_taken_over(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    made(tmp_path)
    writer = StoreWriter(tmp_path, replace(SPEC, **change))
    assert all(writer.record(shard) is None for shard in range(3))


def test_a_store_that_is_up_to_date_is_not_written_to(tmp_path: Path) -> None:
    made(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.iterdir()]}
    StoreWriter(tmp_path, SPEC).finish()
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.iterdir()]} == before


def test_leftovers_go_when_they_are_old(tmp_path: Path) -> None:
    names = ["pooled-00001-deadbeef.npy", ".pooled-00001-deadbeef.npy.x.part", "notes.txt"]
    for name in [*names, "pooled-00002-deadbeef.npy"]:
        (tmp_path / name).touch()
    for name in names:
        os.utime(tmp_path / name, (0, 0))
    made(tmp_path)
    assert [(tmp_path / name).exists() for name in names] == [False, False, True]
    assert (tmp_path / "pooled-00002-deadbeef.npy").exists()  # perhaps another process's


def first_file(folder: Path, array: str) -> Path:
    return min(folder.glob(f"{array}-00000-*.npy"))


def test_a_missing_or_short_shard_is_refused_by_readers_and_made_again_by_writers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path)
    path = first_file(tmp_path, "tokens")
    n_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    problem = f"{path} has {n_bytes - 1} bytes, expected {n_bytes}"
    message = f"{problem}: extract again to repair it"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path)
    path.unlink()
    message = f"{path} is missing: extract again to repair it"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        writer = StoreWriter(tmp_path, SPEC)
    assert caplog.messages == [f"{path} is missing: making it again"]
    assert [writer.record(shard) is not None for shard in range(3)] == [False, True, True]
    fill(writer, [0])
    np.testing.assert_array_equal(writer.finish().pooled(np.arange(N_ROWS)), POOLED)


def test_verify_finds_a_changed_byte(tmp_path: Path) -> None:
    table = made(tmp_path)
    table.verify()
    path = first_file(tmp_path, "pooled")
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    message = f"{path} is damaged (its checksum differs): delete it and extract again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path).verify()


def test_a_shard_of_another_width_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    path = first_file(tmp_path, "pooled")
    np.save(path, POOLED[:3].T.copy()[:, :3].reshape(9))  # the same number of bytes
    message = f"{path} holds (9,) float32, expected (3, 3) float32: delete it and extract again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        FeatureStore(tmp_path).pooled(np.array([0]))


def test_a_shard_that_is_no_array_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    path = first_file(tmp_path, "pooled")
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(f'{path} is damaged (')}"):
        FeatureStore(tmp_path).pooled(np.array([0]))


def test_a_newer_manifest_is_refused_by_all(tmp_path: Path) -> None:
    made(tmp_path)
    path = tmp_path / "manifest.json"
    document = {**json.loads(path.read_text()), "format": 2, "modalhash": "9.0"}
    path.write_text(json.dumps(document))
    message = (
        f"{path} has format 2 (written by modalhash 9.0); this version reads feature store "
        "formats up to 1: upgrade modalhash"
    )
    for opener in (lambda: FeatureStore(tmp_path), lambda: StoreWriter(tmp_path, SPEC)):
        with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
            opener()


@pytest.mark.parametrize(
    "change",
    [{"width": "wide"}, {"shards": {"7": {}}}, {"shards": 3}, {"dtype": "float8"}],
)
def test_a_damaged_manifest_is_refused_by_readers_and_begun_anew_by_writers(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedArtifactError, match=re.escape(f"{path} is damaged (")):
        FeatureStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        writer = StoreWriter(tmp_path, SPEC)
    assert caplog.messages[0].endswith("beginning it anew")
    fill(writer, [0, 1, 2])
    assert len(writer.finish()) == N_ROWS


def test_a_full_disk_keeps_the_finished_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter(tmp_path, SPEC)
    fill(writer, [0])

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(StorageError, match=r"No space left on device; free some space"):
            fill(writer, [1])
    assert not list(tmp_path.glob(".*.part"))
    again = StoreWriter(tmp_path, SPEC)
    assert [again.record(shard) is not None for shard in range(3)] == [True, False, False]
    fill(again, [1, 2])
    np.testing.assert_array_equal(again.finish().pooled(np.arange(N_ROWS)), POOLED)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, SPEC)
    with pytest.raises(ShapeError, match=re.escape("pooled has shape (2, 3), expected (3, 3)")):
        writer.write(0, POOLED[:2], content="c", stamp="s")
    with pytest.raises(ShapeError, match=r"^shard 0 needs tokens and 3 token_ends$"):
        writer.write(0, POOLED[:3], content="c", stamp="s")
    ends = np.array([1, 2, 3])
    with pytest.raises(ShapeError, match=re.escape("tokens has shape (2, 2), expected (3, 2)")):
        writer.write(0, POOLED[:3], content="c", stamp="s", tokens=TOKENS[:2], token_ends=ends)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "dtype is 'float64', expected 'float16' or 'float32'"),
        ({"width": 0}, "width is 0, expected at least 1"),
        ({"n_rows": 0}, "n_rows is 0, expected at least 1"),
    ],
)
def test_impossible_specs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        replace(SPEC, **change)


def test_an_array_in_memory_is_a_table_too() -> None:
    table = ArrayTable(POOLED, "the image features")
    assert (len(table), table.width, table.token_shape) == (N_ROWS, WIDTH, None)
    np.testing.assert_array_equal(table.pooled(np.array([7, 0])), POOLED[[7, 0]])
    with pytest.raises(FeatureError, match=r"^the image features hold no content tokens: "):
        table.tokens(np.array([0]))


ODD_VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**30, 1.5, "", "../x", [], {}, [None], {"a": 1})


def test_any_value_of_the_manifest_may_be_odd(tmp_path: Path) -> None:
    made(tmp_path)
    path = tmp_path / "manifest.json"
    text = path.read_text()
    shard = ("shards", "0")
    pooled = (*shard, "files", "pooled")
    places: list[tuple[str, ...]] = [(name,) for name in json.loads(text)]
    places += [shard, *((*shard, name) for name in json.loads(text)["shards"]["0"])]
    places += [pooled, (*pooled, "bytes"), (*pooled, "sha256"), (*shard, "files", "../x")]
    for place in places:
        for value in ODD_VALUES:
            document = part = json.loads(text)
            for name in place[:-1]:
                part = part[name]
            part[place[-1]] = value
            path.write_text(json.dumps(document))
            with suppress(ModalhashError):
                store = FeatureStore(tmp_path)
                store.pooled(np.arange(3))
                store.tokens(np.arange(3))
