"""What `evaluate` ranks and counts, against plain loops over the codes that `encode` wrote."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.data import Collection
from modalhash.errors import FeatureError, InputError, UnknownNameError
from modalhash.metrics import Report
from tests.oracles.ranking import average_precision, first_rank, hamming, recall

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

Signs = list[list[int]]


@pytest.fixture(scope="session")
def scenes() -> Collection:
    return mh.load_collection("scenes:60")


@pytest.fixture
def signs(scene_run: Path, tmp_path: Path) -> tuple[Signs, Signs]:
    """Bits of all pictures and of all texts, read from what `encode` wrote."""
    mh.encode(scene_run, "scenes:60", tmp_path / "codes")
    found = []
    for name in ("image", "text"):
        packed = np.load(tmp_path / "codes" / f"{name}_codes.npy", allow_pickle=False)
        found.append([[row[bit // 8] >> bit % 8 & 1 for bit in range(12)] for row in packed])
    return found[0], found[1]


def ranking(query: Sequence[int], database: Signs) -> list[int]:
    """Places of the database, nearest first, ties in the order of the database."""
    return sorted(range(len(database)), key=lambda row: (hamming(query, database[row]), row))


def map_by_labels(
    queries: list[tuple[list[int], Any]], database: list[tuple[list[int], Any]], top_k: int | None
) -> float:
    """Mean of average precisions over rankings of codes, each with its labels."""
    values = []
    for code, labels in queries:
        order = ranking(code, [bits for bits, _ in database])
        relevant = [bool((labels & database[row][1]).any()) for row in order]
        values.append(average_precision(relevant, top_k, "truncated"))
    return sum(values) / len(values)


@pytest.mark.parametrize("captions", ["first", "all"])
@pytest.mark.parametrize("database", ["train", "rest", "dev"])
def test_measures_by_labels_are_those_of_a_plain_loop(
    scene_run: Path, scenes: Collection, signs: tuple[Signs, Signs], captions: Any, database: str
) -> None:
    image_signs, text_signs = signs
    report = mh.evaluate(
        scene_run, database=database, captions=captions, ties="database_order", top_k=(5, None)
    )
    assert scenes.labels is not None
    queries = scenes.split("test").tolist()
    ranked = (
        sorted(set(range(60)) - set(queries)) if database == "rest"
        else sorted(scenes.split(database).tolist())
    )  # fmt: skip
    assert not set(queries) & set(ranked)

    def pictures(items: list[int]) -> list[tuple[list[int], Any]]:
        assert scenes.labels is not None
        return [(image_signs[item], scenes.labels[item]) for item in items]

    def texts(items: list[int]) -> list[tuple[list[int], Any]]:
        assert scenes.labels is not None
        chosen = range(1 if captions == "first" else 5)
        return [(text_signs[5 * i + k], scenes.labels[i]) for i in items for k in chosen]

    for top_k in (5, None):
        for direction, asked, there in (
            ("image_to_text", pictures(queries), texts(ranked)),
            ("text_to_image", texts(queries), pictures(ranked)),
        ):
            value = report.value("map", direction, relevance="shared_label", k=top_k)
            np.testing.assert_allclose(
                value, map_by_labels(asked, there, top_k), rtol=1e-12, atol=0
            )
    assert report.counts == {
        "queries": len(queries),
        "database": len(ranked),
        "query_texts": len(texts(queries)),
        "database_texts": len(texts(ranked)),
    }


@pytest.mark.parametrize("captions", ["first", "all"])
def test_measures_by_pair_rank_the_split_itself(
    scene_run: Path, scenes: Collection, signs: tuple[Signs, Signs], captions: Any
) -> None:
    image_signs, text_signs = signs
    report = mh.evaluate(
        scene_run, split="train", database="rest", captions=captions, ties="database_order",
        relevances=("pair",), recall_at=(1, 5),
    )  # fmt: skip
    items = scenes.split("train").tolist()
    rows = [5 * item + k for item in items for k in range(1 if captions == "first" else 5)]
    own = {row: row // 5 for row in rows}
    images, texts = [image_signs[item] for item in items], [text_signs[row] for row in rows]
    by_direction = {
        "image_to_text": [
            [own[rows[place]] == item for place in ranking(image_signs[item], texts)]
            for item in items
        ],
        "text_to_image": [
            [items[place] == own[row] for place in ranking(text_signs[row], images)] for row in rows
        ],
    }
    for direction, rankings in by_direction.items():
        for top_k in (1, 5):
            # a query counts as found if any of its targets is inside the cut-off
            expected = np.mean([any(relevant[:top_k]) for relevant in rankings])
            if captions == "first":
                assert expected == np.mean([recall(relevant, top_k) for relevant in rankings])
            value = report.value("recall", direction, relevance="pair", k=top_k)
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=0)
        ranks = [first_rank(relevant) for relevant in rankings]
        value = report.value("median_rank", direction, relevance="pair")
        np.testing.assert_allclose(value, np.median(ranks), rtol=1e-12, atol=0)
    assert {measure.relevance for measure in report.measures} == {"pair"}
    assert report.database is None
    assert report.counts["database"] == report.counts["database_texts"] == 0


def test_rules_choose_what_is_measured(scene_run: Path) -> None:
    def rules(report: Report) -> set[str]:
        return {measure.relevance for measure in report.measures}

    assert rules(mh.evaluate(scene_run)) == {"shared_label", "jaccard", "graded", "pair"}
    assert rules(mh.evaluate(scene_run, relevances=("jaccard",))) == {"jaccard"}
    both = mh.evaluate(scene_run, relevances=("pair", "shared_label"))
    assert rules(both) == {"shared_label", "pair"}


def test_the_model_knows_where_its_collection_is(scene_run: Path) -> None:
    here = mh.evaluate(scene_run).to_json()
    assert here == mh.evaluate(mh.load_model(scene_run), "scenes:60").to_json()
    assert here["about"]["collection"] == "scenes"
    assert here["notes"] == []


def test_the_document_of_a_report_has_the_stated_form(scene_run: Path) -> None:
    document = json.loads(json.dumps(mh.evaluate(scene_run).to_json(), allow_nan=False))
    assert list(document) == [
        "format", "n_bits", "split", "database", "about", "counts", "notes", "measures",
    ]  # fmt: skip
    assert (document["format"], document["n_bits"], document["split"]) == (1, 12, "test")
    assert all(type(count) is int for count in document["counts"].values())
    for measure in document["measures"]:
        assert set(measure) == {
            "measure", "k", "direction", "relevance", "convention", "ties", "value", "n_queries",
            "n_database", "interval", "scoring",
        }  # fmt: skip
    found = {
        (one["measure"], one["k"], one["direction"], one["relevance"])
        for one in document["measures"]
    }
    for direction in ("image_to_text", "text_to_image"):
        for k in (50, 5000, None):
            assert ("map", k, direction, "shared_label") in found
        for k in (1, 5, 10):
            assert ("recall", k, direction, "pair") in found
    maps = [one for one in document["measures"] if one["measure"] == "map"]
    assert {(one["convention"], one["ties"]) for one in maps} == {("truncated", "expected")}


def leaks(report: Report) -> list[str]:
    return [note for note in report.notes if note.startswith("the model was trained on")]


def test_queries_that_were_trained_on_are_told(scene_run: Path) -> None:
    tail = "queries: their numbers say little about new pairs"
    train = mh.evaluate(scene_run, split="train", database="rest")
    assert leaks(train) == [f"the model was trained on 48 of the 48 {tail}"]
    everything = mh.evaluate(scene_run, split="all", relevances=("pair",))
    assert leaks(everything) == [f"the model was trained on 48 of the 60 {tail}"]
    assert leaks(mh.evaluate(scene_run, split="dev")) == []
    assert leaks(mh.evaluate(scene_run, "scenes:60:9", split="train", database="rest")) == []


@pytest.fixture
def unlabelled(tmp_path: Path) -> str:
    """Features of 30 pairs without labels; splits are made."""
    rng = np.random.default_rng(2)
    causes = rng.normal(size=(30, 4)).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", image=causes, text=causes @ rng.normal(size=(4, 5)))
    return f"features:{tmp_path / 'pairs.npz'}"


def test_without_labels_there_are_pairs_and_a_note(unlabelled: str) -> None:
    model = mh.train(unlabelled, method="cca-sign", n_bits=4, encoder="precomputed")
    report = mh.evaluate(model, split="dev", database="no such split")
    assert {measure.relevance for measure in report.measures} == {"pair"}
    assert report.notes == ("the collection has no labels: measures by pair only",)
    assert report.database is None
    message = "relevance by jaccard needs labels, but pairs has none"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.evaluate(model, relevances=("jaccard",))


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        (
            {"split": "tset"},
            UnknownNameError,
            "unknown split of scenes 'tset': did you mean 'test'? Known: all, dev, test, train",
        ),
        (
            {"database": "trian"},
            UnknownNameError,
            "unknown split of scenes 'trian': did you mean 'train'? Known: all, dev, test, train",
        ),
        (
            {"database": "test"},
            InputError,
            (
                "nothing is left to rank: split 'test' holds all items of database 'test'; name "
                "another database"
            ),
        ),
        ({"captions": "some"}, InputError, "captions is 'some', expected first or all"),
        (
            {"ties": "random"},
            UnknownNameError,
            "unknown tie rule 'random'; known: database_order, expected, optimistic, pessimistic",
        ),
    ],
)
def test_wrong_choices_are_refused(
    scene_run: Path, choices: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        mh.evaluate(scene_run, **choices)


def test_an_empty_split_is_said(scene_run: Path) -> None:
    message = "split 'test' of scenes has no items to use as queries"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.evaluate(scene_run, "scenes:1")


def test_collections_of_other_encoders_are_refused(scene_run: Path, unlabelled: str) -> None:
    message = (
        "the model reads pictures with the encoder 'tiny', but collection 'pairs' has features "
        "only: give a collection of pictures, or train a model on such features with --encoder "
        "precomputed"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        mh.evaluate(scene_run, unlabelled)
    model = mh.train(unlabelled, method="random", n_bits=4, encoder="precomputed")
    message = (
        "the model was trained on image features that came as arrays, but collection 'scenes' "
        "brings none: give features made the same way (features:PATH), or train a model with an "
        "encoder such as 'offline'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        mh.evaluate(model, "scenes:60")


def test_features_of_another_width_are_refused(unlabelled: str, tmp_path: Path) -> None:
    model = mh.train(unlabelled, method="random", n_bits=4, encoder="precomputed")
    np.savez(tmp_path / "wide.npz", image=np.eye(9), text=np.eye(9))
    message = (
        "the image features of collection 'wide' have shape (9, 9), expected (9, 4): bring one "
        "row an item, of the width the model was trained on"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        mh.evaluate(model, f"features:{tmp_path / 'wide.npz'}")


def test_a_model_without_a_source_asks_for_the_collection(unlabelled: str) -> None:
    from dataclasses import replace

    collection = replace(mh.load_collection(unlabelled), source="")
    model = mh.train(collection, method="random", n_bits=4, encoder="precomputed")
    message = "the model doesn't say where its collection is: name the collection"
    for verb in (mh.evaluate, lambda one: mh.build_index(one, output="nowhere")):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            verb(model)
    assert mh.evaluate(model, collection).counts["queries"] == 3


def test_queries_that_keep_their_numbers_are_measured_beside_codes(
    scene_run: Path, scenes: Collection, signs: tuple[Signs, Signs]
) -> None:
    report = mh.evaluate(scene_run, top_k=(3,))
    assert report.scorings == ("hamming", "asymmetric")
    model = mh.load_model(scene_run)
    assert scenes.pictures is not None
    relaxed = np.concatenate(
        [model.relaxed_features(model.image_output(scenes.pictures.open(row)).pooled, "image")
         for row in scenes.split("test")]
    )  # fmt: skip
    texts = [signs[1][scenes.caption_starts[row]] for row in scenes.split("test")]
    n_found = 0
    for place, numbers in enumerate(relaxed.astype(np.float64)):
        scores = [
            sum(number * (2 * int(bit) - 1) for number, bit in zip(numbers, text, strict=True))
            for text in texts
        ]
        n_found += sum(score > scores[place] for score in scores) < 5
    found = report.value("recall", "image_to_text", relevance="pair", k=5, scoring="asymmetric")
    assert len(set(map(tuple, texts))) == len(texts), "ties would need their expected value"
    assert found == pytest.approx(n_found / len(texts), rel=1e-12)
    by_hamming = mh.evaluate(scene_run, top_k=(3,), scoring="hamming")
    assert by_hamming.scorings == ("hamming",)
    assert report.value("map", "image_to_text", relevance="shared_label", k=3) == by_hamming.value(
        "map", "image_to_text", relevance="shared_label", k=3, scoring="hamming"
    )
    with pytest.raises(InputError, match="nothing on image_to_text with scoring 'asymmetric'"):
        by_hamming.value(
            "map", "image_to_text", relevance="shared_label", k=3, scoring="asymmetric"
        )


def test_unfit_scorings_are_refused(scene_run: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown scoring 'cosine'"):
        mh.evaluate(scene_run, scoring="cosine")
    with pytest.raises(InputError, match="a reranked shortlist is by Hamming distance"):
        mh.evaluate(scene_run, scoring="asymmetric", rerank=5)
