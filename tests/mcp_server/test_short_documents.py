"""Answers of few bytes, whatever is in them; and what an answer as a whole is worth."""

import json
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modalhash.mcp_server.short_documents import write_entries, write_short
from modalhash.mcp_server.verdicts import find_verdict
from modalhash.modalities import Side
from modalhash.search import Answer, EncodedQuery, Hit
from modalhash.search.strength import Strength

MOST = 2000


CAPTIONS = st.builds(operator.mul, st.text(max_size=15), st.integers(1, 300))


@given(st.lists(CAPTIONS, min_size=1, max_size=10), st.integers(1, 40))
def test_hits_fit_and_keep_their_ids(captions: list[str], id_length: int) -> None:
    hits = [
        {"id": f"{number:0{id_length}d}", "strength": "fair", "score": 0.5, "caption": caption}
        for number, caption in enumerate(captions)
    ]

    def describe(shown: list[dict[str, Any]]) -> dict[str, Any]:
        return {"index": "photos", "hits": shown, "next_offset": len(shown)}

    text = write_entries(describe, hits, MOST)
    assert len(text.encode()) <= MOST
    shown = json.loads(text)["hits"]
    # Ten ids of 40 characters have room, so no hit is left out.
    assert [hit["id"] for hit in shown] == [hit["id"] for hit in hits]


def test_hits_that_have_no_room_are_on_the_next_page() -> None:
    hits = [{"id": f"{number}" * 900, "strength": "weak", "caption": "a"} for number in range(3)]
    text = write_entries(lambda shown: {"hits": shown, "next_offset": len(shown)}, hits, MOST)
    assert len(text.encode()) <= MOST
    assert json.loads(text)["next_offset"] == 2
    alone = write_entries(lambda shown: {"hits": shown}, [{"id": "é" * 1024}], MOST)
    assert json.loads(alone)["hits"] == [{"id": "é" * 1024}]


def test_a_document_is_cut_only_where_it_must_be() -> None:
    document = {"id": "a" * 100, "caption": "b" * 100, "metadata": {"year": 2020}}
    assert json.loads(write_short(document, 400)) == document
    cut = json.loads(write_short(document, 220))
    assert (cut["id"], cut["metadata"]) == (document["id"], document["metadata"])
    assert cut["caption"] == "b" * 59 + "…"
    many = {"id": "a", "fields": [{"name": f"field {number}"} for number in range(500)]}
    text = write_short(many, 300)
    assert len(text.encode()) <= 300
    assert json.loads(text)["shortened"] is True


def answer(strengths: list[Strength | None], *, near_chance: bool = False) -> Answer:
    hits = tuple(
        Hit(str(place), 1, 0.5, "", None, {}, strength=strength)
        for place, strength in enumerate(strengths)
    )
    return Answer({"text": "a"}, Side.IMAGES, 64, hits, near_chance=near_chance)


@pytest.mark.parametrize(
    ("strengths", "options", "verdict"),
    [
        ([Strength.STRONG, Strength.WEAK], {}, None),
        (
            [Strength.WEAK, Strength.WEAK],
            {},
            "Nothing clearly relevant: even the best hit is weak.",
        ),
        (
            [Strength.WEAK],
            {"near_chance": True},
            "Nothing relevant. Even the nearest are no nearer than random codes would be.",
        ),
        ([], {}, "Nothing passes the filter and the other limits."),
        ([None], {}, "How relevant these hits are isn't known: the index isn't calibrated."),
    ],
)
def test_what_an_answer_is_worth(
    strengths: list[Strength | None], options: dict[str, Any], verdict: str | None
) -> None:
    query = EncodedQuery({"text": "a"}, np.zeros((1, 8), np.uint8), np.zeros((1, 64), np.float32))
    assert find_verdict(query, answer(strengths, **options), offset=0) == verdict
    unknown = EncodedQuery(
        {"text": "a"}, np.zeros((1, 8), np.uint8), np.zeros((1, 64), np.float32), unknown=("a",)
    )
    if strengths:
        assert find_verdict(unknown, answer(strengths, **options), offset=0) == (
            "Nothing relevant can be told. The text encoder knows no word of this query."
        )
