import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import ModalityFeatures, NormalisedHead
from modalhash.methods.base import Batch, FeatureShapes, Moment, Needs
from modalhash.methods.settings import make_method
from modalhash.methods.ssah import (
    Ssah,
    SsahHeads,
    SsahSettings,
    adversary_loss,
    critic_loss,
    make_critic,
)
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_label_graphs as graphs
from tests.oracles import plain_label_networks as plain
from tests.oracles.paired_features import made_pairs

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 5, 5
LABELS = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]]


def made_method(**changes: Any) -> Ssah:
    return Ssah(SsahSettings(**{"hidden_width": 5, "feature_width": 4} | changes))


def made_batch(n: int = 6, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(0)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, torch.tensor(LABELS[:n]).double(), torch.arange(n))


def made_heads(method: Ssah) -> SsahHeads:
    """Fresh parts, normalised by scales and offsets that aren't 1 and 0."""
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_classes=3)
    heads = method.build_heads(shapes, N_BITS)
    for part in heads.modules().double().modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return heads


def plain_terms(method: Ssah, heads: SsahHeads, batch: Batch) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings, parts = method.settings, heads.auxiliary
    assert batch.labels is not None
    labels = batch.labels.tolist()
    wanted = graphs.similarity(labels, settings.label_grading)
    scale, offset = settings.logit_scale or N_BITS / 2, settings.logit_offset

    def likeness(one: plain.Made, other: plain.Made) -> float:
        codes = graphs.code_logits(one["relaxed"], other["relaxed"], scale, offset)
        features = graphs.feature_logits(one["features"], other["features"], scale, offset)
        return graphs.logistic(codes, wanted) + graphs.logistic(features, wanted)

    networks = [
        plain.network(head, parts[f"{name}_classes"], rows)
        for name, head, rows in (
            ("image", heads.image, batch.image.pooled.tolist()),
            ("text", heads.text, batch.text.pooled.tolist()),
            *([("label", parts["label"], labels)] if settings.guide_weight else []),
        )
    ]
    image, text = networks[:2]
    terms = {
        "classes": sum(graphs.cross_entropy(one["classes"], labels) for one in networks),
        "quantization": plain.voted_gap([one["relaxed"] for one in networks]),
    }
    if settings.guide_weight:
        label = networks[2]
        terms["label"] = likeness(label, label)
        terms["guide"] = likeness(image, label) + likeness(text, label)
    weights = {
        "label": settings.guide_weight,
        "guide": settings.guide_weight,
        "classes": settings.class_weight,
        "quantization": settings.quantization_weight,
    }
    if settings.guide_weight and settings.adversary_weight:
        right, wrong = [[1.0]] * len(labels), [[0.0]] * len(labels)
        terms["adversary"] = terms["critics"] = 0.0
        for name, one in (("image", image), ("text", text)):
            of_modality, of_label = (
                plain.judged(parts[f"{name}_critic"], made["features"]) for made in (one, label)
            )
            terms["adversary"] += graphs.cross_entropy(of_modality, right)
            terms["critics"] += graphs.cross_entropy(of_modality, wrong) / 4
            terms["critics"] += graphs.cross_entropy(of_label, right) / 4
        weights |= {"adversary": settings.adversary_weight, "critics": 1.0}
    return {"total": sum(weights[name] * term for name, term in terms.items()), **terms}


def values(method: Ssah, heads: SsahHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.value.item() for name, term in report.terms.items()
    }


@pytest.mark.parametrize("times", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_grading": 0.5, "logit_scale": 12.0, "logit_offset": 2.0},
        {"guide_weight": 0.5, "class_weight": 3.0, "quantization_weight": 0.2},
        {"adversary_weight": 0.3},
        {"adversary_weight": 0.0},
        {"guide_weight": 0.0, "class_weight": 2.0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = made_method(**changes)
    heads, batch = made_heads(method), made_batch(n, times=times)
    expected = plain_terms(method, heads, batch)
    found = values(method, heads, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


class Weighing(nn.Module):
    """A critic by hand: the sum of a feature, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, features: Tensor) -> Tensor:
        return self.weight * features.sum(dim=1, keepdim=True)


def test_adversary_by_hand_teaches_the_network_alone() -> None:
    critic, features = Weighing(), torch.tensor([[0.5, 0.0], [0.0, -0.5]], requires_grad=True)
    loss = adversary_loss(critic, features)  # logits 1 and -1, taken for 1
    softplus = math.log1p(math.exp(-1))
    assert loss.item() == pytest.approx((softplus + softplus + 1) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert critic.weight.grad is None
    assert features.grad is not None
    sigmoid = 1 / (1 + math.exp(-1))
    expected = torch.tensor([[sigmoid - 1] * 2, [-sigmoid] * 2])
    assert_close(features.grad, expected, rtol=1e-6, atol=0)


def test_critics_by_hand_learn_alone() -> None:
    critic, features = Weighing(), torch.tensor([[0.5]], requires_grad=True)
    label_features = torch.tensor([[1.0]], requires_grad=True)
    loss = critic_loss(critic, features, label_features)  # logits 1, taken for 0, and 2, for 1
    assert loss.item() == pytest.approx(math.log1p(math.exp(1)) + math.log1p(math.exp(-2)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is None
    assert label_features.grad is None
    expected = 0.5 / (1 + math.exp(-1)) - 1 / (1 + math.exp(2))
    assert critic.weight.grad is not None
    assert critic.weight.grad.item() == pytest.approx(expected)


def test_a_critic_has_the_released_layers() -> None:
    widths = [part.out_features for part in make_critic(7) if isinstance(part, nn.Linear)]
    assert widths == [512, 256, 1]


def learners(method: Ssah, heads: SsahHeads, term: str) -> set[str]:
    """The parts that a term's gradient reaches."""
    heads.modules().zero_grad()
    report = method.batch_loss(heads, made_batch(), Moment(0, 1))
    report.values[term].backward()  # type: ignore[no-untyped-call]
    parts: Mapping[str, nn.Module] = {
        "image": heads.image, "text": heads.text, **dict(heads.auxiliary.items()),
    }  # fmt: skip
    return {
        name
        for name, part in parts.items()
        if any(one.grad is not None and bool(one.grad.abs().sum() > 0) for one in part.parameters())
    }


def test_who_learns_from_whom() -> None:
    method = made_method()
    heads = made_heads(method)
    assert learners(method, heads, "label") == {"label"}
    assert learners(method, heads, "guide") == {"image", "text"}
    assert learners(method, heads, "quantization") == {"image", "text", "label"}
    assert learners(method, heads, "adversary") == {"image", "text"}
    assert learners(method, heads, "critics") == {"image_critic", "text_critic"}
    assert learners(method, heads, "classes") == {
        "image", "text", "label", "image_classes", "text_classes", "label_classes",
    }  # fmt: skip


def test_networks_have_the_released_layers() -> None:
    heads = Ssah().build_heads(FeatureShapes(image_width=4096, text_width=1386, n_classes=24), 64)
    assert heads.image.spec()["widths"] == [4096, 512, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 512, 64]
    label = heads.auxiliary["label"]
    assert isinstance(label, NormalisedHead)
    assert label.spec()["widths"] == [24, 4096, 512, 64]


def test_what_is_off_takes_no_part() -> None:
    shapes = FeatureShapes(image_width=4, text_width=5, n_classes=3)
    critics = {"image_critic", "text_critic"}
    students = {"image_classes", "text_classes"}
    assert set(made_method(guide_weight=0.0).build_heads(shapes, 8).auxiliary) == students
    whole = set(made_method().build_heads(shapes, 8).auxiliary)
    assert critics < whole
    assert set(made_method(adversary_weight=0.0).build_heads(shapes, 8).auxiliary) == (
        whole - critics
    )


def test_presets() -> None:
    for preset in (None, "paper"):
        settings = make_method(Ssah, preset=preset)[0].settings
        weights = (
            settings.guide_weight, settings.class_weight, settings.quantization_weight,
            settings.adversary_weight,
        )  # fmt: skip
        assert weights == (1.0, 1.0, 1.0, 1.0)
        assert (settings.label_grading, settings.logit_scale, settings.logit_offset) == (0, 0, 0)
    assert Ssah.preset_for(has_sparse_texts=True) == "paper"
    assert Ssah.preset_for(has_sparse_texts=False) == "dense"


def test_labels_are_needed_and_said_so() -> None:
    assert Ssah.needs == {Needs.LABELS}
    method, training = make_method(Ssah)
    data = replace(made_pairs(20, 5).data(), labels=None)
    message = (
        "SSAH learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, training, 8), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"feature_width": 0}, "feature_width is 0, expected at least 1"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, expected in [0, 1)"),
        ({"image_dropout": -0.1}, "image_dropout is -0.1, expected in [0, 1)"),
        ({"text_dropout": 1.0}, "text_dropout is 1.0, expected in [0, 1)"),
        ({"label_grading": 1.1}, "label_grading is 1.1, expected in [0, 1]"),
        ({"logit_scale": -1.0}, "logit_scale is -1.0, expected 0 or more"),
        ({"logit_offset": -1.0}, "logit_offset is -1.0, expected 0 or more"),
        ({"guide_weight": -1.0}, "guide_weight is -1.0, expected 0 or more"),
        ({"class_weight": math.nan}, "class_weight is nan, expected 0 or more"),
        ({"quantization_weight": -1.0}, "quantization_weight is -1.0, expected 0 or more"),
        ({"adversary_weight": -1.0}, "adversary_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        SsahSettings(**changes)
