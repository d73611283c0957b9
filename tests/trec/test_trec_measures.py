"""Measures of runs: by hand, and by trec_eval itself (pytrec_eval)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.errors import InputError, SettingError
from modalhash.metrics import Report
from tests.oracles.command_line import CommandLine

Rankings = Mapping[str, list[tuple[str, float]]]
Judgements = Mapping[str, dict[str, int]]


def write_run(path: Path, rankings: Rankings) -> Path:
    lines = [
        f"{query} Q0 {document} {rank} {score} tag\n"
        for query, entries in rankings.items()
        for rank, (document, score) in enumerate(entries, 1)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_qrels(path: Path, judgements: Judgements) -> Path:
    lines = [
        f"{query}\t0\t{document}\t{grade}\n"
        for query, grades in judgements.items()
        for document, grade in grades.items()
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def values(report: Report, measure: str, k: int | None = None) -> Any:
    return report.directions[0].values(measure, k=k)


def random_files(seed: int, *, n_scores: int | None) -> tuple[Rankings, Judgements]:
    """Make runs of 30 of 60 documents; `n_scores` different scores, or none alike."""
    generator = np.random.default_rng(seed)
    rankings: dict[str, list[tuple[str, float]]] = {}
    judgements: dict[str, dict[str, int]] = {}
    for number in range(8):
        documents = [f"d{place}" for place in generator.permutation(60)[:30]]
        scores = generator.standard_normal(30)
        if n_scores is not None:
            scores = generator.integers(0, n_scores, 30).astype(float)
        order = np.argsort(-scores, kind="stable")
        rankings[f"q{number}"] = [(documents[place], float(scores[place])) for place in order]
        judged = generator.permutation(60)[:25]
        grades = generator.integers(-1, 4, 25)
        judgements[f"q{number}"] = {
            f"d{place}": int(grade) for place, grade in zip(judged, grades, strict=True)
        }
    return rankings, judgements


def check_against_trec_eval(report: Report, run: Any, judgements: Judgements) -> None:
    pytrec_eval: Any = pytest.importorskip("pytrec_eval")
    names = {
        "map", "P_5", "P_10", "P_100", "recall_5", "recall_10", "recall_100", "ndcg",
        "ndcg_cut_5", "ndcg_cut_10", "recip_rank",
    }  # fmt: skip
    expected = pytrec_eval.RelevanceEvaluator(dict(judgements), names).evaluate(run)
    ours = {"map": "map", "P": "precision", "recall": "recall", "ndcg": "ndcg"}
    for name in names:
        stem, _, k = name.replace("_cut", "").partition("_")
        measure, cutoff = (
            ("reciprocal_rank", None)
            if name == "recip_rank"
            else (ours[stem], int(k) if k else None)
        )
        np.testing.assert_allclose(
            values(report, measure, cutoff),
            [expected[query][name] for query in judgements],
            rtol=0, atol=1e-6, err_msg=name,
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_without_ties_the_measures_are_those_of_trec_eval(tmp_path: Path, seed: int) -> None:
    rankings, judgements = random_files(seed, n_scores=None)
    report = mh.score_trec(
        write_run(tmp_path / "a.run", rankings),
        write_qrels(tmp_path / "a.qrels", judgements),
        top_k=(5, 10, 100, None),
    )
    run = {query: dict(entries) for query, entries in rankings.items()}
    check_against_trec_eval(report, run, judgements)
    assert report.notes == (
        "ranks count as they stand in the run; what isn't judged isn't relevant",
    )


def test_ranks_stay_where_scores_are_tied(tmp_path: Path) -> None:
    rankings, judgements = random_files(7, n_scores=3)
    report = mh.score_trec(
        write_run(tmp_path / "a.run", rankings),
        write_qrels(tmp_path / "a.qrels", judgements),
        top_k=(5, 10, 100, None),
    )
    # Scores that say the same as the ranks, so that trec_eval has nothing to reorder.
    run = {
        query: {document: -float(rank) for rank, (document, _) in enumerate(entries)}
        for query, entries in rankings.items()
    }
    check_against_trec_eval(report, run, judgements)
    assert report.notes[1].startswith("queries with documents of equal scores: 8; trec_eval orders")
    pytrec_eval: Any = pytest.importorskip("pytrec_eval")
    by_name = pytrec_eval.RelevanceEvaluator(dict(judgements), {"map"}).evaluate(
        {query: dict(entries) for query, entries in rankings.items()}
    )
    assert [by_name[query]["map"] for query in judgements] != values(report, "map").tolist()


def test_numbers_are_those_of_the_formulas(tmp_path: Path) -> None:
    rankings: Rankings = {
        "q1": [("a", 3), ("b", 3), ("c", 1)], "q2": [("a", 1)], "left": [("a", 1)]
    }  # fmt: skip
    judgements = {
        "q1": {"b": 2, "c": 1, "z": 1},
        "q2": {"b": 1},
        "gone": {"a": 1},
        "none": {"a": 0},
    }
    run = write_run(tmp_path / "a.run", rankings)
    qrels = write_qrels(tmp_path / "a.qrels", judgements)
    conventions = ["standard", "truncated", "first_k_relevant", "answerable"]
    report = mh.score_trec(run, qrels, top_k=(2, None), conventions=conventions)
    direction = report.directions[0]
    for convention, k, expected in (
        ("standard", None, [(1 / 2 + 2 / 3) / 3, 0, 0, 0]),
        ("standard", 2, [(1 / 2) / 2, 0, 0, 0]),
        ("truncated", 2, [1 / 2, 0, 0, 0]),
        ("truncated", None, [(1 / 2 + 2 / 3) / 2, 0, 0, 0]),
        ("first_k_relevant", 2, [(1 / 2 + 2 / 3) / 2, 0, 0, 0]),
        ("answerable", None, [(1 / 2 + 2 / 3) / 2, 0, 0, np.nan]),
    ):
        ours = direction.values("map", k=k, convention=convention)
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=0)
    log = np.log2
    ideal = 2 / log(2) + 1 / log(3) + 1 / log(4)
    gain = (2 / log(3) + 1 / log(4)) / ideal
    np.testing.assert_allclose(values(report, "ndcg"), [gain, 0, 0, 0], rtol=1e-12, atol=0)
    np.testing.assert_allclose(values(report, "recall", 2), [1 / 3, 0, 0, np.nan], rtol=1e-12)
    np.testing.assert_allclose(values(report, "precision", 2), [1 / 2, 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(values(report, "reciprocal_rank"), [1 / 2, 0, 0, np.nan], rtol=1e-12)
    powers = mh.score_trec(run, qrels, top_k=(None,), gain="exponential")
    gain = (3 / log(3) + 1 / log(4)) / (3 / log(2) + 1 / log(3) + 1 / log(4))
    np.testing.assert_allclose(values(powers, "ndcg"), [gain, 0, 0, 0], rtol=1e-12, atol=0)
    assert report.counts == {"queries": 4, "documents": 4}
    assert list(report.notes[1:]) == [
        "judged queries that the run doesn't have: 2; they count 0",
        "queries of the run that aren't judged: 1; they are left out",
        (
            "queries with documents of equal scores: 1; trec_eval orders these by name, so that "
            "its numbers differ"
        ),
    ]


def test_ranks_and_not_scores_or_lines_order_a_run(tmp_path: Path) -> None:
    run = tmp_path / "a.run"
    run.write_text("q Q0 worst 3 9.5 t\n\nq Q0 best 1 0.5 t\nq Q0 next 1 0.1 t\n", encoding="utf-8")
    report = mh.score_trec(run, write_qrels(tmp_path / "a.qrels", {"q": {"next": 1}}))
    assert values(report, "reciprocal_rank").tolist() == [1 / 2]
    assert report.notes[1] == (
        "queries with larger scores at worse ranks: 1; the ranks count, trec_eval sorts by score"
    )


@pytest.mark.parametrize(
    ("run", "qrels", "message"),
    [
        ("q Q0 a 1 2\n", "q 0 a 1\n", ":1: 5 fields, expected QUERY Q0 DOCUMENT RANK SCORE TAG"),
        ("q Q0 a x 2 t\n", "q 0 a 1\n", ":1: rank 'x' and score '2' aren't numbers"),
        ("q Q0 a 1 nan t\n", "q 0 a 1\n", ":1: the score is NaN, which has no order"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", "q 0 a 1\n",
         ":2: query q has the document a a second time"),
        ("", "q 0 a 1\n", " is empty, expected lines of QUERY Q0 DOCUMENT RANK SCORE TAG"),
        ("q Q0 a 1 2 t\n", "q 0 a 1 2\n", ":1: 5 fields, expected QUERY 0 DOCUMENT GRADE"),
        ("q Q0 a 1 2 t\n", "q 0 a yes\n", ":1: the grade 'yes' is no whole number"),
        ("q Q0 a 1 2 t\n", "q 0 a 1\nq 0 a 0\n", ":2: query q judges the document a twice"),
        ("q Q0 a 1 2 t\n", "other 0 a 1\n",
         ": the files name their queries differently"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_by_line(run: str, qrels: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text(run, encoding="utf-8")
    (tmp_path / "a.qrels").write_text(qrels, encoding="utf-8")
    with pytest.raises(InputError, match=f"{re.escape(message)}$"):
        mh.score_trec(tmp_path / "a.run", tmp_path / "a.qrels")


def test_missing_files_and_other_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^there is no file "):
        mh.score_trec(tmp_path / "a.run", tmp_path / "a.qrels")
    with pytest.raises(
        SettingError, match=r"^radius is given, but a run has ranks and no distances"
    ):
        mh.score_trec(tmp_path / "a.run", tmp_path / "a.qrels", radius=3)


def test_the_command_measures_runs(modalhash: CommandLine, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a.run", {"q": [("a", 2.0), ("b", 1.0)]})
    qrels = write_qrels(tmp_path / "a.qrels", {"q": {"b": 1}})
    ended = modalhash("score", run, qrels, "--trec", "--json", "-k", "1,all", "--intervals", 10)
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["n_bits"] is None
    by_name = {(row["measure"], row["k"]): row for row in document["measures"]}
    assert by_name["map", None]["value"] == 0.5
    assert by_name["map", None]["interval"] == [0.5, 0.5]
    assert by_name["precision", 1]["value"] == 0
    assert {row["direction"] for row in document["measures"]} == {"text_to_image"}
    ended = modalhash("score", run, qrels, "--trec", "--csv", tmp_path / "a.csv")
    assert "reciprocal rank" in ended.out
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == 16
    refused = modalhash("score", run, qrels, "--trec", "--bits", "8")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2, "Error: --bits is of codes: leave it out with --trec"
    )  # fmt: skip
    page = str(tmp_path / "a.html")
    assert modalhash("score", run, qrels, "--trec", "--report", page).code == 2
    broken = modalhash("score", qrels, run, "--trec")
    assert broken.code == 1
    assert broken.err.startswith(f"modalhash: {qrels}:1: 4 fields, expected QUERY Q0")
