import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.jdsh import (
    Bounds,
    BoundsRule,
    Jdsh,
    JdshHeads,
    JdshSettings,
    SimilarityBounds,
    fit_bounds,
)
from modalhash.methods.settings import make_method
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles.plain_statistics import code_statistics, squashed

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 6, 5
SMALL: dict[str, Any] = {"image_hidden_width": 7, "text_hidden_width": 3}


def made_batch(n: int = 5, seed: int = 0, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n))


def made_heads(method: Jdsh) -> JdshHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, batch_size=4)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def bounds_in(heads: JdshHeads) -> SimilarityBounds:
    bounds = heads.auxiliary["bounds"]
    assert isinstance(bounds, SimilarityBounds)
    return bounds


def plain_head(head: object, rows: Tensor) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    hidden = rows.tolist()
    for part in head.layers:
        if isinstance(part, nn.Linear):
            hidden = plain.affine(hidden, part.weight.tolist(), part.bias.tolist())
        else:
            hidden = graphs.positive(hidden)
    return hidden


def plain_joint(settings: JdshSettings, batch: Batch) -> plain.Matrix:
    image, text = (plain.rescaled(part.pooled.tolist()) for part in (batch.image, batch.text))
    return plain.weighted_sum(
        (settings.image_weight, settings.text_weight, settings.fusion_weight),
        (image, text, plain.symmetric_row_cosines(image, text)),
    )


def plain_objective(method: Jdsh, heads: JdshHeads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings
    image, text = (
        squashed(settings, plain_head(head, part.pooled), epoch)
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
    )
    weighted = graphs.amplified(
        plain_joint(settings, batch),
        (settings.left, settings.right),
        (settings.minimum, settings.maximum),
        (settings.left_weight, settings.right_weight),
    )
    target = [[settings.similarity_scale * value for value in line] for line in weighted]
    intra = sum(plain.mean_square_gap(plain.cosines(one, one), target) for one in (image, text))
    cross = (
        plain.mean_square_gap(plain.cosines(image, text), target)
        + plain.mean_square_gap(plain.cosines(text, image), target)
        - settings.pair_weight * plain.mean_paired_cosine(image, text)
    )
    entries = [value for line in target for value in line]
    return {
        "total": settings.intra_weight * intra + cross,
        "intra": intra,
        "cross": cross,
        "target_min": min(entries),
        "target_mean": sum(entries) / len(entries),
        "target_max": max(entries),
        **code_statistics(image, text),
    }


def values(method: Jdsh, heads: JdshHeads, batch: Batch, epoch: int) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(epoch, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_free": True},
        {"left": -0.25, "right": 0.25, "left_weight": 0.5, "right_weight": 1.0},
        {"image_weight": 0.4, "text_weight": 0.3, "fusion_weight": 0.3, "similarity_scale": 1.0},
        {"pair_weight": 0.0, "intra_weight": 2.0, "continuation": False},
        {"text_weight": 1.0, "image_hidden_width": 0, "text_hidden_width": 0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = Jdsh(JdshSettings(**SMALL | changes))
    heads, batch = made_heads(method), made_batch(n, times=times)
    settings = method.settings
    bounds_in(heads).set(
        Bounds(settings.left, settings.right, settings.minimum, settings.maximum)
    )  # in float64
    expected = plain_objective(method, heads, batch, 7)
    found = values(method, heads, batch, 7)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


def test_the_target_by_hand() -> None:
    # Pictures at 0 and 60 degrees, S_v = [[1, 0], [0, 1]]; texts without a common word, S_t =
    # [[1, -1], [-1, 1]]. Rows of S_v and S_t are at 45 degrees: X = [[r, -r], [-r, r]], r = 1/√2.
    images = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    batch = Batch(
        ModalityFeatures(images),
        ModalityFeatures(torch.eye(2, dtype=torch.float64)),
        None,
        torch.arange(2),
    )
    method = Jdsh(JdshSettings(image_weight=0.5, text_weight=0.1, similarity_scale=1.4))
    root = 1 / math.sqrt(2)
    near, far = 0.5 + 0.1 + 0.4 * root, -0.1 - 0.4 * root
    expected_near = 1.4 * (1 + 0.2 * math.exp(near - 0.68)) * near
    middling = method.target(batch, Bounds(left=-0.5, right=0.5, minimum=-0.52, maximum=0.68))
    expected = [[expected_near, 1.4 * far], [1.4 * far, expected_near]]
    assert_allclose(middling, expected, rtol=1e-12, atol=0)
    weighted = method.target(batch, Bounds(left=-0.3, right=0.5, minimum=-0.52, maximum=0.68))
    expected_far = 1.4 * (1 + 0.1 * math.exp(-0.52 - far)) * far
    expected = [[expected_near, expected_far], [expected_far, expected_near]]
    assert_allclose(weighted, expected, rtol=1e-12, atol=0)


def test_fitted_bounds_by_hand() -> None:
    # The median is 0.5; below it lie distances .3 and .4, above it .6 and .8.
    sample = torch.tensor([0.2, 1.3, 0.5, 0.1, 1.1], dtype=torch.float64)
    found = fit_bounds(sample, left_deviations=2.0, right_deviations=3.0)
    assert_allclose(
        (found.left, found.right, found.minimum, found.maximum),
        (0.5 - 2 * math.sqrt(0.25 / 2), 0.5 + 3 * math.sqrt(0.5), 0.1, 1.3),
        rtol=1e-12,
        atol=0,
    )


def test_bounds_of_similarities_that_are_all_alike() -> None:
    found = fit_bounds(torch.full((3,), 0.25), left_deviations=2.0, right_deviations=4.0)
    assert found == Bounds(0.25, 0.25, 0.25, 0.25)


class View:
    """Batches of training pairs, in order."""

    def __init__(self, *batches: Batch) -> None:
        self.made, self.n_pairs = batches, sum(map(len, batches))
        self.asked: list[int] = []

    def batches(self, batch_size: int) -> Iterator[Batch]:
        self.asked.append(batch_size)
        yield from self.made


def test_bounds_are_fitted_on_pairs_of_different_items_of_a_batch() -> None:
    method = Jdsh(JdshSettings(**SMALL))
    heads, view = made_heads(method), View(made_batch(5), made_batch(3, 1), made_batch(1, 2))
    method.before_training(heads, view)
    assert view.asked == [4]
    joints = [plain_joint(method.settings, batch) for batch in view.made]
    sample = sorted(
        joint[i][j] for joint in joints for i in range(len(joint)) for j in range(i)
    )  # fmt: skip
    assert len(sample) == 10 + 3
    middle = sample[6]
    below, above = (
        math.sqrt(sum((value - middle) ** 2 for value in side) / 6)
        for side in (sample[:6], sample[7:])
    )
    found = bounds_in(heads).get()
    assert_allclose(
        (found.left, found.right, found.minimum, found.maximum),
        (middle - 2 * below, middle + 4 * above, sample[0], sample[-1]),
        rtol=1e-12,
        atol=0,
    )


def test_given_bounds_stay() -> None:
    method = Jdsh(JdshSettings(**SMALL, bounds=BoundsRule.GIVEN, left=-0.25, right=0.5))
    heads, view = made_heads(method), View(made_batch())
    method.before_training(heads, view)
    assert view.asked == []
    found = bounds_in(heads).get()
    assert (found.left, found.right) == (-0.25, 0.5)


def test_a_single_pair_leaves_bounds_as_they_are() -> None:
    method = Jdsh(JdshSettings(**SMALL))
    heads = made_heads(method)
    before = bounds_in(heads).get()
    method.before_training(heads, View(made_batch(1)))
    assert bounds_in(heads).get() == before


def test_bounds_are_part_of_a_checkpoint() -> None:
    method = Jdsh(JdshSettings(**SMALL))
    one, other = made_heads(method), made_heads(method)
    method.before_training(one, View(made_batch()))
    assert bounds_in(one).get() != bounds_in(other).get()
    other.modules().load_state_dict(one.modules().state_dict())
    assert bounds_in(one).get() == bounds_in(other).get()


def test_the_target_passes_no_gradient_to_features() -> None:
    method = Jdsh(JdshSettings(**SMALL))
    heads, batch = made_heads(method), made_batch()
    with torch.no_grad():
        for parameter in heads.modules().parameters():
            parameter.zero_()
    image = batch.image.pooled.requires_grad_()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [image])
    # JdshHeads of zeros give codes that don't depend on features; only the target still could.
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_swapped_modalities_of_equal_weight_change_nothing() -> None:
    equal: dict[str, Any] = {"image_weight": 0.3, "text_weight": 0.3}
    method = Jdsh(JdshSettings(image_hidden_width=7, text_hidden_width=7, **equal))
    heads, batch = made_heads(method), made_batch()
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    one = values(method, heads, batch, 2)
    other = values(method, replace(heads, image=heads.text, text=heads.image), swapped, 2)
    assert one["total"] == pytest.approx(other["total"], rel=1e-12)


def test_presets_hold_the_released_constants() -> None:
    released = {
        "mirflickr": (0.5, 0.1, 0.4, 1.4, 0.1, 0.2),
        "paper": (0.5, 0.1, 0.4, 1.4, 0.1, 0.2),
        "nuswide": (0.4, 0.3, 0.3, 1.33, 0.2, 0.2),
    }
    middles = {"mirflickr": (-0.49, -0.49), "paper": (-0.49, -0.49), "nuswide": (-0.62, -0.62)}
    scales = {"mirflickr": (0.019, 0.088), "paper": (0.019, 0.088), "nuswide": (0.0128, 0.086)}
    for preset, expected in released.items():
        method, training = make_method(Jdsh, preset=preset)
        settings = method.settings
        found = (
            settings.image_weight, settings.text_weight, settings.fusion_weight,
            settings.similarity_scale, settings.left_weight, settings.right_weight,
        )  # fmt: skip
        assert found == expected, preset
        assert settings.left == pytest.approx(middles[preset][0] - 2 * scales[preset][0], rel=1e-12)
        assert settings.right == pytest.approx(
            middles[preset][1] + 4 * scales[preset][1], rel=1e-12
        )
        assert settings.bounds is BoundsRule.GIVEN
        assert (settings.intra_weight, settings.pair_weight) == (0.1, 1.0)
        assert (training.epochs, training.batch_size, training.learning_rate) == (300, 32, 0.01)
        assert (training.momentum, training.weight_decay) == (0.9, 5e-4)


def test_the_suiting_preset() -> None:
    assert Jdsh.preset_for(has_sparse_texts=True) == "paper"
    assert Jdsh.preset_for(has_sparse_texts=False) == "dense"


def test_heads_have_the_paper_s_layers() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386)
    heads = Jdsh(JdshSettings(image_hidden_width=0)).build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]
    assert bounds_in(heads).batch_size == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_hidden_width": -1}, "image_hidden_width is -1, expected 0 or more"),
        ({"text_weight": -0.1}, "text_weight is -0.1, expected 0 or more"),
        ({"fusion_weight": math.nan}, "fusion_weight is nan, expected 0 or more"),
        ({"right_deviations": -4.0}, "right_deviations is -4.0, expected 0 or more"),
        ({"left": 0.5}, "left is 0.5, expected at most right, -0.138"),
        ({"left": math.nan}, "left is nan, expected at most right, -0.138"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        JdshSettings(**changes)
