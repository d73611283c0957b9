"""Which rows can't be told from the best: worked out by hand, and by laws."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.benchmarking.grid_table import COLUMNS, grid_table
from modalhash.benchmarking.marks import Marks, find_marks, marks_from_json, marks_json
from modalhash.benchmarking.outcomes import Outcome

NAME = COLUMNS[0][0]


def run(
    row: str, seed: int, values: list[float], n_bits: int = 16
) -> tuple[Outcome, dict[str, NDArray[np.float32]]]:
    outcome = Outcome(row, "photos test", n_bits, seed, {NAME: float(np.nanmean(values))})
    return outcome, {NAME: np.array(values, np.float32)}


def test_a_row_that_is_worse_on_every_query_is_not_near() -> None:
    good, bad = [0.5, 0.6, 0.7, 0.8], [0.4, 0.5, 0.6, 0.7]
    assert find_marks([run("a", 0, good), run("b", 0, bad)]) == {
        ("photos test", 16, NAME, "hamming"): Marks("a", ())
    }


def test_rows_that_win_on_half_of_the_queries_are_near() -> None:
    first, second = [1.0, 0.0] * 20, [0.0, 0.99] * 20
    (marks,) = find_marks([run("a", 0, first), run("b", 0, second)]).values()
    assert marks == Marks("a", ("b",))


def test_seeds_are_averaged_query_by_query() -> None:
    # each seed of b wins or loses everywhere; their mean is .5 on every query, below a's .6
    runs = [run("a", 0, [0.6] * 8), run("b", 0, [1.0] * 8), run("b", 1, [0.0] * 8)]
    (marks,) = find_marks(runs).values()
    assert marks == Marks("a", ())


def test_lengths_are_apart_and_a_lone_row_has_no_mark() -> None:
    runs = [run("a", 0, [0.1, 0.2]), run("b", 0, [0.3, 0.4], n_bits=32)]
    assert find_marks(runs) == {}


def test_queries_that_do_not_count_are_left_out() -> None:
    nan = float("nan")
    (marks,) = find_marks([run("a", 0, [nan, 0.5, 0.6]), run("b", 0, [nan, 0.9, 0.9])]).values()
    assert marks == Marks("b", ())


def test_marks_come_back_from_json_and_stand_in_the_table() -> None:
    runs = [run("a", 0, [1.0, 0.0] * 20), run("b", 0, [0.0, 0.99] * 20), run("c", 0, [0.0] * 40)]
    marks = find_marks(runs)
    assert marks_from_json(marks_json(marks)) == marks
    lines = grid_table([outcome for outcome, _ in runs], marks).splitlines()[4:]
    assert [line.split(" | ")[3] for line in lines] == [
        "**0.500**", "0.495°", "0.000",
    ]  # fmt: skip


@pytest.mark.parametrize("other", [[0.1], [0.1, 0.2, 0.3]])
def test_rows_of_other_queries_are_left_out(other: list[float]) -> None:
    (marks,) = find_marks([run("a", 0, [0.5, 0.6]), run("b", 0, other)]).values()
    assert marks == Marks("a", ())


def test_rows_compare_with_their_kind() -> None:
    # With labels apart from those without, and rows that store more bits apart from both.
    runs = [
        run("a", 0, [0.5, 0.6]),
        run("b", 0, [0.4, 0.5]),
        run("with labels", 0, [0.8, 0.9]),
        run("with labels too", 0, [0.8, 0.9]),
        run("lone, reranked", 0, [0.9, 0.9]),
    ]
    runs[-1] = (replace(runs[-1][0], bits_per_item=400), runs[-1][1])
    marks = find_marks(runs, labelled={"with labels", "with labels too"})
    (one,) = marks.values()
    assert one == Marks("a", (), (Marks("with labels", ("with labels too",)),))
    shown = {outcome.row: one.of(outcome.row) for outcome, _ in runs}
    assert shown == {
        "a": "best", "b": "", "with labels": "best", "with labels too": "near",
        "lone, reranked": "",
    }  # fmt: skip
    assert marks_from_json(marks_json(marks)) == marks


def test_scorings_are_marked_apart() -> None:
    good, bad = [0.5, 0.6, 0.7, 0.8], [0.4, 0.5, 0.6, 0.7]
    plain = [run("a", 0, good), run("b", 0, bad)]
    other = [
        (replace(outcome, scoring="asymmetric"), values)
        for outcome, values in (run("a", 0, bad), run("b", 0, good))
    ]
    marks = find_marks([*plain, *other])
    assert {cell[3]: one.best for cell, one in marks.items()} == {"hamming": "a", "asymmetric": "b"}
    assert marks_from_json(marks_json(marks)) == marks
    # Marks from before there was a scoring are by Hamming distance.
    document = marks_json(find_marks(plain))
    del document[0]["scoring"]
    assert marks_from_json(document) == find_marks(plain)
    rows = grid_table([outcome for outcome, _ in [*plain, *other]], marks).splitlines()[4:8]
    assert [row.split(" | ")[3].startswith("**") for row in rows] == [True, False, False, True]
