"""Published baselines take a hug in every mode, as bench rows such as jdsh+hug-plus ask for."""

from typing import Any

import pytest

from modalhash.methods import method_class
from modalhash.methods.base import GradientMethod
from modalhash.methods.hugged_method import HugMode, configure_hugged_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles.paired_features import made_pairs

N_BITS = 13
QUICK: dict[str, Any] = {
    "image_hidden_width": 16,
    "text_hidden_width": 16,
    "epochs": 1,
    "batch_size": 32,
    "image_token_grid": 0,
    "image_token_width": 0,
    "text_token_width": 0,
    "hug_width": 8,
    "hug_concepts": 2,
    "hug_trunk_width": 8,
    "hug_trunk_heads": 2,
}
EXTRA: dict[str, dict[str, Any]] = {"agch": {"graph_width": 8, "graph_output_width": 8}}
PLUS: dict[str, Any] = {"fine_subspaces": 2, "fine_codewords": 4, "fine_sample": 64}


@pytest.mark.parametrize("mode", HugMode)
@pytest.mark.parametrize("name", ["agch", "dsah", "jdsh"])
def test_a_baseline_trains_hugged(name: str, mode: HugMode) -> None:
    changes = QUICK | EXTRA.get(name, {}) | (PLUS if mode is HugMode.PLUS else {})
    method, training = configure_hugged_method(method_class(name), mode, changes=changes)
    assert isinstance(method.base, GradientMethod)
    result = train_method(TrainingPlan(method, training, N_BITS, 0), made_pairs().data(n_items=96))
    assert result.hasher.n_bits == N_BITS
    terms = result.log[-1]
    assert terms["hug"] != 0
    assert set(terms) >= {"loss", "target_mean"}
    assert (result.hasher.fine is not None) == (mode is HugMode.PLUS)
