import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from modalhash.codes import binarise
from modalhash.errors import SettingError
from modalhash.methods.feature_sign import FeatureSign, widest_dimensions
from tests.oracles.paired_view import relaxed_codes, solved_heads

IMAGE = np.array([[1.0, 10.0, 5.0], [3.0, 10.0, -5.0], [5.0, 13.0, 0.0]])
TEXT = np.array([[0.0, -2.0, 1.0], [0.0, 2.0, 1.0], [0.0, 3.0, 4.0]])
# Means (3, 11, 0) and (0, 1, 2); three times the variances (8, 6, 50) and (0, 14, 6), sum
# (8, 20, 56): the third dimension varies most, then the second, then the first.


def test_dimensions_come_in_the_order_of_their_variance_less_their_means() -> None:
    heads = solved_heads(FeatureSign(), IMAGE, TEXT, 3)
    image, text = relaxed_codes(heads, IMAGE, TEXT)
    assert_allclose(image, [[5, -1, -2], [-5, -1, 0], [0, 2, 2]], rtol=0, atol=1e-6)
    assert_allclose(text, [[-1, -3, 0], [-1, 1, 0], [2, 2, 0]], rtol=0, atol=1e-6)
    assert_array_equal(binarise(image), [[1, -1, -1], [-1, -1, 1], [1, 1, 1]])


def test_fewer_bits_are_the_first_of_more() -> None:
    whole = relaxed_codes(solved_heads(FeatureSign(), IMAGE, TEXT, 3), IMAGE, TEXT)
    for n_bits in (1, 2):
        found = relaxed_codes(solved_heads(FeatureSign(), IMAGE, TEXT, n_bits), IMAGE, TEXT)
        for one, other in zip(found, whole, strict=True):
            assert_array_equal(one, other[:, :n_bits])


def test_of_equal_variances_the_earlier_dimension_comes_first() -> None:
    assert widest_dimensions(torch.tensor([2.0, 2.0, 0.0, 2.0]), 4).tolist() == [0, 1, 3, 2]


def test_the_batch_size_changes_nothing() -> None:
    one, other = (solved_heads(FeatureSign(), IMAGE, TEXT, 2, batch_size=size) for size in (1, 10))
    for key, value in one.modules().state_dict().items():
        assert_array_equal(value, other.modules().state_dict()[key])


def test_far_and_constant_features() -> None:
    rows = np.array([[100.0, -100.0], [100.0, 100.0]])
    image, text = relaxed_codes(solved_heads(FeatureSign(), rows, rows, 2), rows, rows)
    assert_allclose(image, [[-100, 0], [100, 0]], rtol=0, atol=1e-5)
    assert_allclose(text, image, rtol=0, atol=0)


def test_two_widths_are_refused() -> None:
    message = (
        "feature signs need pictures and texts in one space, but the features are 3 and 2 wide: "
        "choose an encoder with a shared space, such as clip, or another method"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved_heads(FeatureSign(), IMAGE, TEXT[:, :2], 2)


def test_more_bits_than_dimensions_are_refused() -> None:
    message = (
        "n_bits is 4, feature signs give at most one a dimension, 3: choose fewer bits, or lsh, "
        "which gives any number"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved_heads(FeatureSign(), IMAGE, TEXT, 4)
