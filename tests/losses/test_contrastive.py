import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import (
    NceForm,
    contrast,
    info_nce,
    local_alignment,
    sign_gap,
)
from tests.oracles import plain_contrast as plain

N, WIDTH = 5, 3
every_form = pytest.mark.parametrize("form", list(NceForm))
every_prior = pytest.mark.parametrize("prior", [0.0, 0.1, 0.6])


def rows(seed: int, n: int = N, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


def value(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64)


@every_form
@every_prior
@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 2]])
@pytest.mark.parametrize("temperature", [0.05, 0.7])
def test_it_is_the_sum_over_pairs_written_out(
    form: NceForm, prior: float, items: list[int], temperature: float
) -> None:
    image, text = rows(0), rows(1)
    oracle = plain.info_nce if form is NceForm.CROSS else plain.full_info_nce
    expected = oracle(
        image.tolist(), text.tolist(), temperature=temperature, prior=prior, items=items
    )
    found = info_nce(
        image,
        text,
        temperature=temperature,
        form=form,
        positive_prior=prior,
        items=torch.tensor(items),
    )
    assert_close(found, value(expected), rtol=1e-9, atol=1e-12)


@every_prior
def test_equal_similarities_cost_the_log_of_the_candidates(prior: float) -> None:
    """Taking out the share of positives that look like negatives changes nothing then."""
    same = torch.ones(N, WIDTH, dtype=torch.float64)
    for form, candidates in ((NceForm.CROSS, N), (NceForm.FULL, 2 * N - 1)):
        found = info_nce(same, same, temperature=0.3, form=form, positive_prior=prior)
        assert_close(found, value(math.log(candidates)), rtol=1e-9, atol=0.0)


@every_form
@every_prior
def test_separated_pairs_cost_nothing_in_the_limit(form: NceForm, prior: float) -> None:
    codes = torch.eye(N, dtype=torch.float64)
    losses = [
        float(info_nce(codes, codes, temperature=one, form=form, positive_prior=prior))
        for one in (1.0, 0.3, 0.1, 0.01)
    ]
    assert losses == sorted(losses, reverse=True)
    assert 0 <= losses[-1] < 1e-9


@every_form
@every_prior
def test_swapping_modalities_and_turning_batches_change_nothing(
    form: NceForm, prior: float
) -> None:
    image, text, order = rows(0), rows(1), torch.tensor([3, 0, 4, 1, 2])
    choices: dict[str, Any] = {"temperature": 0.2, "form": form, "positive_prior": prior}
    expected = info_nce(image, text, **choices)
    assert_close(info_nce(text, image, **choices), expected, rtol=1e-12, atol=0.0)
    assert_close(info_nce(image[order], text[order], **choices), expected, rtol=1e-12, atol=0.0)
    assert_close(info_nce(7 * image, text / 9, **choices), expected, rtol=1e-12, atol=0.0)


def test_the_floor_is_the_least_that_negatives_can_sum_to() -> None:
    """A partner at 1 and one negative at -1, of which positives would take more than there is."""
    scores = torch.tensor([[1.0, -1.0]], dtype=torch.float64) / 0.5
    found = contrast(
        scores,
        partners=torch.tensor([0]),
        is_negative=torch.tensor([[False, True]]),
        temperature=0.5,
        positive_prior=0.4,
    )
    expected = -math.log(math.exp(2) / (math.exp(2) + 1 * math.exp(-2)))
    assert_close(found, value(expected), rtol=1e-12, atol=0.0)


def test_two_captions_of_one_item_are_not_negatives() -> None:
    """Of three pairs two belong to one item: they have one negative each, the third has two."""
    same = torch.ones(3, WIDTH, dtype=torch.float64)
    found = info_nce(same, same, temperature=0.2, items=torch.tensor([4, 9, 4]))
    expected = (2 * math.log(2) + math.log(3)) / 3
    assert_close(found, value(expected), rtol=1e-12, atol=0.0)


@every_form
@every_prior
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("scale", [0.0, 100.0, -100.0])
def test_extreme_values_give_finite_losses_and_gradients(
    form: NceForm, prior: float, n: int, scale: float
) -> None:
    image = torch.full((n, WIDTH), scale, requires_grad=True)
    text = -torch.full((n, WIDTH), scale)
    loss = info_nce(image, text, temperature=0.01, form=form, positive_prior=prior)
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(loss))
    assert image.grad is not None
    assert bool(torch.isfinite(image.grad).all())
    if n == 1:
        assert_close(loss, torch.tensor(0.0), rtol=0.0, atol=1e-6)  # nothing to tell apart


@every_form
@every_prior
def test_the_gradient_equals_finite_differences(form: NceForm, prior: float) -> None:
    def loss(image: Tensor, text: Tensor) -> Tensor:
        return info_nce(image, text, temperature=0.5, form=form, positive_prior=prior)

    assert torch.autograd.gradcheck(loss, (rows(0).requires_grad_(), rows(1).requires_grad_()))


def unit(made: Tensor) -> Tensor:
    lengths: Tensor = made.norm(dim=-1, keepdim=True)
    return made / lengths


@every_prior
def test_local_alignment_is_the_mean_of_each_concept_s_contrast(prior: float) -> None:
    image, text = (unit(rows(seed, N * 4).reshape(N, 4, WIDTH)) for seed in (0, 1))
    items = torch.tensor([0, 1, 2, 1, 3])
    choices: dict[str, Any] = {"temperature": 0.3, "positive_prior": prior, "items": items}
    expected = sum(info_nce(image[:, k], text[:, k], **choices) for k in range(4)) / 4
    found = local_alignment(image, text, **choices)
    assert_close(found, expected, rtol=1e-9, atol=0.0)


def test_pairs_without_content_take_no_part() -> None:
    image, text = (unit(rows(seed, N * 2).reshape(N, 2, WIDTH)) for seed in (0, 1))
    has_content = torch.tensor([True, False, True, True, False])
    expected = local_alignment(image[has_content], text[has_content], temperature=0.3)
    image[~has_content] = 0
    found = local_alignment(image, text, temperature=0.3, has_content=has_content)
    assert_close(found, expected, rtol=1e-12, atol=0.0)


def test_a_batch_without_content_costs_nothing() -> None:
    image = torch.zeros(3, 2, WIDTH, requires_grad=True)
    none = torch.zeros(3, dtype=torch.bool)
    loss = local_alignment(image, torch.zeros(3, 2, WIDTH), temperature=0.1, has_content=none)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert image.grad is not None
    assert bool((image.grad == 0).all())


def test_the_local_gradient_equals_finite_differences() -> None:
    def loss(image: Tensor, text: Tensor) -> Tensor:
        return local_alignment(unit(image), unit(text), temperature=0.5, positive_prior=0.1)

    image, text = (rows(seed, 6).reshape(3, 2, WIDTH).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(loss, (image, text))


def test_signs_pass_no_gradient() -> None:
    relaxed = torch.tensor([[0.5, -0.25]], dtype=torch.float64, requires_grad=True)
    sign_gap(relaxed).backward()  # type: ignore[no-untyped-call]
    assert relaxed.grad is not None
    assert_close(
        relaxed.grad, torch.tensor([[-0.5, 0.75]], dtype=torch.float64), rtol=1e-12, atol=0.0
    )
