import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule, pair_moments
from modalhash.methods.base import CaptionChoice, FeatureShapes, Heads
from modalhash.methods.cmfh import (
    Cmfh,
    CmfhSettings,
    Factors,
    Views,
    factorised,
    fit_bases,
    fit_latent,
    fit_maps,
    map_solvers,
)
from modalhash.methods.settings import make_method
from modalhash.training.pairs import Pairs
from tests.oracles.paired_features import MadePairs, PlainTable, made_pairs
from tests.oracles.plain_factorization import collective_loss

SETTINGS = CmfhSettings(
    image_weight=0.3, projection_weight=2.0, regularisation=0.7, ridge=0.4, rounds=6
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=0)


IMAGE, TEXT = centred(drawn(9, 4, seed=1)), centred(drawn(9, 3, seed=2) + drawn(9, 1, seed=3))
BOTH = torch.cat([IMAGE, TEXT], dim=1)
VIEWS = Views(BOTH.T @ BOTH, 4)


def loss(factors: Factors, settings: CmfhSettings = SETTINGS) -> float:
    return collective_loss(
        (IMAGE.numpy(), TEXT.numpy()),
        (BOTH @ factors.latent).numpy(),
        (factors.bases[0].numpy(), factors.bases[1].numpy()),
        (factors.maps[0].numpy(), factors.maps[1].numpy()),
        image_weight=settings.image_weight,
        projection_weight=settings.projection_weight,
        regularisation=settings.regularisation,
        ridge=settings.ridge,
    )


def some_factors(n_bits: int, seed: int = 7) -> Factors:
    bases = (drawn(n_bits, 4, seed=seed), drawn(n_bits, 3, seed=seed + 1))
    maps = (drawn(4, n_bits, seed=seed + 2), drawn(3, n_bits, seed=seed + 3))
    return Factors(drawn(7, n_bits, seed=seed + 4), bases, maps)


def stepped(factors: Factors, settings: CmfhSettings = SETTINGS) -> list[Factors]:
    """The factors after each of the three steps, from given ones."""
    crossed = VIEWS.products @ factors.latent
    bases = replace(factors, bases=fit_bases(factors.latent, crossed, VIEWS, settings))
    latent = replace(bases, latent=fit_latent(bases.bases, bases.maps, settings))
    crossed = VIEWS.products @ latent.latent
    maps = replace(latent, maps=fit_maps(crossed, VIEWS, map_solvers(VIEWS, settings)))
    return [bases, latent, maps]


@pytest.mark.parametrize("n_bits", [1, 3, 8])
@pytest.mark.parametrize("settings", [SETTINGS, CmfhSettings()])
def test_no_step_ever_raises_the_loss(n_bits: int, settings: CmfhSettings) -> None:
    factors, losses = some_factors(n_bits), []
    losses.append(loss(factors, settings))
    for _ in range(10):
        for one in stepped(factors, settings):
            losses.append(loss(one, settings))
            factors = one
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("n_bits", [2, 5])
def test_each_step_is_where_the_gradient_of_its_part_is_zero(n_bits: int) -> None:
    """Normal equations by finite differences of the plain loss, in every single number."""
    shift = 1e-4
    bases, latent, maps = stepped(some_factors(n_bits))
    for factors, part in (
        (bases, bases.bases[0]),
        (bases, bases.bases[1]),
        (latent, latent.latent),
        (maps, maps.maps[0]),
        (maps, maps.maps[1]),
    ):
        scale = loss(factors)
        for row, column in np.ndindex(*part.shape):
            value = part[row, column].item()
            part[row, column] = value + shift
            above = loss(factors)
            part[row, column] = value - shift
            below = loss(factors)
            part[row, column] = value
            assert (above - below) / (2 * shift) == pytest.approx(0, abs=1e-6 * scale)


def test_rank_one_by_hand() -> None:
    """One feature each, x_t = 2 x_v, sum of squares of x_v is s: every step is a fraction."""
    s, w, mu, gamma, ridge = 5.0, 0.25, 3.0, 0.5, 0.1
    settings = CmfhSettings(image_weight=w, projection_weight=mu, regularisation=gamma, ridge=ridge)
    views = Views(s * torch.tensor([[1.0, 2.0], [2.0, 4.0]]).double(), 1)
    latent = torch.tensor([[1.0], [1.0]]).double()  # V = x_v + x_t = 3 x_v
    crossed = views.products @ latent
    assert_close(crossed, torch.tensor([[3 * s], [6 * s]]).double(), rtol=1e-12, atol=0)
    image_basis, text_basis = fit_bases(latent, crossed, views, settings)
    u_v, u_t = 3 * s / (9 * s + gamma / w), 6 * s / (9 * s + gamma / (1 - w))
    assert (image_basis.item(), text_basis.item()) == pytest.approx((u_v, u_t), rel=1e-12)
    image_map, text_map = fit_maps(crossed, views, map_solvers(views, settings))
    p_v = 3 * s / (s + gamma / mu + ridge * s)
    p_t = 6 * s / (4 * s + gamma / mu + ridge * 4 * s)
    assert (image_map.item(), text_map.item()) == pytest.approx((p_v, p_t), rel=1e-12)
    found = fit_latent((image_basis, text_basis), (image_map, text_map), settings)
    below = w * u_v**2 + (1 - w) * u_t**2 + 2 * mu + gamma
    expected = [(w * u_v + mu * p_v) / below, ((1 - w) * u_t + mu * p_t) / below]
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_two_copies_of_one_view_are_factorised_at_once() -> None:
    """Without regularisation any latent directions of a doubled view are a solution already."""
    views = Views((IMAGE.T @ IMAGE).repeat(2, 2), 4)
    settings = CmfhSettings(regularisation=1e-9, rounds=1)
    factors = factorised(views, 4, settings, seeded(0))
    first = torch.randn(8, 4, generator=seeded(0), dtype=torch.float64)
    one = torch.cat([IMAGE, IMAGE], dim=1)
    assert_close(one @ factors.latent, one @ first, rtol=0, atol=1e-6)
    assert_close(IMAGE @ factors.maps[0], one @ first, rtol=0, atol=1e-6)
    assert_close((one @ factors.latent) @ factors.bases[1], IMAGE, rtol=0, atol=1e-6)


def test_swapped_modalities_give_swapped_factors() -> None:
    swapped = torch.cat([TEXT, IMAGE], dim=1)
    turned = Views(swapped.T @ swapped, 3)
    settings = CmfhSettings(image_weight=0.3, rounds=3)
    mirrored = replace(settings, image_weight=0.7)
    start = some_factors(3)
    mirror = Factors(
        torch.cat([start.latent[4:], start.latent[:4]]), start.bases[::-1], start.maps[::-1]
    )
    for views, factors, one in ((VIEWS, start, settings), (turned, mirror, mirrored)):
        crossed = views.products @ factors.latent
        bases = fit_bases(factors.latent, crossed, views, one)
        latent = fit_latent(bases, factors.maps, one)
        maps = fit_maps(views.products @ latent, views, map_solvers(views, one))
        if views is VIEWS:
            expected = maps
    assert_close(maps[::-1], expected, rtol=1e-9, atol=1e-12)


MADE = made_pairs()


def view_of(made: MadePairs) -> Pairs:
    image, text = (FeatureScaling(ScalingRule.NONE, one.width) for one in (made.image, made.text))
    data = replace(made.data(), with_tokens=False)
    return Pairs(data, CaptionChoice.ALL, image, text, torch.device("cpu"))


def solved(
    settings: CmfhSettings, n_bits: int, made: MadePairs = MADE, *, batch_size: int = 64
) -> Heads:
    shapes = FeatureShapes(
        image_width=made.image.width, text_width=made.text.width, batch_size=batch_size
    )
    return Cmfh(settings).solve(view_of(made), shapes, n_bits, seeded(0))


def relaxed(heads: Heads, made: MadePairs = MADE) -> tuple[Tensor, Tensor]:
    (whole,) = view_of(made).batches(10_000)
    image, text = heads.image(whole.image).detach(), heads.text(whole.text).detach()
    return image, text


def test_heads_are_the_maps_of_centred_features() -> None:
    image, text = relaxed(solved(CmfhSettings(rounds=5), 6))
    (whole,) = view_of(MADE).batches(10_000)
    moments = pair_moments([(whole.image.pooled, whole.text.pooled)])
    maps = factorised(Views.of(moments), 6, CmfhSettings(rounds=5), seeded(0)).maps
    assert_allclose(
        image, (whole.image.pooled.double() - moments.image_mean) @ maps[0], rtol=0, atol=1e-3
    )
    assert_allclose(
        text, (whole.text.pooled.double() - moments.text_mean) @ maps[1], rtol=0, atol=1e-3
    )
    assert_allclose(image.mean(dim=0), np.zeros(6), rtol=0, atol=1e-3)
    correlations = (image * text).mean(0) / (image.square().mean(0) * text.square().mean(0)).sqrt()
    assert float(correlations.min()) > 0.5


def test_a_rotation_keeps_all_inner_products() -> None:
    plain = torch.cat(relaxed(solved(CmfhSettings(rounds=5), 6)))
    turned = torch.cat(relaxed(solved(CmfhSettings(rounds=5, rotation_rounds=9), 6)))
    assert not torch.allclose(plain, turned, atol=1e-2)
    assert_allclose(turned @ turned.T, plain @ plain.T, rtol=1e-3, atol=1e-2)


def test_batches_don_t_matter() -> None:
    settings = CmfhSettings(rounds=4, rotation_rounds=4)
    one, other = (relaxed(solved(settings, 4, batch_size=size))[0] for size in (7, 1000))
    assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_the_rotation_reads_no_more_than_its_sample() -> None:
    settings = CmfhSettings(rounds=2, rotation_rounds=2, sample=50)
    latents = Cmfh(settings).sampled_latents(view_of(MADE), 64, solved(settings, 4))
    assert 80 < len(latents) <= 100  # of both modalities
    assert latents.dtype == torch.float64


@pytest.mark.parametrize("preset", ["paper", "dense"])
@pytest.mark.parametrize("scale", [100.0, 1e-3])
def test_more_bits_than_features_and_odd_scales_are_solved(preset: str, scale: float) -> None:
    """As many bits as one likes: latent vectors need not be independent."""
    method, _ = make_method(Cmfh, preset=preset)
    rows = drawn(60, 3, seed=5).numpy().astype(np.float32)
    repeated = np.repeat(rows, 2, axis=1)  # of rank 3
    tiny = replace(
        MADE,
        image=PlainTable(np.float32(scale) * np.tile(repeated, (5, 1))),
        text=PlainTable(np.float32(scale) * np.tile(rows[:, :2], (10, 1)) + 7),
    )
    heads = solved(method.settings, 16, tiny)
    for head in (heads.image, heads.text):
        assert isinstance(head, LinearHead)
        assert head.n_bits == 16
        assert bool(head.map.weight.isfinite().all())


def test_features_that_never_differ_are_refused() -> None:
    same = replace(MADE, text=PlainTable(np.full_like(MADE.text.all_pooled, 100)))
    n_pairs = view_of(MADE).n_pairs
    message = (
        f"the text features of all {n_pairs} training pairs are the same: check the encoder and "
        "its input"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        solved(CmfhSettings(), 4, same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_weight": 0.0}, "image_weight is 0.0, expected in (0, 1)"),
        ({"image_weight": 1.0}, "image_weight is 1.0, expected in (0, 1)"),
        ({"projection_weight": 0.0}, "projection_weight is 0.0, expected positive"),
        ({"regularisation": -1.0}, "regularisation is -1.0, expected positive"),
        ({"ridge": -0.5}, "ridge is -0.5, expected 0 or more"),
        ({"rotation_rounds": -1}, "rotation_rounds is -1, expected 0 or more"),
        ({"rounds": 0}, "rounds is 0, expected at least 1"),
        ({"sample": 0}, "sample is 0, expected at least 1"),
    ],
)
def test_settings_of_cmfh(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        CmfhSettings(**changes)
