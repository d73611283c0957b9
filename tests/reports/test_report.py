"""The page of an evaluation holds every number with what it means, and all that it shows."""

import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.metrics import Measure
from modalhash.reports import MeasuredRuns, evaluate_runs, write_report

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

VOID = {"meta", "img", "br", "link", "input", "hr"}
Attributes = dict[str, str | None]


class Page(HTMLParser):
    """Collects tags, the rows of tables with their numbers, links and texts; checks nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, Attributes]] = []
        self.rows: list[tuple[list[Attributes], list[str]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(([], []))
        if tag == "td" and "data-value" in dict(attrs):
            self.rows[-1][0].append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not {"style", "text"} & set(self.open):
            self.texts.append(data)
        if "td" in self.open:
            self.rows[-1][1].append(data.strip())

    def classes(self, name: str) -> list[Attributes]:
        return [found for _, found in self.tags if name in (found.get("class") or "").split()]


@pytest.fixture(scope="module")
def measured(
    scene_run: Path, session_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MeasuredRuns, Path]:
    """A model of 12 bits and one of 8, measured on the same queries, and their page."""
    from tests.conftest import SCENES, add_tiny_encoder

    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        shorter = mh.train(
            SCENES, output=folder / "short", method="random", n_bits=8, encoder="tiny",
            cache=session_cache,
        )  # fmt: skip
        page = folder / "report.html"
        runs = evaluate_runs(
            [scene_run, shorter], page=page, cache=session_cache, n_resamples=20, top_k=(3, None),
            conventions=("truncated", "first_k_relevant"), ties="optimistic",
        )  # fmt: skip
    return runs, page


@pytest.fixture(scope="module")
def page(measured: tuple[MeasuredRuns, Path]) -> Page:
    return Page(measured[1].read_text(encoding="utf-8"))


def linked(page: Page, name: str) -> str:
    """Return the content of a file that the page holds."""
    (link,) = [found for tag, found in page.tags if tag == "a" and found.get("download") == name]
    return base64.b64decode((link["href"] or "").partition("base64,")[2]).decode()


def keys(one: dict[str, Any]) -> tuple[str, ...]:
    names = ("measure", "k", "direction", "relevance", "convention", "ties")
    return tuple("" if one[name] is None else str(one[name]) for name in names)


def test_every_number_stands_on_the_page_with_formula_ties_split_counts_and_seed(
    page: Page,
) -> None:
    document = json.loads(linked(page, "report.json"))
    shown = [(cell, texts) for numbers, texts in page.rows for cell in numbers if texts]
    reports = [document, *document["against"]]
    for report in reports:
        for one in report["measures"]:
            fitting = [
                texts
                for cell, texts in shown
                if float(cell["data-value"] or "nan") == one["value"]
                and tuple(cell[f"data-{name}"] for name in (
                    "measure", "k", "direction", "relevance", "convention", "ties",
                )) == keys(one)
            ]  # fmt: skip
            assert fitting, keys(one)
            database = "test" if one["relevance"] == "pair" else "train"
            counts = f"{one['n_queries']:,} test → {one['n_database']:,} {database}"
            digits = 1 if one["measure"].endswith("rank") else 4
            for texts in fitting:
                assert f"{one['value']:.{digits}f}" in texts
                assert one["ties"] in texts
                assert counts in texts
                assert "0" in texts  # the seed
                if one["measure"] == "map":
                    assert one["convention"].replace("_k_", " K ").replace("_", " ") in texts
    assert sum(len(numbers) for numbers, _ in page.rows) == sum(
        len(report["measures"]) for report in reports
    )


def test_the_json_and_the_csv_in_the_page_are_the_report(
    page: Page, measured: tuple[MeasuredRuns, Path]
) -> None:
    first, second = measured[0].reports
    document = json.loads(linked(page, "report.json"))
    assert {name: document[name] for name in first.to_json()} == json.loads(
        json.dumps(first.to_json())
    )
    assert document["bytes_per_item"] == 2  # 12 bits
    assert document["query_latency_ms"]["encode"].keys() == {"text", "image"}
    assert document["query_latency_ms"]["n_items"] == first.counts["database"]
    rows = list(csv.DictReader(linked(page, "report.csv").splitlines()))
    assert len(rows) == len(first.measures) + len(second.measures)


def test_the_page_asks_nothing_of_the_network(measured: tuple[MeasuredRuns, Path]) -> None:
    text = measured[1].read_text(encoding="utf-8")
    assert re.findall(r"https?:|//\w+\.\w|@import|<script|<link|<iframe", text) == []
    links = re.findall(r'(?:src|href)="([^"]*)', text)
    assert [link[:20] for link in links if not link.startswith(("data:", "#"))] == []
    assert re.findall(r"url\((?!#)", text) == []


def test_tags_are_closed_and_ids_are_used_once(page: Page) -> None:
    assert page.open == []
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))


def test_curves_of_every_sort_are_drawn(page: Page) -> None:
    drawn = {found["aria-label"] for found in page.classes("plot")}
    assert {
        "precision-recall, shared label, hamming", "precision at N, shared label, asymmetric",
        "precision-recall by radius, shared label, hamming",
        "MAP over bits, shared label, hamming", "MAP over bits, shared label, asymmetric",
        "recall at N, pair, asymmetric", "balance of the bits, pictures of train",
        "correlation of the bits, texts of train",
    } <= drawn  # fmt: skip


def test_examples_are_right_where_labels_say_so(
    page: Page, measured: tuple[MeasuredRuns, Path]
) -> None:
    n_right, n_wrong = len(page.classes("right")), len(page.classes("wrong"))
    # Best, three drawn, worst; both directions; eight hits each.
    assert n_right + n_wrong == 5 * 2 * 8
    signs = [text for text in page.texts if text in ("✓", "✗")]
    assert (signs.count("✓"), signs.count("✗")) == (n_right, n_wrong)
    assert page.texts.count("no label in common") == n_wrong
    shown = [text for text in page.texts if text.startswith("average precision@3 ")]
    assert len(shown) == 10
    values = [float(text.split()[2]) for text in shown]
    for place, direction in enumerate(("image_to_text", "text_to_image")):
        of_direction = values[5 * place : 5 * place + 5]
        report = next(
            one for one in measured[0].reports[0].directions if one.direction == direction
        )
        every = report.values("map", k=3, relevance="shared_label", convention="truncated")
        np.testing.assert_allclose(of_direction[0], every.max(), rtol=0, atol=5e-5)
        assert of_direction[-1] == min(of_direction)


def test_the_same_seed_draws_the_same_examples(
    measured: tuple[MeasuredRuns, Path], scene_run: Path, tmp_path: Path
) -> None:
    evaluate_runs([scene_run], page=tmp_path / "a.html", top_k=(3, None), ties="optimistic")
    evaluate_runs([scene_run], page=tmp_path / "b.html", top_k=(3, None), ties="optimistic", seed=5)
    hits = []
    for path in (measured[1], tmp_path / "a.html", tmp_path / "b.html"):
        found = Page(path.read_text(encoding="utf-8"))
        hits.append([one.get("title") for one in found.classes("caption")])
    assert hits[0] == hits[1] != hits[2]


def test_texts_of_users_are_escaped(tmp_path: Path) -> None:
    signs = [[1, 1, -1], [-1, 1, 1]]
    np.save(tmp_path / "<b>&.npy", signs)
    report = mh.score(tmp_path / "<b>&.npy", signs, pairs=True)
    write_report([report], tmp_path / "score.html")
    text = (tmp_path / "score.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.npy" in text
    assert "<b>&" not in text
    found = Page(text)
    assert found.classes("hit") == []
    assert sum(len(numbers) for numbers, _ in found.rows) == len(report.measures)


def test_a_number_that_is_not_defined_is_a_dash(tmp_path: Path) -> None:
    report = mh.score([[1, 1]], [[1, -1]], query_labels=[[0, 1]], database_labels=[[1, 0]])
    write_report([report], tmp_path / "score.html")
    text = (tmp_path / "score.html").read_text(encoding="utf-8")
    assert "nan" not in re.sub(r"base64,[\w+/=]*", "", text).lower()
    undefined = [one for one in report.measures if one.value != one.value]
    assert undefined
    assert all(isinstance(one, Measure) for one in undefined)


def test_a_collection_without_labels_has_examples_by_pair(
    photo_page: tuple[Page, MeasuredRuns],
) -> None:
    found, runs = photo_page
    assert runs.reports[0].database is None
    assert "its own" in found.texts
    assert "another's" in found.texts


@pytest.fixture
def photo_page(tmp_path: Path) -> tuple[Page, MeasuredRuns]:
    """The page of a model of a folder without labels."""
    from dataclasses import replace

    scenes = replace(mh.load_collection("scenes:60"), labels=None, label_names=())
    model = mh.train(scenes, method="cca-sign", n_bits=12, encoder="tiny")
    runs = evaluate_runs([model], scenes, page=tmp_path / "pairs.html", split="train")
    return Page((tmp_path / "pairs.html").read_text(encoding="utf-8")), runs
