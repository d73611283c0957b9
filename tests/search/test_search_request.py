"""One search: its fields, their checks, and what several parts of a query make together."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import modalhash as mh
from modalhash.codes import pack, unpack
from modalhash.errors import (
    InputError,
    UnavailableError,
    UnknownItemError,
    UnknownNameError,
)
from modalhash.modalities import Direction, Side
from modalhash.search import SearchIndex
from modalhash.search_request import (
    PART_NAMES,
    RerankBy,
    RerankScore,
    SearchOptions,
    SearchRequest,
    Target,
)


@pytest.fixture
def index(tiny_encoder: None, scene_index: Path) -> Iterator[SearchIndex]:
    with mh.open_index(scene_index) as opened:
        yield opened


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give a text, an id, a code or a picture to search for"),
        ({"minus_text": "a"}, "give a text, an id, a code or a picture to search for"),
        ({"text": 5}, "text is 5, expected a text"),
        ({"text": "a", "minus_text": ["b"]}, "minus_text is ['b'], expected a text"),
        ({"text": " \n"}, "the text to search for is empty: give at least one word"),
        (
            {"text": "a", "minus_text": ""},
            "minus_text is empty: give at least one word, or leave it out",
        ),
        (
            {"image": "https://example.org/a.jpg"},
            "https://example.org/a.jpg is an address, and addresses aren't read: download the",
        ),
        ({"text": "a", "k": 0}, "k is 0, expected at least 1"),
        ({"text": "a", "k": 2.5}, "k is 2.5, expected at least 1"),
        ({"text": "a", "k": True}, "k is True, expected at least 1"),
        ({"text": "a", "radius": -1}, "radius is -1, expected 0 or more"),
        ({"text": "a", "min_relevance": 1.5}, "min_relevance is 1.5, expected a probability from"),
        (
            {"text": "a", "min_relevance": float("nan")},
            "min_relevance is nan, expected a probability from",
        ),
        ({"text": "a", "target": "videos"}, "target is 'videos', expected images or texts"),
        ({"id": "a", "id_side": "both"}, "id_side is 'both', expected images or texts"),
        ({"code": "00", "modality": "images"}, "modality is 'images', expected image or text"),
        ({"text": "a", "weights": {"text": 0}}, "the weight of text is 0, expected above 0 and"),
        ({"text": "a", "weights": {"text": float("nan")}}, "the weight of text is nan, expected"),
        ({"text": "a", "weights": {"texts": 1}}, "unknown part of a query 'texts': did you mean"),
        ({"text": "a", "rerank_by": "fin"}, "unknown rerank_by 'fin': did you mean 'fine'?"),
        ({"text": "a", "rerank_score": "x"}, "unknown rerank_score 'x'; known: fused, local"),
        (
            {"code": np.zeros((2, 8), np.uint8)},
            "code is uint8 of shape (2, 8), expected",
        ),
    ],
)
def test_a_wrong_value_is_refused_where_the_request_is_built(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        SearchRequest(**values)


def test_numbers_of_numpy_are_numbers() -> None:
    request = SearchRequest("a", k=np.int64(3), radius=np.uint8(7))  # type: ignore[arg-type]
    assert (request.k, request.radius) == (3, 7)
    assert type(request.k) is type(request.radius) is int


def test_hits_at_most_are_ten_unless_something_else_cuts_off() -> None:
    assert SearchRequest("a").hits_at_most == 10
    assert SearchRequest("a", k=3, radius=2).hits_at_most == 3
    assert SearchRequest("a", radius=2).hits_at_most is None
    assert SearchRequest("a", min_relevance=0.5).hits_at_most is None


def test_one_vocabulary_has_no_gaps() -> None:
    for query in ("image", "text"):
        for database in ("image", "text"):
            direction = Direction(f"{query}_to_{database}")
            assert (direction.query, direction.database) == (query, database)
            assert direction.is_within == (query == database)
            assert Direction.between(direction.query, direction.database) is direction
    assert [Side.of(side.modality) for side in Side] == list(Side)
    assert [side.value for side in Side] == [f"{side.modality}s" for side in Side]


def test_options_and_wire_have_the_fields_of_a_request() -> None:
    from modalhash.service.schemas import SearchQuery

    names = {field.name for field in fields(SearchRequest)}
    assert names - {"text", "image"} == set(SearchOptions.__annotations__)
    # A picture is uploaded beside the document; what a code is of, and its bit order, stand with
    # the code.
    # Features stay in Python: a server has the encoder that makes them.
    assert names - {"image", "modality", "bit_order", "features"} == set(SearchQuery.model_fields)
    hints = get_type_hints(SearchQuery)
    assert get_args(hints["rerank_by"]) == tuple(way.value for way in RerankBy)
    assert get_args(hints["rerank_score"]) == tuple(score.value for score in RerankScore)
    assert get_args(get_args(hints["target"])[0]) == tuple(target.value for target in Target)
    defaults = {name: field.default for name, field in SearchQuery.model_fields.items()}
    for field in fields(SearchRequest):
        if field.name in defaults and field.name != "weights":
            assert defaults[field.name] == field.default


def test_a_request_is_written_and_read_as_json() -> None:
    from modalhash.service.schemas import SearchQuery

    request = SearchRequest(
        "a dog", id=7, code=b"\x8f\x02", minus_text="snow", modality="image", id_side="texts",
        weights={"text": 2}, target="both", k=5, where="year > 2000", radius=9, min_relevance=0.5,
        rerank="auto", rerank_by="relaxed", rerank_score="local", explain=True,
    )  # fmt: skip
    document = request.to_json()
    assert document == {
        "text": "a dog", "id": 7, "code": {"hex": "8f02", "modality": "image"},
        "minus_text": "snow", "id_side": "texts", "weights": {"text": 2.0}, "target": "both",
        "k": 5, "filter": "year > 2000", "radius": 9, "min_relevance": 0.5, "rerank": "auto",
        "rerank_by": "relaxed", "rerank_score": "local", "explain": True,
    }  # fmt: skip
    assert SearchQuery.model_validate(document).where == "year > 2000"
    assert SearchRequest("a").to_json() == {"text": "a"}


def sign_code(index: SearchIndex, text: str) -> Any:
    """Return the relaxed code of a text at length 1, as the model gives it."""
    output = index.model.text_output(text)
    relaxed = index.model.relaxed_features(output.pooled, "text").astype(np.float64)
    return relaxed / np.linalg.norm(relaxed)


def test_a_combination_is_the_signs_of_a_weighted_sum(index: SearchIndex) -> None:
    request = SearchRequest(
        "a red circle", minus_text="blue", weights={"text": 3.0, "minus_text": 0.5}, k=5,
        scoring="hamming",
    )  # fmt: skip
    (answer,) = index.answer(request)
    total = 3.0 * sign_code(index, "a red circle") - 0.5 * sign_code(index, "blue")
    code = pack(np.where(total >= 0, 1, -1))
    by_code = index.search(code=code, target="images", k=5)
    assert [(hit.id, hit.distance) for hit in answer.hits] == [
        (hit.id, hit.distance) for hit in by_code.hits
    ]
    assert answer.query == {"text": "a red circle", "minus_text": "blue"}


def test_an_item_finds_others_and_not_itself(index: SearchIndex) -> None:
    images = index.sides[Side.IMAGES]
    identity = str(images.ids[5])
    code = images.reconstruct([identity])
    distances = {
        str(one): int((unpack(images.reconstruct([one]), 12) != unpack(code, 12)).sum())
        for one in images.ids
    }
    answer = index.search(id=identity, k=7)
    expected = sorted(distance for one, distance in distances.items() if one != identity)[:7]
    assert [hit.distance for hit in answer.hits] == expected
    assert identity not in [hit.id for hit in answer.hits]
    assert all(distances[str(hit.id)] == hit.distance for hit in answer.hits)
    within = index.search(id=identity, radius=3, target="images")
    assert len(within.hits) == sum(one <= 3 for one in distances.values()) - 1
    # On the other side there is no such item to leave out.
    assert len(index.search(id=identity, target="texts", k=300).hits) == 300


def test_both_sides_are_answered_and_explained(index: SearchIndex) -> None:
    images, texts = index.answer(SearchRequest("a red circle", target="both", k=2, explain=True))
    assert (images.target, texts.target) == (Side.IMAGES, Side.TEXTS)
    for answer in (images, texts):
        assert [one.id for one in answer.explanations] == [hit.id for hit in answer.hits]
        assert answer.to_json()["explanations"][0]["distance"] == answer.hits[0].distance
        assert answer.profile is not None
        assert answer.profile.n_items == len(index.sides[answer.target])
    with pytest.raises(InputError, match="expected images or texts: `answer` searches both"):
        index.search("a red circle", target="both")


def test_what_an_index_lacks_is_an_error_of_its_own(index: SearchIndex) -> None:
    with pytest.raises(UnavailableError, match="can't be reranked by fine"):
        index.search(id=str(index.sides[Side.IMAGES].ids[0]), rerank=5, rerank_by="fine")
    with pytest.raises(UnknownItemError, match=re.escape("no item 'nobody' among the images")):
        index.search(id="nobody")
    with pytest.raises(UnknownItemError, match=re.escape("no item 7 among the texts")):
        index.search(id=7, id_side="texts")
    with pytest.raises(InputError, match="code isn't hexadecimal"):
        index.search(code="zz")
    with pytest.raises(InputError, match=re.escape("code has 3 bytes, codes of 12 bits have 2")):
        index.search(code=b"abc")
    with pytest.raises(UnknownNameError, match="unknown rerank_by 'best'"):
        index.search("a", rerank_by="best")


def test_a_picture_may_come_as_bytes(index: SearchIndex, tmp_path: Path) -> None:
    collection = mh.load_collection("scenes:60")
    assert collection.pictures is not None
    collection.pictures.open(3).save(tmp_path / "three.png")
    by_file = index.search(image=tmp_path / "three.png", k=5)
    (by_bytes,) = index.answer(SearchRequest(image=(tmp_path / "three.png").read_bytes(), k=5))
    assert by_bytes.hits == by_file.hits
    assert by_bytes.query == {"image": "a picture"}


def test_every_part_has_a_weight() -> None:
    request = SearchRequest(
        "a", id=1, code="00", image="x.png", minus_text="b", features=np.ones(3), modality="text"
    )
    assert request.parts == PART_NAMES
    assert [request.weight(part) for part in request.parts] == [1, 1, 1, 1, 1, -1]


def test_a_search_never_loads_torchs_compiler(scene_index: Path) -> None:
    """It takes a second of every command that searches."""
    program = (
        "import sys; import modalhash as mh; from tests.oracles.tiny_encoder import TINY_TABLES\n"
        "for table, entry in TINY_TABLES: table['tiny'] = entry\n"
        f"mh.open_index({str(scene_index)!r}).search('a red circle')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "False\n"
