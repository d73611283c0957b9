"""Two reports compared number by number, and reports as CSV."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from modalhash.codes import pack
from modalhash.errors import InputError
from modalhash.metrics import Report, compare_reports, csv_text, evaluate_direction

N_QUERIES = 40


def made_report(noise: float, *, seed: int = 0, split: str = "test") -> Report:
    """A report on 40 queries whose codes differ from their own by some flipped bits."""
    generator = np.random.default_rng(seed)
    signs = np.where(generator.random((N_QUERIES, 32)) < 0.5, 1, -1)
    asked = np.where(generator.random(signs.shape) < noise, -signs, signs)
    labels = np.eye(4, dtype=np.uint8)[np.arange(N_QUERIES) % 4]
    direction = evaluate_direction(
        pack(asked), pack(signs), 32, direction="text_to_image", query_labels=labels,
        database_labels=labels, query_targets=np.arange(N_QUERIES), top_k=(5, None),
        n_resamples=20,
    )  # fmt: skip
    about = {"method": "made", "seed": seed, "collection": "none"}
    return Report(32, split, "train", {"queries": N_QUERIES}, (direction,), about)


def test_a_difference_is_that_of_the_values_and_its_sign_says_which_is_better() -> None:
    clean, noisy = made_report(0.02), made_report(0.45)
    compared = {
        (one.first.measure, one.first.relevance, one.first.k): one
        for one in compare_reports(clean, noisy)
    }
    recall = compared["recall", "pair", 5]
    by_hand = noisy.value("recall", "text_to_image", relevance="pair", k=5) - clean.value(
        "recall", "text_to_image", relevance="pair", k=5
    )
    np.testing.assert_allclose(recall.paired.difference, by_hand, rtol=1e-12, atol=0)
    assert (recall.verdict, recall.paired.interval[1] < 0) == ("worse", True)
    # Of ranks, smaller is better.
    rank = compared["mean_rank", "pair", None]
    assert (rank.verdict, rank.paired.interval[0] > 0) == ("worse", True)
    back = {one.first.measure: one for one in compare_reports(noisy, clean)}
    assert back["mean_rank"].verdict == "better"
    assert back["mean_rank"].paired.difference == -rank.paired.difference


def test_a_report_is_printed_with_a_line_for_each_number() -> None:
    report = made_report(0.02)
    first, *lines = str(report).splitlines()
    assert first == "made, 32 bits, queries of test"
    assert len(lines) == len(report.measures)
    assert repr(report) == f"<Report of {len(lines)} numbers: {first}>"
    value = report.value("recall", "text_to_image", relevance="pair", k=5)
    assert f"text_to_image: recall@5 by pair, ties expected, hamming: {value:.4f}" in lines


def test_a_report_does_not_differ_from_itself() -> None:
    report = made_report(0.3)
    compared = compare_reports(report, report)
    assert {one.verdict for one in compared} == {"no real difference"}
    assert {one.paired.difference for one in compared} == {0.0}
    # All numbers but the median rank, which is no mean.
    assert len(compared) == len(report.measures) - 1


def test_reports_on_other_queries_are_refused() -> None:
    message = (
        "the two reports differ in split: test and dev; measure both on the same queries and "
        "database"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        compare_reports(made_report(0.1), made_report(0.1, split="dev"))
    other = replace(made_report(0.1), about={"collection": "another"})
    with pytest.raises(
        InputError, match=r"^the two reports differ in collection: none and another"
    ):
        compare_reports(made_report(0.1), other)


def test_csv_has_one_row_a_number_with_all_that_it_means() -> None:
    report = made_report(0.3)
    rows = list(csv.DictReader(csv_text([report, made_report(0.1)]).splitlines()))
    assert len(rows) == 2 * len(report.measures)
    for row, one in zip(rows, report.measures, strict=False):
        assert float(row["value"]) == one.value
        assert one.interval is not None
        assert (float(row["interval_low"]), float(row["interval_high"])) == one.interval
        said = [row[name] for name in ("measure", "direction", "relevance", "ties")]
        assert said == [one.measure, one.direction, one.relevance, one.ties]
        assert (row["convention"], row["k"]) == (one.convention or "", str(one.k or ""))
        assert (row["n_queries"], row["n_database"]) == (str(one.n_queries), str(one.n_database))
        assert (row["method"], row["n_bits"], row["seed"]) == ("made", "32", "0")
        database = "test" if one.relevance == "pair" else "train"
        assert (row["split"], row["database"]) == ("test", database)
