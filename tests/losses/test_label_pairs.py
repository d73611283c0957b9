import math

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.losses import LabelTarget, label_links, label_similarity, pairwise_logistic
from tests.oracles import plain_label_graphs as plain

LABELS = torch.tensor(
    [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
).double()


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_similarity_by_hand() -> None:
    found = label_similarity(LABELS, 0.5)
    assert found[0, 1].item() == pytest.approx(0.5 + 0.5 / math.sqrt(2))
    assert found[0, 2].item() == 0
    assert found[0, 3].item() == pytest.approx(0.5 + 0.5 * 2 / math.sqrt(6))
    assert found[2, 3].item() == pytest.approx(0.5 + 0.5 / math.sqrt(3))


@pytest.mark.parametrize("grading", [0.0, 0.3, 1.0])
def test_similarity_against_loops(grading: float) -> None:
    expected = plain.similarity(LABELS.tolist(), grading)
    assert_allclose(label_similarity(LABELS, grading), expected, rtol=1e-12, atol=1e-12)


def test_an_item_without_labels_is_like_itself_alone() -> None:
    found = label_similarity(LABELS, 0.5)
    assert_allclose(found[4], [0, 0, 0, 0, 1, 0], rtol=0, atol=0)
    assert_allclose(found[:, 4], [0, 0, 0, 0, 1, 0], rtol=0, atol=0)
    assert label_links(LABELS)[4].tolist() == [False, False, False, False, True, False]


@pytest.mark.parametrize("labels", [torch.zeros(3, 2), torch.ones(3, 2), torch.eye(3)])
def test_all_or_no_labels(labels: Tensor) -> None:
    expected = torch.ones(3, 3) if labels[0, 1] else torch.eye(3)
    for grading in (0.0, 0.5, 1.0):
        found = label_similarity(labels, grading)
        assert_close(found, expected, rtol=1e-6, atol=0)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_links_against_loops() -> None:
    # 0.5773502... is the cosine of rows 2 and 3, which must not fall off by rounding.
    for threshold in (0.0, 0.5, 1 / math.sqrt(3), 0.6, 0.8, 1.0):
        expected = plain.links(LABELS.tolist(), threshold)
        assert label_links(LABELS, threshold).tolist() == expected, threshold
    assert label_links(LABELS, 1 / math.sqrt(3))[2, 3]
    assert not label_links(LABELS, 0.6)[2, 3]


def test_permuted_classes_change_nothing() -> None:
    permuted = LABELS[:, [2, 0, 3, 1]]
    assert_close(label_similarity(permuted, 0.5), label_similarity(LABELS, 0.5), rtol=0, atol=1e-15)
    assert torch.equal(label_links(permuted, 0.6), label_links(LABELS, 0.6))


def test_permuted_items_permute_both_sides() -> None:
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    expected = label_similarity(LABELS, 0.5)[order][:, order]
    assert_close(label_similarity(LABELS[order], 0.5), expected, rtol=0, atol=1e-15)


def test_the_logistic_loss_by_hand() -> None:
    one = pairwise_logistic(torch.zeros(1, 1), torch.ones(1, 1))
    assert one.item() == pytest.approx(math.log(2))
    logits = torch.tensor([[math.log(3), 0.0]])
    # softplus(log 3) = log 4
    expected = (math.log(4) - 0.25 * math.log(3) + math.log(2)) / 2
    found = pairwise_logistic(logits, torch.tensor([[0.25, 1.0]]))
    assert found.item() == pytest.approx(expected)


def test_the_logistic_loss_against_loops() -> None:
    logits, target = 3 * made(4, 6), torch.rand(4, 6).double()
    expected = plain.logistic(logits.tolist(), target.tolist())
    assert pairwise_logistic(logits, target).item() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_the_error_of_the_sigmoid() -> None:
    logits, target = made(3, 3).requires_grad_(), torch.rand(3, 3).double()
    pairwise_logistic(logits, target).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert_close(logits.grad, (logits.detach().sigmoid() - target) / 9, rtol=1e-12, atol=1e-15)


def test_it_is_smallest_where_the_sigmoid_is_the_target() -> None:
    target = torch.tensor([[0.2, 0.5], [0.85355, 0.999]]).double()
    best = pairwise_logistic(target.logit(), target)
    for step in (0.1, -0.1):
        assert pairwise_logistic(target.logit() + step, target) > best


@pytest.mark.parametrize("value", [100.0, -100.0, 0.0])
def test_it_is_finite_far_out(value: float) -> None:
    for wanted in (0.0, 0.5, 1.0):
        logits = torch.full((2, 2), value).requires_grad_()
        loss = pairwise_logistic(logits, torch.full((2, 2), wanted))
        loss.backward()  # type: ignore[no-untyped-call]
        expected = max(value, 0) + math.log1p(math.exp(-abs(value))) - wanted * value
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        assert logits.grad is not None
        assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize(("scale", "offset"), [(3.5, 0.0), (12.0, 2.0)])
def test_a_target_against_loops(scale: float, offset: float) -> None:
    labels, rows, others = LABELS, made(6, 7), made(6, 7, seed=1)
    target = LabelTarget(label_similarity(labels, 0.5), scale, offset)
    wanted = plain.similarity(labels.tolist(), 0.5)
    codes = plain.code_logits(rows.tolist(), others.tolist(), scale, offset)
    assert target.code_loss(rows, others).item() == pytest.approx(
        plain.logistic(codes, wanted), rel=1e-12
    )
    features = plain.feature_logits(rows.tolist(), others.tolist(), scale, offset)
    assert target.feature_loss(rows, others).item() == pytest.approx(
        plain.logistic(features, wanted), rel=1e-12
    )


def test_half_of_the_bits_as_scale_is_half_the_inner_product() -> None:
    codes = made(6, 8).sign()
    similarity = label_similarity(LABELS, 0.0)
    expected = plain.logistic((codes @ codes.T / 2).tolist(), similarity.tolist())
    assert LabelTarget(similarity, 4.0).code_loss(codes, codes).item() == pytest.approx(expected)


def test_a_flipped_bit_changes_no_pairwise_loss() -> None:
    rows, others = made(6, 7), made(6, 7, seed=1)
    flip = torch.tensor([1, 1, -1, 1, 1, -1, 1.0]).double()
    target = LabelTarget(label_similarity(LABELS, 0.5), 3.5, 1.0)
    for loss in (target.code_loss, target.feature_loss):
        assert_close(loss(flip * rows, flip * others), loss(rows, others), rtol=1e-12, atol=0)


def test_finite_differences() -> None:
    target = LabelTarget(label_similarity(LABELS, 0.5), 5.0, 1.0)
    inputs = (made(6, 3).requires_grad_(), made(6, 3, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(target.code_loss, inputs)
    assert torch.autograd.gradcheck(target.feature_loss, inputs)


@pytest.mark.parametrize("n", [1, 2])
def test_small_batches_and_zero_rows(n: int) -> None:
    target = LabelTarget(label_similarity(torch.zeros(n, 3), 0.5), 4.0)
    rows = torch.zeros(n, 5).requires_grad_()
    for loss in (target.code_loss(rows, rows), target.feature_loss(rows, rows)):
        assert loss.item() == pytest.approx(math.log(2))
        (gradient,) = torch.autograd.grad(loss, rows)
        assert bool(torch.isfinite(gradient).all())
