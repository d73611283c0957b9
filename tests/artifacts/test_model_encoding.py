"""What a model takes, what it refuses, and how it rounds."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modalhash.artifacts import HashModel, load_model
from modalhash.errors import FeatureError, InputError
from tests.oracles.plain_model import linear_tower, plain_model

PRECOMPUTED = (
    "the features came as arrays. Encode with arrays (`encode_features`), or train with an encoder "
    "such as 'offline' or 'clip'"
)


@pytest.fixture
def model() -> HashModel:
    """Bit 0 is 1 where x >= 1."""
    tower = linear_tower([[1.0]], [-1.0])
    return plain_model(tower, tower)


@pytest.fixture
def scene_model(scene_run: Path, tiny_encoder: None) -> HashModel:
    return load_model(scene_run)


def test_features_are_rounded_as_the_stored_ones_were() -> None:
    tower = linear_tower([[1.0]], [-1.0])
    # Below 1, float16 steps by 2 ** -11: 0.9999 becomes 1.
    just_below = np.array([[0.9999]], np.float32)
    for dtype, bit in (("float32", 0), ("float16", 1)):
        model = plain_model(tower, tower, dtype=dtype)
        assert model.encode_features(just_below, "image").tolist() == [[bit]]
        relaxed = model.relaxed_features(just_below, "image")
        assert (float(relaxed[0, 0]) == 0) == (dtype == "float16")


def test_nothing_gives_no_codes(scene_model: HashModel) -> None:
    for codes in (
        scene_model.encode_texts([]),
        scene_model.encode_images([]),
        scene_model.encode_features(np.zeros((0, 12), np.float32), "image"),
    ):
        assert codes.shape == (0, 2)
        assert codes.dtype == np.uint8


@pytest.mark.parametrize("empty", ["", " \n\t"])
def test_an_empty_text_is_named(scene_model: HashModel, empty: str) -> None:
    message = "texts[1] is empty: give at least one word"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        scene_model.encode_texts(["a dog", empty])


@pytest.mark.parametrize(
    ("method", "single", "message"),
    [
        ("encode_texts", "a dog", "texts is a single str: give a list, [texts]"),
        ("encode_images", "a.jpg", "images is a single str: give a list, [images]"),
        (
            "encode_images",
            Image.new("RGB", (2, 2)),
            "images is a single Image: give a list, [images]",
        ),
    ],
)
def test_a_single_one_is_no_list(
    scene_model: HashModel, method: str, single: Any, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        getattr(scene_model, method)(single)


def test_pictures_that_cant_be_read_are_named(scene_model: HashModel, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    cut = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:500])
    missing = tmp_path / "missing.jpg"
    for path, problem in (
        (text, "isn't a JPEG, PNG or WebP picture; convert it"),
        (missing, "there is no such picture"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {problem}')}$"):
            scene_model.encode_images([path])
    with pytest.raises(InputError, match=f"^{re.escape(str(cut))}: is cut off or damaged "):
        scene_model.encode_images([cut])
    with (
        Image.open(cut) as opened,
        pytest.raises(InputError, match=r"^the picture is cut off or damaged \("),
    ):
        scene_model.encode_images([opened])


def test_a_file_and_the_same_picture_opened_give_the_same_code(
    scene_model: HashModel, tmp_path: Path
) -> None:
    pixels = np.zeros((6, 4, 4), np.uint8)
    pixels[:3, :, 0] = 255  # red above,
    pixels[:, :, 3] = 255
    pixels[3:, 2:, 3] = 0  # and a transparent quarter, which is black beneath
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    path = tmp_path / "turned.png"
    picture.save(path, exif=exif)
    plain = Image.new("RGB", picture.size, "white")
    plain.paste(picture, mask=picture.getchannel("A"))
    expected = scene_model.encode_images([plain.transpose(Image.Transpose.ROTATE_270)])
    assert expected.tolist() != scene_model.encode_images([picture.convert("RGB")]).tolist()
    with Image.open(path) as opened:
        for query in (path, str(path), opened):
            np.testing.assert_array_equal(scene_model.encode_images([query]), expected)
        assert opened.size == (4, 6)  # the caller's picture is as it was


def test_features_of_a_wrong_width_are_refused(model: HashModel) -> None:
    message = (
        "features have shape (2, 3), the model takes (n, 1): use the encoder it was trained with"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        model.encode_features(np.zeros((2, 3), np.float32), "text")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_features_that_arent_finite_are_refused(value: float) -> None:
    tower = linear_tower([[1.0]], [0.0])
    model = plain_model(tower, tower, dtype="float16")  # whose largest number is 65,504
    with pytest.raises(
        FeatureError, match=f"^{re.escape('features hold NaN or infinity, first in row 1')}$"
    ):
        model.encode_features(np.array([[0.0], [value]]), "image")


def test_an_unknown_modality_is_refused(model: HashModel) -> None:
    message = "modality is 'sound', expected image or text"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        model.encode_features(np.zeros((1, 1)), "sound")  # type: ignore[arg-type]


def test_a_model_of_arrays_says_what_it_needs(model: HashModel) -> None:
    with pytest.raises(
        FeatureError,
        match=f"^{re.escape('the precomputed encoder can' + chr(39) + 't encode texts: ')}"
        f"{re.escape(PRECOMPUTED)}$",
    ):
        model.encode_texts(["a dog"])
    with pytest.raises(FeatureError, match=re.escape(PRECOMPUTED)):
        model.encode_images([Image.new("RGB", (2, 2))])
