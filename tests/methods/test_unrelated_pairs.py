"""Where the dense presets put pairs that have nothing in common."""

from typing import Any

import pytest
import torch

from modalhash.layers import ModalityFeatures
from modalhash.methods import method_class
from modalhash.methods.base import Batch, FeatureShapes, GradientMethod, Moment
from modalhash.methods.settings import make_method

N = 64


@pytest.mark.parametrize(
    ("name", "changes"), [("cfrh", {}), ("cagan", {"graph": False}), ("djsrh", {})]
)
def test_unrelated_pairs_lie_at_zero_in_dense_presets(name: str, changes: dict[str, Any]) -> None:
    """Codes of many items can't all be opposites: below 0, bits that tell nothing would obey.

    Features at right angles have similarities of -1, and 1 with themselves; the rows of such a
    matrix have cosines of (n - 4) / n. Half of each, times the scale of 1.5, is -3 / n.
    """
    method, _ = make_method(method_class(name), preset="dense", changes=changes)
    assert isinstance(method, GradientMethod)
    heads = method.build_heads(FeatureShapes(image_width=N, text_width=N), 16)
    features = ModalityFeatures(torch.eye(N))
    report = method.batch_loss(
        heads, Batch(features, features, None, torch.arange(N)), Moment(0, 1)
    )
    least, mean = (report.values[f"target_{end}"].item() for end in ("min", "mean"))
    assert least == pytest.approx(-3 / N, abs=1e-6)
    assert mean == pytest.approx((1.5 - 3 / N * (N - 1)) / N, abs=1e-6)
