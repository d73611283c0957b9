from math import pi

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from modalhash.codes import binarise
from modalhash.layers import ScalingRule
from modalhash.methods.lsh import Lsh
from modalhash.methods.random_projection import RandomProjection
from tests.oracles.paired_view import relaxed_codes, solved_heads


def at_angles(*angles: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[np.cos(angle), np.sin(angle)] for angle in angles])


@pytest.mark.parametrize("angle", [0.0, pi / 6, pi / 2, 2 * pi / 3, pi])
def test_bits_differ_with_the_chance_of_the_angle_across_modalities(angle: float) -> None:
    n_bits = 4000
    image, text = at_angles(0.0), at_angles(angle)
    heads = solved_heads(Lsh(), image, text, n_bits)
    one, other = (binarise(rows) for rows in relaxed_codes(heads, image, text))
    # Four standard errors of a share of 4,000 draws.
    assert (one != other).mean() == pytest.approx(angle / pi, abs=4 * 0.5 / n_bits**0.5)


def test_the_length_of_an_item_changes_no_bit_and_the_opposite_changes_all() -> None:
    image, text = at_angles(0.3), at_angles(0.3)
    heads = solved_heads(Lsh(), image, text, 50)
    short, long = (
        binarise(relaxed_codes(heads, scale * image, scale * text)[0]) for scale in (0.5, 100.0)
    )
    assert_array_equal(short, long)
    opposite = binarise(relaxed_codes(heads, -image, -text)[0])
    assert_array_equal(opposite, -short)


def test_zeros_give_ones() -> None:
    rows = np.zeros((2, 3))
    image, _ = relaxed_codes(solved_heads(Lsh(), rows, rows, 5), rows, rows)
    assert_array_equal(binarise(image), np.ones((2, 5)))


def test_features_of_two_widths_meet_unrelated_hyperplanes() -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(size=(40, 6))
    text = np.hstack([image, np.zeros((40, 1))])  # the same items, one dimension more
    heads = solved_heads(Lsh(), image, text, 500)
    one, other = (binarise(rows) for rows in relaxed_codes(heads, image, text))
    assert (one == other).mean() == pytest.approx(0.5, abs=0.05)


def test_random_codes_stay_chance_where_lsh_codes_are_not() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6))
    agreements = []
    for method in (Lsh(), RandomProjection()):
        one, other = (
            binarise(codes)
            for codes in relaxed_codes(solved_heads(method, rows, rows, 500), rows, rows)
        )
        agreements.append((one == other).mean())
    assert agreements[0] == 1
    assert agreements[1] == pytest.approx(0.5, abs=0.05)


def test_hyperplanes_pass_through_the_origin_of_scaled_features() -> None:
    rows = 7 + np.random.default_rng(0).normal(size=(10, 4))
    for head in (solved_heads(Lsh(), rows, rows, 9).image, solved_heads(Lsh(), rows, rows, 9).text):
        assert_allclose(head.state_dict()["map.bias"], np.zeros(9), rtol=0, atol=0)
    for rule in (Lsh.training.image_scaling, Lsh.training.text_scaling):
        assert rule is ScalingRule.CENTRED_UNIT
