"""How well the two sides of pairs agree, and which pairs look wrong."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from modalhash.methods import pair_agreement
from modalhash.methods.pair_agreement import measure_agreement


def made_points(n: int, share: float, noise: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """Make points of pictures, points of texts near to them, and which ones were exchanged."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(n, 16, generator=generator)
    text = image + noise * torch.randn(n, 16, generator=generator)
    chosen = torch.randperm(n, generator=generator)[: round(share * n)]
    text[chosen] = text[chosen.roll(1)]
    is_wrong = torch.zeros(n, dtype=torch.bool)
    is_wrong[chosen] = True
    return image, text, is_wrong


def test_scores_and_levels_are_those_of_plain_loops() -> None:
    image, text, _ = made_points(30, 0.3)
    rows = image.double().numpy() / np.linalg.norm(image.double().numpy(), axis=1)[:, None]
    columns = text.double().numpy() / np.linalg.norm(text.double().numpy(), axis=1)[:, None]
    cosines = [[float(row @ column) for column in columns] for row in rows]
    image_near = [sum(sorted(row)[-10:]) / 10 for row in cosines]
    text_near = [sum(sorted(row[j] for row in cosines)[-10:]) / 10 for j in range(30)]
    scores = [
        [2 * cosines[i][j] - image_near[i] - text_near[j] for j in range(30)] for i in range(30)
    ]
    others = [scores[i][j] for i in range(30) for j in range(30) if i != j]
    levels = [sum(other >= scores[i][i] for other in others) / len(others) for i in range(30)]
    agreement = measure_agreement(image, text)
    assert_allclose(agreement.scores, [scores[i][i] for i in range(30)], rtol=0, atol=1e-5)
    assert_allclose(agreement.chance_levels, levels, rtol=0, atol=2.1 / 870)
    assert agreement.wrong_share == pytest.approx(sum(level > 0.4 for level in levels) / 30 / 0.6)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6])
def test_the_share_of_wrong_pairs_is_estimated_and_they_are_the_most_suspect(share: float) -> None:
    image, text, is_wrong = made_points(1000, share)
    agreement = measure_agreement(image, text)
    assert agreement.is_clear
    # The standard error of a binomial share, divided by the 0.6 of the levels that are counted.
    assert agreement.wrong_share == pytest.approx(share, abs=4 * (0.25 / 1000) ** 0.5 / 0.6)
    n_wrong = int(is_wrong.sum())
    assert float(is_wrong[agreement.scores.argsort()[:n_wrong]].float().sum()) >= 0.9 * n_wrong
    assert float(agreement.probabilities[~is_wrong].mean()) < 0.1
    order = agreement.chance_levels.argsort()
    assert bool((agreement.probabilities[order].diff() >= 0).all())


def test_a_sample_of_others_says_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image, text, _ = made_points(600, 0.3)
    whole = measure_agreement(image, text)
    monkeypatch.setattr(pair_agreement, "MOST_COMPARED", 300)
    monkeypatch.setattr(pair_agreement, "BLOCK", 64)
    sampled = measure_agreement(image, text)
    assert np.corrcoef(whole.scores, sampled.scores)[0, 1] > 0.98
    assert sampled.wrong_share == pytest.approx(whole.wrong_share, abs=0.05)


def test_points_that_have_nothing_to_do_with_each_other_are_not_clear() -> None:
    generator = torch.Generator().manual_seed(0)
    agreement = measure_agreement(*torch.randn(2, 500, 16, generator=generator))
    assert not agreement.is_clear
    image, text, _ = made_points(500, 0.0, noise=4.0)  # right pairs that hardly agree
    assert not measure_agreement(image, text).is_clear


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_items_and_points_of_zero(n: int) -> None:
    for agreement in (
        measure_agreement(torch.zeros(n, 3), torch.zeros(n, 3)),
        measure_agreement(torch.eye(n), torch.eye(n)),
    ):
        for part in (agreement.scores, agreement.chance_levels, agreement.probabilities):
            assert part.shape == (n,)
            assert bool(part.isfinite().all())
        assert 0 <= agreement.wrong_share <= 1
