import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.layers import gaussian_kernel
from modalhash.methods.base import FeatureShapes, Moment
from modalhash.methods.former_codes import FormerCodes
from modalhash.methods.large_nested import LargeMemory, sample_points
from modalhash.methods.nested import Nested
from modalhash.methods.nested_labelled import NestedLabelled, NestedLabelledSettings
from modalhash.methods.nested_memory import Memory
from modalhash.methods.nested_method import NestedHeads, NestedSettings
from modalhash.training import TrainingPlan, train_method
from modalhash.training.validation import pair_recall
from tests.oracles.paired_features import made_pairs
from tests.oracles.texts_view import IMAGE_WIDTH, N_ITEMS, N_TEXTS, TEXT_WIDTH, TextsView, unit

SMALL: dict[str, Any] = {"hidden_width": 5, "dropout": 0.0, "shortest": 3, "target_width": 99}
LARGE = SMALL | {"large_from": 5, "n_landmarks": 4, "large_fitted": 8}
MARKED, FITTED = [0, 2, 5, 7], [0, 1, 2, 3, 5, 6, 7, 8]  # floor(10 i / 4) and floor(10 i / 8)
FIRST_TEXTS = torch.arange(N_ITEMS) * N_TEXTS


def ready(settings: dict[str, Any], view: TextsView) -> NestedHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(IMAGE_WIDTH, TEXT_WIDTH, n_pairs=view.n_pairs, n_items=N_ITEMS)
    method = Nested(NestedSettings(**settings))
    heads = method.build_heads(shapes, 6)
    with torch.no_grad():
        method.before_training(heads, view)
    return heads


def large_memory(heads: NestedHeads) -> LargeMemory:
    assert isinstance(heads.memory, LargeMemory)
    return heads.memory


def by_normal_equations(rows: Tensor, targets: Tensor) -> Tensor:
    """The ridge on landmarks, fitted on every item that is, in float64: predictions for all."""
    rows, targets = rows.double(), targets.double()
    landmarks, kernel = rows[MARKED], gaussian_kernel(rows, rows[MARKED], 1.0)
    between = gaussian_kernel(landmarks, landmarks, 1.0) + 1e-4 * torch.eye(4).double()
    seen = kernel[FITTED]
    weights = torch.linalg.solve(seen.T @ seen + 0.1 * between, seen.T @ targets[FITTED])
    predicted: Tensor = (kernel @ weights).float()
    return predicted


def test_targets_are_kept_of_all_items_as_halves() -> None:
    view = TextsView()
    memory = large_memory(ready(LARGE, view))
    assert memory.owners.tolist() == [item for item in range(N_ITEMS) for _ in range(N_TEXTS)]
    rows = torch.cat(
        [math.sqrt(0.2) * view.image, math.sqrt(0.8) * unit(view.text[::2] + view.text[1::2])], 1
    )
    centred = rows - rows[FITTED].mean(0)
    targets = memory.targets.float()
    assert memory.targets.dtype is torch.float16
    assert_close(targets @ targets.T, centred @ centred.T, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_points_are_those_of_a_regression_on_the_part(size: int) -> None:
    view = TextsView(size=size)
    heads = ready(LARGE, view)
    memory = large_memory(heads)
    batch = view.batch(FIRST_TEXTS)
    targets, points = memory.meet(heads.image, heads.text, batch)
    assert_close(targets, memory.targets.float(), rtol=0, atol=0)
    assert_close(points[0], by_normal_equations(view.image, targets), rtol=1e-3, atol=1e-3)
    assert_close(points[1], by_normal_equations(view.text[::2], targets), rtol=1e-3, atol=1e-3)
    assert_close(points[2:], points[:2], rtol=0, atol=0)


def test_fitted_on_all_items_they_are_what_the_kept_regression_finds() -> None:
    view = TextsView()
    heads = ready(LARGE | {"large_fitted": 10}, view)
    _, points = large_memory(heads).meet(heads.image, heads.text, view.batch(FIRST_TEXTS))
    kept = ready(SMALL | {"n_landmarks": 4}, view).memory
    assert isinstance(kept, Memory)
    assert_close(points[2] @ points[2].T, kept.points[1] @ kept.points[1].T, rtol=1e-2, atol=2e-3)
    assert_close(points[3] @ points[3].T, kept.points[2] @ kept.points[2].T, rtol=1e-2, atol=2e-3)


def test_items_outside_the_part_take_no_part_in_the_fit() -> None:
    view, other = TextsView(), TextsView()
    outside = torch.tensor([4, 9])
    other.image[outside] = unit(torch.ones(2, IMAGE_WIDTH))
    other.text[N_TEXTS * outside] = unit(-torch.ones(2, TEXT_WIDTH))
    first, second = ready(LARGE, view), ready(LARGE, other)
    for head, same in ((first.image, second.image), (first.text, second.text)):
        assert_close(head.weights, same.weights, rtol=0, atol=0)
        assert_close(head.landmarks, same.landmarks, rtol=0, atol=0)
    gap = (large_memory(first).targets - large_memory(second).targets).abs().amax(dim=1)
    assert torch.nonzero(gap)[:, 0].tolist() == outside.tolist()


def test_a_batch_meets_each_of_its_items_once_with_its_first_pair_there() -> None:
    view = TextsView()
    heads = ready(LARGE, view)
    memory = large_memory(heads)
    targets, points = memory.meet(heads.image, heads.text, view.batch(torch.tensor([5, 4, 0, 1])))
    assert_close(targets, memory.targets[[0, 2]].float(), rtol=0, atol=0)
    batch = view.batch(torch.tensor([0, 4]))
    assert_close(points[0], heads.image.common(batch.image), rtol=1e-5, atol=1e-6)
    assert_close(points[1], heads.text.common(batch.text), rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_bits_alone() -> None:
    view, method = TextsView(), Nested(NestedSettings(**LARGE))
    heads = ready(LARGE, view)
    total = method.batch_loss(heads, view.batch(torch.arange(12)), Moment(0, 1)).total
    torch.autograd.backward(total)
    named = heads.modules().named_parameters()
    learned = [name for name, weight in named if weight.grad is not None]
    assert learned
    assert all(".bits." in name for name in learned)


def test_a_former_model_is_asked_for_the_same_pairs() -> None:
    class FormerView(TextsView):
        def batch(self, positions: Tensor) -> Any:
            rows = positions[:, None].float()
            return replace(super().batch(positions), former=FormerCodes(rows, -rows))

    view = FormerView()
    heads = ready(LARGE, view)
    pictures, texts, former = sample_points(heads.image, heads.text, view)
    batch = view.batch(torch.arange(view.n_pairs))
    assert former is not None
    assert former.image[:, 0].tolist() == list(range(view.n_pairs))
    assert former.text[:, 0].tolist() == [-place for place in range(view.n_pairs)]
    assert_close(pictures, heads.image.common(batch.image), rtol=1e-5, atol=1e-6)
    assert_close(texts, heads.text.common(batch.text), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("the_class", [Nested, NestedLabelled])
def test_a_large_collection_is_learned(the_class: type[Nested] | type[NestedLabelled]) -> None:
    pairs = made_pairs()
    settings: dict[str, Any] = {
        "hidden_width": 16,
        "target_width": 16,
        "large_from": 20,
        "n_landmarks": 64,
    }
    kind = NestedSettings if the_class is Nested else NestedLabelledSettings
    method = the_class(kind(**settings))
    training = replace(method.training, batch_size=64, least_steps=40)
    data = pairs.data()
    assert len(data.items) > settings["large_from"]
    result = train_method(TrainingPlan(method, training, 16), data)
    by_chance = 10 / len(pairs.unseen)
    assert pair_recall(result.hasher, data, pairs.unseen) > 2 * by_chance
    again = train_method(TrainingPlan(method, training, 16), data)
    for weights, same in zip(result.hasher.parameters(), again.hasher.parameters(), strict=True):
        np.testing.assert_array_equal(weights.detach(), same.detach())
