import math
import re
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from modalhash.errors import SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.losses import DecodeTarget
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.cfrh import (
    Cfrh,
    CfrhHeads,
    CfrhSettings,
)
from modalhash.methods.settings import make_method
from tests.oracles import plain_losses as plain
from tests.oracles.plain_statistics import code_statistics, squashed

N, IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 5, 4, 6, 5


def made_batch(n: int = N, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n))


def made_heads(method: Cfrh, seed: int = 0) -> CfrhHeads:
    torch.manual_seed(seed)
    heads = method.build_heads(
        FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH), N_BITS
    )
    heads.modules().double()
    return heads


def plain_head(head: MlpHead, rows: Tensor) -> plain.Matrix:
    first, last = (part for part in head.layers if isinstance(part, nn.Linear))
    hidden = plain.affine(rows.tolist(), first.weight.tolist(), first.bias.tolist())
    hidden = [[max(value, 0.0) for value in row] for row in hidden]
    return plain.affine(hidden, last.weight.tolist(), last.bias.tolist())


def plain_target(settings: CfrhSettings, rows: plain.Rows) -> plain.Matrix:
    """What decoders should make, by loops."""
    if settings.decode_target is DecodeTarget.UNIT:
        return [plain.unit(row) for row in rows]
    if settings.decode_target is DecodeTarget.RAW:
        return [list(row) for row in rows]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    apart = [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]
    count = len(rows) * len(means)
    variance = sum(value**2 for row in apart for value in row) / count
    least = 1e-6 * sum(value**2 for row in rows for value in row) / count
    return [[value / math.sqrt(max(variance, least)) for value in row] for row in apart]


def plain_decode(settings: CfrhSettings, decoded: plain.Matrix, rows: plain.Rows) -> float:
    gap = plain.mean_square_gap(decoded, plain_target(settings, rows))
    return gap * len(rows[0]) if settings.decode_sum else gap


def plain_unexplained(settings: CfrhSettings, decoded: plain.Matrix, rows: plain.Rows) -> float:
    target = plain_target(settings, rows)
    means = [sum(column) / len(rows) for column in zip(*target, strict=True)]
    spread = sum(
        (value - mean) ** 2 for row in target for value, mean in zip(row, means, strict=True)
    )
    count = len(rows) * len(means)
    return plain.mean_square_gap(decoded, target) * count / spread if spread else 0.0


def plain_objective(method: Cfrh, heads: CfrhHeads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings
    image_rows, text_rows = batch.image.pooled.tolist(), batch.text.pooled.tolist()
    assert isinstance(heads.image, MlpHead)
    assert isinstance(heads.text, MlpHead)
    image, text = (
        squashed(settings, plain_head(head, rows), epoch)
        for head, rows in ((heads.image, batch.image.pooled), (heads.text, batch.text.pooled))
    )
    image_similarity, text_similarity = plain.rescaled(image_rows), plain.rescaled(text_rows)
    weights = (settings.image_weight, settings.text_weight, settings.fusion_weight)
    affinity = plain.weighted_sum(
        [settings.similarity_scale * weight for weight in weights],
        [
            image_similarity,
            text_similarity,
            plain.symmetric_row_cosines(image_similarity, text_similarity),
        ],
    )
    intra = sum(plain.mean_square_gap(plain.cosines(one, one), affinity) for one in (image, text))
    cross = plain.mean_square_gap(plain.cosines(image, text), affinity)
    if settings.both_orders:
        cross += plain.mean_square_gap(plain.cosines(text, image), affinity)
    cross -= settings.pair_weight * plain.mean_paired_cosine(image, text)
    decoders = (heads.auxiliary["image_decoder"], heads.auxiliary["text_decoder"])
    image_decoded, text_decoded = (
        plain.affine(rows, decoder.weight.tolist(), decoder.bias.tolist())  # type: ignore[operator]
        for rows, decoder in zip((image, text), decoders, strict=True)
    )
    decode = plain_decode(settings, image_decoded, image_rows)
    decode += plain_decode(settings, text_decoded, text_rows)
    total = (
        settings.intra_weight * intra
        + settings.cross_weight * cross
        + settings.decode_weight * decode
    )
    entries = [value for line in affinity for value in line]
    return {
        "total": total,
        "intra": intra,
        "cross": cross,
        "decode": decode,
        "target_min": min(entries),
        "target_mean": sum(entries) / len(entries),
        "target_max": max(entries),
        "image_unexplained": plain_unexplained(settings, image_decoded, image_rows),
        "text_unexplained": plain_unexplained(settings, text_decoded, text_rows),
        **code_statistics(image, text),
    }


def values(method: Cfrh, heads: CfrhHeads, batch: Batch, epoch: int) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(epoch, 20))
    return {
        "total": report.total.item(),
        **{name: term.item() for name, term in report.values.items()},
    }


@pytest.mark.parametrize("epoch", [0, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_free": True},
        {"both_orders": False, "intra_weight": 1.0, "cross_weight": 0.5},
        {"decode_target": DecodeTarget.UNIT, "decode_weight": 2.0},
        {"decode_sum": True},
        {"decode_target": DecodeTarget.STANDARD, "decode_weight": 0.5},
        {"decode_target": DecodeTarget.UNIT, "decode_sum": True},
        {"image_weight": 0.0, "text_weight": 1.0, "fusion_weight": 0.0},
        {"continuation": False, "pair_weight": 0.0},
        {"pair_weight": 3.0, "cross_weight": 0.2},
        *({"fusion_weight": eta} for eta in (0.1, 0.3, 0.5, 1.0, 2.0, 4.0)),
    ],
)
def test_every_part_of_the_objective_against_loops(changes: dict[str, Any], epoch: int) -> None:
    method = Cfrh(CfrhSettings(hidden_width=7, **changes))
    heads, batch = made_heads(method), made_batch()
    expected = plain_objective(method, heads, batch, epoch)
    found = values(method, heads, batch, epoch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("hundred", [1.0, 100.0])
@pytest.mark.parametrize("n", [1, 2])
def test_small_batches_and_large_features(n: int, hundred: float) -> None:
    method = Cfrh(CfrhSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch(n)
    batch = Batch(
        ModalityFeatures(hundred * batch.image.pooled),
        ModalityFeatures(hundred * batch.text.pooled),
        None,
        batch.positions,
    )
    expected = plain_objective(method, heads, batch, 3)
    for name, value in values(method, heads, batch, 3).items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(value, expected[name], rtol=tolerance, atol=1e-12, err_msg=name)


def test_swapped_modalities_of_equal_weight_change_nothing() -> None:
    method = Cfrh(CfrhSettings(hidden_width=7, image_weight=0.3, text_weight=0.3))
    heads, batch = made_heads(method), made_batch()
    swapped_heads = CfrhHeads(heads.text, heads.image, heads.text_decoder, heads.image_decoder)
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    other = {"image": "text", "text": "image"}
    expected = {  # the figures of pictures are those of texts, and the other way round
        re.sub("^(image|text)", lambda match: other[match[0]], name): value
        for name, value in values(method, heads, batch, 2).items()
    }
    assert values(method, swapped_heads, swapped, 2) == pytest.approx(expected, rel=1e-12)


def test_flipping_a_bit_in_both_modalities_changes_intra_and_cross_nothing() -> None:
    method = Cfrh(CfrhSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch()
    before = values(method, heads, batch, 2)
    with torch.no_grad():
        for head in (heads.image, heads.text):
            assert isinstance(head, MlpHead)
            last = head.layers[-1]
            assert isinstance(last, nn.Linear)
            last.weight[3] *= -1
            last.bias[3] *= -1
    after = values(method, heads, batch, 2)
    assert (after["intra"], after["cross"]) == pytest.approx((before["intra"], before["cross"]))
    assert after["decode"] != before["decode"]


def test_the_affinity_carries_no_gradient_to_features_but_codes_do_to_heads() -> None:
    method = Cfrh(CfrhSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    report.total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in heads.modules().named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name
    assert batch.image.pooled.grad is None


def test_a_modality_s_codes_learn_from_the_features_they_decode_to() -> None:
    """A head learns through the decoder of its own features, never through the other's."""
    for silent, learns in (("text", True), ("image", False)):
        method = Cfrh(CfrhSettings(hidden_width=7, intra_weight=0.0, cross_weight=0.0))
        heads = made_heads(method)
        with torch.no_grad():
            getattr(heads, f"{silent}_decoder").weight.zero_()  # its features teach no head
        total = method.batch_loss(heads, made_batch(), Moment(0, 1)).total
        (gradient,) = torch.autograd.grad(total, [next(heads.image.parameters())])
        assert bool(gradient.abs().sum() > 0) == learns


def test_presets_of_data_sets() -> None:
    for preset, expected in {
        "paper": (0.5, 0.2, 0.3, 1.4),
        "mirflickr": (0.5, 0.2, 0.3, 1.4),
        "nuswide": (0.5, 0.2, 0.3, 1.4),
        "coco": (0.5, 0.2, 0.3, 1.4),
        "wiki": (0.2, 0.3, 0.5, 1.5),
    }.items():
        settings = make_method(Cfrh, preset=preset)[0].settings
        assert (
            settings.image_weight, settings.text_weight, settings.fusion_weight,
            settings.similarity_scale,
        ) == expected, preset  # fmt: skip


def test_heads_have_the_paper_s_layers() -> None:
    heads = Cfrh().build_heads(FeatureShapes(image_width=512, text_width=1386), 64)
    assert heads.image.spec()["widths"] == [512, 4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]
    shapes = {name: tuple(one.shape) for name, one in heads.auxiliary.named_parameters()}
    assert shapes["image_decoder.weight"] == (512, 64)
    assert shapes["text_decoder.weight"] == (1386, 64)
    assert Cfrh.training.learning_rate == 0.01
    assert (Cfrh.training.momentum, Cfrh.training.weight_decay) == (0.9, 5e-4)
    assert (Cfrh.training.batch_size, Cfrh.training.epochs) == (32, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"image_weight": -0.1}, "image_weight is -0.1, expected 0 or more"),
        ({"text_weight": -0.1}, "text_weight is -0.1, expected 0 or more"),
        ({"fusion_weight": -0.1}, "fusion_weight is -0.1, expected 0 or more"),
        ({"similarity_scale": -1.0}, "similarity_scale is -1.0, expected 0 or more"),
        ({"intra_weight": -1.0}, "intra_weight is -1.0, expected 0 or more"),
        ({"cross_weight": -1.0}, "cross_weight is -1.0, expected 0 or more"),
        ({"pair_weight": -1.0}, "pair_weight is -1.0, expected 0 or more"),
        ({"decode_weight": math.nan}, "decode_weight is nan, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        CfrhSettings(**changes)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CfrhSettings().pair_weight = 0.5  # type: ignore[misc]
