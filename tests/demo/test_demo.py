import json
from pathlib import Path

import pytest

import modalhash as mh
from modalhash.demo import run_demo
from modalhash.demo import running as demo


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo on a few drawn scenes instead of all icons."""
    monkeypatch.setattr(demo, "COLLECTION", "scenes:60")
    monkeypatch.setattr(demo, "ENCODER", "offline+bow")
    monkeypatch.setattr(demo, "TEXT_QUERIES", ("a red circle",))


@pytest.mark.usefixtures("small_demo")
def test_demo_makes_everything_and_reuses_it(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", n_bits=16, cache=tmp_path / "cache")

    page = result.page.read_text("utf-8")
    assert "“a red circle”" in page
    assert page.count("data:image/svg+xml") == 2
    report = json.loads((result.run / "report.json").read_text("utf-8"))
    shown = f"{report['measures'][0]['value']:.3f}"
    assert (report["measures"][0]["measure"], report["measures"][0]["k"]) == ("map", 50)
    assert f'<td class="number">{shown}</td>' in page
    assert set(result.reports) == {"nested-labelled", "random", "cca-sign"}
    assert result.sheet.stat().st_size > 0

    index = mh.open_index(result.index)
    answer = index.search(text="a red circle", k=3)
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)

    weights = (result.run / "model.safetensors").read_bytes()
    written = (result.run / "model.safetensors").stat().st_mtime_ns
    again = run_demo(tmp_path / "demo", n_bits=16, cache=tmp_path / "cache")
    assert (again.run / "model.safetensors").stat().st_mtime_ns == written
    assert (again.run / "model.safetensors").read_bytes() == weights
