"""Answers that are no nearer than random codes say so."""

import logging

import numpy as np
import pytest

from modalhash.cli.search_command import warn_of_doubts
from modalhash.modalities import Side
from modalhash.search.answers import Answer
from modalhash.search.grading import is_near_chance

N_ITEMS, N_BITS = 1000, 64


def nearest_of_random(seed: int, *, flipped: int | None) -> np.ndarray:
    """Distances of the ten items of a random index that are nearest to a query.

    With `flipped`, one item is the query with so many bits turned over.
    """
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (N_ITEMS, N_BITS))
    query = generator.integers(0, 2, N_BITS)
    if flipped is not None:
        bits[7] = query
        bits[7, :flipped] ^= 1
    distances: np.ndarray = np.sort((bits != query).sum(axis=1))[:10]
    return distances


def test_random_codes_are_near_chance() -> None:
    """Where half a code is expected there is none in exp(-.5) = 61 % of cases."""
    rows = [nearest_of_random(seed, flipped=None) for seed in range(50)]
    assert sum(is_near_chance(row, N_BITS, N_ITEMS) for row in rows) >= 25


def test_one_item_that_fits_is_enough() -> None:
    rows = [nearest_of_random(seed, flipped=10) for seed in range(50)]
    assert not any(is_near_chance(row, N_BITS, N_ITEMS) for row in rows)


@pytest.mark.parametrize(("distances", "n_bits"), [([], 64), ([12, 15], 31)])
def test_what_does_not_tell_is_not_doubted(distances: list[int], n_bits: int) -> None:
    assert not is_near_chance(np.array(distances, np.int64), n_bits, N_ITEMS)


def test_the_command_line_warns_and_json_says_so(caplog: pytest.LogCaptureFixture) -> None:
    answer = Answer({"text": "x"}, Side.IMAGES, 64, (), near_chance=True)
    assert answer.to_json()["near_chance"] is True
    assert "near_chance" not in Answer({"text": "x"}, Side.IMAGES, 64, ()).to_json()
    with caplog.at_level(logging.WARNING, "modalhash"):
        warn_of_doubts(answer, "offline")
    assert "even the nearest answers are no nearer than random codes would be" in caplog.text
