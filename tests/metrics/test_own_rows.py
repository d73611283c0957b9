"""A query that is a row of the database isn't ranked for itself."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import modalhash as mh
from modalhash.codes import pack
from modalhash.errors import InputError, ShapeError
from modalhash.metrics import MeasureChoices, evaluate_direction

N_BITS = 6


def made(n_items: int = 9) -> tuple[Any, Any, Any]:
    """Draw codes with many ties, labels, and two targets a query."""
    generator = np.random.default_rng(5)
    codes = pack(np.where(generator.integers(0, 2, (n_items, N_BITS)), 1, -1))
    labels = generator.integers(0, 2, (n_items, 3))
    labels[:, 0] |= ~labels.any(axis=1)
    rows = np.arange(n_items)
    return codes, labels, np.stack([rows, (rows + 1) % n_items], axis=1)


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic", "database_order"])
@pytest.mark.parametrize("relevance", ["shared_label", "jaccard", "graded", "pair"])
def test_it_is_as_if_the_row_were_not_there(ties: str, relevance: str) -> None:
    codes, labels, targets = made()
    choices: MeasureChoices = {"ties": ties, "relevances": (relevance,), "top_k": (1, 3, None)}
    whole = evaluate_direction(
        codes, codes, N_BITS, direction="image_to_image", query_labels=labels,
        database_labels=labels, query_targets=targets, own_rows=np.arange(len(codes)), **choices,
    )  # fmt: skip
    assert whole.n_database == len(codes) - 1
    for query in range(len(codes)):
        others = np.delete(np.arange(len(codes)), query)
        moved = {row: place for place, row in enumerate(others.tolist())}
        alone = evaluate_direction(
            codes[[query]], codes[others], N_BITS, direction="image_to_image",
            query_labels=labels[[query]], database_labels=labels[others],
            query_targets=[moved[int(targets[query, 1])]], **choices,
        )  # fmt: skip
        for values, expected in zip(whole.per_query, alone.per_query, strict=True):
            assert_allclose(values[query], expected[0], rtol=1e-12, atol=1e-12)


def test_a_wrong_row_is_refused() -> None:
    codes, labels, _ = made(3)
    given = {"query_labels": labels, "database_labels": labels}
    for rows, error, message in (
        ([0, 1], ShapeError, "own_rows is int64 of shape (2,), expected integers of shape (3,)"),
        ([0, 1, 3], InputError, "own_rows holds 0 to 3, expected database rows"),
    ):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            evaluate_direction(
                codes, codes, N_BITS, direction="text_to_text", own_rows=rows, **given
            )  # fmt: skip
    with pytest.raises(InputError, match="the database holds nothing but the query itself"):
        evaluate_direction(
            codes[:1], codes[:1], N_BITS, direction="text_to_text", own_rows=[0],
            query_labels=labels[:1], database_labels=labels[:1],
        )  # fmt: skip


CODES = [[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]]
CLASSES = [0, 1, 0]


def nearest_is_relevant(**options: Any) -> float:
    """Score three codes against themselves: MAP at 1."""
    report = mh.score(
        CODES, CODES, query_labels=CLASSES, database_labels=CLASSES, top_k=(1,), **options
    )
    direction = str(options["direction"])
    return report.value("map", direction, relevance="shared_label", k=1)


def test_score_leaves_the_query_out_within_one_modality() -> None:
    # The nearest other row of each is of another class: 0 is right, and 1 if each finds itself.
    assert nearest_is_relevant(direction="image_to_image") == 0
    assert nearest_is_relevant(direction="text_to_text") == 0
    assert nearest_is_relevant(direction="image_to_image", leave_out_self=False) == 1
    assert nearest_is_relevant(direction="image_to_text") == 1
    assert nearest_is_relevant(direction="image_to_text", leave_out_self=True) == 0


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"direction": "image_to_image"}, "each query itself is left out of the database"),
        (
            {"direction": "image_to_image", "leave_out_self": False},
            "both sides are the same codes: each query finds itself, and that counts",
        ),
        (
            {"direction": "image_to_text"},
            "both sides are the same codes: each query finds itself, and that counts",
        ),
    ],
)
def test_score_says_which_it_was(options: dict[str, Any], note: str) -> None:
    report = mh.score(CODES, CODES, query_labels=CLASSES, database_labels=CLASSES, **options)
    assert report.notes[-1] == note


def test_queries_that_are_not_there_cannot_be_left_out() -> None:
    message = "leave_out_self (--leave-out-self): not every query is a row of the database"
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        mh.score(
            CODES[:2], CODES, query_labels=CLASSES[:2], database_labels=CLASSES,
            leave_out_self=True,
        )  # fmt: skip
