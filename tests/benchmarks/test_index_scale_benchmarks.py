"""The arithmetic of many items, worked out by hand, and a small run of what it starts from."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.index import scale
from benchmarks.index.arithmetic import ItemBytes, Plan, item_bytes, main, measured_rates, work_out

PLAN = Plan(
    1e9, machine_gib=64, usable=0.75, cores=16, qps=100, scan_rate=5e8, encode_rate=50,
    encode_cores=200, item_bytes=40_000, gbit=10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "bits", "searcher"),
    [
        ("flat", 64, 0),
        ("ivf", 64, 8 + 8),
        ("ivf", 128, 16 + 8),
        ("mih", 64, 4 * 4),
        ("mih", 128, 4 * 8),
    ],
)
def test_bytes_of_an_item(kind: str, bits: int, searcher: float) -> None:
    plan = replace(PLAN, kind=kind, bits=bits)
    assert item_bytes(plan, 1e6) == ItemBytes(bits // 8, searcher, 8, 0)


def test_ids_metadata_and_long_tables_take_more() -> None:
    plan = replace(PLAN, id_bytes=19, metadata_bytes=80, kind="mih", bits=12)
    # end, text, key, row; the id again and 14 bytes in SQLite
    assert item_bytes(plan, 1e6) == ItemBytes(2, 4, 8 + 19 + 8 + 8, 80 + 19 + 14)
    assert item_bytes(plan, 2**31).searcher == 8
    assert item_bytes(plan, 2**31).all == 2 + 8 + 43 + 113


def test_a_scan_of_a_billion_codes() -> None:
    found = work_out(PLAN)
    # 8 GB fit into 48 GiB; 10^9 codes at 5 * 10^8 a second
    assert (found.machines, found.latency_seconds, found.query_core_seconds) == (1, 2.0, 2.0)
    # 100 queries a second of 2 core seconds are 200 cores, 12.5 machines of 16
    assert found.replicas == 13
    assert found.build_core_hours == 0
    # 10^9 / 50 = 2 * 10^7 seconds
    assert found.encode_core_hours == 2e7 / 3600
    assert found.encode_days == 2e7 / 200 / 86_400
    assert found.input_bytes == 4e13
    assert found.input_days == 4e13 * 8 / 1e10 / 86_400
    assert found.code_file_bytes == 1e9 * (8 + 8 + 8 + 4)


def test_cells_of_ten_billion_codes() -> None:
    found = work_out(replace(PLAN, items=1e10, bits=128, kind="ivf", probed=1 / 128))
    # 10^10 * (16 + 24) bytes / 48 GiB = 7.8
    assert found.machines == 8
    rows = 1.25e9
    # the power of two nearest to the root of 1.25 * 10^9, 35,355
    assert found.latency_seconds == (32_768 + 2.5 * rows / 128) / 5e8
    assert math.isclose(found.query_core_seconds, 8 * found.latency_seconds)
    # 100 * latency / 16 cores < 1
    assert found.replicas == 1
    assert found.build_core_hours == 1e10 * 32_768 / 5e8 / 3600


def test_tables_take_at_most_a_scan(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["--scan-rate", "5e8", "--encode-rate", "50"]
    main(["--items", "1e9", "--kind", "mih", *rates])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == [
        "machines        1 of 64 GiB for a copy, at most 13 for 100 queries a second",
        "a query         at most 2 core seconds in all, 2 s on one core of each machine",
    ]


def test_the_calculator_prints_what_it_worked_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        [
            "--items", "1e9", "--scan-rate", "5e8", "--encode-rate", "50", "--encode-cores", "200",
            "--item-bytes", "40000", "--core-hour-price", "0.5", "--id-bytes", "12",
        ]
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "items           1e+09 of 64 bits, flat",
        "in memory       8.0 GB: 8 bytes of code, 0 of the searcher an item",
        "on disk         44.0 GB: also 36 bytes of ids, 0 of metadata",
        "machines        1 of 64 GiB for a copy, 13 for 100 queries a second",
        "a query         2 core seconds in all, 2 s on one core of each machine",
        "cells           0.0 core hours to build",
        "encoding        5,556 core hours, 1.2 days on 200 cores",
        "input           40.0 TB, 0.4 days at 10 Gbit/s",
        "code files      40.0 GB",
        "encoding costs  2,778",
    ]


def test_rates_are_those_that_were_recorded(tmp_path: Path) -> None:
    for bits, rate in ((64, 7.0), (128, 3.0)):
        found = {
            "scan": {
                "1000": {"single_codes_per_cpu_second": 99},
                "20000": {"single_codes_per_cpu_second": rate},
            },
            "encoding": {"images_per_cpu_second": 5},
        }
        path = tmp_path / f"index-scale-{bits}.json"
        path.write_text(json.dumps({"results": found}))
    assert measured_rates(48, tmp_path) == (7, 5)
    assert measured_rates(128, tmp_path) == (3, 5)
    with pytest.raises(SystemExit, match="up to 128 were measured; give --scan-rate for more"):
        measured_rates(129, tmp_path)


def test_a_small_run_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "scale.json"
    scale.main(
        ["--sizes", "2000", "--items", "2000", "--pictures", "0", "--repeats", "1",
         "--output", str(output)]
    )  # fmt: skip
    document = json.loads(output.read_text("utf-8"))
    assert sorted(document) == ["benchmark", "machine", "results", "seed", "settings", "version"]
    bytes_per_item = document["results"]["index_bytes_per_item"]
    # what the arithmetic says, and headers and manifest
    for name, options in (("integer_ids", {}), ("text_ids", {"id_bytes": 19})):
        expected = item_bytes(Plan(2000, **options), 2000).all  # type: ignore[arg-type]
        assert expected < bytes_per_item[name] < expected + 8
    assert document["results"]["scan"]["2000"]["batch_codes_per_cpu_second"] > 0
