import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from modalhash.codes import binarise
from modalhash.errors import FeatureError, SettingError
from modalhash.layers import canonical_maps
from modalhash.methods.anchored import AnchoredMoments, anchored_moments
from modalhash.methods.cca_sign import CcaSign, CcaSignSettings
from modalhash.methods.cvh import Cvh, CvhSettings, cross_view_maps
from tests.oracles.paired_view import PairedView, relaxed_codes, solved_heads
from tests.oracles.plain_anchors import plain_affinities, same_directions, steadied

Floats = NDArray[np.float64]


def made_pairs(n: int = 60) -> tuple[Floats, Floats]:
    """Features of widths 5 and 4 that share three latent numbers."""
    generator = np.random.default_rng(1)
    latent = generator.normal(size=(n, 3))
    image = latent @ generator.normal(size=(3, 5)) + 0.5 * generator.normal(size=(n, 5)) + 1
    text = latent @ generator.normal(size=(3, 4)) + 0.5 * generator.normal(size=(n, 4)) - 2
    return image, text


def known_of(image: Floats, text: Floats) -> AnchoredMoments:
    return anchored_moments(
        PairedView(image, text),
        100,
        n_anchors=8,
        n_nearest=3,
        sample=100,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ridge", [1e-6, 0.2])
def test_against_the_whole_problem_with_matrices_of_all_pairs(share: float, ridge: float) -> None:
    image, text = made_pairs()
    affinity = share * sum(plain_affinities(image, text, 8, 3, 0)) / 2
    similarities = affinity + (1 - share) * np.eye(60)
    degrees = np.diag(similarities.sum(axis=1))
    inner = 2 * (degrees - similarities) + degrees  # 2 L + D
    views = [one - one.mean(axis=0) for one in (image, text)]
    problem, constraint = np.zeros((9, 9)), np.zeros((9, 9))
    for place, rows in ((slice(0, 5), views[0]), (slice(5, 9), views[1])):
        added = steadied(rows, ridge) - rows.T @ rows
        # The ridge is noise that items don't share: S averages it out, D and the identity don't.
        problem[place, place] = rows.T @ inner @ rows + (1 + 2 * share) * added
        constraint[place, place] = rows.T @ rows + added
    problem[:5, 5:] = -views[0].T @ similarities @ views[1]
    problem[5:, :5] = problem[:5, 5:].T
    values, vectors = np.linalg.eig(np.linalg.solve(constraint, problem))
    wanted = vectors.real[:, np.argsort(values.real)[:4]]
    found = cross_view_maps(known_of(image, text), 4, neighbour_share=share, ridge=ridge)
    assert_allclose(same_directions(np.vstack(found), wanted), np.ones(4), rtol=0, atol=1e-5)


def test_without_neighbours_the_joint_problem_is_canonical_correlation() -> None:
    image, text = made_pairs()
    maps = canonical_maps([(torch.from_numpy(image), torch.from_numpy(text))], 4, ridge=0.3)
    found = cross_view_maps(known_of(image, text), 4, neighbour_share=0.0, ridge=0.3)
    canonical = np.vstack([maps.image_map, maps.text_map])
    assert_allclose(same_directions(np.vstack(found), canonical), np.ones(4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.5, 0.01])
def test_without_neighbours_codes_are_those_of_cca_sign(ridge: float) -> None:
    image, text = made_pairs()
    method = Cvh(CvhSettings(neighbour_share=0.0, ridge=ridge))
    one = solved_heads(method, image, text, 3)
    other = solved_heads(CcaSign(CcaSignSettings(ridge=ridge)), image, text, 3)
    for key, value in one.modules().state_dict().items():
        assert_array_equal(value, other.modules().state_dict()[key])


def test_maps_meet_the_constraint() -> None:
    image, text = made_pairs()
    image_map, text_map = (
        one.numpy()
        for one in cross_view_maps(known_of(image, text), 3, neighbour_share=0.4, ridge=0.1)
    )
    total = np.zeros((3, 3))
    for rows, matrix in ((image, image_map), (text, text_map)):
        total += matrix.T @ steadied(rows - rows.mean(axis=0), 0.1) @ matrix / 60
    assert_allclose(total, np.eye(3), rtol=0, atol=1e-5)


def test_equal_views_of_one_feature_by_hand() -> None:
    # Variance 4 and correlation 1; of each A' 4 A = 1/2, so a bit is x / sqrt(8), up to its sign.
    rows = np.array([[2.0], [-2.0], [2.0], [-2.0]])
    method = Cvh(CvhSettings(neighbour_share=0.5, ridge=1e-9, anchors=1))
    image, text = relaxed_codes(solved_heads(method, rows, rows, 1), rows, rows)
    assert_allclose(np.abs(image), np.full((4, 1), 2 / 8**0.5), rtol=1e-5, atol=0)
    assert_allclose(text, image, rtol=1e-5, atol=0)


def test_pictures_and_texts_of_a_pair_agree_whatever_the_batch_size_or_scale() -> None:
    image, text = made_pairs()
    for scale in (0.01, 1.0, 100.0):
        image_codes, text_codes = (
            binarise(one)
            for one in relaxed_codes(
                solved_heads(Cvh(), scale * image, text, 3, batch_size=7), scale * image, text
            )
        )
        assert (image_codes == text_codes).mean() > 0.7


def test_constant_features_are_refused() -> None:
    image, text = made_pairs(10)
    with pytest.raises(FeatureError, match="the image features of all 10 training pairs"):
        solved_heads(Cvh(CvhSettings(neighbour_share=0)), np.ones_like(image), text, 2)


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.5, "n_bits is 5, CVH gives at most 4 on features of widths 5 and 4"),
        (
            0.0,
            "n_bits is 5, canonical correlation gives at most 4 on features of widths 5 and 4",
        ),
    ],
)
def test_more_bits_than_widths_are_refused(share: float, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        solved_heads(Cvh(CvhSettings(neighbour_share=share)), *made_pairs(20), 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neighbour_share": 1.5}, "neighbour_share is 1.5, expected in [0, 1]"),
        ({"ridge": 0.0}, "ridge is 0.0, expected positive"),
        ({"anchors": 0}, "anchors is 0, expected at least 1"),
        ({"nearest_anchors": 0}, "nearest_anchors is 0, expected at least 1"),
        ({"sample": 0}, "sample is 0, expected at least 1"),
    ],
)
def test_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        CvhSettings(**changes)


@pytest.mark.parametrize("extra", [{}, {"neighbour_share": 0.0}])
def test_shuffled_neighbours_change_the_maps_only_where_neighbours_act(
    extra: dict[str, Any],
) -> None:
    image, text = made_pairs()
    plain, shuffled = (
        solved_heads(
            Cvh(CvhSettings(anchors=8, shuffled_neighbours=control, **extra)), image, text, 3
        )
        for control in (False, True)
    )
    is_same = all(
        torch.equal(value, shuffled.image.state_dict()[name])
        for name, value in plain.image.state_dict().items()
    )
    assert is_same == bool(extra)
