"""A method with tokens, labels, a memory bank and both hooks goes through the whole contract."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from modalhash.methods.base import (
    Batch,
    CaptionChoice,
    FeatureShapes,
    LossReport,
    Moment,
    Optimiser,
)
from modalhash.training import TrainingPlan, train_method
from modalhash.training.checkpoints import Checkpoints
from tests.oracles.paired_features import made_pairs
from tests.oracles.tiny_methods import TokenMethod, TokenMethodHeads

MADE = made_pairs(120, 40)


def token_plan(folder: Path | None = None, **changes: Any) -> TrainingPlan:
    method = TokenMethod()
    settings = replace(method.training, **changes)
    return TrainingPlan(method, settings, 20, seed=1, run_folder=folder)


def test_hooks_are_called_in_order() -> None:
    plan = token_plan()
    train_method(plan, MADE.data())
    assert isinstance(plan.method, TokenMethod)
    assert plan.method.events == [
        "build_heads", "before_training", "after_epoch 0", "after_epoch 1", "after_epoch 2",
    ]  # fmt: skip


@pytest.mark.parametrize("choice", [CaptionChoice.FIRST, CaptionChoice.ALL, CaptionChoice.RANDOM])
def test_tokens_labels_and_positions_reach_the_method(choice: CaptionChoice) -> None:
    plan = token_plan(captions=choice)
    train_method(plan, MADE.data())
    assert isinstance(plan.method, TokenMethod)
    assert plan.method.seen
    place_of = {tuple(row): place for place, row in enumerate(MADE.image.all_pooled.tolist())}
    text_row_of = {tuple(row): place for place, row in enumerate(MADE.text.all_pooled.tolist())}
    for batch in plan.method.seen:
        items = [place_of[tuple(row)] for row in batch.image.pooled.tolist()]
        rows = [text_row_of[tuple(row)] for row in batch.text.pooled.tolist()]
        assert batch.labels is not None
        assert_array_equal(batch.labels, MADE.labels[items])
        for features, table, chosen in (
            (batch.image, MADE.image, items),
            (batch.text, MADE.text, rows),
        ):
            assert features.tokens is not None
            assert features.token_mask is not None
            assert table.all_tokens is not None
            assert table.all_masks is not None
            assert_array_equal(features.tokens, table.all_tokens[chosen])
            assert_array_equal(features.token_mask, table.all_masks[chosen])
        for item, row in zip(items, rows, strict=True):
            assert MADE.caption_starts[item] <= row < MADE.caption_starts[item + 1]
        if choice is not CaptionChoice.ALL:
            assert_array_equal(MADE.items[batch.positions], items)


def test_what_is_learned_without_gradient_is_in_the_checkpoint_and_not_in_the_model(
    tmp_path: Path,
) -> None:
    plan = token_plan(tmp_path)
    result = train_method(plan, MADE.data())
    stored = Checkpoints(tmp_path / "checkpoint").load()
    assert stored is not None
    assert int(stored.parts["auxiliary.memory.n_updates"]) == 3
    assert stored.parts["auxiliary.memory.bank"].shape == (120, 20)
    assert int(stored.parts["auxiliary.classifier.0.num_batches_tracked"]) == 3 * (120 // 16)
    assert {name.split(".")[0] for name in result.hasher.state_dict()} == {"image", "text"}


def test_each_epoch_draws_random_numbers_of_its_own() -> None:
    draws: list[float] = []

    class Drawing(TokenMethod):
        def batch_loss(self, heads: TokenMethodHeads, batch: Batch, moment: Moment) -> LossReport:
            draws.append(torch.rand(()).item())
            return super().batch_loss(heads, batch, moment)

    method = Drawing()
    train_method(TrainingPlan(method, method.training, 20, seed=1), MADE.data())
    assert len(set(draws)) == len(draws) == 3 * (120 // 16)


def test_it_learns() -> None:
    result = train_method(token_plan(epochs=15, learning_rate=0.1), MADE.data())
    assert result.log[-1]["pairs"] < 0.5 * result.log[0]["pairs"]


def test_its_codes_depend_on_their_item_alone() -> None:
    hasher = train_method(token_plan(), MADE.data()).hasher
    rows = MADE.unseen
    tokens, mask = MADE.image.tokens(rows)
    together = hasher.image.encode(MADE.image.pooled(rows), tokens, mask)
    for place in (0, 17, 39):
        one = np.array([place])
        alone = hasher.image.encode(MADE.image.pooled(rows)[one], tokens[one], mask[one])
        assert_array_equal(alone, together[one])


def test_shapes_are_told() -> None:
    told: list[FeatureShapes] = []

    class Asking(TokenMethod):
        def build_heads(self, shapes: FeatureShapes, n_bits: int) -> TokenMethodHeads:
            told.append(shapes)
            return super().build_heads(shapes, n_bits)

    method = Asking()
    settings = replace(method.training, captions=CaptionChoice.ALL, optimiser=Optimiser.ADAM)
    train_method(TrainingPlan(method, settings, 20), MADE.data())
    starts = MADE.caption_starts
    n_pairs = int((starts[MADE.items + 1] - starts[MADE.items]).sum())
    assert told == [FeatureShapes(24, 20, 12, 10, 8, n_pairs, 16, len(MADE.items))]
