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
from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.duch import (
    Duch,
    DuchHeads,
    DuchSettings,
    balance_loss,
    discriminator_loss,
    fooling_loss,
    other_view,
    quantization_loss,
)
from modalhash.methods.hugged_method import HuggedMethod, HugMode
from modalhash.methods.local_alignment import HugSettings
from modalhash.methods.settings import make_method
from tests.oracles import plain_contrast as contrast

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 6, 5
SMALL: dict[str, Any] = {"hidden_width": 7}
SAME_VIEW: dict[str, Any] = {"view_dropout": 0.0, "view_noise": 0.0}
ADVERSARIAL: dict[str, Any] = {"adversarial_weight": 0.01}


def made_batch(n: int = 5, seed: int = 0, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n))


def made_heads(method: Duch) -> DuchHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def value(method: Duch, heads: DuchHeads, batch: Batch) -> dict[str, float]:
    torch.manual_seed(1)
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("items", [None, [0, 1, 1, 2, 0]])
def test_every_part_of_the_objective_against_loops(items: list[int] | None, times: float) -> None:
    """With views that are the same, a pair's other views are its own codes."""
    settings = DuchSettings(**SMALL, **SAME_VIEW, image_intra_weight=0.3, text_intra_weight=0.7)
    method = Duch(settings)
    heads, made = made_heads(method), made_batch(times=times)
    batch = Batch(
        made.image, made.text, None, made.positions, None if items is None else torch.tensor(items)
    )
    with torch.no_grad():
        image, text = (
            torch.tanh(head(part)).tolist()
            for head, part in ((heads.image, batch.image), (heads.text, batch.text))
        )
    of = items or [0, 1, 2, 3, 4]
    inter, image_intra, text_intra = (
        contrast.full_info_nce(one, other, temperature=0.5, items=of)
        for one, other in ((image, text), (image, image), (text, text))
    )
    quantization = balance = 0.0
    for bit in range(N_BITS):
        for i in range(5):
            sign = 1.0 if image[i][bit] + text[i][bit] >= 0 else -1.0
            quantization += 2 * (sign - image[i][bit]) ** 2 + 2 * (sign - text[i][bit]) ** 2
        balance += 2 * sum(row[bit] for row in image) ** 2
        balance += 2 * sum(row[bit] for row in text) ** 2
    total = inter + 0.3 * image_intra + 0.7 * text_intra + 0.001 * quantization + 0.01 * balance
    found = value(method, heads, batch)
    expected = {
        "total": total,
        "inter": inter,
        "image_intra": image_intra,
        "text_intra": text_intra,
        "quantization": quantization,
        "balance": balance,
    }
    for name, one in expected.items():
        assert_allclose(found[name], one, rtol=1e-9, atol=1e-12, err_msg=name)


def test_quantization_by_hand() -> None:
    # Means of the two views: .4 and 0, so that both signs are +1.
    codes = torch.tensor([[[0.9, -0.5]], [[-0.1, 0.5]]], dtype=torch.float64)
    expected = 0.1**2 + 1.5**2 + 1.1**2 + 0.5**2
    assert_allclose(quantization_loss(codes), expected, rtol=1e-12, atol=0)


def test_balance_by_hand() -> None:
    # One view of two pairs: bits sum to .5 and -.4.
    codes = torch.tensor([[[0.5, -0.3], [0.0, -0.1]]], dtype=torch.float64)
    assert_allclose(balance_loss(codes), 0.5**2 + 0.4**2, rtol=1e-12, atol=0)


class Straight(nn.Module):
    """D's logit is w . h, so that its slope is w everywhere."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, codes: Tensor) -> Tensor:
        return (codes @ self.weight)[:, None]


def test_adversarial_terms_by_hand() -> None:
    told = Straight([3.0, 4.0])  # slope of length 5
    images = torch.tensor([[0.5, 0.0], [0.0, -0.25]], dtype=torch.float64)  # logits 1.5, -1
    texts = torch.tensor([[0.0, 0.5], [1.0, 0.0]], dtype=torch.float64)  # logits 2, 3

    def log_share(logit: float) -> float:
        return math.log(1 / (1 + math.exp(-logit)))

    fooling = -log_share(1.5) - log_share(-1.0)
    assert_allclose(fooling_loss(told, images).item(), fooling, rtol=1e-12, atol=0)
    # 1 - D(h) is D(h) with the other sign of the logit.
    found_out = -(log_share(2.0) + log_share(3.0)) / 2 - (log_share(-1.5) + log_share(1.0)) / 2
    assert_allclose(
        discriminator_loss(told, images, texts, penalty=0.0).item(), found_out, rtol=1e-12, atol=0
    )
    assert_allclose(
        discriminator_loss(told, images, texts, penalty=10.0).item(),
        found_out + 10 * (5 - 1) ** 2,
        rtol=1e-12,
        atol=0,
    )


def test_each_player_learns_from_its_own_term_only() -> None:
    method = Duch(DuchSettings(**SMALL, **ADVERSARIAL))
    heads = made_heads(method)
    discriminator = heads.auxiliary["discriminator"]
    images, texts = (
        torch.tanh(torch.randn(3, N_BITS, dtype=torch.float64)).requires_grad_() for _ in range(2)
    )
    parameters = list(discriminator.parameters())
    fooling = fooling_loss(discriminator, images)
    found = torch.autograd.grad(fooling, [images, *parameters], allow_unused=True)
    assert found[0] is not None
    assert found[0].abs().sum() > 0
    assert all(one is None for one in found[1:])
    told = discriminator_loss(discriminator, images, texts, penalty=10.0)
    found = torch.autograd.grad(told, [images, texts, *parameters], allow_unused=True)
    assert all(one is None for one in found[:2])
    assert all(one is not None and bool(torch.isfinite(one).all()) for one in found[2:])


def test_the_game_is_in_the_total_with_its_weight() -> None:
    found = {}
    for weight in (0.01, 0.02):
        method = Duch(DuchSettings(**SMALL, **SAME_VIEW, adversarial_weight=weight))
        found[weight] = value(method, made_heads(method), made_batch())
    assert found[0.01]["discriminator"] == found[0.02]["discriminator"]
    gap = found[0.02]["total"] - found[0.01]["total"]
    assert gap == pytest.approx(0.01 * found[0.01]["adversarial"], rel=1e-9)
    method = Duch(DuchSettings(**SMALL, **SAME_VIEW))
    heads = made_heads(method)
    without = value(method, heads, made_batch())
    assert not len(heads.auxiliary)
    assert not {"adversarial", "discriminator"} & set(without)
    both = 0.01 * found[0.01]["adversarial"] + found[0.01]["discriminator"]
    assert found[0.01]["total"] - without["total"] == pytest.approx(both, rel=1e-9)


def test_another_view_loses_features_and_gains_noise() -> None:
    torch.manual_seed(0)
    tokens, mask = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    plain = ModalityFeatures(torch.tensor([[3.0], [-0.5]]).repeat(1, 20_000), tokens, mask)
    dropped = other_view(plain, dropout=0.2, noise=0.0)
    assert dropped.tokens is tokens
    assert dropped.token_mask is mask
    for row, size in zip(dropped.pooled, (3.0, -0.5), strict=True):
        kept = row[row != 0]
        assert_close(kept, torch.full_like(kept, size / 0.8))
        assert 0.78 < len(kept) / len(row) < 0.82
    noisy = other_view(plain, dropout=0.0, noise=0.1).pooled - plain.pooled
    assert_close(noisy.std(dim=1), torch.tensor([0.3, 0.05]), rtol=0.05, atol=0)
    assert_close(other_view(plain, dropout=0.0, noise=0.0).pooled, plain.pooled, rtol=0, atol=0)


def test_presets() -> None:
    assert Duch.preset_for(has_sparse_texts=True) == "paper"
    assert Duch.preset_for(has_sparse_texts=False) == "dense"
    method, training = make_method(Duch, preset="paper")
    settings = method.settings
    weights = (
        settings.adversarial_weight, settings.quantization_weight, settings.balance_weight,
    )  # fmt: skip
    assert weights == (0.01, 0.001, 0.01)
    assert (training.epochs, training.batch_size, training.learning_rate) == (100, 256, 1e-4)


@pytest.mark.parametrize("mode", list(HugMode))
def test_it_can_be_hugged(mode: HugMode) -> None:
    assert HuggedMethod(Duch(), HugSettings(), mode).title == "hugged DUCH"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected positive"),
        ({"image_intra_weight": -1.0}, "image_intra_weight is -1.0, expected 0 or more"),
        ({"text_intra_weight": -1.0}, "text_intra_weight is -1.0, expected 0 or more"),
        ({"view_dropout": 1.0}, "view_dropout is 1.0, expected in [0, 1)"),
        ({"view_noise": -0.1}, "view_noise is -0.1, expected 0 or more"),
        ({"quantization_weight": -1.0}, "quantization_weight is -1.0, expected 0 or more"),
        ({"balance_weight": math.nan}, "balance_weight is nan, expected 0 or more"),
        ({"adversarial_weight": -1.0}, "adversarial_weight is -1.0, expected 0 or more"),
        ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DuchSettings(**changes)
