import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modalhash.data import Collection, load_collection
from modalhash.encoders.clip import ClipImageTower, ClipTextTower
from modalhash.errors import SettingError
from modalhash.methods.base import Precision, TrainingSettings
from modalhash.training.live_features import (
    Draw,
    LiveFeatures,
    LivePictures,
    LiveTexts,
    PresentTable,
    augmented,
)
from tests.oracles.coloured_photos import write_coloured_photos
from tests.oracles.tiny_transformers import WIDTH, save_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return load_collection(write_coloured_photos(tmp_path_factory.mktemp("photos") / "set", 12))


@pytest.fixture
def sides(
    collection: Collection, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LivePictures, LiveTexts]:
    folder = str(save_tiny_model("clip", tmp_path_factory.mktemp("clip")))
    assert collection.pictures is not None
    assert collection.captions is not None
    return (
        LivePictures(ClipImageTower(folder), collection.pictures, collection.n_items),
        LiveTexts(ClipTextTower(folder), collection.captions),
    )


def live(
    sides: tuple[LivePictures, LiveTexts], *, with_tokens: bool = False, **settings: Any
) -> LiveFeatures:
    changed = replace(TrainingSettings(), **settings)
    return LiveFeatures(*sides, changed, CPU, with_tokens=with_tokens)


def requests(*batches: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [(np.array(one) + 100, np.array(one), 2 * np.array(one) + 1) for one in batches]


def test_batches_hold_the_towers_features_in_the_order_asked_for(
    sides: tuple[LivePictures, LiveTexts], collection: Collection
) -> None:
    batches = [[3, 1], [0, 7, 5], [2], [11, 10], [4, 6]]
    made = list(live(sides, with_tokens=True).read(requests(*batches), None))
    assert len(made) == 5
    assert collection.pictures is not None
    assert collection.captions is not None
    for items, batch in zip(batches, made, strict=True):
        prepared = [sides[0].tower.prepare(collection.pictures.open(item)) for item in items]
        texts = [collection.captions[2 * item + 1] for item in items]
        for name, expected in (
            ("image", sides[0].tower.encode(prepared, with_tokens=True)),
            ("text", sides[1].tower.encode(texts, with_tokens=True)),
        ):
            found = batch[name]
            assert found.pooled.requires_grad
            assert found.tokens is not None
            assert found.token_mask is not None
            assert expected.tokens is not None
            assert expected.token_mask is not None
            pooled, tokens = found.pooled.detach().numpy(), found.tokens.detach().numpy()
            np.testing.assert_allclose(pooled, expected.pooled, rtol=0, atol=2e-5)
            np.testing.assert_allclose(tokens, expected.tokens, rtol=0, atol=2e-5)
            np.testing.assert_array_equal(found.token_mask.numpy(), expected.token_mask)


def test_only_the_sides_that_learn_are_read(sides: tuple[LivePictures, LiveTexts]) -> None:
    only = LiveFeatures(None, sides[1], TrainingSettings(), CPU, with_tokens=False)
    (batch,) = only.read(requests([1, 2]), None)
    assert batch.keys() == {"text"}
    assert list(only.modules()) == ["text"]


def test_pictures_change_with_seed_epoch_and_pair_and_with_nothing_else(
    sides: tuple[LivePictures, LiveTexts],
) -> None:
    reading = live(sides, smallest_crop=0.2, flip_pictures=True)

    def features(draw: Draw, *batches: list[int]) -> torch.Tensor:
        made = reading.read(requests(*batches), draw)
        return torch.cat([one["image"].pooled for one in made]).detach()

    one = features(Draw(1, 2, 0), [3, 4], [5])
    assert torch.equal(features(Draw(1, 2, 0), [3, 4], [5]), one)
    torch.testing.assert_close(features(Draw(1, 2, 0), [5, 3], [4])[[1, 2, 0]], one)
    for other in (Draw(2, 2, 0), Draw(1, 3, 0), Draw(1, 2, 1)):
        assert not torch.allclose(features(other, [3, 4], [5]), one, atol=1e-4)


def test_texts_and_undrawn_pictures_stay_as_they_are(
    sides: tuple[LivePictures, LiveTexts],
) -> None:
    reading = live(sides, smallest_crop=0.2, flip_pictures=True)
    (plain,) = live(sides).read(requests([3, 4]), Draw(0, 2, 0))
    (undrawn,) = reading.read(requests([3, 4]), None)
    (drawn,) = reading.read(requests([3, 4]), Draw(0, 2, 0))
    assert torch.equal(undrawn["image"].pooled, plain["image"].pooled)
    assert torch.equal(drawn["text"].pooled, plain["text"].pooled)


def test_cuts_lie_inside_and_are_as_large_as_asked() -> None:
    # Each pixel holds its place, so a part says where it was cut.
    places = np.stack(np.meshgrid(np.arange(60), np.arange(40)), axis=-1).astype(np.uint8)
    picture = Image.fromarray(np.concatenate([places, places[..., :1]], axis=-1))
    shares, mirrored = [], 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        part = np.asarray(augmented(picture, generator, flip=True, smallest_crop=0.25))
        columns, rows = part[0, :, 0].astype(int), part[:, 0, 1].astype(int)
        is_mirrored = len(columns) > 1 and columns[0] > columns[-1]
        mirrored += is_mirrored
        np.testing.assert_array_equal(np.diff(columns), -1 if is_mirrored else 1)
        np.testing.assert_array_equal(np.diff(rows), 1)
        shares.append(len(columns) * len(rows) / 2400)
    assert 0.2 < min(shares) < 0.35
    assert max(shares) > 0.85
    assert 70 < mirrored < 130


def test_a_picture_of_one_pixel_can_be_cut() -> None:
    picture = Image.new("RGB", (1, 1))
    cut = augmented(picture, np.random.default_rng(0), flip=True, smallest_crop=0.01)
    assert cut.size == (1, 1)


def test_bfloat16_networks_give_float32_features_close_to_the_others(
    sides: tuple[LivePictures, LiveTexts],
) -> None:
    (exact,) = live(sides, with_tokens=True).read(requests([1, 2]), None)
    (rough,) = live(sides, with_tokens=True, encoder_precision=Precision.BFLOAT16).read(
        requests([1, 2]), None
    )
    for name in ("image", "text"):
        found, expected = rough[name], exact[name]
        assert found.pooled.dtype == torch.float32
        assert found.tokens is not None
        assert found.tokens.dtype == torch.float32
        assert not torch.equal(found.pooled, expected.pooled)
        torch.testing.assert_close(found.pooled, expected.pooled, rtol=0.05, atol=0.05)
        found.pooled.sum().backward()  # type: ignore[no-untyped-call]


def test_auto_is_float32_on_a_cpu(sides: tuple[LivePictures, LiveTexts]) -> None:
    assert not live(sides).uses_bfloat16()
    assert live(sides, encoder_precision=Precision.BFLOAT16).uses_bfloat16()


def test_too_many_frozen_blocks_are_refused(sides: tuple[LivePictures, LiveTexts]) -> None:
    source = sides[0].tower.model.source
    message = f"freeze_blocks is 3, but {source} has 2 blocks"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        live(sides, freeze_blocks=3)


def test_rates_are_the_backbones_own_times_the_scale(
    sides: tuple[LivePictures, LiveTexts],
) -> None:
    # CLIP: 2e-6 where heads learn at 1e-3.
    expected = pytest.approx(3 * 2e-6 / 1e-3)
    assert live(sides, encoder_rate_scale=3.0).rate_scales() == {
        "image": expected,
        "text": expected,
    }


def test_the_present_table_follows_the_tower(sides: tuple[LivePictures, LiveTexts]) -> None:
    for side, n_rows in ((sides[0], 12), (sides[1], 24)):
        table = PresentTable(side)
        assert len(table) == n_rows
        assert table.width == WIDTH
        assert table.dtype == "float32"
        rows = np.array([5, 2, 2])
        before = table.pooled(rows)
        assert before.shape == (3, WIDTH)
        np.testing.assert_array_equal(before[1], before[2])
        tokens, mask = table.tokens(rows)
        assert table.token_shape is not None
        assert tokens.shape == (*mask.shape, table.token_shape[1])
        with torch.no_grad():
            for parameter in side.tower.network.parameters():
                parameter.mul_(1.5)
        assert not np.allclose(table.pooled(rows), before, atol=1e-3)
