"""Models of before large JPEG files were decoded smaller: they open, and encode as they did."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modalhash.artifacts import HashModel
from modalhash.artifacts.ready_model import ready_model
from modalhash.data import read_picture
from modalhash.encoders.frames import FrameTower
from modalhash.errors import ArtifactError

FORMER: dict[str, Any] = {
    "name": "efficientnet-lite0",
    "version": 1,
    "weights": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "picture": "centre square, bicubic to 224, (x - 127) / 128",
    "width": 1280,
}
"""The identity of EfficientNet-Lite0 as modalhash 0.1.0 wrote it."""


@pytest.fixture(scope="module")
def model() -> HashModel:
    return ready_model(64)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (15, 15, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((960, 960))
    noise = np.random.default_rng(1).normal(0, 40, (960, 960, 3))
    Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def with_identity(model: HashModel, pictures: dict[str, Any]) -> HashModel:
    encoder = dict(model.record.encoder)
    identity = {
        **encoder["identity"],
        "image": {**encoder["identity"]["image"], "pictures": pictures},
    }
    record = replace(model.record, encoder={**encoder, "identity": identity})
    return HashModel(model.hasher, record, device="cpu")


def test_the_identity_states_how_large_files_are_decoded(model: HashModel) -> None:
    pictures = model.record.encoder["identity"]["image"]["pictures"]
    stated = "decoded smaller, at no less than 2 x 224"
    assert pictures == {**FORMER, "jpeg": stated}


def test_a_former_model_decodes_in_full(model: HashModel, photo: Path) -> None:
    former = with_identity(model, FORMER)
    tower = former.encoder.image
    assert tower.picture_side is None
    assert tower.identity()["pictures"] == FORMER
    full, scaled = read_picture(photo), read_picture(photo, side=224)
    assert (full.size, scaled.size) == ((960, 960), (480, 480))
    np.testing.assert_array_equal(
        former.image_output(photo).pooled, former.image_output(full).pooled
    )
    np.testing.assert_array_equal(
        model.image_output(photo).pooled, former.image_output(scaled).pooled
    )
    assert not np.array_equal(former.image_output(photo).pooled, model.image_output(photo).pooled)


def test_another_encoder_is_still_refused(model: HashModel) -> None:
    other = with_identity(model, {**FORMER, "version": 7})
    with pytest.raises(ArtifactError, match="isn't the one this model was trained with"):
        _ = other.encoder


def test_videos_follow_their_tower(model: HashModel) -> None:
    image = with_identity(model, FORMER).encoder.image
    image.picture_side = 224
    videos = FrameTower(image, 3)
    sides = [videos.picture_side]
    videos.decode_in_full()
    assert [*sides, videos.picture_side, image.picture_side] == [224, None, None]
