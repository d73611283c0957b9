import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from modalhash.errors import FeatureError
from modalhash.layers import pair_moments


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_moments_are_those_of_all_pairs_whatever_the_batches(batch_size: int) -> None:
    image, text = 100 * drawn(11, 3, seed=0) + 5, drawn(11, 2, seed=1)
    starts = range(0, 11, batch_size)
    moments = pair_moments(
        (image[start : start + batch_size], text[start : start + batch_size]) for start in starts
    )
    rows = np.concatenate([image, text], axis=1).astype(np.float64)
    expected = np.cov(rows, rowvar=False, bias=True)
    assert (moments.count, moments.image_width) == (11, 3)
    assert moments.covariance.dtype == moments.mean.dtype == torch.float64
    assert_allclose(moments.image_mean, rows[:, :3].mean(axis=0), rtol=1e-12, atol=1e-12)
    assert_allclose(moments.text_mean, rows[:, 3:].mean(axis=0), rtol=1e-12, atol=1e-12)
    for found, wanted in (
        (moments.within_images, expected[:3, :3]),
        (moments.across, expected[:3, 3:]),
        (moments.within_texts, expected[3:, 3:]),
    ):
        assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_features_that_are_all_the_same_are_refused() -> None:
    image, text = torch.full((4, 2), 3.0), drawn(4, 2, seed=1)
    for first, second, name in ((image, text, "image"), (text, image, "text")):
        message = (
            f"the {name} features of all 4 training pairs are the same: check the encoder and its "
            "input"
        )
        with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
            pair_moments([(first, second)])
