import re
from typing import Any

import numpy as np
import pytest
import torch

from modalhash.errors import SettingError, UnknownNameError
from modalhash.methods.base import Batch, Moment
from modalhash.methods.cfrh import Cfrh
from modalhash.methods.hugged_method import HuggedMethod, HugMode, configure_hugged_method
from modalhash.methods.local_alignment import HugSettings
from modalhash.methods.quantized_alignment import FineSettings
from modalhash.training import TrainingPlan, train_method
from tests.oracles.paired_features import made_pairs

SMALL: dict[str, Any] = {
    "hidden_width": 16,
    "hug_width": 8,
    "hug_concepts": 2,
    "hug_trunk_width": 8,
    "hug_trunk_heads": 2,
    "fine_subspaces": 4,
    "fine_codewords": 8,
    "fine_class_hidden": 8,
    "fine_start": 0.0,
    "image_token_width": 0,
    "image_token_grid": 0,
    "text_token_width": 0,
    "batch_size": 32,
    "epochs": 3,
}


def test_a_hugged_method_learns_finer_codes_and_its_codes_do_without_them() -> None:
    method, training = configure_hugged_method(Cfrh, "plus", changes=SMALL)
    data = made_pairs()
    result = train_method(TrainingPlan(method, training, 8), data.data())
    assert {"intra", "cross", "hug", "quantized", "reconstruction"} <= result.log[-1].keys()
    hasher = result.hasher
    assert hasher.spec()["fine"]["kind"] == "local"
    given = (data.image.pooled(data.unseen), *data.image.tokens(data.unseen))
    fine = hasher.fine_codes("image", *given)
    assert fine.shape == (len(data.unseen), 3 * 4)  # two concepts and the class vector
    assert len(np.unique(fine, axis=0)) > 10
    codes = hasher.image.encode(*given)
    hasher.fine = None
    assert np.array_equal(hasher.image.encode(*given), codes)


def test_the_local_part_is_added_with_its_weight() -> None:
    changes = {**SMALL, "hug_weight": 0.7, "hug_trunk_dropout": 0.0, "fine_class": False}
    method, _ = configure_hugged_method(Cfrh, "plus", changes=changes)
    data = made_pairs()
    batches: list[Batch] = []

    class Watched(HuggedMethod):
        def batch_loss(self, heads: Any, batch: Batch, moment: Moment) -> Any:
            batches.append(batch)
            self.heads = heads
            return super().batch_loss(heads, batch, moment)

    watched = Watched(method.base, method.hug_settings, HugMode.PLUS, method.fine)
    _, training = configure_hugged_method(Cfrh, "plus", changes={**changes, "epochs": 1})
    train_method(TrainingPlan(watched, training, 8), data.data(n_items=64))
    watched.heads.modules().eval()
    with torch.no_grad():
        report = method.batch_loss(watched.heads, batches[0], Moment(1, 4))
        plain = HuggedMethod(method.base, method.hug_settings)
        bare = plain.batch_loss(watched.heads, batches[0], Moment(1, 4))
        share = float(np.cos(np.pi / 8))
        terms = report.values
        local = share * terms["hug"] + (1 - share) * terms["quantized"]
        local = local + 0.1 * terms["reconstruction"]
        expected = bare.total - 0.7 * bare.values["hug"] + 0.7 * local
    assert torch.allclose(report.total, expected, rtol=1e-5)
    assert torch.equal(terms["hug"], bare.values["hug"])


def test_settings_are_recorded_and_read() -> None:
    method, training = configure_hugged_method(
        Cfrh, "plus", changes={**SMALL, "fine_rotation": "none"}
    )
    record = method.record()
    assert record["hug"] == "plus"
    assert (record["fine_codewords"], record["fine_rotation"]) == (8, "none")
    assert (record["hug_width"], record["hidden_width"]) == (8, 16)
    assert training.epochs == 3
    assert HuggedMethod(Cfrh(), HugSettings(), HugMode.PLUS).fine == FineSettings()
    assert "fine_codewords" not in HuggedMethod(Cfrh(), HugSettings()).record()


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(UnknownNameError, match=r"fine_codewords"):
        configure_hugged_method(Cfrh, "contrastive", changes={"fine_codewords": 8})
    with pytest.raises(UnknownNameError, match=r"fine_colour"):
        configure_hugged_method(Cfrh, "plus", changes={"fine_colour": 8})
    message = (
        "hug_weight is 0, but finer codes are learned inside the local alignment: choose a "
        "positive weight, or do without finer codes"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        configure_hugged_method(Cfrh, "plus", changes={"hug_weight": 0.0})
    with pytest.raises(SettingError, match=r"^hug_width is 12, expected a multiple of "):
        configure_hugged_method(Cfrh, "plus", changes={"hug_width": 12})
