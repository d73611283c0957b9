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
from modalhash.layers import FusionHead, ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.hugged_method import HuggedMethod, HugMode
from modalhash.methods.local_alignment import HugSettings
from modalhash.methods.settings import make_method
from modalhash.methods.ucmfh import (
    PairFusion,
    Ucmfh,
    UcmfhHeads,
    UcmfhSettings,
    teacher_loss,
    teacher_targets,
)
from tests.oracles import plain_contrast as contrast
from tests.oracles import plain_losses as plain
from tests.oracles.plain_transformer import layer_normalised, transformer_layer

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 6, 5
SMALL: dict[str, Any] = {
    "token_width": 6,
    "n_layers": 2,
    "n_attention_heads": 2,
    "hidden_width": 7,
    "fusion_dropout": 0.0,
    "hidden_dropout": 0.0,
}


def made_batch(
    n: int = 5, seed: int = 0, *, times: float = 1.0, items: Tensor | None = None
) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n), items)


def made_heads(method: Ucmfh) -> UcmfhHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def value(method: Ucmfh, heads: UcmfhHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


def plain_tokens(head: FusionHead, features: Tensor) -> plain.Matrix:
    first, norm = head.token_map
    assert isinstance(first, nn.Linear)
    assert isinstance(norm, nn.LayerNorm)
    mapped = plain.affine(features.tolist(), first.weight.tolist(), [0.0] * 6)
    return [layer_normalised(row, norm.weight.tolist(), norm.bias.tolist()) for row in mapped]


def plain_transformer(head: FusionHead, tokens: plain.Matrix) -> plain.Matrix:
    """The tokens of one item through both layers, then scaled to length sqrt(6)."""
    for layer in head.transformer.layers:
        state = {name: one.tolist() for name, one in layer.state_dict().items()}
        tokens = transformer_layer(tokens, state, 2)
    return [[math.sqrt(6) * one for one in plain.unit(token)] for token in tokens]


def plain_code(head: FusionHead, token: plain.Row) -> list[float]:
    first, last = head.head.layers[0], head.head.layers[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    (hidden,) = plain.affine([token], first.weight.tolist(), first.bias.tolist())
    (relaxed,) = plain.affine(
        [[max(one, 0.0) for one in hidden]], last.weight.tolist(), last.bias.tolist()
    )
    return [math.tanh(one) for one in relaxed]


def plain_shares(scores: plain.Row) -> list[float]:
    whole = sum(math.exp(one) for one in scores)
    return [math.exp(one) / whole for one in scores]


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("items", [None, [0, 1, 1, 2, 0]])
def test_every_part_of_the_objective_against_loops(items: list[int] | None, times: float) -> None:
    settings = UcmfhSettings(**SMALL, fusion_weight=0.8, hash_weight=0.6, teacher_weight=0.4)
    method = Ucmfh(settings)
    heads = made_heads(method)
    batch = made_batch(times=times, items=None if items is None else torch.tensor(items))
    assert isinstance(heads.image, FusionHead)
    assert isinstance(heads.text, FusionHead)
    images = plain_tokens(heads.image, batch.image.pooled)
    texts = plain_tokens(heads.text, batch.text.pooled)
    together = [plain_transformer(heads.image, [*pair]) for pair in zip(images, texts, strict=True)]
    image = [plain_code(heads.image, plain_transformer(heads.image, [one])[0]) for one in images]
    text = [plain_code(heads.text, plain_transformer(heads.text, [one])[0]) for one in texts]
    of = items or [0, 1, 2, 3, 4]
    fusion = contrast.full_info_nce(
        [pair[0] for pair in together], [pair[1] for pair in together], temperature=0.5, items=of
    )
    codes = contrast.full_info_nce(image, text, temperature=0.5, items=of)
    fused = [[a + b for a, b in zip(*pair, strict=True)] for pair in together]
    teacher = own = 0.0
    for i in range(5):
        target = plain_shares([plain.cosine(fused[i], other) / 0.2 for other in fused])
        own += target[i] / 5
        for one, others in ((image, text), (text, image)):
            shares = plain_shares([plain.cosine(one[i], other) / 0.5 for other in others])
            teacher -= sum(t * math.log(s) for t, s in zip(target, shares, strict=True)) / 10
    found = value(method, heads, batch)
    expected = {
        "total": 0.8 * fusion + 0.6 * codes + 0.4 * teacher,
        "fusion": fusion,
        "contrast": codes,
        "teacher": teacher,
        "own_target": own,
    }
    for name, wanted in expected.items():
        assert_allclose(found[name], wanted, rtol=1e-8, atol=1e-12, err_msg=name)


def test_teacher_targets_by_hand() -> None:
    # Fused tokens at 45 and 0 degrees: cosines sqrt(.5).
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    text = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    near, own = math.exp(math.sqrt(0.5) / 0.2), math.exp(1 / 0.2)
    expected = np.array([[own, near], [near, own]]) / (own + near)
    assert_allclose(teacher_targets(image, text, 0.2), expected, rtol=1e-12, atol=0)


def test_teacher_loss_by_hand() -> None:
    # Codes' cosines [[1, 0], [0, -1]]: from pictures and from texts alike.
    image = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    text = torch.tensor([[1.0, 0.0], [0.0, -3.0]], dtype=torch.float64)
    targets = torch.tensor([[0.75, 0.25], [0.0, 1.0]], dtype=torch.float64)
    first, second = math.exp(2), math.exp(-2)
    expected = (
        -0.75 * math.log(first / (first + 1))
        - 0.25 * math.log(1 / (first + 1))
        - math.log(second / (1 + second))
    ) / 2
    assert_allclose(teacher_loss(image, text, targets, 0.5).item(), expected, rtol=1e-12, atol=0)


def test_a_code_is_that_of_a_token_that_passed_alone() -> None:
    """What the partner or a batch mate is changes the teacher's tokens, and no code."""
    method = Ucmfh(UcmfhSettings(**SMALL))
    heads, batch, other = made_heads(method), made_batch(), made_batch(seed=1)
    teacher = heads.auxiliary["teacher"]
    assert isinstance(teacher, PairFusion)
    with torch.no_grad():
        codes = heads.image(batch.image)
        seen = teacher(batch.image.pooled, batch.text.pooled)[0]
        elsewhere = teacher(batch.image.pooled, other.text.pooled)[0]
        assert (seen - elsewhere).abs().min(dim=1).values.max() > 1e-6
        assert (seen - elsewhere).norm(dim=1).min() > 1e-3
        for place in range(len(batch)):
            alone = heads.image(ModalityFeatures(batch.image.pooled[place : place + 1]))
            assert_close(alone[0], codes[place], rtol=1e-12, atol=1e-12)
            # In the teacher too, tokens meet those of their own pair alone.
            one = teacher(*(part.pooled[place : place + 1] for part in (batch.image, batch.text)))
            assert_close(one[0][0], seen[place], rtol=1e-12, atol=1e-12)


def test_both_heads_and_the_teacher_share_what_they_read_by() -> None:
    heads = made_heads(Ucmfh(UcmfhSettings(**SMALL)))
    assert isinstance(heads.image, FusionHead)
    assert isinstance(heads.text, FusionHead)
    teacher = heads.auxiliary["teacher"]
    assert isinstance(teacher, PairFusion)
    assert heads.image.transformer is heads.text.transformer is teacher.transformer
    assert heads.image.token_map is teacher.image_map
    assert heads.text.token_map is teacher.text_map
    # What is learned is counted once.
    names = [name for name, _ in heads.modules().named_parameters()]
    assert not any(name.startswith("auxiliary") for name in names)


def test_the_teacher_s_targets_pass_no_gradient() -> None:
    method = Ucmfh(UcmfhSettings(**SMALL, fusion_weight=0.0))
    heads, batch = made_heads(method), made_batch()
    tokens = [torch.randn(5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert not teacher_targets(tokens[0], tokens[1], 0.2).requires_grad
    total = method.batch_loss(heads, batch, Moment(0, 1)).total
    assert isinstance(heads.image, FusionHead)
    with torch.no_grad():
        codes = [torch.tanh(heads.image(batch.image)), torch.tanh(heads.text(batch.text))]
        image, text = heads.auxiliary["teacher"](batch.image.pooled, batch.text.pooled)
        targets = teacher_targets(image, text, 0.2)
    codes = [torch.tanh(heads.image(batch.image)), torch.tanh(heads.text(batch.text))]
    alone = teacher_loss(codes[0], codes[1], targets, 0.5)
    rest = Ucmfh(UcmfhSettings(**SMALL, fusion_weight=0.0, teacher_weight=0.0))
    alone = alone + rest.batch_loss(heads, batch, Moment(0, 1)).total
    weight = heads.image.token_map.get_parameter("0.weight")
    assert_close(
        torch.autograd.grad(total, [weight]),
        torch.autograd.grad(alone, [weight]),
        rtol=1e-9,
        atol=0,
    )


def test_presets() -> None:
    assert Ucmfh.preset_for(has_sparse_texts=True) == "paper"
    assert Ucmfh.preset_for(has_sparse_texts=False) == "dense"
    method, training = make_method(Ucmfh, preset="paper")
    settings = method.settings
    assert (settings.n_layers, settings.n_attention_heads, settings.hidden_width) == (2, 4, 4096)
    assert (settings.temperature, settings.hash_weight, settings.hidden_dropout) == (0.5, 0.5, 0.3)
    assert (training.batch_size, training.learning_rate) == (128, 1e-3)
    assert isinstance(method, Ucmfh)
    scales = method.build_heads(FeatureShapes(image_width=4, text_width=4), 8).rate_scales
    assert set(scales.values()) == {0.1}


@pytest.mark.parametrize("mode", list(HugMode))
def test_it_can_be_hugged(mode: HugMode) -> None:
    assert HuggedMethod(Ucmfh(), HugSettings(), mode).title == "hugged UCMFH, one modality"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_width": 0}, "token_width is 0, expected at least 1"),
        (
            {"token_width": 6},
            "token_width is 6, expected a multiple of n_attention_heads, which is 4",
        ),
        ({"n_layers": 0}, "n_layers is 0, expected at least 1"),
        ({"n_attention_heads": 0}, "n_attention_heads is 0, expected at least 1"),
        ({"fusion_dropout": 1.0}, "fusion_dropout is 1.0, expected in [0, 1)"),
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"hidden_dropout": -0.1}, "hidden_dropout is -0.1, expected in [0, 1)"),
        ({"temperature": 0.0}, "temperature is 0.0, expected positive"),
        ({"teacher_temperature": 0.0}, "teacher_temperature is 0.0, expected positive"),
        ({"fusion_rate_scale": 0.0}, "fusion_rate_scale is 0.0, expected positive"),
        ({"fusion_weight": -1.0}, "fusion_weight is -1.0, expected 0 or more"),
        ({"hash_weight": math.nan}, "hash_weight is nan, expected 0 or more"),
        ({"teacher_weight": -1.0}, "teacher_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        UcmfhSettings(**changes)
