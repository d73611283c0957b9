"""What a board reads, keeps, refuses and says; verdicts worked out by hand."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import modalhash as mh
from modalhash.benchmarking import (
    ArrayInputs,
    QuantizerRow,
    quantizer_searches,
    quantizer_tasks,
    quantizing,
)
from modalhash.benchmarking.quantizer_rows import MEASURES, parse_rows, rows_csv, value_name
from modalhash.benchmarking.quantizer_table import Verdict, find_verdicts
from modalhash.benchmarking.quantizer_tasks import attempt_task
from modalhash.benchmarking.vector_inputs import read_hdf5_space
from modalhash.errors import InputError, ShapeError, UnknownNameError
from modalhash.progress import silent
from tests.oracles.command_line import CommandLine
from tests.oracles.feature_layouts import write_ucmfh

RECALL = "recall@10 of the float top 10 query_to_item"
PAIR = value_name(MEASURES[0], "text_to_image")


@pytest.fixture(autouse=True)
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure rates on few items and for a moment only."""
    monkeypatch.setattr(quantizer_tasks, "RATE_ITEMS", 100)
    monkeypatch.setattr(quantizer_searches, "RATE_SECONDS", 0.001)


def make_inputs(**changes: Any) -> ArrayInputs:
    generator = np.random.default_rng(3)
    return ArrayInputs(
        **{
            "queries": generator.normal(size=(12, 8)).astype(np.float32),
            "items": generator.normal(size=(40, 8)).astype(np.float32),
            **changes,
        }
    )


def write_hdf5(path: Path, distance: str = "angular", without: str = "") -> Path:
    """Write a file of ann-benchmarks' layout, its neighbours found by a loop."""
    inputs = make_inputs()
    items, queries = (
        part / np.linalg.norm(part, axis=1, keepdims=True)
        for part in (inputs.items, inputs.queries)
    )
    distances = 1 - queries @ items.T
    order = np.argsort(distances, axis=1)[:, :20]
    parts = {
        "train": inputs.items,
        "test": inputs.queries,
        "neighbors": order.astype(np.int32),
        "distances": np.take_along_axis(distances, order, axis=1),
    }
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = distance
        for name, part in parts.items():
            if name != without:
                file.create_dataset(name, data=part)
    return path


def test_a_file_of_ann_benchmarks_is_read_as_it_comes(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "made-8-angular.hdf5")
    board = mh.bench_quantizers(
        str(path), output=tmp_path / "board", sizes=[2, 32], seeds=[0],
        quantizers="float32,shared-space", progress=silent,
    )  # fmt: skip
    rows = {(row.quantizer, row.asked_bytes, row.scoring): row for row in board.rows}
    row = rows["float32", 32, "float query"]
    assert (row.place, row.values[RECALL], row.n_bytes) == ("made-8-angular", 1.0, 32)
    assert rows["float32", 2, "float query"].error == (
        "float32 of 8 dimensions takes 32 bytes, no more and no less"
    )
    assert rows["shared-space", 2, "float query"].error == "8 dimensions give 8 bits at most"
    assert "float32 at 2 bytes: float32 of 8 dimensions takes 32 bytes" in board.table


@pytest.mark.parametrize("part", ["train", "test", "neighbors", "distances"])
def test_a_file_that_lacks_a_part_is_refused(part: str, tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "made.hdf5", without=part)
    names = ", ".join(name for name in ("distances", "neighbors", "test", "train") if name != part)
    message = (
        f"{path} lacks {part}; it has {names}: files of ann-benchmarks and VIBE have train, test, "
        "neighbors, distances; give other files as arrays (--queries made.hdf5:NAME --items "
        "made.hdf5:NAME)"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        mh.bench_quantizers(str(path), output=tmp_path / "board", progress=silent)


def test_a_file_that_is_not_there_is_called_a_file(tmp_path: Path) -> None:
    missing = tmp_path / "nix.hdf5"
    with pytest.raises(InputError, match=re.escape(f"there is no file {missing}")):
        mh.bench_quantizers(missing, output=tmp_path / "board")


def test_a_file_of_bits_or_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "bits.hdf5", distance="hamming")
    with pytest.raises(InputError, match="has the distance 'hamming', expected one of angular"):
        read_hdf5_space(str(path))
    path = write_hdf5(tmp_path / "large.hdf5")
    with pytest.raises(InputError, match=r"take 0\.0 GiB with a copy, and memory is 1e-09 GiB"):
        read_hdf5_space(str(path), memory_gib=1e-9)


def test_neighbours_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "made.hdf5")
    with h5py.File(path, "r+") as file:
        file["neighbors"][0, 0] = 40
    with pytest.raises(InputError, match="rows from 0 to 40, expected at least 10 columns of"):
        read_hdf5_space(str(path))


def test_vectors_of_two_widths_are_refused_with_the_way_out(tmp_path: Path) -> None:
    inputs = make_inputs(queries=np.ones((3, 5), np.float32))
    with pytest.raises(
        ShapeError, match=re.escape("queries have 5 dimensions and items 8, which is no one space")
    ):
        mh.bench_quantizers(inputs, output=tmp_path, progress=silent)
    pairs = f"ucmfh:{write_ucmfh(tmp_path / 'pairs')}"
    with pytest.raises(
        InputError, match="pictures have 6 dimensions and texts 5, which is no one space: take "
    ):
        mh.bench_quantizers(
            pairs, output=tmp_path, space="features", cache=tmp_path / "cache", progress=silent
        )


def test_a_collection_or_encoder_that_is_not_there_is_refused_before_others_are_read(
    tmp_path: Path,
) -> None:
    pairs = f"ucmfh:{write_ucmfh(tmp_path / 'pairs')}"
    with pytest.raises(InputError, match=r"^there is no folder and no collection 'nope': "):
        mh.bench_quantizers([pairs, "nope"], output=tmp_path / "board", progress=silent)
    with pytest.raises(UnknownNameError, match=r"^unknown encoder 'ofline'"):
        mh.bench_quantizers(
            pairs, output=tmp_path / "board", encoder="auto,ofline", progress=silent
        )
    assert not (tmp_path / "board").exists()


def test_an_unknown_quantizer_and_odd_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="quantizer"):
        mh.bench_quantizers(make_inputs(), output=tmp_path, quantizers="pqq")
    with pytest.raises(InputError, match="sizes is"):
        mh.bench_quantizers(make_inputs(), output=tmp_path, sizes=[0])
    with pytest.raises(InputError, match="shortlist is 10, expected at least 50"):
        mh.bench_quantizers(make_inputs(), output=tmp_path, shortlist=10)
    bad = np.ones((3, 8), np.float32)
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match="row 1"):
        mh.bench_quantizers(make_inputs(queries=bad), output=tmp_path)


def test_a_row_beyond_the_memory_says_so(tmp_path: Path) -> None:
    board = mh.bench_quantizers(
        make_inputs(), output=tmp_path, sizes=[2], seeds=[0], quantizers="pq", memory_gib=1e-6,
        progress=silent,
    )  # fmt: skip
    assert board.has_failed
    assert board.rows[0].error == "it needs about 0.00 GiB, and memory is 1e-06 GiB (--memory)"


def test_labels_and_targets_of_arrays_are_measured(tmp_path: Path) -> None:
    inputs = make_inputs(
        query_labels=np.arange(12) % 3, item_labels=np.arange(40) % 3,
        query_targets=np.arange(12) + 5,
    )  # fmt: skip
    # every query has its own vector among the items
    items = inputs.items.copy()
    items[5:17] = inputs.queries
    board = mh.bench_quantizers(
        replace(inputs, items=items), output=tmp_path, sizes=[32], seeds=[0],
        quantizers="float32", progress=silent,
    )  # fmt: skip
    values = board.rows[0].values
    assert values["recall@10 by pair query_to_item"] == 1.0
    assert 0.2 < values["MAP@50, shared label query_to_item"] < 1
    assert values["recall@1 of the float top 10 query_to_item"] == 1.0


def test_a_call_after_a_kill_measures_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def stop(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if done == 2:
            raise KilledError

    options: dict[str, Any] = {"sizes": [2, 4], "seeds": [0, 1], "quantizers": "random-signs"}
    with pytest.raises(KilledError):
        mh.bench_quantizers(make_inputs(), output=tmp_path, progress=stop, **options)
    assert len(list((tmp_path / "runs").glob("*.json"))) == 2
    calls = []
    run = attempt_task

    def count(task: Any) -> Any:
        calls.append(task.key)
        return run(task)

    monkeypatch.setattr(quantizing, "attempt_task", count)
    board = mh.bench_quantizers(make_inputs(), output=tmp_path, progress=silent, **options)
    assert len(calls) == 2
    whole = mh.bench_quantizers(
        make_inputs(), output=tmp_path / "whole", progress=silent, **options
    )
    assert [row.values for row in board.rows] == [row.values for row in whole.rows]


def test_a_collection_of_two_towers_is_measured_in_its_common_space(tmp_path: Path) -> None:
    pairs = f"ucmfh:{write_ucmfh(tmp_path / 'pairs')}"
    board = mh.bench_quantizers(
        pairs, output=tmp_path / "board", sizes=[2], seeds=[0], cache=tmp_path / "cache",
        quantizers="float32,pca-int8,cca-itq,nested,shared-space", progress=silent,
    )  # fmt: skip
    rows = {(row.quantizer, row.scoring) for row in board.rows if not row.error}
    assert ("nested", "float query") in rows
    assert ("nested", "hamming") in rows
    assert ("nested", "rescored") in rows
    assert "shared-space" not in {row.quantizer for row in board.rows}
    assert {verdict.n_bytes for verdict in board.verdicts} == {2}
    about = json.loads((tmp_path / "board" / "about.json").read_text())
    assert "common space of nested" in about["collections"]["pairs test"][0]
    page = (tmp_path / "board" / "quantizers.html").read_text()
    assert "<svg" in page
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def row_of(name: str, n_bytes: int, total: int, seed: int = 0) -> QuantizerRow:
    return QuantizerRow(
        name, "photos test", "float query", n_bytes, seed, {PAIR: 0.5}, n_bytes, total
    )


def values_of(values: list[float]) -> dict[str, NDArray[np.float32]]:
    return {PAIR: np.array(values, np.float32)}


def test_verdicts_compare_with_rows_of_as_many_bytes_or_fewer() -> None:
    ours = [0.5, 0.6, 0.7, 0.8]
    measured = [
        (row_of("nested", 4, 4), values_of(ours)),
        (row_of("pq", 2, 2), values_of([value - 0.1 for value in ours])),
        (row_of("opq", 4, 4), values_of([value - 0.2 for value in ours])),
        (row_of("int8", 8, 8), values_of([1.0] * 4)),
        (row_of("nested", 4, 260), values_of([1.0] * 4)),  # rescored: not judged
    ]
    (verdict,) = find_verdicts(measured)
    assert verdict == Verdict(
        "photos test", PAIR, 4, "nested, float query", 0.65, "pq, float query", 2, 0.55, 0.1,
        (0.1, 0.1), "ahead",
    )  # fmt: skip
    behind = [(row_of("pq", 4, 4), values_of([0.9] * 4)), *measured]
    assert find_verdicts(behind)[0].verdict == "behind"
    mixed = [(row_of("nested", 4, 4), values_of([1.0, 0.0] * 20)),
             (row_of("pq", 4, 4), values_of([0.0, 0.99] * 20))]  # fmt: skip
    assert find_verdicts(mixed)[0].verdict == "not told apart"


def test_seeds_are_averaged_query_by_query_for_verdicts() -> None:
    measured = [
        (row_of("nested", 4, 4), values_of([0.6] * 8)),
        (row_of("pq", 4, 4, seed=0), values_of([1.0] * 8)),
        (row_of("pq", 4, 4, seed=1), values_of([0.0] * 8)),
    ]
    (verdict,) = find_verdicts(measured)
    assert (verdict.other_value, verdict.verdict) == (0.5, "ahead")


def test_rows_come_back_from_csv() -> None:
    rows = [
        row_of("nested", 4, 4),
        QuantizerRow("pq", "photos test", "float query", 256, 0, error="no, not at all"),
    ]
    assert parse_rows(rows_csv(rows)) == rows
    with pytest.raises(InputError, match="the table's columns are"):
        parse_rows("a,b\n")


def test_the_command_measures_files_of_arrays(tmp_path: Path, modalhash: CommandLine) -> None:
    inputs = make_inputs()
    np.save(tmp_path / "q.npy", inputs.queries)
    np.savez(tmp_path / "both.npz", items=inputs.items, other=np.ones(3))
    queries = ("bench", "quantizers", "--queries", tmp_path / "q.npy")
    result = modalhash(
        *queries, "--items", f"{tmp_path / 'both.npz'}:items", "--sizes", "1", "--seeds", "0",
        "--quantizers", "pca-signs", "-o", tmp_path / "board",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "| pca-signs | hamming | 1 | 1 |" in result.out
    assert (tmp_path / "board" / "results.csv").exists()
    lone = modalhash(*queries, "-o", tmp_path)
    assert lone.code == 2
    assert "vectors of any program need both --queries and --items" in lone.err
    none = modalhash("bench", "quantizers", "-o", tmp_path)
    assert "name a collection or an HDF5 file, or give --queries and --items" in none.err
