import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.losses import rescaled_cosines
from modalhash.methods.base import Batch, FeatureShapes, Heads, Moment
from modalhash.methods.djsrh import Djsrh, DjsrhSettings, joint_semantics
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


def made_heads(method: Djsrh) -> Heads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def plain_head(head: object, rows: Tensor) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    hidden = rows.tolist()
    for part in head.layers:
        if isinstance(part, nn.Linear):
            hidden = plain.affine(hidden, part.weight.tolist(), part.bias.tolist())
        else:
            hidden = graphs.positive(hidden)
    return hidden


def plain_objective(method: Djsrh, heads: Heads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings
    image, text = (
        squashed(settings, plain_head(head, part.pooled), epoch)
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
    )
    share, second = settings.image_weight, settings.second_order
    joint = plain.weighted_sum(
        (share, 1 - share),
        (plain.rescaled(batch.image.pooled.tolist()), plain.rescaled(batch.text.pooled.tolist())),
    )
    target = plain.weighted_sum(
        (settings.similarity_scale * (1 - second), settings.similarity_scale * second),
        (joint, graphs.second_order(joint)),
    )
    intra = sum(plain.mean_square_gap(plain.cosines(one, one), target) for one in (image, text))
    cross = plain.mean_square_gap(plain.cosines(image, text), target)
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


def values(method: Djsrh, heads: Heads, batch: Batch, epoch: int) -> dict[str, float]:
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
        {"image_weight": 0.3, "intra_weight": 0.3},
        {"second_order": 0.0, "similarity_scale": 1.0},
        {"second_order": 1.0, "continuation": False},
        {"image_weight": 0.0, "image_hidden_width": 0, "text_hidden_width": 0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = Djsrh(DjsrhSettings(**SMALL | changes))
    heads, batch = made_heads(method), made_batch(n, times=times)
    expected = plain_objective(method, heads, batch, 7)
    found = values(method, heads, batch, 7)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


def test_joint_semantics_by_hand() -> None:
    # Pictures at 0 and 60 degrees, texts without a common word: S_v = [[1, 0], [0, 1]],
    # S_t = [[1, -1], [-1, 1]], J = [[1, -.25], [-.25, 1]], J J / 2 = [[17, -8], [-8, 17]] / 32.
    images = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    found = joint_semantics(
        rescaled_cosines(images),
        rescaled_cosines(torch.eye(2, dtype=torch.float64)),
        image_weight=0.75,
        second_order=0.4,
        scale=1.5,
    )
    near, far = 1.5 * (0.6 + 0.4 * 17 / 32), 1.5 * (0.6 * -0.25 + 0.4 * -8 / 32)
    assert_allclose(found, [[near, far], [far, near]], rtol=1e-12, atol=0)


def test_the_target_passes_no_gradient_to_features() -> None:
    method = Djsrh(DjsrhSettings(**SMALL))
    heads, batch = made_heads(method), made_batch()
    with torch.no_grad():
        for parameter in heads.modules().parameters():
            parameter.zero_()
    image = batch.image.pooled.requires_grad_()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [image])
    # Heads of zeros give codes that don't depend on features; only the target still could.
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_swapped_modalities_of_equal_share_change_nothing() -> None:
    method = Djsrh(DjsrhSettings(image_hidden_width=7, text_hidden_width=7, image_weight=0.5))
    heads, batch = made_heads(method), made_batch()
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    one = values(method, heads, batch, 2)
    other = values(method, Heads(heads.text, heads.image), swapped, 2)
    assert one["total"] == pytest.approx(other["total"], rel=1e-12)


def test_presets_hold_the_released_constants() -> None:
    released = {
        "mirflickr": (0.9, 0.1, 80, 0.1),
        "nuswide": (0.6, 0.1, 80, 0.1),
        "wiki": (0.3, 0.3, 200, 1.0),
    }
    for preset, expected in released.items():
        method, training = make_method(Djsrh, preset=preset)
        settings = method.settings
        found = (
            settings.image_weight, settings.intra_weight, training.epochs,
            settings.image_rate_scale,
        )  # fmt: skip
        assert found == expected, preset
        assert (settings.similarity_scale, settings.second_order) == (1.5, 0.4)
        assert (training.batch_size, training.learning_rate) == (32, 0.01)
        assert (training.momentum, training.weight_decay) == (0.9, 5e-4)


def test_the_suiting_preset() -> None:
    assert Djsrh.preset_for(has_sparse_texts=True) == "paper"
    assert Djsrh.preset_for(has_sparse_texts=False) == "dense"


def test_the_image_rate_is_that_of_the_head_alone() -> None:
    heads = made_heads(Djsrh(DjsrhSettings(image_rate_scale=0.1)))
    assert heads.rate_scales == {"image": 0.1}
    assert not len(heads.auxiliary)


def test_heads_have_the_paper_s_layers() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386)
    heads = Djsrh(DjsrhSettings(image_hidden_width=0)).build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_hidden_width": -1}, "image_hidden_width is -1, expected 0 or more"),
        ({"text_hidden_width": -1}, "text_hidden_width is -1, expected 0 or more"),
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
        ({"second_order": -0.1}, "second_order is -0.1, expected in [0, 1]"),
        ({"similarity_scale": -1.0}, "similarity_scale is -1.0, expected 0 or more"),
        ({"intra_weight": math.nan}, "intra_weight is nan, expected 0 or more"),
        ({"image_rate_scale": 0.0}, "image_rate_scale is 0.0, expected positive"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DjsrhSettings(**changes)
