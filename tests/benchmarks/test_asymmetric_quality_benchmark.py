"""Rows of the quality benchmark are ranked by signs, by a query's numbers, and by cosines."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.asymmetric import (
    Both,
    component_numbers,
    first_bits,
    measure,
    read_part,
    write_part,
)
from modalhash import load_collection
from modalhash.benchmarking.measuring_tasks import list_values
from modalhash.benchmarking.outcomes import Outcome
from modalhash.data import Collection


@pytest.fixture(scope="module")
def icons() -> Collection:
    return load_collection("icons")


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "floats"])
def test_partners_that_are_equal_are_found(icons: Collection, scoring: str) -> None:
    generator = np.random.default_rng(0)
    queries, database = (
        generator.normal(size=(len(icons.split(name)), 64)).astype(np.float32)
        for name in ("test", "train")
    )
    both: Both = {"image": (queries, database), "text": (queries, database)}
    values = list_values(measure(both, icons, "test", scoring))
    assert len(values) == 8
    assert values["recall@10 by pair image_to_text"] == 1
    # Unrelated to labels, and the same in both directions.
    assert values["MAP@50, shared label image_to_text"] < 0.3
    for name in ("MAP@50, shared label", "MAP, whole list, shared label"):
        assert values[f"{name} image_to_text"] == values[f"{name} text_to_image"]


def test_signs_lose_what_cosines_keep(icons: Collection) -> None:
    queries = np.abs(np.random.default_rng(0).normal(size=(len(icons.split("test")), 16)))
    database = np.zeros((len(icons.split("train")), 16))
    part = (queries.astype(np.float32), database.astype(np.float32))
    both: Both = {"image": part, "text": part}
    by_signs, by_numbers, by_cosines = (
        list_values(measure(both, icons, "test", scoring))
        for scoring in ("hamming", "asymmetric", "floats")
    )
    chance = pytest.approx(10 / len(queries), abs=1e-4)
    assert by_signs["recall@10 by pair image_to_text"] == chance
    assert by_numbers["recall@10 by pair image_to_text"] == chance  # what is searched is equal
    assert by_cosines["recall@10 by pair image_to_text"] == 1


def test_the_numbers_of_a_query_count_under_asymmetric_scoring(icons: Collection) -> None:
    """All codes differ in the second bit; the weight of the first decides which is nearer."""
    n_queries, n_items = len(icons.split("test")), len(icons.split("train"))
    texts = np.where(np.arange(n_queries)[:, None] % 2, [-1.0, 1.0], [1.0, -1.0])
    images = np.where(np.arange(n_queries)[:, None] % 2, [0.1, 1.0], [1.0, 0.1])
    stored = np.ones((n_items, 2), np.float32)
    both: Both = {
        "image": (images.astype(np.float32), stored),
        "text": (texts.astype(np.float32), stored),
    }
    by_signs, by_numbers = (
        list_values(measure(both, icons, "test", scoring)) for scoring in ("hamming", "asymmetric")
    )
    name = "recall@10 by pair image_to_text"
    assert by_signs[name] == pytest.approx(10 / n_queries, abs=1e-4)
    even = (n_queries + 1) // 2
    expected = (even * 10 / even + (n_queries - even) * 10 / (n_queries - even)) / n_queries
    assert by_numbers[name] == pytest.approx(expected, abs=1e-4)


def test_runs_are_kept_with_the_values_of_their_queries(tmp_path: Path) -> None:
    values = {"MAP image_to_text": np.array([0.5, np.nan], np.float32)}
    runs = [
        (Outcome("nested", "icons test", 16, 0, {"MAP image_to_text": 0.5}), values),
        (Outcome("nested", "icons test", 32, 0, {}, error="too wide"), {}),
        (
            Outcome("nested", "icons test", 16, 0, {"MAP text_to_image": 1}, scoring="asymmetric"),
            {"MAP text_to_image": np.ones(3, np.float32)},
        ),
    ]
    write_part(tmp_path, "icons-nested-0", runs)
    kept = read_part(tmp_path, "icons-nested-0")
    for (outcome, arrays), (expected, expected_arrays) in zip(kept, runs, strict=True):
        assert outcome.values == expected.values
        assert (outcome.n_bits, outcome.scoring) == (expected.n_bits, expected.scoring)
        assert outcome.error == expected.error
        assert arrays.keys() == expected_arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected_arrays[name])


def test_components_of_pairs_are_those_of_their_covariance() -> None:
    """Where a text is its picture, the numbers are principal components, shrunk by the ridge."""
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(200, 4)) * [4, 3, 2, 1]).astype(np.float32)
    queries = generator.normal(size=(5, 4)).astype(np.float32)
    numbers = component_numbers(
        (rows, rows), {"image": (queries, rows), "text": (queries, rows)}, 3
    )
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred / len(rows)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1][:3], directions[:, ::-1][:, :3]
    ridge = 0.1 * np.trace(covariance) / 4
    # Pictures and texts have half of the variance each; the halves are equal.
    components = centred @ directions / np.sqrt(np.trace(covariance))
    expected = components * variances / (variances + ridge)
    for modality in ("image", "text"):
        found = numbers[modality][1]
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(numbers["image"][0], numbers["text"][0])
    cut = first_bits(numbers, 2)
    np.testing.assert_array_equal(cut["text"][0], numbers["text"][0][:, :2])
