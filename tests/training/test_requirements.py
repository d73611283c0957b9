import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from modalhash.errors import SettingError
from modalhash.training import TrainingPlan, train_method
from modalhash.training.requirements import check_last_batch, check_needs
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
