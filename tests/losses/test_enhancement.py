import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    CrossSimilarity,
    binary_similarities,
    distribution_weighted,
    fused_affinity,
    rescaled_cosines,
    saturated_share,
    target_range,
)
from tests.oracles import plain_graphs as graphs

IMAGES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
PUBLISHED = 6e-5  # values written down to 4 decimals
JDSH_MIRFLICKR = {
    "left": -0.528,
    "right": -0.138,
    "minimum": -0.52,
    "maximum": 0.68,
    "left_weight": 0.1,
    "right_weight": 0.2,
}


def random_square(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, size=(n, n)))


def fused() -> Tensor:
    return fused_affinity(
        rescaled_cosines(IMAGES), binary_similarities(TEXTS), image_weight=0.5, text_weight=0.2,
        cross_weight=0.3, scale=1.0, rule=CrossSimilarity.ROW_COSINE,
    )  # fmt: skip


def test_texts_that_share_a_word_by_hand() -> None:
    expected = torch.tensor([[1, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert_close(binary_similarities(TEXTS), expected, rtol=0, atol=0)
    assert_close(binary_similarities(100 * TEXTS), expected, rtol=0, atol=0)


def test_a_text_without_words_is_like_itself_alone() -> None:
    texts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert_close(binary_similarities(texts), 2 * torch.eye(3) - 1, rtol=0, atol=0)


def test_dense_texts_are_all_alike() -> None:
    assert bool((binary_similarities(random_square(4) + 1.5) == 1).all())


def test_distribution_weighting_by_hand() -> None:
    matrix = torch.tensor([[-0.62, -0.528], [-0.3, 0.68]], dtype=torch.float64)
    expected = [[-0.62 * (1 + 0.1 * math.exp(0.1)), -0.528], [-0.3, 0.68 * 1.2]]
    assert_allclose(distribution_weighted(matrix, **JDSH_MIRFLICKR), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, 6])
def test_distribution_weighting_against_loops(n: int) -> None:
    matrix = random_square(n)
    expected = graphs.amplified(matrix.tolist(), (-0.528, -0.138), (-0.52, 0.68), (0.1, 0.2))
    assert_allclose(distribution_weighted(matrix, **JDSH_MIRFLICKR), expected, rtol=1e-12, atol=0)


def test_distribution_weighting_without_weights_changes_nothing() -> None:
    matrix, off = random_square(5), {"left_weight": 0.0, "right_weight": 0.0}
    assert_close(distribution_weighted(matrix, **JDSH_MIRFLICKR | off), matrix, rtol=0, atol=0)


def test_what_the_log_tells_of_a_target() -> None:
    found = target_range(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    assert {name: float(one) for name, one in found.items()} == {
        "target_min": -2.0,
        "target_mean": 0.5,
        "target_max": 3.0,
    }


def test_codes_beyond_ninety_nine_hundredths_are_saturated() -> None:
    relaxed = torch.tensor([[1.0, -0.995], [0.98, 0.0]], requires_grad=True)
    share = saturated_share(relaxed)
    assert float(share) == 0.5
    assert not share.requires_grad
