"""Rankings written as files of TREC: read again, they have the numbers of the evaluation."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.errors import InputError
from modalhash.metrics import Report
from modalhash.trec import read_qrels, read_run
from tests.oracles.command_line import CommandLine


def trec_eval(folder: Path, run: str, qrels: str) -> dict[str, float]:
    """Mean average precision and nDCG by trec_eval, of ranks as scores."""
    pytrec_eval: Any = pytest.importorskip("pytrec_eval")
    judged = read_qrels(folder / qrels)
    ranked = read_run(folder / run).rankings
    scores = {
        query: {name: -float(rank) for rank, name in enumerate(names)}
        for query, names in ranked.items()
    }
    names = {"map", "ndcg", "recall_5"}
    rows = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(scores)
    return {
        name: float(np.mean([rows[query][name] if query in rows else 0.0 for query in ranked]))
        for name in names
    }


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric"])
def test_trec_eval_reads_what_score_wrote(scoring: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    relaxed = generator.standard_normal((6, 10)).astype(np.float32)
    database = np.where(generator.standard_normal((40, 10)) >= 0, 1, -1)
    labels = (generator.uniform(size=(46, 5)) < 0.4).astype(np.uint8)
    labels[:, 0] |= labels.sum(axis=1) == 0
    codes = relaxed if scoring == "asymmetric" else np.where(relaxed >= 0, 1, -1)
    report = mh.score(
        codes, database, query_labels=labels[:6], database_labels=labels[6:],
        query_targets=np.arange(6), scoring=scoring, trec=tmp_path, ties="database_order",
        top_k=(None,), conventions=["standard"], gain="linear",
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"image_to_text-{scoring}.run", "image_to_text-labels.qrels", "image_to_text-pairs.qrels",
    ]  # fmt: skip
    by_labels = trec_eval(tmp_path, f"image_to_text-{scoring}.run", "image_to_text-labels.qrels")
    direction = report.directions[0]
    expected = direction.find("map", relevance="shared_label").value
    np.testing.assert_allclose(by_labels["map"], expected, rtol=1e-6)
    np.testing.assert_allclose(by_labels["ndcg"], direction.find("ndcg").value, rtol=1e-6)
    by_pair = trec_eval(tmp_path, f"image_to_text-{scoring}.run", "image_to_text-pairs.qrels")
    recall = direction.find("recall", k=5, relevance="pair").value
    np.testing.assert_allclose(by_pair["recall_5"], recall, rtol=1e-6)
    ours = mh.score_trec(
        tmp_path / f"image_to_text-{scoring}.run", tmp_path / "image_to_text-labels.qrels"
    )
    np.testing.assert_allclose(ours.directions[0].find("map").value, expected, rtol=1e-12)
    first = read_run(tmp_path / f"image_to_text-{scoring}.run")
    signs = np.where(relaxed >= 0, 1, -1) if scoring == "hamming" else relaxed
    scores = signs @ database.T / np.abs(signs).sum(axis=1, keepdims=True)
    for query in range(6):
        order = np.argsort(-scores[query].round(5), kind="stable")
        assert first.rankings[str(query)] == tuple(str(row) for row in order)


def test_the_queries_themselves_are_in_neither_file(tmp_path: Path) -> None:
    codes = [[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]]
    mh.score(
        codes, codes, query_labels=[0, 1, 0], database_labels=[0, 1, 0],
        direction="image_to_image", trec=tmp_path, trec_depth=1,
    )  # fmt: skip
    run = read_run(tmp_path / "image_to_image-hamming.run")
    assert run.rankings == {"0": ("1",), "1": ("0",), "2": ("1",)}
    assert read_qrels(tmp_path / "image_to_image-labels.qrels") == {"0": {"2": 1}, "2": {"0": 1}}
    text = (tmp_path / "image_to_image-hamming.run").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "0 Q0 1 1 0.5 modalhash-4-hamming"


@pytest.mark.usefixtures("tiny_encoder", "own_cache")
def test_evaluate_writes_the_rankings_that_it_measured(
    scene_run: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    report: Report = mh.evaluate(
        scene_run, trec=tmp_path / "a", ties="database_order", conventions=["standard"],
        top_k=(None,), gain="linear", captions="all",
    )  # fmt: skip
    for direction in ("image_to_text", "text_to_image"):
        for scoring in ("hamming", "asymmetric"):
            for folder, relevance in (("labels", "shared_label"), ("pairs", "pair")):
                part = tmp_path / "a" / folder
                read = mh.score_trec(
                    part / f"{direction}-{scoring}.run", part / f"{direction}-{folder}.qrels"
                )
                value = report.value("map", direction, relevance=relevance, scoring=scoring)
                ours = read.value("map", "text_to_image", relevance="judged")
                np.testing.assert_allclose(ours, value, rtol=1e-12)
    ids = read_run(tmp_path / "a" / "pairs" / "image_to_text-hamming.run").rankings
    (query, (first, *_)) = next(iter(ids.items()))
    assert query.startswith("scene-0-")
    assert re.fullmatch(r"scene-0-\d+#\d", first)
    ended = modalhash(
        "evaluate", scene_run, "--write-trec", tmp_path / "b", "--trec-depth", "2",
        "--scoring", "hamming", "--against", scene_run,
    )  # fmt: skip
    assert ended.code == 0
    run = read_run(tmp_path / "b" / "labels" / "text_to_image-hamming.run")
    assert {len(documents) for documents in run.rankings.values()} == {2}
    with pytest.raises(InputError, match=r"^trec and rerank are given: runs are written of rank"):
        mh.evaluate(scene_run, trec=tmp_path / "c", rerank="all")


def test_ids_with_spaces_stay_one_field(tmp_path: Path) -> None:
    from modalhash.codes import pack
    from modalhash.trec import write_trec

    signs = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)
    options: dict[str, Any] = {
        "query_ids": ["a dog", "b"], "database_ids": ["x\ty.jpg", "100%"], "query_targets": [0, 1],
    }  # fmt: skip
    paths = write_trec(
        tmp_path, signs, pack(signs), 2, direction="text_to_image", scoring="hamming", **options
    )
    assert [path.name for path in paths] == [
        "text_to_image-hamming.run", "text_to_image-pairs.qrels",
    ]  # fmt: skip
    assert read_qrels(paths[1]) == {"a%20dog": {"x%09y.jpg": 1}, "b": {"100%25": 1}}
    assert mh.score_trec(*paths).directions[0].find("reciprocal_rank").value == 1
    with pytest.raises(InputError, match=r"^depth is 0, expected at least 1$"):
        write_trec(tmp_path, signs, pack(signs), 2, direction="text_to_image", depth=0, **options)
