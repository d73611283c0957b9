import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    CrossSimilarity,
    cosine_similarities,
    cross_similarity,
    fused_affinity,
    rescaled_cosines,
)
from tests.oracles import plain_losses as plain

# Three pairs worked out by hand: pictures at angles 0, atan(3/4), 90 degrees; texts as word bags.
IMAGES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
PUBLISHED = 6e-5  # values written down to 4 decimals


def fused(image: Tensor, text: Tensor, rule: CrossSimilarity) -> Tensor:
    return fused_affinity(
        image, text, image_weight=0.5, text_weight=0.2, cross_weight=0.3, scale=1.4, rule=rule
    )


def random_rows(n: int, width: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width)))


def test_rescaled_cosines_by_hand() -> None:
    assert_allclose(
        rescaled_cosines(IMAGES), [[1, 0.6, -1], [0.6, 1, 0.2], [-1, 0.2, 1]], atol=1e-12, rtol=0
    )
    assert_allclose(
        rescaled_cosines(TEXTS), [[1, 0, -1], [0, 1, -1], [-1, -1, 1]], atol=1e-12, rtol=0
    )


def test_what_a_cosine_of_zero_becomes() -> None:
    found = rescaled_cosines(torch.eye(2, dtype=torch.float64), unrelated=-0.25)
    assert_allclose(found, [[1, -0.25], [-0.25, 1]], atol=1e-12, rtol=0)
    halves = rescaled_cosines(IMAGES, unrelated=0.0)
    assert_allclose(halves, (rescaled_cosines(IMAGES) + 1) / 2, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("rule", "cross", "affinity"),
    [
        (
            CrossSimilarity.SYMMETRIC_ROW_COSINE,
            [[0.9206, 0.4878, -0.9836], [0.4878, 0.4781, -0.5396], [-0.9836, -0.5396, 0.7276]],
            [[1.3666, 0.6249, -1.3931], [0.6249, 1.1808, -0.3666], [-1.3931, -0.3666, 1.2856]],
        ),
    ],
)
def test_fused_affinity_of_the_worked_example(
    rule: CrossSimilarity, cross: list[list[float]], affinity: list[list[float]]
) -> None:
    image, text = rescaled_cosines(IMAGES), rescaled_cosines(TEXTS)
    assert_allclose(cross_similarity(image, text, rule), cross, atol=PUBLISHED, rtol=0)
    assert_allclose(fused(image, text, rule), affinity, atol=PUBLISHED, rtol=0)


def test_row_cosines_of_the_worked_example_with_texts_that_share_a_word_or_do_not() -> None:
    shared = torch.tensor([[1, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert_allclose(
        cross_similarity(rescaled_cosines(IMAGES), shared, CrossSimilarity.ROW_COSINE),
        [[0.9771, 0.9771, -0.9771], [0.6831, 0.6831, -0.6831], [-0.7276, -0.7276, 0.7276]],
        atol=PUBLISHED,
        rtol=0,
    )


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("rule", CrossSimilarity)
def test_against_loops(rule: CrossSimilarity, n: int) -> None:
    image_rows, text_rows = random_rows(n, 5, 0), random_rows(n, 3, 1)
    image, text = plain.rescaled(image_rows.tolist()), plain.rescaled(text_rows.tolist())
    cross = {
        CrossSimilarity.ROW_COSINE: plain.cosines,
        CrossSimilarity.SYMMETRIC_ROW_COSINE: plain.symmetric_row_cosines,
    }[rule](image, text)
    expected = plain.weighted_sum([1.4 * 0.5, 1.4 * 0.2, 1.4 * 0.3], [image, text, cross])
    found = fused(rescaled_cosines(image_rows), rescaled_cosines(text_rows), rule)
    assert_allclose(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rule", list(CrossSimilarity))
def test_a_permuted_batch_permutes_the_affinity(rule: CrossSimilarity) -> None:
    images, texts = random_rows(6, 4, 2), random_rows(6, 9, 3)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    whole = fused(rescaled_cosines(images), rescaled_cosines(texts), rule)
    permuted = fused(rescaled_cosines(images[order]), rescaled_cosines(texts[order]), rule)
    assert_close(permuted, whole[order][:, order], rtol=0, atol=1e-12)


def test_swapped_modalities_of_equal_weight_give_the_same_symmetric_affinity() -> None:
    image, text = rescaled_cosines(random_rows(5, 4, 4)), rescaled_cosines(random_rows(5, 8, 5))
    one, other = (
        fused_affinity(
            *pair, image_weight=0.3, text_weight=0.3, cross_weight=0.4, scale=1.5,
            rule=CrossSimilarity.SYMMETRIC_ROW_COSINE,
        )
        for pair in ((image, text), (text, image))
    )  # fmt: skip
    assert_close(one, other, rtol=0, atol=1e-12)
    assert_close(one, one.T, rtol=0, atol=1e-12)


def test_large_features_have_the_cosines_of_small_ones() -> None:
    rows = random_rows(4, 6, 6)
    assert_close(rescaled_cosines(1e6 * rows), rescaled_cosines(rows), rtol=0, atol=1e-12)
    hundreds = torch.tensor([[100.0, -100.0], [-100.0, 100.0], [100.0, 100.0]])
    assert_allclose(
        cosine_similarities(hundreds, hundreds), [[1, -1, 0], [-1, 1, 0], [0, 0, 1]],
        atol=1e-6, rtol=0,
    )  # fmt: skip


def test_zero_features_are_like_nothing() -> None:
    zeros = torch.zeros(3, 4)
    assert_close(cosine_similarities(zeros, torch.ones(2, 4)), torch.zeros(3, 2), rtol=0, atol=0)
    # cos 0 is rescaled to -1 everywhere, so all rows see the batch alike: S_C is all 1.
    affinity = fused(
        rescaled_cosines(zeros), rescaled_cosines(zeros), CrossSimilarity.SYMMETRIC_ROW_COSINE
    )
    assert_allclose(affinity, np.full((3, 3), 1.4 * (-0.5 - 0.2 + 0.3)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rule", CrossSimilarity)
def test_gradients_equal_finite_differences(rule: CrossSimilarity) -> None:
    images, texts = random_rows(4, 3, 7).requires_grad_(), random_rows(4, 5, 8).requires_grad_()

    def affinity(image_rows: Tensor, text_rows: Tensor) -> Tensor:
        return fused(rescaled_cosines(image_rows), rescaled_cosines(text_rows), rule)

    assert torch.autograd.gradcheck(affinity, (images, texts))
