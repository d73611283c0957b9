import numpy as np
import torch
from numpy.testing import assert_allclose

from modalhash.methods.anchored import AnchoredMoments, anchored_moments, sampled_pairs
from tests.oracles.paired_view import PairedView

GENERATOR = np.random.default_rng(0)
VIEW = PairedView(GENERATOR.normal(size=(20, 3)), GENERATOR.normal(size=(20, 2)))


def known(n_anchors: int = 4) -> AnchoredMoments:
    return anchored_moments(
        VIEW,
        7,
        n_anchors=n_anchors,
        n_nearest=2,
        sample=100,
        generator=torch.Generator().manual_seed(0),
    )


def test_places_hold_features_and_ties() -> None:
    found = known()
    assert_allclose(found.mean(found.image_features), VIEW.image.mean(axis=0), rtol=0, atol=1e-6)
    assert_allclose(found.mean(found.text_features), VIEW.text.mean(axis=0), rtol=0, atol=1e-6)
    centred_image, centred_text = (one - one.mean(axis=0) for one in (VIEW.image, VIEW.text))
    assert_allclose(
        found.covariance(found.image_features, found.text_features),
        centred_image.T @ centred_text / 20,
        rtol=0,
        atol=1e-6,
    )
    for ties in (found.image_ties, found.text_ties):
        assert len(found.mean(ties)) == 4
        # Each item's ties sum to 1, so their means do too, and their sum doesn't vary.
        assert_allclose(found.mean(ties).sum(), 1, rtol=1e-12, atol=0)
        assert_allclose(found.covariance(ties, ties).sum(), 0, rtol=0, atol=1e-12)
        assert_allclose(found.inverse_degrees(ties) * found.mean(ties), np.ones(4), rtol=0, atol=0)


def test_an_anchor_without_items_counts_for_nothing() -> None:
    found = known()
    found.moments.mean[found.image_ties][0] = 0
    assert found.inverse_degrees(found.image_ties)[0] == 0


def test_samples_are_spread_over_all_pairs() -> None:
    numbered = PairedView(np.arange(10.0)[:, None], -np.arange(10.0)[:, None])
    for sample, expected in ((10, range(10)), (4, [0, 3, 6, 9]), (3, [0, 4, 8]), (1, [0])):
        image, text = (
            torch.cat(parts)[:, 0].tolist()
            for parts in zip(*sampled_pairs(numbered, 3, sample), strict=True)
        )
        assert image == list(expected)
        assert text == [-one for one in expected]
