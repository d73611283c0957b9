"""Prefixes are ranked by signs and by cosines, within the rules of the bench's table."""

import numpy as np
import pytest

from benchmarks.quality.prefixes import Both, values_of
from modalhash import load_collection
from modalhash.benchmarking.measuring_tasks import list_values


@pytest.mark.parametrize("as_codes", [True, False])
def test_partners_that_are_equal_are_found(*, as_codes: bool) -> None:
    collection = load_collection("icons")
    generator = np.random.default_rng(0)
    queries, database = (
        generator.normal(size=(len(collection.split(name)), 64)).astype(np.float32)
        for name in ("test", "train")
    )
    both: Both = {"image": (queries, database), "text": (queries, database)}
    found = list_values(values_of(both, collection, "test", as_codes=as_codes))
    assert len(found) == 8
    assert found["recall@10 by pair image_to_text"] == 1
    # Unrelated to labels, and the same in both directions.
    assert found["MAP@50, shared label image_to_text"] < 0.3
    for name in ("MAP@50, shared label", "MAP, whole list, shared label"):
        assert found[f"{name} image_to_text"] == found[f"{name} text_to_image"]


def test_signs_lose_what_cosines_keep() -> None:
    collection = load_collection("icons")
    queries = np.abs(np.random.default_rng(0).normal(size=(len(collection.split("test")), 16)))
    database = np.zeros((len(collection.split("train")), 16))
    part = (queries.astype(np.float32), database.astype(np.float32))
    both: Both = {"image": part, "text": part}
    by_signs, by_cosines = (
        list_values(values_of(both, collection, "test", as_codes=as_codes))
        for as_codes in (True, False)
    )
    n = len(queries)
    assert by_signs["recall@10 by pair image_to_text"] == pytest.approx(10 / n, abs=1e-4)
    assert by_cosines["recall@10 by pair image_to_text"] == 1
