"""Measures of two stages, against plain loops over hash codes and decoded finer codes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import modalhash as mh
from modalhash.artifacts import CollectionCodes, HashModel, load_model, save_model
from modalhash.errors import FeatureError, InputError
from tests.oracles.command_line import CommandLine
from tests.oracles.ranking import average_precision
from tests.oracles.token_encoder import TOKEN_TABLES

SCENES, N_BITS = "scenes:80", 12
SETTINGS: dict[str, Any] = {
    "hidden_width": 16, "hug_trunk_width": 8, "hug_trunk_heads": 2, "hug_width": 8,
    "hug_concepts": 3, "fine_subspaces": 2, "fine_codewords": 5, "fine_code_share": 0.3,
    "fine_class": False,
    "batch_size": 16, "epochs": 4, "image_token_width": 0, "image_token_grid": 0,
    "text_token_width": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _token_encoder(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    for table, entry in TOKEN_TABLES:
        monkeypatch.setitem(table, "tokens", entry)


@pytest.fixture(scope="module")
def plus_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """The folder of a small HuggingHash+."""
    folder = tmp_path_factory.mktemp("runs") / "plus"
    with pytest.MonkeyPatch.context() as patch:
        for table, entry in TOKEN_TABLES:
            patch.setitem(table, "tokens", entry)
        mh.train(
            SCENES, output=folder, method="hugging-hash-plus", n_bits=N_BITS, encoder="tokens",
            preset=None, settings=SETTINGS, cache=session_cache,
        )  # fmt: skip
    return folder


def bits(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.array([[row[b // 8] >> b % 8 & 1 for b in range(N_BITS)] for row in codes], np.int64)


def plain_map(run: Path, shortlist: int, score: str) -> float:
    """MAP@50 of texts asking for pictures, ties in the order of the database."""
    model, scenes = load_model(run), mh.load_collection(SCENES)
    scenes = run_splits(run, scenes)
    codes = CollectionCodes(model, scenes, captions="first")
    asked, ranked = scenes.split("test"), scenes.split("train")
    texts = codes.texts_of(asked)
    queries, database = bits(codes.text(texts)), bits(codes.image(ranked))
    vectors, fine = codes.fine_queries(texts, "text"), codes.fine_codes(ranked, "image")
    codewords = model.fine_books.codewords
    assert scenes.labels is not None
    values = []
    for place, query in enumerate(queries):
        distances = [int((query != code).sum()) for code in database]
        order = sorted(range(len(database)), key=lambda row: (distances[row], row))

        def closeness(row: int, place: int = place, distances: list[int] = distances) -> float:
            local = sum(
                float(vectors[place, s] @ codewords[s, fine[row, s]]) for s in range(len(codewords))
            )
            local /= int(SETTINGS["hug_concepts"])
            if score == "local":
                return local
            return 0.3 * (1 - 2 * distances[row] / N_BITS) + 0.7 * local

        order[:shortlist] = sorted(order[:shortlist], key=lambda row: -closeness(row))
        labels = scenes.labels[asked[place]]
        relevant = [bool((labels & scenes.labels[ranked[row]]).any()) for row in order]
        values.append(average_precision(relevant, 50, "truncated"))
    return sum(values) / len(values)


def run_splits(run: Path, scenes: Any) -> Any:
    from modalhash.data import read_split_file

    return read_split_file(scenes, run / "splits")


@pytest.mark.parametrize("score", ["fused", "local"])
@pytest.mark.parametrize("shortlist", [7, "all"])
def test_reranked_measures_are_those_of_a_plain_loop(
    plus_run: Path, shortlist: int | str, score: str
) -> None:
    report = mh.evaluate(
        plus_run, rerank=shortlist, rerank_score=score, top_k=(50,), ties="database_order",
        directions=["text_to_image"], relevances=["shared_label"],
    )  # fmt: skip
    length = 10**6 if shortlist == "all" else int(shortlist)
    expected = plain_map(plus_run, length, score)
    found = report.value("map", "text_to_image", relevance="shared_label", k=50)
    assert_allclose(found, expected, rtol=1e-9)
    assert report.about["rerank"] == {"shortlist": shortlist, "by": "fine", "score": score}
    # 3 concepts of 2 sub-spaces, 5 codewords each: 3 bits.
    assert report.about["storage"] == {"hash_bits": N_BITS, "fine_bits": 18}


def test_a_shortlist_of_none_is_plain_hashing(plus_run: Path) -> None:
    plain, none = mh.evaluate(plus_run, scoring="hamming"), mh.evaluate(plus_run, rerank=0)
    assert "rerank" not in plain.about
    values = {
        (one.measure, one.direction, one.relevance, one.k): one.value for one in plain.measures
    }
    for one in none.measures:
        expected = values[one.measure, one.direction, one.relevance, one.k]
        assert_allclose(one.value, expected, rtol=1e-12, equal_nan=True)


def test_a_sweep_holds_the_numbers_of_evaluate(plus_run: Path) -> None:
    sweep = mh.rerank_sweep(plus_run, shortlists=(0, 5, "all"), directions=["image_to_text"])
    n_items = sweep.n_database
    assert [row.shortlist for row in sweep.rows] == [0, 5, n_items]
    for row in sweep.rows:
        report = mh.evaluate(plus_run, rerank=row.shortlist, directions=["image_to_text"])
        found = report.value("map", "image_to_text", relevance="shared_label", k=50)
        assert_allclose(row.map, found, rtol=1e-12)
        assert row.milliseconds > 0
    assert (sweep.n_bits, sweep.fine_bits) == (N_BITS, 18)


def test_codes_are_the_same_without_finer_codes(plus_run: Path, tmp_path: Path) -> None:
    whole = load_model(plus_run)
    bare = whole.without_fine()
    save_model(bare, tmp_path / "bare")
    loaded = load_model(tmp_path / "bare")
    scenes = mh.load_collection(SCENES)
    items = scenes.split("all")
    expected = CollectionCodes(whole, scenes).image(items)
    for model in (bare, loaded):
        assert not model.has_fine_codes
        assert_array_equal(CollectionCodes(model, scenes).image(items), expected)
        texts = [scenes.captions[0], "a red circle"]  # type: ignore[index]
        assert_array_equal(model.encode_texts(texts), whole.encode_texts(texts))
    assert loaded.fingerprint != whole.fingerprint
    assert bare.without_fine() is bare
    size = (plus_run / "model.safetensors").stat().st_size
    assert (tmp_path / "bare" / "model.safetensors").stat().st_size < size


def test_a_loaded_model_gives_the_same_finer_codes_whatever_the_batch(plus_run: Path) -> None:
    scenes, model = mh.load_collection(SCENES), load_model(plus_run)
    codes = CollectionCodes(model, scenes)
    items = np.arange(20)
    fine, queries = codes.fine_codes(items, "image"), codes.fine_queries(items, "image")
    assert fine.dtype == np.uint8
    assert fine.shape == (20, 6)
    assert queries.shape == (20, 6, 4)
    alone = CollectionCodes(load_model(plus_run), scenes)
    for item in (3, 17):
        assert_array_equal(alone.fine_codes(items[item : item + 1], "image")[0], fine[item])
        assert_array_equal(alone.fine_queries(items[item : item + 1], "image")[0], queries[item])
    # A query's own codes are the codewords nearest to its sub-vectors.
    codewords = model.fine_books.codewords
    gaps = np.square(queries[:, :, None] - codewords).sum(axis=3)
    assert_array_equal(gaps.argmin(axis=2), fine)
    assert codes.fine_codes(items[:0], "text").shape == (0, 6)


def test_models_without_finer_codes_say_how_to_get_them(
    scene_run: Path, tiny_encoder: None
) -> None:
    message = (
        "the model has no finer codes to rerank by: train one that learns them, with "
        "--method hugging-hash-plus"
    )
    for call in (lambda: mh.evaluate(scene_run, rerank="auto"), lambda: mh.rerank_sweep(scene_run)):
        with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
            call()


@pytest.mark.parametrize(
    ("by", "direction"), [("relaxed", "text_to_image"), ("features", "text_to_text")]
)
def test_shortlists_reranked_by_numbers_are_those_of_a_plain_loop(
    plus_run: Path, by: str, direction: str
) -> None:
    report = mh.evaluate(
        plus_run, rerank=7, rerank_by=by, top_k=(50,), ties="database_order",
        directions=[direction], relevances=["shared_label"],
    )  # fmt: skip
    assert report.about["rerank"] == {"shortlist": 7, "by": by}
    model = load_model(plus_run)
    scenes = run_splits(plus_run, mh.load_collection(SCENES))
    codes = CollectionCodes(model, scenes, captions="first")
    asked, ranked = scenes.split("test"), scenes.split("train")
    texts, answers = codes.texts_of(asked), codes.texts_of(ranked)
    if by == "relaxed":
        vectors = codes.relaxed(texts, "text").astype(np.float64)
        database = bits(codes.image(ranked))
        stored = 2.0 * database - 1
    else:
        vectors, stored = (
            codes.table("text").pooled(rows).astype(np.float64) for rows in (texts, answers)
        )
        vectors, stored = (
            rows / np.linalg.norm(rows, axis=1)[:, None] for rows in (vectors, stored)
        )
        database = bits(codes.text(answers))
    assert scenes.labels is not None
    values = []
    for place, query in enumerate(bits(codes.text(texts))):
        distances = (query != database).sum(axis=1)
        order = sorted(range(len(database)), key=lambda row: (distances[row], row))
        scores = stored @ vectors[place]
        order[:7] = sorted(order[:7], key=lambda row: -scores[row])
        labels = scenes.labels[asked[place]]
        relevant = [bool((labels & scenes.labels[ranked[row]]).any()) for row in order]
        values.append(average_precision(relevant, 50, "truncated"))
    value = report.value("map", direction, relevance="shared_label", k=50)
    # Features a byte a number may exchange two items that are nearly equally near.
    assert_allclose(value, np.mean(values), rtol=1e-9 if by == "relaxed" else 0.01)


def test_features_of_two_widths_cannot_rerank(plus_run: Path) -> None:
    message = (
        "features of texts have 16 numbers and those of images 12: they can't be compared; rerank "
        "by relaxed, or measure directions within one modality"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        mh.evaluate(plus_run, rerank=7, rerank_by="features", directions=["text_to_image"])


def test_what_to_rerank_by_takes_a_shortlist(plus_run: Path) -> None:
    message = (
        "rerank_by is relaxed, but rerank is not given: say how long the shortlist is, as in "
        "rerank=500 (--rerank 500)"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.evaluate(plus_run, rerank_by="relaxed")


def test_a_length_that_is_none_is_refused(plus_run: Path) -> None:
    message = "rerank is 'most', expected a number of items, 0 or more, or auto, or all"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.evaluate(plus_run, rerank="most")


def test_the_command_line(plus_run: Path, modalhash: CommandLine) -> None:
    done = modalhash("evaluate", plus_run, "--rerank", "9")
    assert done.code == 0, done.err
    assert "shortlist 9 reranked (fused score), 12 + 18 bits an item" in done.out.replace("\n", " ")
    done = modalhash("evaluate", plus_run, "--rerank", "9", "--rerank-by", "relaxed")
    assert "shortlist 9 reranked (by relaxed), 12 + 18 bits" in done.out.replace("\n", " ")
    done = modalhash("evaluate", plus_run, "--rerank-sweep", "--json")
    document = json.loads(done.out)
    assert document["format"] == 1
    assert document["fine_bits"] == 18
    assert {row["shortlist"] for row in document["rows"]} == {0, 50, document["n_database"]}
    done = modalhash("evaluate", plus_run, "--rerank-sweep")
    assert "MAP@50 by shared_label, fused score" in done.out
    assert "all (" in done.out
    done = modalhash("evaluate", plus_run, "--rerank-sweep", "--rerank", "9")
    assert done.code == 2
    assert "leave out --rerank" in done.err


def test_an_unknown_modality_has_no_finer_codes(plus_run: Path) -> None:
    model: HashModel = load_model(plus_run)
    rows = np.zeros((1, 12), np.float32)
    with pytest.raises(InputError, match=r"^modality is 'sound', expected image or text$"):
        model.fine_codes(
            rows, "sound",  # type: ignore[arg-type]
            tokens=np.zeros((1, 4, 3), np.float32), token_mask=np.ones((1, 4), np.bool_),
        )  # fmt: skip
