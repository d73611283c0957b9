import hashlib
import json
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.benchmarking.grid import read_values, run_grid
from modalhash.benchmarking.measuring_tasks import measure_rankings
from modalhash.benchmarking.outcomes import MEASURES, Outcome
from modalhash.benchmarking.tasks import Place, Task, Variant, describe_method, load_place
from modalhash.benchmarking.variants import method_variants
from modalhash.errors import DamagedArtifactError, InputError, SettingError
from modalhash.index.rerank import FineBooks
from modalhash.methods import method_class
from modalhash.metrics import DirectionReport, Report
from tests.oracles.command_line import CommandLine
from tests.oracles.feature_layouts import write_ucmfh

SHORT = {"epochs": 1, "hidden_width": 8}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """24 items of features with labels; their queries are called test."""
    return Place(f"ucmfh:{write_ucmfh(tmp_path / 'pairs')}")


def tasks_of(place: Place, *names: str, seeds: tuple[int, ...] = (0, 1)) -> list[Task]:
    return [
        Task(place, Variant(name, name, SHORT if name == "cfrh" else {}), 8, seed)
        for name in names
        for seed in seeds
    ]


def test_numbers_are_those_of_training_and_measuring_by_hand(place: Place, tmp_path: Path) -> None:
    outcome, asymmetric = run_grid(
        tasks_of(place, "cfrh", seeds=(3,)), tmp_path, cache=tmp_path / "cache"
    )
    model = mh.train(
        place.collection, method="cfrh", n_bits=8, encoder="precomputed", seed=3, settings=SHORT,
        cache=tmp_path / "cache",
    )  # fmt: skip
    report = mh.evaluate(model, split="test", cache=tmp_path / "cache")
    assert outcome.error == ""
    assert outcome.place == "pairs test"
    assert (outcome.row, outcome.n_bits, outcome.bits_per_item) == ("cfrh", 8, 8)
    for title, measure, rule, k in MEASURES:
        for direction in ("image_to_text", "text_to_image"):
            for one in (outcome, asymmetric):
                expected = report.value(
                    measure, direction, relevance=rule, k=k, scoring=one.scoring
                )
                found = one.values[f"{title} {direction}"]
                np.testing.assert_allclose(found, expected, rtol=0, atol=5.1e-5)
    assert (outcome.scoring, asymmetric.scoring) == ("hamming", "asymmetric")
    kept, _ = sorted((tmp_path / "runs").glob("*.npz"), key=lambda path: len(path.name))
    with np.load(kept) as values:
        assert sorted(values.files) == sorted(outcome.values)
        for name, of_queries in values.items():
            np.testing.assert_allclose(np.nanmean(of_queries), outcome.values[name], atol=6e-5)
    # two heads of one hidden layer: 6 and 5 features to 8 units to 8 bits, and their biases
    assert outcome.n_parameters == (6 * 8 + 8 + 8 * 8 + 8) + (5 * 8 + 8 + 8 * 8 + 8)
    assert set(outcome.rates) == {"image", "text"}
    assert min(outcome.rates.values()) > 0
    assert outcome.peak_mib > 10


def test_a_result_is_named_by_what_presets_hold(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = tasks_of(place, "cfrh", seeds=(0,))
    before = task.key
    assert task.key == before
    monkeypatch.setattr(method_class("cfrh"), "presets", {"dense": {"epochs": 7}})
    assert task.key != before


def test_a_task_without_a_protocol_is_named_as_before_there_were_protocols(place: Place) -> None:
    task = Task(place, Variant("random", "random"), 8, 3)
    document = {
        "place": {"collection": place.collection, "encoder": "auto", "split": "auto"},
        "variant": {
            "name": "random", "method": "random", "settings": {}, "preset": "auto", "hug": "",
        },
        "n_bits": 8,
        "seed": 3,
    }  # fmt: skip
    text = json.dumps([document, version("modalhash"), describe_method("random")], sort_keys=True)
    assert task.key == f"pairs-random-8-3-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    divided = Task(replace(place, protocol="official"), Variant("random", "random"), 8, 3)
    assert divided.key != task.key


def test_curves_are_kept(place: Place, tmp_path: Path) -> None:
    outcome, _ = run_grid(tasks_of(place, "random", seeds=(0,)), tmp_path, cache=tmp_path / "cache")
    assert set(outcome.curves) == {"image_to_text", "text_to_image"}
    model = mh.train(
        place.collection, method="random", n_bits=8, encoder="precomputed", cache=tmp_path / "cache"
    )  # fmt: skip
    report = mh.evaluate(model, split="test", cache=tmp_path / "cache", top_k=(5,))
    for direction, curve in outcome.curves.items():
        # 18 items are ranked: ranks 1 to 10 and the last; all is found at the end, a third is right
        assert len(curve["recall"]) == len(curve["precision"]) == 11
        np.testing.assert_allclose(curve["recall"][-1], 1, rtol=0, atol=5e-5)
        np.testing.assert_allclose(curve["precision"][-1], 6 / 18, rtol=0, atol=5.1e-5)
        for name, points in curve.items():
            at_5 = report.value(name, direction, relevance="shared_label", k=5)
            np.testing.assert_allclose(points[4], at_5, rtol=0, atol=5.1e-5)


def test_a_result_from_before_there_were_curves_is_reused(place: Place, tmp_path: Path) -> None:
    tasks = tasks_of(place, "random", seeds=(0,))
    first, _ = run_grid(tasks, tmp_path, cache=tmp_path / "cache")
    (file,) = (tmp_path / "runs").glob("*.json")
    document = json.loads(file.read_text())
    # Nor was there a scoring then: what was measured was by Hamming distance.
    del document["outcomes"][0]["curves"], document["outcomes"][0]["scoring"]
    del document["outcomes"][1]
    file.write_text(json.dumps(document))
    assert run_grid(tasks, tmp_path, cache=tmp_path / "cache") == [replace(first, curves={})]
    assert "curves" not in json.loads(file.read_text())["outcomes"][0]


def test_a_protocol_divides_and_adds_its_measure(place: Place, tmp_path: Path) -> None:
    divided = replace(place, split="test", protocol="cagan:queries=4,train=9")
    (outcome,) = run_grid(
        tasks_of(divided, "random", seeds=(0,)), tmp_path, cache=tmp_path / "cache"
    )
    assert outcome.error == ""
    # 20 items are ranked, so that 5,000 are the whole list
    for direction in ("image_to_text", "text_to_image"):
        assert (
            outcome.values[f"MAP@5000, shared label {direction}"]
            == outcome.values[f"MAP, whole list, shared label {direction}"]
        )
    with pytest.raises(InputError, match="protocol 'cagan' "):
        run_grid(tasks_of(replace(place, protocol="cagan"), "random", seeds=(0,)), tmp_path)


def test_results_are_kept_and_a_larger_grid_reuses_them(place: Place, tmp_path: Path) -> None:
    first = run_grid(tasks_of(place, "random"), tmp_path, cache=tmp_path / "cache")
    files = sorted((tmp_path / "runs").glob("*.json"))
    assert len(files) == 2
    times = [file.stat().st_mtime_ns for file in files]
    told: list[tuple[int, int]] = []
    both = run_grid(
        tasks_of(place, "cca-sign", "random"),
        tmp_path,
        cache=tmp_path / "cache",
        progress=lambda _stage, done, total, _values=None: told.append((done, total)),
    )
    assert both[2:] == first
    assert told == [(3, 4), (4, 4)]
    assert [file.stat().st_mtime_ns for file in files] == times
    other_settings = Task(place, Variant("random", "random", {}, preset=""), 8, 0)
    assert other_settings.key not in {file.stem for file in files}


@pytest.mark.slow
def test_workers_give_what_one_process_gives(place: Place, tmp_path: Path) -> None:
    tasks = tasks_of(place, "random", "cca-sign", seeds=(0,))
    alone = run_grid(tasks, tmp_path / "alone", cache=tmp_path / "cache")
    together = run_grid(tasks, tmp_path / "together", workers=2, cache=tmp_path / "cache")
    assert [one.values for one in together] == [one.values for one in alone]


def test_a_method_that_fails_is_reported_and_the_others_go_on(place: Place, tmp_path: Path) -> None:
    too_long = Task(place, Variant("cca-sign", "cca-sign"), 64, 0)
    outcomes = run_grid(
        [too_long, *tasks_of(place, "random")], tmp_path, cache=tmp_path / "cache"
    )  # fmt: skip
    assert outcomes[0] == Outcome(
        "cca-sign", "pairs test", 64, 0, {},
        error="n_bits is 64, canonical correlation gives at most 5 on features of widths 6 and 5",
    )  # fmt: skip
    assert all(one.values and not one.error for one in outcomes[1:])


def test_a_collection_that_is_not_there_is_refused_before_any_run(
    place: Place, tmp_path: Path
) -> None:
    tasks = tasks_of(place, "random")
    for other, message in (
        (Place(str(tmp_path / "nothing")), "nothing"),
        (replace(place, split="tets"), "unknown split of pairs 'tets': did you mean 'test'? "),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            run_grid([*tasks, *tasks_of(other, "random")], tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_results_need_their_collection_no_more(place: Place, tmp_path: Path) -> None:
    tasks = tasks_of(place, "random", seeds=(0,))
    first = run_grid(tasks, tmp_path / "out", cache=tmp_path / "cache")
    (tmp_path / "pairs").rename(tmp_path / "moved")
    load_place.cache_clear()
    assert run_grid(tasks, tmp_path / "out") == first


def test_a_damaged_result_is_named(place: Place, tmp_path: Path) -> None:
    tasks = tasks_of(place, "random", seeds=(0,))
    run_grid(tasks, tmp_path, cache=tmp_path / "cache")
    (file,) = (tmp_path / "runs").glob("*.json")
    file.write_text("{")
    with pytest.raises(DamagedArtifactError, match=re.escape(str(file))):
        run_grid(tasks, tmp_path, cache=tmp_path / "cache")


def test_damaged_values_of_queries_are_named(place: Place, tmp_path: Path) -> None:
    tasks = tasks_of(place, "random", seeds=(0,))
    run_grid(tasks, tmp_path, cache=tmp_path / "cache")
    for outcome, values in read_values(tasks, tmp_path):
        assert set(values) == set(outcome.values)
    assert len(list((tmp_path / "runs").glob("*.npz"))) == 2
    (file,) = (tmp_path / "runs").glob("*-asymmetric.npz")
    file.write_bytes(b"nothing")
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(str(file))} isn't a file of"):
        read_values(tasks, tmp_path)


def test_nothing_to_run_is_refused(place: Place, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^0 tasks and 1 workers: at least 1 of both is needed$"):
        run_grid([], tmp_path)
    with pytest.raises(InputError, match=r"^2 tasks and 0 workers: at least 1 of both is needed$"):
        run_grid(tasks_of(place, "random"), tmp_path, workers=0)


def test_the_commands(place: Place, tmp_path: Path, modalhash: CommandLine) -> None:
    cache, out = str(tmp_path / "cache"), str(tmp_path / "out")
    shared = ["--bits", "8", "--seeds", "0,1", "--cache", cache, "-o", out]
    quick = ["--set", "epochs=1", "--set", "hidden_width=8"]
    ended = modalhash(
        "bench", place.collection, "--methods", "random,cfrh,cca-sign", *quick, *shared
    )
    assert ended.code == 0
    assert ended.out.startswith("## pairs test\n")
    assert "| random | 8 |" in ended.out
    assert re.search(r"\| cfrh( †)? \| 8 \|", ended.out)
    reason = "n_bits is 8, canonical correlation gives at most 5 on features of widths 6 and 5"
    assert f"- cca-sign: 2 runs failed: {reason}" in ended.out
    assert (tmp_path / "out" / "table.md").read_text() == ended.out.removesuffix("\n")
    page = (tmp_path / "out" / "bench.html").read_text()
    assert page.count("<svg") == 8
    assert "Precision over recall, image to text, 8 bits, by rank, shared label." in page
    assert "at other lengths" not in page
    assert page.count('<td class="number best">') == 2 * 6  # one a column and scoring
    assert "canonical correlation gives at most 5" in page
    assert "http" not in page.replace("http-equiv", "")
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    # In both directions; bits, seconds, memory, parameters and constant bits; rates and cosines.
    of_random = [row for row in rows if row.startswith("pairs test,random,8,0,")]
    assert len(of_random) == 2 * (2 * len(MEASURES) + 9)
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert set(about["rows"]) == {"random", "cfrh", "cca-sign"}
    assert about["rows"]["cfrh"]["settings"] == {"epochs": "1", "hidden_width": "8"}
    assert about["rows"]["cfrh"]["presets"]["dense"]["hidden_width"] == 1024
    ended = modalhash("ablate", "cfrh", place.collection, *quick, *shared)
    assert ended.code == 0
    assert re.search(r"\| cfrh( †)? \| 8 \|", ended.out)


def test_a_quick_bench(place: Place, tmp_path: Path, modalhash: CommandLine) -> None:
    out = tmp_path / "out"
    ended = modalhash(
        "bench", place.collection, "--methods", "random,cfrh", "--quick", "--set", "hidden_width=8",
        "--set", "epochs=1", "--cache", str(tmp_path / "cache"), "-o", str(out),
    )  # fmt: skip
    assert ended.code == 0
    unmarked = ended.out.replace(" †", "")  # one epoch may collapse
    rows = [line.split(" | ")[:3] for line in unmarked.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row[0] != "| ---"][1:9] == [
        [f"| {name}", bits, scoring]
        for name in ("random", "cfrh")
        for bits in ("16", "64")
        for scoring in ("hamming", "asymmetric")
    ]
    settings = json.loads((out / "about.json").read_text())["rows"]["cfrh"]["settings"]
    assert settings == {"epochs": "1", "least_steps": 0, "hidden_width": "8"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "--methods", "nope"), "unknown method 'nope'"),
        (("bench", "--methods", "random", "--encoder", "ofline"), "unknown encoder 'ofline'"),
        (
            ("bench", "--methods", "random", "--set", "epochs=1"),
            "no method of random has a setting epochs",
        ),
        (
            ("bench", "--methods", "random", "--bits", "64x"),
            "'64x' isn't whole numbers such as 16,32",
        ),
        (
            ("bench", "--methods", "random", "--seeds", "0,²"),
            "'0,²' isn't whole numbers such as 16,32",
        ),
        (("bench", "--methods", "random", "--memory", "nan"), "'nan' is no number"),
        (
            ("bench", "--methods", "cfrh+hugs"),
            "unknown addition to a method in 'cfrh+hugs': 'hugs'",
        ),
        (
            ("bench", "--methods", "cfrh,djsrh,random", "--set", "epochs=0"),
            "epochs is 0, expected at least 1",
        ),
        (
            ("bench", "--methods", "cfrh,nested,random", "--set", "epochs=many"),
            "epochs is 'many', expected a whole number",
        ),
        (("ablate", "cfrh", "--set", "epochs=0"), "epochs is 0, expected at least 1"),
        (("ablate", "random"), "random has no part that can be turned off"),
        (
            ("bench", "--methods", "cca-sign", "--bits", "64"),
            "every run failed; the table says why",
        ),
    ],
)
def test_wrong_calls(
    place: Place, tmp_path: Path, modalhash: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    ended = modalhash(*arguments, place.collection, "-o", str(tmp_path / "out"))
    assert ended.code in (1, 2)
    assert message in ended.err
    assert "every run failed" in message or not (tmp_path / "out").exists()


def test_a_value_that_some_rows_take_stays() -> None:
    """CCA-ITQ may rotate in 0 rounds; CMFH, which learns in rounds, needs 1."""
    rows = method_variants(["cca-itq", "cmfh"], settings={"rounds": 0})
    assert [row.settings for row in rows] == [{"rounds": 0}] * 2
    with pytest.raises(SettingError, match=r"^rounds is 0, expected at least 1$"):
        method_variants(["random", "cmfh", "lssh"], settings={"rounds": 0})


def test_names_of_rows_say_method_and_hug() -> None:
    settings = {"epochs": 3, "hug_weight": 0.1}
    variants = method_variants(["cfrh", "cfrh+hug", "cfrh+hug-same", "random"], settings=settings)
    assert [(one.name, one.method, one.hug, one.settings) for one in variants] == [
        ("cfrh", "cfrh", "", {"epochs": 3}),
        ("cfrh+hug", "cfrh", "contrastive", settings),
        ("cfrh+hug-same", "cfrh", "same", settings),
        ("random", "random", "", {}),
    ]


def test_a_model_with_finer_codes_gives_a_third_row(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = FineBooks(np.zeros((6, 16, 2), np.float32), code_weight=0.5, fine_weight=0.5, n_parts=3)
    model = SimpleNamespace(n_bits=32, has_fine_codes=True, fine_books=books)

    def evaluate(*_: object, scoring: str, rerank: str | None = None, **__: object) -> Report:
        """Say what was ranked, in a report without numbers."""
        names = ["reranked"] if rerank else [scoring]
        names = ["hamming", "asymmetric"] if names == ["both"] else names
        directions = (
            DirectionReport("image_to_text", 32, 2, 9, 0.5, (), (), (), scoring=name)
            for name in names
        )
        return Report(32, "test", "train", {}, tuple(directions))

    monkeypatch.setattr("modalhash.benchmarking.measuring_tasks.evaluate", evaluate)

    def rank(place: Place) -> list[tuple[str, int, str]]:
        task = Task(place, Variant("plus", "any"), 32, 0)
        collection = load_place(place.collection)
        rows = list(measure_rankings(task, cast("HashModel", model), collection, "test", None))
        assert all(report.scorings == (scoring,) for *_, scoring, report in rows)
        return [(row, n_bits, scoring) for row, n_bits, scoring, _ in rows]

    # 6 sub-vectors of 16 words, 4 bits each, beside 32 bits
    assert rank(place) == [
        ("plus", 32, "hamming"),
        ("plus", 32, "asymmetric"),
        ("plus, reranked", 32 + 6 * 4, "reranked"),
    ]
    papers = replace(place, protocol="djsrh")
    assert [scoring for *_, scoring in rank(papers)] == ["hamming", "reranked"]
