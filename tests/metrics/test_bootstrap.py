import re
from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose

from modalhash.errors import InputError, ShapeError
from modalhash.metrics import bootstrap_interval, compare_runs


def test_the_interval_of_a_mean_is_about_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, 4000)
    low, high = bootstrap_interval(values, generator=1, n_resamples=4000)
    reach = 1.96 * values.std() / sqrt(4000)
    assert_allclose((low, high), (values.mean() - reach, values.mean() + reach), rtol=3e-3, atol=0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [
        bootstrap_interval(
            generator.exponential(1.0, 100), generator=generator, n_resamples=200, level=0.8
        )
        for _ in range(400)
    ]
    covered = sum(low <= 1.0 <= high for low, high in intervals)
    assert 0.72 * 400 <= covered <= 0.86 * 400


def test_dropped_queries_dont_count() -> None:
    with_gaps = [0.1, np.nan, 0.4, 0.9, np.nan]
    assert bootstrap_interval(with_gaps, generator=5) == bootstrap_interval(
        [0.1, 0.4, 0.9], generator=5
    )
    assert np.isnan(bootstrap_interval([np.nan], generator=5)).all()


def test_a_median_has_an_interval_too() -> None:
    low, high = bootstrap_interval([1, 2, 2, 2, 2, 2, 50], generator=0, statistic=np.median)
    assert (low, high) == (2.0, 2.0)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(2).random(50)
    by_seed = bootstrap_interval(values, generator=7)
    assert by_seed == bootstrap_interval(values, generator=np.random.default_rng(7))
    assert by_seed != bootstrap_interval(values, generator=8)


def test_runs_that_differ_on_every_query() -> None:
    first = np.random.default_rng(0).random(60)
    comparison = compare_runs(first, first + 0.125, generator=0, n_resamples=999)
    assert_allclose(comparison.difference, 0.125, rtol=1e-12, atol=0)
    assert_allclose(comparison.interval, (0.125, 0.125), rtol=1e-12, atol=0)
    assert_allclose(comparison.p_value, 2 / 1000, rtol=1e-12, atol=0)
    assert (comparison.n_queries, comparison.n_better, comparison.n_worse) == (60, 60, 0)


def test_the_same_run_twice() -> None:
    run = [0.1, np.nan, 0.7]
    comparison = compare_runs(run, run, generator=0)
    assert (comparison.difference, comparison.p_value) == (0.0, 1.0)
    assert (comparison.n_queries, comparison.n_better, comparison.n_worse) == (2, 0, 0)


def test_swapping_the_runs_turns_the_sign() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(40), generator.random(40)
    there, back = compare_runs(first, second, generator=1), compare_runs(second, first, generator=1)
    assert_allclose(there.difference, -back.difference, rtol=1e-12, atol=0)
    assert_allclose(there.interval, (-back.interval[1], -back.interval[0]), rtol=1e-9, atol=0)
    assert there.p_value == back.p_value


def test_noise_alone_is_rarely_significant() -> None:
    generator = np.random.default_rng(0)
    n_significant = sum(
        compare_runs(
            generator.random(80), generator.random(80), generator=generator, n_resamples=200
        ).p_value
        < 0.05
        for _ in range(300)
    )
    assert n_significant <= 0.1 * 300


def test_refusals() -> None:
    with pytest.raises(InputError, match=re.escape("n_resamples is 0, expected a positive number")):
        bootstrap_interval([1.0], generator=0, n_resamples=0)
    with pytest.raises(InputError, match=re.escape("level is 95, expected in (0, 1)")):
        bootstrap_interval([1.0], generator=0, level=95)
    with pytest.raises(ShapeError, match=re.escape("values has shape (1, 1), expected one value")):
        bootstrap_interval([[1.0]], generator=0)
    with pytest.raises(ShapeError, match=re.escape("first has shape (1,), second (2,)")):
        compare_runs([1.0], [1.0, 2.0], generator=0)
    with pytest.raises(
        InputError, match=re.escape("first and second have no query that counts in both")
    ):
        compare_runs([1.0, np.nan], [np.nan, 1.0], generator=0)
