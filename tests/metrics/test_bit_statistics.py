import re
from math import log2, sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose

from modalhash.codes import pack
from modalhash.errors import InputError, ShapeError
from modalhash.metrics import bit_statistics, code_statistics, quantisation_error


def test_four_codes_by_hand() -> None:
    # Bit 0 is balanced, bit 1 its opposite, bit 2 is set in one of four, bit 3 is constant.
    signs = [[1, -1, 1, 1], [1, -1, -1, 1], [-1, 1, -1, 1], [-1, 1, -1, 1]]
    statistics = code_statistics(pack(signs), 4)
    quarter = -(1 / 4 * log2(1 / 4) + 3 / 4 * log2(3 / 4))
    assert_allclose(statistics.bit_balance, [1 / 2, 1 / 2, 1 / 4, 1.0], rtol=1e-12, atol=0)
    assert_allclose(statistics.bit_entropy, [1.0, 1.0, quarter, 0.0], rtol=1e-12, atol=0)
    assert_allclose(statistics.mean_entropy, (2 + quarter) / 4, rtol=1e-12, atol=0)
    # Covariance of bits 0 and 2 is 1/2, deviations are 1 and sqrt(3)/2.
    slant = 1 / sqrt(3)
    assert_allclose(
        statistics.bit_correlation,
        [[1, -1, slant, 0], [-1, 1, -slant, 0], [slant, -slant, 1, 0], [0, 0, 0, 1.0]],
        rtol=1e-12,
        atol=1e-15,
    )
    assert_allclose(statistics.mean_correlation, (1 + 2 * slant) / 6, rtol=1e-12, atol=0)
    assert (statistics.n_constant_bits, statistics.n_distinct_codes) == (1, 3)


def test_correlations_equal_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = np.random.default_rng(0).choice([-1, 1], (97, 13))
    signs[:, 4] = np.where(np.arange(97) % 3, signs[:, 2], signs[:, 4])
    monkeypatch.setattr(bit_statistics, "BLOCK_ROWS", 10)
    statistics = code_statistics(pack(signs), 13)
    assert_allclose(statistics.bit_correlation, np.corrcoef(signs.T), rtol=1e-10, atol=1e-12)


def test_one_bit_and_one_code() -> None:
    alone = code_statistics(pack([[1]]), 1)
    assert (alone.mean_entropy, alone.mean_correlation, alone.n_constant_bits) == (0.0, 0.0, 1)


def test_distance_to_the_signs() -> None:
    assert_allclose(
        quantisation_error([[0.5, -0.25], [0.0, 2.0]]),
        (0.5**2 + 0.75**2 + 1 + 1) / 4,
        rtol=1e-12,
        atol=0,
    )
    assert quantisation_error([[1.0, -1.0]]) == 0.0


def test_refusals() -> None:
    with pytest.raises(InputError, match=re.escape("codes is empty, expected at least one row")):
        code_statistics(np.zeros((0, 1), np.uint8), 3)
    with pytest.raises(ShapeError, match=re.escape("codes has 1 bytes per row, 12 bits take 2")):
        code_statistics(np.zeros((3, 1), np.uint8), 12)
    with pytest.raises(ShapeError, match=re.escape("relaxed has shape (2,), expected two axes")):
        quantisation_error([0.1, 0.2])
    with pytest.raises(InputError, match=re.escape("relaxed is empty, expected at least one")):
        quantisation_error(np.zeros((0, 4)))
    with pytest.raises(ShapeError, match=re.escape("relaxed holds NaN, which has no sign")):
        quantisation_error([[np.nan]])
