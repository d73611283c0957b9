from pathlib import Path

import numpy as np

from modalhash.benchmarking.grid_page import curve_lengths, mean_curve, write_grid_page
from modalhash.benchmarking.outcomes import Outcome

WAYS = ("image_to_text", "text_to_image")
VALUES = {f"MAP@50, shared label {way}": 0.5 for way in WAYS}


def outcome(
    row: str, n_bits: int, seed: int, *precision: float, values: dict[str, float] = VALUES
) -> Outcome:
    """Return an outcome with a curve of some points, recall rising evenly to 1."""
    n_points = len(precision)
    recall = [(place + 1) / n_points for place in range(n_points)]
    curve = {"recall": recall, "precision": list(precision)}
    curves = dict.fromkeys(WAYS, curve) if precision else {}
    return Outcome(row, "photos test", n_bits, seed, values, 1.0, n_bits, curves=curves)


def page_of(outcomes: list[Outcome], folder: Path) -> str:
    write_grid_page(outcomes, {}, folder / "page.html", origin="today")
    return (folder / "page.html").read_text()


def test_curves_of_the_usual_length_stand_with_the_plots(tmp_path: Path) -> None:
    outcomes = [outcome("a", n_bits, 0, 0.9, 0.5) for n_bits in (16, 64, 128)]
    page = page_of(outcomes, tmp_path)
    assert page.count("<svg") == 6 + 3 * 2
    first, folded = page.split("<details><summary>Precision over recall at other lengths", 1)
    assert first.count("Precision over recall, ") == 2
    assert "text to image, 64 bits, by rank, shared label." in first
    assert "image to text, 16 bits, by rank" in folded
    assert "image to text, 128 bits, by rank" in folded


def test_results_without_curves_give_the_other_plots(tmp_path: Path) -> None:
    page = page_of([outcome("a", 16, 0), outcome("b", 16, 0)], tmp_path)
    assert page.count("<svg") == 6
    assert "Precision over recall" not in page


def test_failed_runs_give_no_plots(tmp_path: Path) -> None:
    page = page_of([Outcome("a", "photos test", 16, 0, {}, error="no labels")], tmp_path)
    assert "<svg" not in page
    assert "no labels" in page


def test_a_curve_is_the_mean_over_seeds() -> None:
    found = mean_curve([outcome("a", 16, 0, 0.9, 0.5), outcome("a", 16, 1, 0.7, 0.1)], WAYS[0])
    assert found is not None
    np.testing.assert_allclose(found[0], [0.5, 1.0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[1], [(0.9 + 0.7) / 2, (0.5 + 0.1) / 2], rtol=0, atol=1e-12)
    assert mean_curve([outcome("a", 16, 0)], WAYS[0]) is None
    # a database that has grown since: only the newer length counts
    mixed = mean_curve([outcome("a", 16, 0, 0.9, 0.5), outcome("a", 16, 1, 0.7, 0.2, 0.1)], WAYS[1])
    assert mixed is not None
    np.testing.assert_allclose(mixed[1], [0.7, 0.2, 0.1], rtol=0, atol=1e-12)


def test_the_usual_length_comes_first() -> None:
    lengths = (16, 32, 64, 128)
    assert curve_lengths([outcome("a", n_bits, 0, 0.5) for n_bits in lengths]) == [64, 16, 32, 128]
    assert curve_lengths([outcome("a", n_bits, 0, 0.5) for n_bits in (16, 24)]) == [24, 16]
    assert curve_lengths([outcome("a", 16, 0)]) == []
