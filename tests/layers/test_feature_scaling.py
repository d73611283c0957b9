import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from modalhash.layers import FeatureScaling, ModalityFeatures, ScalingRule

ROWS = np.random.default_rng(0).normal(3.0, 2.0, (50, 6)).astype(np.float32)
FITTED = [ScalingRule.CENTRED_UNIT, ScalingRule.CENTRED_RMS, ScalingRule.STANDARDISED]


def scaled(scaling: FeatureScaling, rows: NDArray[np.float32]) -> Tensor:
    out: ModalityFeatures = scaling(ModalityFeatures(torch.from_numpy(rows)))
    return out.pooled


def fitted(rule: ScalingRule, *parts: NDArray[np.float32]) -> FeatureScaling:
    return FeatureScaling(rule, parts[0].shape[1]).fit(torch.from_numpy(part) for part in parts)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def expected(rule: ScalingRule, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    match rule:
        case ScalingRule.NONE:
            return exact
        case ScalingRule.UNIT:
            return unit(exact)
        case ScalingRule.CENTRED_UNIT:
            return unit(unit(exact) - unit(exact).mean(axis=0))
        case ScalingRule.CENTRED_RMS:
            return 6**0.5 * unit(unit(exact) - unit(exact).mean(axis=0))
        case ScalingRule.STANDARDISED:
            scores: NDArray[np.float64] = (exact - exact.mean(axis=0)) / exact.std(axis=0)
            return scores


@pytest.mark.parametrize("rule", ScalingRule)
def test_each_rule_against_numpy(rule: ScalingRule) -> None:
    assert_allclose(scaled(fitted(rule, ROWS), ROWS), expected(rule, ROWS), rtol=0, atol=2e-6)


def test_by_hand() -> None:
    rows = np.array([[3, 4], [-3, 4]], np.float32)
    assert_allclose(
        scaled(fitted(ScalingRule.UNIT, rows), rows), [[0.6, 0.8], [-0.6, 0.8]], rtol=0, atol=1e-7
    )
    # The mean of the unit rows is (0, 0.8): what is left points along the first axis.
    assert_allclose(
        scaled(fitted(ScalingRule.CENTRED_UNIT, rows), rows), [[1, 0], [-1, 0]], rtol=0, atol=1e-6
    )
    # The second dimension is constant.
    assert_allclose(
        scaled(fitted(ScalingRule.STANDARDISED, rows), rows), [[1, 0], [-1, 0]], rtol=0, atol=0
    )


@pytest.mark.parametrize("rule", FITTED)
def test_fitting_in_parts_equals_fitting_at_once(rule: ScalingRule) -> None:
    whole = fitted(rule, ROWS)
    parts = fitted(rule, ROWS[:7], ROWS[7:8], ROWS[8:])
    assert_close(parts.mean, whole.mean, rtol=1e-6, atol=0)
    assert_close(parts.scale, whole.scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rule", [ScalingRule.NONE, ScalingRule.UNIT])
def test_rules_without_a_fit_read_no_features(rule: ScalingRule) -> None:
    def never() -> Tensor:
        raise AssertionError

    assert FeatureScaling(rule, 4).fit(never() for _ in range(1)).rule is rule


@pytest.mark.parametrize("value", [0.0, 1.0, 1000.1, -3e5, 1e-8])
def test_a_constant_dimension_becomes_zero(value: float) -> None:
    rows = ROWS.copy()
    rows[:, 2] = value
    out = scaled(fitted(ScalingRule.STANDARDISED, rows), rows)
    assert_allclose(out[:, 2], np.zeros(len(rows)), rtol=0, atol=0)
    assert bool(torch.isfinite(out).all())


def test_rounding_is_no_variation() -> None:
    constants = np.random.default_rng(0).uniform(0.1, 1e4, 200).astype(np.float32)
    scaling = fitted(ScalingRule.STANDARDISED, np.tile(constants, (5_003, 1)))
    nearly = np.nextafter(constants, np.float32(np.inf))[None]
    assert_allclose(scaled(scaling, nearly), np.zeros((1, 200)), rtol=0, atol=0)


def test_a_dimension_of_tiny_values_is_not_constant() -> None:
    rows = ROWS.copy()
    rows[:, 2] *= 1e-9
    out = scaled(fitted(ScalingRule.STANDARDISED, rows), rows)
    assert_allclose(out, expected(ScalingRule.STANDARDISED, ROWS), rtol=0, atol=1e-5)


def test_one_row_and_a_zero_row_stay_finite() -> None:
    for rule in ScalingRule:
        one = fitted(rule, ROWS[:1])
        assert bool(torch.isfinite(scaled(one, ROWS)).all())
        assert bool(torch.isfinite(scaled(one, np.zeros((2, 6), np.float32))).all())
    zeros = scaled(fitted(ScalingRule.UNIT, ROWS), np.zeros((1, 6), np.float32))
    assert_allclose(zeros, np.zeros((1, 6)), rtol=0, atol=0)


def test_a_row_is_scaled_alone_as_among_others() -> None:
    for rule in ScalingRule:
        scaling = fitted(rule, ROWS)
        assert_close(scaled(scaling, ROWS[3:4]), scaled(scaling, ROWS)[3:4], rtol=0, atol=0)


def test_tokens_pass_unchanged() -> None:
    tokens, mask = torch.randn(50, 3, 4), torch.ones(50, 3, dtype=torch.bool)
    features = ModalityFeatures(torch.from_numpy(ROWS), tokens, mask)
    for rule in ScalingRule:
        out = fitted(rule, ROWS)(features)
        assert out.tokens is tokens
        assert out.token_mask is mask


def test_the_fit_is_saved_with_the_weights() -> None:
    scaling = fitted(ScalingRule.STANDARDISED, ROWS)
    again = FeatureScaling(ScalingRule.STANDARDISED, 6)
    again.load_state_dict(scaling.state_dict())
    assert_close(scaled(again, ROWS), scaled(scaling, ROWS), rtol=0, atol=0)
    assert dict(scaling.named_parameters()) == {}
