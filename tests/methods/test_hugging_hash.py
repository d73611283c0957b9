import logging
import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import ModalityFeatures, TrunkHead, TrunkKind
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.hugging_hash import (
    HuggingHash,
    HuggingHashSettings,
)
from modalhash.methods.local_alignment import AlignedHeads, HugSettings, LocalAlignment, trunk_pass
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, TrainingResult, train_method
from tests.oracles import plain_contrast as plain
from tests.oracles.attribute_tokens import attribute_pairs
from tests.oracles.paired_features import made_pairs

N, N_BITS = 6, 5
SHAPES = FeatureShapes(image_width=7, text_width=6, image_token_width=5, text_token_width=4)
SMALL: dict[str, Any] = {
    "hidden_width": 8,
    "hug_width": 6,
    "hug_concepts": 3,
    "hug_trunk_width": 8,
    "hug_trunk_heads": 2,
    "dropout": 0.0,
    "hug_trunk_dropout": 0.0,
}


def method(**changes: Any) -> HuggingHash:
    return HuggingHash(HuggingHashSettings(**(SMALL | changes)))


def made_heads(of: HuggingHash) -> AlignedHeads:
    torch.manual_seed(0)
    heads = of.build_heads(SHAPES, N_BITS)
    for name, parameter in heads.modules().named_parameters():
        if ".back." in name:  # starts at 0
            nn.init.normal_(parameter)
    heads.modules().double()
    return heads


def made_batch(n: int = N, *, scale: float = 1.0, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def features(width: int, token_width: int, length: int) -> ModalityFeatures:
        mask = torch.arange(length) < torch.randint(0, length + 1, (n, 1), generator=generator)
        mask[0] = True
        return ModalityFeatures(
            scale * torch.randn(n, width, generator=generator, dtype=torch.float64),
            scale * torch.randn(n, length, token_width, generator=generator, dtype=torch.float64),
            mask,
        )

    return Batch(features(7, 5, 4), features(6, 4, 3), None, torch.arange(n))


def gradients(parts: nn.Module) -> list[Tensor]:
    return [
        torch.zeros(()) if one.grad is None else one.grad
        for one in parts.parameters()
        if one.requires_grad
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hug_weight": 0.0},
        {"temperature": 0.5, "positive_prior": 0.1, "hug_weight": 2.0},
    ],
)
def test_the_loss_is_its_weighted_terms(changes: dict[str, Any]) -> None:
    of = method(**changes)
    heads, batch = made_heads(of), made_batch()
    report = of.batch_loss(heads, batch, Moment(0, 1))
    settings = of.settings
    image, text = (
        torch.tanh(head(features)).tolist()
        for head, features in ((heads.image, batch.image), (heads.text, batch.text))
    )
    contrast = plain.info_nce(
        image,
        text,
        temperature=settings.temperature,
        prior=settings.positive_prior,
        items=range(N),
    )
    assert float(report.values["contrast"].detach()) == pytest.approx(contrast, rel=1e-9)
    expected = contrast
    if settings.hug_weight:
        expected += settings.hug_weight * float(report.values["hug"].detach())
    else:
        assert set(report.terms) == {"contrast"}
    assert float(report.total.detach()) == pytest.approx(expected, rel=1e-9)


def test_the_local_term_leaves_out_items_without_content() -> None:
    of = method()
    heads, batch = made_heads(of), made_batch()
    heads.modules().eval()
    hug = heads.auxiliary["hug"]
    assert isinstance(hug, LocalAlignment)
    image, text = (found.vectors for found in hug(*trunk_pass(heads, batch)))
    assert batch.image.token_mask is not None
    assert batch.text.token_mask is not None
    rows = batch.image.token_mask.any(dim=1) & batch.text.token_mask.any(dim=1)
    assert 1 < int(rows.sum()) < N
    losses = [
        plain.info_nce(
            image[rows, k].tolist(),
            text[rows, k].tolist(),
            temperature=of.settings.hug_temperature,
            items=range(int(rows.sum())),
        )
        for k in range(3)
    ]
    found = of.batch_loss(heads, batch, Moment(0, 1)).values["hug"]
    assert float(found.detach()) == pytest.approx(sum(losses) / 3, rel=1e-9)


@pytest.mark.parametrize("trunk", [TrunkKind.ATTENTION, TrunkKind.TRANSFORMER])
def test_the_local_loss_reaches_what_the_code_is_made_of(trunk: TrunkKind) -> None:
    of = method(hug_trunk=trunk)
    heads = made_heads(of)
    of.batch_loss(heads, made_batch(), Moment(0, 1)).values["hug"].backward()  # type: ignore[no-untyped-call]
    for head in (heads.image, heads.text):
        assert isinstance(head, TrunkHead)
        assert any(float(one.abs().max()) > 0 for one in gradients(head.trunk))
        assert all(float(one.abs().max()) == 0 for one in gradients(head.head))


def test_without_a_trunk_the_local_loss_cannot_reach_the_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    of = method(hug_trunk=TrunkKind.NONE)
    with caplog.at_level(logging.WARNING):
        heads = made_heads(of)
    warning = (
        "hug_trunk is none: unless the encoder is tuned too, content tokens have no path to the "
        "hash heads, so hugging can't change a code; choose attention or transformer"
    )
    assert caplog.messages == [warning]
    of.batch_loss(heads, made_batch(), Moment(0, 1)).values["hug"].backward()  # type: ignore[no-untyped-call]
    for head in (heads.image, heads.text):
        assert all(float(one.abs().max()) == 0 for one in gradients(head))


def test_a_handshake_has_no_local_parts_and_the_same_first_heads() -> None:
    built = []
    for weight in (0.3, 0.0):
        torch.manual_seed(0)
        built.append(method(hug_weight=weight).build_heads(SHAPES, N_BITS))
    hug, handshake = built
    assert not list(handshake.auxiliary.parameters())
    for one, other in zip(
        hug.image.state_dict().items(), handshake.image.state_dict().items(), strict=True
    ):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(("n", "scale"), [(1, 1.0), (N, 0.0), (N, 100.0), (N, -100.0)])
def test_extreme_features_give_finite_losses_and_gradients(n: int, scale: float) -> None:
    of = method(positive_prior=0.1)
    heads = made_heads(of)
    report = of.batch_loss(heads, made_batch(n, scale=scale), Moment(0, 1))
    report.total.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(report.total))
    assert all(bool(torch.isfinite(one).all()) for one in gradients(heads.modules()))


def test_swapping_the_modalities_changes_nothing() -> None:
    """With image and text parts swapped too."""
    heads, batch = made_heads(method()), made_batch()
    expected = method().batch_loss(heads, batch, Moment(0, 1)).total
    hug = heads.auxiliary["hug"]
    assert isinstance(hug, LocalAlignment)
    projections = hug.vlad.projections
    projections["image"], projections["text"] = projections["text"], projections["image"]
    swapped = replace(heads, image=heads.text, text=heads.image)
    turned = Batch(batch.text, batch.image, None, batch.positions)
    found = method().batch_loss(swapped, turned, Moment(0, 1)).total
    assert_close(found, expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("prior", [0.0, 0.1])
def test_the_gradient_equals_finite_differences(prior: float) -> None:
    of = method(positive_prior=prior)
    heads, batch = made_heads(of), made_batch()
    heads.modules().eval()

    def loss(image: Tensor, text: Tensor, tokens: Tensor) -> Tensor:
        seen = Batch(
            ModalityFeatures(image, tokens, batch.image.token_mask),
            ModalityFeatures(text, batch.text.tokens, batch.text.token_mask),
            None,
            batch.positions,
        )
        return of.batch_loss(heads, seen, Moment(0, 1)).total

    assert batch.image.tokens is not None
    inputs = (batch.image.pooled, batch.text.pooled, batch.image.tokens)
    assert torch.autograd.gradcheck(loss, [one.requires_grad_() for one in inputs])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("hidden_width", 0, "at least 1"),
        ("dropout", 1.0, "in [0, 1)"),
        ("input_dropout", -0.1, "in [0, 1)"),
        ("temperature", 0.0, "positive"),
        ("positive_prior", 1.0, "in [0, 1)"),
        ("hug_weight", -1.0, "0 or more"),
        ("hug_temperature", 0.0, "positive"),
        ("hug_concepts", 0, "at least 1"),
        ("hug_ghosts", -1, "0 or more"),
        ("hug_width", 0, "at least 1"),
        ("hug_trunk_width", 0, "at least 1"),
        ("hug_trunk_width", 130, "a multiple of hug_trunk_heads, which is 4"),
        ("hug_trunk_heads", 0, "at least 1"),
        ("hug_trunk_layers", 0, "at least 1"),
        ("hug_trunk_dropout", 1.0, "in [0, 1)"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object, expected: str) -> None:
    message = f"{name} is {value}, expected {expected}"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        HuggingHashSettings(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        HugSettings().hug_weight = 1.0  # type: ignore[misc]


QUICK: dict[str, Any] = {
    "hidden_width": 32,
    "hug_width": 16,
    "hug_concepts": 3,
    "hug_trunk_width": 16,
    "hug_trunk_heads": 2,
    "epochs": 2,
    "batch_size": 32,
}


def trained(seed: int = 0, **changes: Any) -> TrainingResult:
    of, training = make_method(HuggingHash, changes=QUICK | changes)
    return train_method(TrainingPlan(of, training, 16, seed), made_pairs().data())


def test_local_parts_are_not_in_the_model() -> None:
    hasher = trained().hasher
    assert not [name for name in hasher.state_dict() if "vlad" in name or "auxiliary" in name]
    assert hasher.reads_tokens


def test_codes_stay_when_local_parts_are_scrambled() -> None:
    """The heads of a trained run give the same codes whatever becomes of the local parts."""
    kept: list[AlignedHeads] = []

    class Keeping(HuggingHash):
        def build_heads(self, shapes: FeatureShapes, n_bits: int) -> AlignedHeads:
            kept.append(super().build_heads(shapes, n_bits))
            return kept[-1]

    of, training = make_method(HuggingHash, changes=QUICK)
    made = made_pairs()
    hasher = train_method(TrainingPlan(Keeping(of.settings), training, 16), made.data()).hasher
    rows = made.unseen
    features = (made.image.pooled(rows), *made.image.tokens(rows))
    expected = hasher.image.encode(*features)
    for parameter in kept[0].auxiliary.parameters():
        nn.init.normal_(parameter, std=100.0)
    assert_array_equal(hasher.image.encode(*features), expected)


def test_the_weight_of_the_hug_changes_codes_through_the_trunk() -> None:
    made = made_pairs()
    rows = made.unseen
    features = (made.image.pooled(rows), *made.image.tokens(rows))
    hug, handshake = (
        trained(hug_weight=weight, dropout=0, hug_trunk_dropout=0).hasher for weight in (5.0, 0.0)
    )
    assert np.any(hug.image.relaxed(*features) != handshake.image.relaxed(*features))


def test_without_a_trunk_the_weight_changes_no_code() -> None:
    made = made_pairs()
    rows = made.unseen
    features = (made.image.pooled(rows), *made.image.tokens(rows))
    hug, handshake = (
        trained(hug_weight=weight, hug_trunk="none", dropout=0, hug_restart=False).hasher
        for weight in (5.0, 0.0)
    )
    assert_array_equal(hug.image.relaxed(*features), handshake.image.relaxed(*features))


def test_an_empty_cluster_is_warned_of_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    hug = LocalAlignment(HugSettings(hug_concepts=2, hug_ghosts=1), 4, 4)
    hug.image_masses.copy_(torch.tensor([90.0, 0.5, 9.5]))
    hug.text_masses.copy_(torch.tensor([199.0, 1.0, 0.0]))
    with caplog.at_level(logging.WARNING):
        hug.warn_of_empty_clusters(3)
    warning = (
        "in epoch 4, concept 2 holds 0.50 % of the image and 0.50 % of the text assignments: it "
        "aligns nothing; lower hug_concepts (now 2)"
    )
    assert caplog.messages == [warning]
    caplog.clear()
    hug.text_masses.copy_(torch.tensor([190.0, 10.0, 0.0]))  # one modality uses it
    hug.warn_of_empty_clusters(3)
    assert not caplog.messages


def test_clusters_start_anew_after_the_first_epoch_alone() -> None:
    moved: list[bool] = []

    class Watching(HuggingHash):
        def after_epoch(self, heads: AlignedHeads, view: Any, moment: Moment) -> None:
            hug = heads.auxiliary["hug"]
            assert isinstance(hug, LocalAlignment)
            before = hug.vlad.centroids.clone()
            assert float(hug.image_masses.sum()) > 0
            super().after_epoch(heads, view, moment)
            moved.append(not torch.equal(before, hug.vlad.centroids))
            assert float(hug.image_masses.sum()) == 0

    of, training = make_method(HuggingHash, changes=QUICK | {"epochs": 3})
    train_method(TrainingPlan(Watching(of.settings), training, 16), made_pairs().data())
    assert moved == [True, False, False]


def test_two_captions_of_an_item_are_told_to_the_loss() -> None:
    seen: list[Tensor] = []

    class Watching(HuggingHash):
        def batch_loss(self, heads: AlignedHeads, batch: Batch, moment: Moment) -> Any:
            assert batch.items is not None
            seen.append(batch.items)
            return super().batch_loss(heads, batch, moment)

    of, training = make_method(
        HuggingHash, changes=QUICK | {"captions": "all", "epochs": 1, "batch_size": 200}
    )
    made = made_pairs()
    train_method(TrainingPlan(Watching(of.settings), training, 16), made.data())
    items = torch.cat(seen)
    assert len(set(items.tolist())) < len(items)
    assert set(items.tolist()) <= set(made.items.tolist())


def mean_average_precision(hasher: Any, made: Any) -> float:
    """MAP@50 of unseen pictures over unseen texts, by a shared attribute."""
    rows = made.unseen
    image = hasher.image.relaxed(made.image.pooled(rows), *made.image.tokens(rows)) >= 0
    text = hasher.text.relaxed(made.text.pooled(rows), *made.text.tokens(rows)) >= 0
    relevant = made.labels[rows] @ made.labels[rows].T > 0
    precisions = []
    for query, hits in zip(image, relevant, strict=True):
        order = np.argsort((query != text).sum(axis=1), kind="stable")[:50]
        found = hits[order]
        ranks = np.flatnonzero(found)
        precisions.append(
            float(np.mean((np.arange(len(ranks)) + 1) / (ranks + 1))) if len(ranks) else 0.0
        )
    return float(np.mean(precisions))


@pytest.mark.slow
def test_it_learns_attributes_of_made_tokens() -> None:
    made = attribute_pairs()
    of, training = make_method(
        HuggingHash,
        changes={
            "hidden_width": 64,
            "hug_width": 32,
            "hug_trunk_width": 32,
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 3e-3,
        },
    )
    fresh, learned = (
        train_method(TrainingPlan(of, settings, 32), made.data()).hasher
        for settings in (replace(training, epochs=1, learning_rate=1e-9), training)
    )
    before, after = mean_average_precision(fresh, made), mean_average_precision(learned, made)
    assert after >= 2 * before
