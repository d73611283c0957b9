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
from modalhash.losses import DecodeFrom
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.dsah import Dsah, DsahHeads, DsahSettings, asymmetry, own_gap
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


def made_heads(method: Dsah) -> DsahHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def decoder_of(heads: DsahHeads, name: str) -> nn.Linear:
    decoder = heads.auxiliary[f"{name}_decoder"]
    assert isinstance(decoder, nn.Linear)
    return decoder


def plain_head(head: object, rows: Tensor) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    hidden = rows.tolist()
    for part in head.layers:
        if isinstance(part, nn.Linear):
            hidden = plain.affine(hidden, part.weight.tolist(), part.bias.tolist())
        else:
            hidden = graphs.positive(hidden)
    return hidden


def plain_decode(
    method: Dsah, heads: DsahHeads, batch: Batch, image: plain.Matrix, text: plain.Matrix
) -> float:
    total = 0.0
    for name, relaxed, part in (("image", text, batch.image), ("text", image, batch.text)):
        codes = relaxed
        if method.settings.decode_from is DecodeFrom.SIGNS:
            codes = [[1.0 if value >= 0 else -1.0 for value in row] for row in relaxed]
        decoder = decoder_of(heads, name)
        decoded = plain.affine(codes, decoder.weight.tolist(), decoder.bias.tolist())
        gap = plain.mean_square_gap(decoded, [plain.unit(row) for row in part.pooled.tolist()])
        total += gap
    return total


def plain_objective(method: Dsah, heads: DsahHeads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings
    image, text = (
        squashed(settings, plain_head(head, part.pooled), epoch)
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
    )
    scale, low, share = (
        settings.similarity_scale, settings.unrelated_similarity, settings.image_weight,
    )  # fmt: skip
    own = [
        [
            [scale * ((1 - low) * value + low) for value in line]
            for line in plain.cosines(rows, rows)
        ]
        for rows in (batch.image.pooled.tolist(), batch.text.pooled.tolist())
    ]
    target = plain.weighted_sum((share, 1 - share), own)
    among_images, among_texts = plain.cosines(image, image), plain.cosines(text, text)
    across = plain.cosines(image, text)
    n = len(across)
    terms = {
        "align": sum(
            plain.mean_square_gap(one, target) for one in (among_images, among_texts, across)
        ),
        "pair": sum((across[i][i] - scale) ** 2 for i in range(n)) / n,
        "symmetry": plain.mean_square_gap(across, list(zip(*across, strict=True))),
        "decode": plain_decode(method, heads, batch, image, text),
        "own": plain.mean_square_gap(among_images, own[0])
        + plain.mean_square_gap(among_texts, own[1]),
    }
    entries = [value for line in target for value in line]
    return {
        "total": terms["align"]
        + settings.pair_weight * terms["pair"]
        + settings.symmetry_weight * terms["symmetry"]
        + settings.decode_weight * terms["decode"]
        + settings.own_weight * terms["own"],
        **terms,
        "target_min": min(entries),
        "target_mean": sum(entries) / len(entries),
        "target_max": max(entries),
        **code_statistics(image, text),
    }


def values(method: Dsah, heads: DsahHeads, batch: Batch, epoch: int) -> dict[str, float]:
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
        {"image_weight": 0.3, "unrelated_similarity": -0.2, "similarity_scale": 1.0},
        {"decode_from": DecodeFrom.RELAXED, "decode_weight": 0.5},
        {"symmetry_weight": 0.0, "own_weight": 2.0, "continuation": False},
        {"pair_weight": 0.25, "image_hidden_width": 0, "text_hidden_width": 0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = Dsah(DsahSettings(**SMALL | changes))
    heads, batch = made_heads(method), made_batch(n, times=times)
    expected = plain_objective(method, heads, batch, 7)
    found = values(method, heads, batch, 7)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


def test_the_terms_by_hand() -> None:
    # Image codes at 0 and 90 degrees, text codes at 90 and 45: K_vt = [[0, r], [1, r]], r = 1/√2.
    root = math.sqrt(0.5)
    image = torch.eye(2, dtype=torch.float64)
    text = torch.tensor([[0.0, 1.0], [root, root]], dtype=torch.float64)
    across = image @ text.T
    assert_allclose(asymmetry(across), 2 * (1 - root) ** 2 / 4, rtol=1e-12)
    # K_vv = [[1, 0], [0, 1]] and K_tt = [[1, r], [r, 1]] against 1.5 on and -1.5 off the diagonal.
    target = 3 * image - 1.5
    expected = (2 * 0.5**2 + 2 * 1.5**2) / 4 + (2 * 0.5**2 + 2 * (root + 1.5) ** 2) / 4
    assert_allclose(own_gap(image, text, target, target), expected, rtol=1e-12)


def test_decoders_of_signs_teach_no_head_and_those_of_relaxed_codes_do() -> None:
    for rule, learns in ((DecodeFrom.SIGNS, False), (DecodeFrom.RELAXED, True)):
        method = Dsah(DsahSettings(**SMALL, decode_from=rule))
        heads, batch = made_heads(method), made_batch()
        term = method.batch_loss(heads, batch, Moment(0, 1)).values["decode"]
        parameters = [*heads.image.parameters(), *heads.text.parameters()]
        gradients = torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True)
        assert all((one is not None) == learns for one in gradients)
        (gradient,) = torch.autograd.grad(term, [decoder_of(heads, "image").weight])
        assert bool((gradient != 0).all())


def test_a_modality_is_decoded_from_codes_of_the_other() -> None:
    method = Dsah(DsahSettings(**SMALL, decode_from=DecodeFrom.RELAXED))
    heads, batch = made_heads(method), made_batch()
    text = heads.text(batch.text).detach()
    nothing = torch.zeros_like(text)
    decoder = decoder_of(heads, "text")
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.zero_()
    one = method.decode(heads, batch, nothing, text)
    assert_allclose(one.detach(), method.decode(heads, batch, nothing + 1, text).detach())
    assert one.item() != pytest.approx(method.decode(heads, batch, nothing, text + 1).item())


def test_targets_pass_no_gradient_to_features() -> None:
    method = Dsah(DsahSettings(**SMALL, decode_weight=0.0))
    heads, batch = made_heads(method), made_batch()
    with torch.no_grad():
        for parameter in heads.modules().parameters():
            parameter.zero_()
    image = batch.image.pooled.requires_grad_()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [image])
    # DsahHeads of zeros give codes that don't depend on features; only targets still could.
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_swapped_modalities_of_equal_share_change_nothing() -> None:
    method = Dsah(DsahSettings(image_hidden_width=7, text_hidden_width=7, image_weight=0.5))
    heads, batch = made_heads(method), made_batch()
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    swapped_heads = DsahHeads(heads.text, heads.image, heads.text_decoder, heads.image_decoder)
    one = values(method, heads, batch, 2)
    other = values(method, swapped_heads, swapped, 2)
    assert one["total"] == pytest.approx(other["total"], rel=1e-12)


def test_presets_hold_the_released_constants() -> None:
    for preset in ("paper", "mirflickr"):
        method, training = make_method(Dsah, preset=preset)
        settings = method.settings
        assert (settings.image_weight, settings.similarity_scale) == (0.9, 1.5)
        assert (settings.pair_weight, settings.symmetry_weight) == (1.0, 2.0)
        assert (settings.decode_weight, settings.own_weight) == (1.0, 0.1)
        assert settings.unrelated_similarity == -1.0
        assert settings.decode_from is DecodeFrom.SIGNS
        assert (training.epochs, training.batch_size, training.learning_rate) == (200, 32, 0.005)
        assert (training.momentum, training.weight_decay) == (0.7, 5e-4)


def test_the_suiting_preset() -> None:
    assert Dsah.preset_for(has_sparse_texts=True) == "paper"
    assert Dsah.preset_for(has_sparse_texts=False) == "dense"


def test_heads_and_decoders_have_the_paper_s_layers() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386)
    heads = Dsah(DsahSettings(image_hidden_width=0)).build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]
    found = {name: tuple(one.shape) for name, one in heads.auxiliary.named_parameters()}
    assert found["image_decoder.weight"] == (4096, 64)
    assert found["text_decoder.weight"] == (1386, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_hidden_width": -1}, "image_hidden_width is -1, expected 0 or more"),
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
        ({"symmetry_weight": -2.0}, "symmetry_weight is -2.0, expected 0 or more"),
        ({"decode_weight": math.nan}, "decode_weight is nan, expected 0 or more"),
        ({"unrelated_similarity": 1.0}, "unrelated_similarity is 1.0, expected in [-1, 1)"),
        ({"unrelated_similarity": -1.5}, "unrelated_similarity is -1.5, expected in [-1, 1)"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DsahSettings(**changes)
