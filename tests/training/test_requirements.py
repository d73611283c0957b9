import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import FeatureScaling, ScalingRule
from modalhash.machine import forget_peak, peak_mib
from modalhash.training import TrainingPlan, train_method
from modalhash.training.loop import fit_scaling
from modalhash.training.requirements import (
    check_last_batch,
    check_needs,
    check_row_lengths,
    warn_of_parallel_rows,
)
from tests.oracles.paired_features import made_pairs
from tests.oracles.tiny_methods import TokenMethod


class GraphMethod(TokenMethod):
    title = "Graph"
    smallest_batch: ClassVar[int] = 4


def test_a_batch_smaller_than_the_method_needs_is_refused() -> None:
    method = GraphMethod()
    settings = replace(method.training, batch_size=3)
    message = (
        "batch_size: 3, but Graph compares the pairs of a batch with each other and needs at "
        "least 4"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        check_needs(method, settings, made_pairs().data())
    check_needs(method, replace(settings, batch_size=4), made_pairs().data())


def test_fewer_training_items_than_the_method_needs_are_refused() -> None:
    method = GraphMethod()
    settings = replace(method.training, batch_size=32)
    message = (
        "training items: 3, but Graph compares the pairs of a batch with each other and needs at "
        "least 4"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        check_needs(method, settings, made_pairs().data(n_items=3))


def test_a_last_batch_smaller_than_the_method_needs_is_refused() -> None:
    method = GraphMethod()
    settings = replace(method.training, batch_size=32, drop_last=False)
    message = (
        "drop_last is false, which leaves 3 of 67 pairs to the last batch, but Graph compares the "
        "pairs of a batch with each other and needs at least 4: set drop_last=true, or another "
        "batch_size"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        check_last_batch(method, settings, 67)
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, settings, 16), made_pairs().data(n_items=67))
    check_last_batch(method, settings, 64)
    check_last_batch(method, settings, 68)
    check_last_batch(method, replace(settings, drop_last=True), 67)


def test_items_without_labels_and_rows_of_zeros_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = made_pairs(60, 20)
    made.labels[made.items[:7]] = 0
    made.text.all_pooled[made.caption_starts[made.items[:5]]] = 0
    method = TokenMethod()
    plan = TrainingPlan(method, method.training, 16, seed=1)
    train_method(plan, made.data())
    messages = [record.getMessage() for record in caplog.records]
    assert (
        "7 of 60 training items have no label: they count as similar to nothing but themselves"
        in messages
    )
    zeros = (
        "5 of 60 training text rows are all zeros: they are similar to nothing and teach nothing"
    )
    assert zeros in messages
    assert not any("image rows" in message for message in messages)


def test_nothing_is_said_of_whole_data(caplog: pytest.LogCaptureFixture) -> None:
    made = made_pairs(60, 20)
    assert np.all(made.labels.sum(axis=1) > 0)
    method = TokenMethod()
    train_method(TrainingPlan(method, method.training, 16, seed=1), made.data())
    assert not [record for record in caplog.records if "training" in record.getMessage()]


@pytest.mark.parametrize("rule", [ScalingRule.NONE, ScalingRule.STANDARDISED])
def test_rows_over_100_times_the_median_length_are_refused(rule: ScalingRule) -> None:
    lengths = torch.tensor([0.0, 2.0, 1.0, 200.0, 201.0, 2.0])  # the median of those above 0 is 2
    message = (
        "1 of 6 training text rows are more than 100 times as long as the median row (the first is "
        "training row 4), so codes would tell them apart and nothing else: correct or remove them, "
        "or set text_scaling=centred_unit, which brings all rows to one length"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        check_row_lengths(lengths, rule, "text")
    check_row_lengths(lengths[:4], rule, "text")
    check_row_lengths(torch.zeros(3), rule, "text")


@pytest.mark.parametrize(
    "rule", [ScalingRule.UNIT, ScalingRule.CENTRED_UNIT, ScalingRule.CENTRED_RMS]
)
def test_rules_that_bring_rows_to_one_length_take_rows_of_any(rule: ScalingRule) -> None:
    check_row_lengths(torch.tensor([1.0, 1.0, 1e9]), rule, "image")


def test_parallel_rows_are_told_of_where_nothing_centres_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_parallel_rows(0.97, ScalingRule.CENTRED_UNIT, "image")
    warn_of_parallel_rows(0.89, ScalingRule.NONE, "image")
    assert not caplog.messages
    warn_of_parallel_rows(0.97, ScalingRule.UNIT, "image")
    message = (
        "training image rows are nearly parallel (mean cosine 0.97), so similarities hardly differ "
        "and bits may become constant: image_scaling=centred_unit takes out what all rows share"
    )
    assert caplog.messages == [message]


def test_fitting_a_scaling_takes_no_memory_for_each_batch() -> None:
    batch, n_batches = torch.rand(4096, 512), 60
    scaling = FeatureScaling(ScalingRule.CENTRED_UNIT, 512)
    forget_peak()
    before = peak_mib()
    fit_scaling(scaling, (batch.clone() for _ in range(n_batches)), n_batches * 4096, "image")
    in_all = n_batches * batch.nbytes / 2**20
    assert peak_mib() - before < in_all / 2
