"""Searches whose query keeps its numbers: a plain loop, limits, relevance, explanations."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.codes import pack, unpack
from modalhash.codes.asymmetric import WeightedQueries
from modalhash.errors import InputError, UnavailableError, UnknownNameError
from modalhash.files import sealed
from modalhash.index.explanation import chance_within
from modalhash.metrics import last_level, least_score, score_levels
from modalhash.modalities import Direction, Side
from modalhash.search import SearchIndex
from modalhash.search.strength import score_chances
from modalhash.search_request import SearchRequest
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

ASKED = "a red circle"
N_BITS = 12


@pytest.fixture
def index(scene_index: Path) -> SearchIndex:
    return mh.open_index(scene_index)


def relaxed_of(index: SearchIndex, text: str) -> np.ndarray:
    """The numbers of a text, before the sign."""
    model = index.model
    relaxed: np.ndarray = model.relaxed_features(model.text_output(text).pooled, "text")[0]
    return relaxed.astype(np.float64)


def plain_ranking(
    index: SearchIndex, numbers: np.ndarray, side: Side = Side.IMAGES
) -> list[tuple[str, float, int]]:
    """Ids, scores and distances of a side by a plain loop, best first, ties by insertion."""
    ids = [str(one) for one in index.sides[side].ids]
    ranked = []
    for identity, signs in zip(
        ids, unpack(index.sides[side].reconstruct(ids), N_BITS).tolist(), strict=True
    ):
        score = sum(x * s for x, s in zip(numbers, signs, strict=True)) / sum(map(abs, numbers))
        distance = sum((x >= 0) != (s > 0) for x, s in zip(numbers, signs, strict=True))
        ranked.append((identity, score, distance))
    return sorted(ranked, key=lambda one: -round(one[1], 5))


def test_the_default_ranks_by_the_numbers_of_the_query(index: SearchIndex) -> None:
    for side in (Side.IMAGES, Side.TEXTS):
        expected = plain_ranking(index, relaxed_of(index, ASKED), side)
        answer = index.search(ASKED, k=20, target=side)
        assert answer.scoring == "asymmetric"
        assert answer.to_json()["scoring"] == "asymmetric"
        assert [str(hit.id) for hit in answer.hits] == [one[0] for one in expected[:20]]
        np.testing.assert_allclose(
            [hit.score for hit in answer.hits], [one[1] for one in expected[:20]], atol=2e-6
        )
        assert [hit.distance for hit in answer.hits] == [one[2] for one in expected[:20]]
    by_hamming = index.search(ASKED, k=20, scoring="hamming")
    assert by_hamming.scoring == "hamming"
    distances = [hit.distance for hit in by_hamming.hits]
    assert distances == sorted(distances)


def test_limits_of_score_and_of_distance(index: SearchIndex) -> None:
    everything = plain_ranking(index, relaxed_of(index, ASKED))
    middle = (everything[9][1] + everything[10][1]) / 2
    for k in (None, 4, 60):
        found = index.search(ASKED, min_score=middle, k=k).hits
        assert [str(hit.id) for hit in found] == [one[0] for one in everything[:10][:k]]
        near = index.search(ASKED, radius=5, k=k).hits
        expected = [one[0] for one in everything if one[2] <= 5]
        assert [str(hit.id) for hit in near] == expected[:k]
        both = index.search(ASKED, radius=5, min_score=middle, k=k).hits
        expected = [one[0] for one in everything[:10] if one[2] <= 5]
        assert [str(hit.id) for hit in both] == expected[:k]


def test_a_combination_keeps_the_numbers_of_its_parts(index: SearchIndex) -> None:
    parts = [relaxed_of(index, text) for text in (ASKED, "blue")]
    total = parts[0] / np.linalg.norm(parts[0]) - 0.5 * parts[1] / np.linalg.norm(parts[1])
    (answer,) = index.answer(
        SearchRequest(ASKED, minus_text="blue", weights={"minus_text": 0.5}, k=10)
    )
    expected = plain_ranking(index, total)[:10]
    np.testing.assert_allclose(
        [hit.score for hit in answer.hits], [one[1] for one in expected], atol=3e-6
    )


def test_a_code_alone_is_ranked_alike_by_both_scorings(index: SearchIndex) -> None:
    identity = str(index.sides[Side.IMAGES].ids[3])
    code = index.sides[Side.IMAGES].reconstruct([identity])
    queries: list[dict[str, Any]] = [{"id": identity}, {"code": code}]
    for query in queries:
        answers = [
            index.answer(SearchRequest(**query, target="images", k=30, scoring=scoring))[0]
            for scoring in ("asymmetric", "hamming")
        ]
        first, second = ([(hit.id, hit.distance) for hit in one.hits] for one in answers)
        assert first == second
        np.testing.assert_allclose(
            [hit.score for hit in answers[0].hits],
            [1 - 2 * hit.distance / N_BITS for hit in answers[0].hits],
            atol=1e-6,
        )
        # A least score of a code is a distance: 1 - 2 d / 12 >= 0.4 means d <= 3.6.
        (near,) = index.answer(SearchRequest(**query, target="images", min_score=0.4))
        assert [(hit.id, hit.distance) for hit in near.hits] == answers_within(index, query, 3)


def answers_within(
    index: SearchIndex, query: dict[str, Any], radius: int
) -> list[tuple[object, int]]:
    """Ids and distances within a Hamming radius."""
    (answer,) = index.answer(
        SearchRequest(**query, target="images", radius=radius, scoring="hamming")
    )
    return [(hit.id, hit.distance) for hit in answer.hits]


def test_a_hit_is_explained_by_what_each_bit_adds(index: SearchIndex) -> None:
    numbers = relaxed_of(index, ASKED)
    everything = plain_ranking(index, numbers)
    identity, score, distance = everything[7]
    (found,) = index.explain([identity], ASKED)
    assert found.weighed is not None
    signs = unpack(index.sides[Side.IMAGES].reconstruct([identity]), N_BITS)[0]
    expected = numbers * signs / np.abs(numbers).sum()
    np.testing.assert_allclose(found.weighed.contributions, expected, atol=2e-6)
    assert found.weighed.score == pytest.approx(score, abs=2e-6)
    assert found.distance == distance == int((expected < 0).sum())
    scores = np.array([one[1] for one in everything])
    first, last = int((scores > score + 1e-5).sum()) + 1, int((scores > score - 1e-5).sum())
    assert found.ranks == (first, last)
    assert found.percentile == pytest.approx(
        100 * ((scores < score - 1e-5).sum() + (last - first + 1) / 2) / 60
    )
    assert set(found.to_json()) >= {"score", "contributions"}
    assert "score" not in index.explain([identity], ASKED, scoring="hamming")[0].to_json()
    answer = index.search(ASKED, k=8, explain=True)
    assert [one.ranks[0] for one in answer.explanations] == [
        1 + sum(other.score > hit.score for other in answer.hits) for hit in answer.hits
    ]


def test_bad_requests_say_what_is_wrong(index: SearchIndex) -> None:
    with pytest.raises(UnknownNameError, match="unknown scoring 'cosine'"):
        index.search(ASKED, scoring="cosine")
    with pytest.raises(InputError, match="min_score is of asymmetric scores, but scoring is ham"):
        index.search(ASKED, scoring="hamming", min_score=0.5)
    with pytest.raises(InputError, match=r"^min_score is 1\.5, expected a score from -1 to 1$"):
        index.search(ASKED, min_score=1.5)
    with pytest.raises(InputError, match="min_score is nan"):
        index.search(ASKED, min_score=float("nan"))


def test_a_rerank_by_relaxed_has_nothing_left_to_do(index: SearchIndex) -> None:
    plain = index.search(ASKED, k=9)
    reranked = index.search(ASKED, k=9, rerank="all", rerank_by="relaxed")
    assert reranked.hits == plain.hits
    assert (plain.reranked_by, reranked.reranked_by) == (None, "relaxed")


def test_each_scoring_has_its_own_relevance(
    scene_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", 12)
    folder = tmp_path / "index"
    shutil.copytree(scene_index, folder)
    found = mh.calibrate(folder)
    assert found.asymmetric.keys() == found.directions.keys()
    with mh.open_index(folder) as index:
        curve = found.asymmetric[Direction.TEXT_TO_IMAGE].curve
        assert len(curve.probabilities) == last_level(N_BITS) + 1
        answer = index.search(ASKED, k=60)
        levels = score_levels([hit.score for hit in answer.hits], N_BITS)
        assert [hit.relevance for hit in answer.hits] == [
            round(float(curve.probabilities[level]), 6) for level in levels
        ]
        least = sorted(hit.relevance or 0.0 for hit in answer.hits)[40]
        cut = index.search(ASKED, min_relevance=least)
        assert [hit.id for hit in cut.hits] == [
            hit.id for hit in answer.hits if (hit.relevance or 0.0) >= least
        ]
        by_id = index.search(id=answer.hits[0].id, k=3)
        of_bits = found.directions[Direction.IMAGE_TO_IMAGE].curve.probabilities
        assert [hit.relevance for hit in by_id.hits] == [
            round(float(of_bits[hit.distance]), 6) for hit in by_id.hits
        ]
    # A calibration from before there were scores is of Hamming distance, and nothing else.
    path = folder / "model" / "calibration.json"
    document = json.loads(path.read_text("utf-8"))
    del document["asymmetric"]
    document.pop("sha256", None)
    path.write_text(json.dumps(sealed(document)), "utf-8")
    with mh.open_index(folder) as index:
        assert index.calibration is not None
        assert not index.calibration.asymmetric
        assert index.search(ASKED, k=3).hits[0].relevance is None
        assert index.search(ASKED, k=3, scoring="hamming").hits[0].relevance is not None
        message = "this index is calibrated for Hamming distance only"
        with pytest.raises(UnavailableError, match=f"^{re.escape(message)}"):
            index.search(ASKED, min_relevance=0.01)
        assert index.search(ASKED, min_relevance=0.01, scoring="hamming").hits


def test_levels_are_those_of_distances_for_queries_of_signs() -> None:
    distances = np.arange(65)
    np.testing.assert_array_equal(score_levels(1 - 2 * distances / 64, 64), 4 * distances)
    for level in (0, 3, 100, 256):
        assert score_levels(least_score(level, 64) + 1e-9, 64) <= level
    chances = score_chances(WeightedQueries.of(np.ones((1, 40)), 40))
    np.testing.assert_allclose(
        chances[::4], [chance_within(distance, 40) for distance in range(41)], rtol=1e-9, atol=1e-14
    )


def test_chances_of_random_codes_are_those_of_all_codes() -> None:
    numbers = np.array([[5.0, 3.0, -2.0, 1.0, 1.0, 0.0, 4.0, -8.0]])
    query = WeightedQueries.of(numbers, 8)
    every = pack(np.where(np.arange(256)[:, None] >> np.arange(8) & 1, 1, -1))
    scores = query.scores(
        query.paired_distances(every, np.zeros(256, np.int64)), np.zeros(256, np.int64)
    )
    levels = score_levels(scores, 8)
    expected = [(levels <= level).mean() for level in range(33)]
    # Weights are rounded to an eighth of a bit, so a code may be a level away.
    found = score_chances(query)
    assert all(found[max(0, level - 1)] <= expected[level] + 1e-9 for level in range(33))
    assert all(expected[max(0, level - 1)] <= found[level] + 1e-9 for level in range(33))


def test_the_command_line(modalhash: CommandLine, scene_index: Path) -> None:
    words = ("search", scene_index, "--text", ASKED, "-k", "3")
    document = json.loads(modalhash(*words, "--json").out)
    assert document["scoring"] == "asymmetric"
    shown = modalhash(*words)
    assert f"images for text '{ASKED}', asymmetric" in shown.out
    assert f"{document['hits'][0]['score']:.3f}" in shown.out
    explained = modalhash(*words, "--explain")
    assert "most for it: bit " in explained.out
    by_hamming = json.loads(modalhash(*words, "--scoring", "hamming", "--json").out)
    assert by_hamming["scoring"] == "hamming"
    few = modalhash(*words, "--min-score", "1")
    assert "no item passes --min-score 1.0: choose a looser limit" in few.out
