"""The calculator of the page on quantisers says what the measured rows say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modalhash.benchmarking import QuantizerRow

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))

from quantizer_tables import curve_points, estimate, fallback_table  # type: ignore[import-not-found, unused-ignore]  # noqa: E402


def row(name: str, n_bytes: int, seed: int, pair: float, rate: float) -> QuantizerRow:
    values = {
        "recall@10 by pair text_to_image": pair,
        "MAP@50, shared label text_to_image": pair / 2,
        "recall@10 of the float top 10 text_to_image": pair,
    }
    return QuantizerRow(
        name, "photos test", "float query", n_bytes, seed, values, n_bytes, n_bytes,
        items_per_second=rate,
    )  # fmt: skip


ROWS = [
    row("pq", 4, 0, 0.4, 2e8),
    row("pq", 4, 1, 0.6, 0.0),  # rates are measured with the first seed only
    row("nested", 4, 0, 0.7, 1e9),
    QuantizerRow("opq", "photos test", "float query", 4, 0, error="none"),
]


def test_points_are_means_over_seeds() -> None:
    first, second = curve_points(ROWS)
    assert (first["name"], first["pair"], first["rate"]) == ("pq, float query", 0.5, 200_000_000)
    assert (second["ours"], second["pair"], second["map"]) == (True, 0.7, 0.35)


def test_bytes_and_seconds_are_products() -> None:
    gib, seconds = estimate(curve_points(ROWS)[0], 10**9)
    assert gib == 4 * 10**9 / 2**30
    assert seconds == 5.0  # 10^9 items at 2 * 10^8 a second


def test_the_table_has_the_best_row_of_each_size() -> None:
    line = fallback_table(curve_points(ROWS)).splitlines()[2]
    assert line.startswith("| 4 | nested, float query | 0.700 | 0.350 | 0.00373, 0.001 |")


def test_the_script_calculates_the_same() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node isn't installed")
    points = curve_points(ROWS)
    script = (
        f"const {{ rows }} = require({json.dumps(str(DOCS / 'javascripts/byte_calculator.js'))});"
        f"const points = {json.dumps(points)};"
        "console.log(JSON.stringify([rows(points, 'photos test', 'pair', 1e9, 0),"
        "rows(points, 'photos test', 'pair', 1e9, 1)]))"
    )
    result = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True)
    shown, fitting = json.loads(result.stdout)
    assert [entry["name"] for entry in shown] == ["nested, float query", "pq, float query"]
    for entry, point in zip(shown, reversed(points), strict=True):
        gib, seconds = estimate(point, 10**9)
        assert entry["gib"] == pytest.approx(gib, rel=1e-12)
        assert entry["seconds"] == pytest.approx(seconds, rel=1e-12)
    assert fitting == []  # 4 bytes of 10^9 items take 3.7 GiB
