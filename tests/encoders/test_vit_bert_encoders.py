import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modalhash.encoders import load_encoder
from modalhash.encoders.bert import BertTextTower
from modalhash.encoders.clip import ClipImageTower, ClipTextTower
from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.encoders.vit import VitImageTower
from modalhash.errors import (
    InputError,
    ModelUnavailableError,
    SettingError,
    UnknownNameError,
)
from tests.oracles.tiny_transformers import DEVIATION, MEAN, SIDE, save_tiny_model

transformers: Any = import_module("transformers")
TEXTS = ["a red dog", "the picture of a grey dog", "dog", "dog runs"]
KINDS = ["clip", "vit", "deit", "bert", "roberta", "distilbert"]
TOWERS: list[tuple[str, Callable[[str], NetworkImageTower | NetworkTextTower]]] = [
    ("clip", ClipImageTower),
    ("vit", VitImageTower),
    ("deit", VitImageTower),
    ("clip", ClipTextTower),
    ("bert", BertTextTower),
    ("roberta", BertTextTower),
    ("distilbert", BertTextTower),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_tiny_model(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (19, 31), (50, 23)]
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for width, height in sizes
    ]


@pytest.mark.parametrize(("kind", "n_aggregates"), [("vit", 1), ("deit", 2)])
def test_a_picture_is_its_class_token_and_its_patches_after_the_last_norm(
    kind: str, n_aggregates: int, folders: dict[str, Path]
) -> None:
    tower = VitImageTower(str(folders[kind]))
    prepared = [tower.prepare(picture) for picture in pictures()]
    output = tower.encode(prepared, with_tokens=True)
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    pixels = (np.stack(prepared) / 255 - MEAN) / DEVIATION
    with torch.inference_mode():
        found = model(
            pixel_values=torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2),
            output_hidden_states=True,
        )
        states = model.layernorm(found.hidden_states[-1]).numpy()
    if np.allclose(found.hidden_states[-1].numpy(), found.last_hidden_state.numpy()):
        states = found.last_hidden_state.numpy()  # some versions give the last one normed
    assert states.shape[1] == n_aggregates + 4  # 16 / 8 squared patches
    np.testing.assert_allclose(output.pooled, states[:, 0], rtol=0, atol=2e-5)
    assert output.tokens is not None
    np.testing.assert_allclose(output.tokens, states[:, n_aggregates:], rtol=0, atol=2e-5)
    assert output.token_mask is not None
    assert output.token_mask.all()


@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_pictures_are_prepared_as_the_models_own_processor_does(
    kind: str, folders: dict[str, Path]
) -> None:
    tower = VitImageTower(str(folders[kind]))
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], use_fast=False)
    for picture in pictures():
        expected = np.asarray(processor([picture])["pixel_values"][0])
        found = (tower.prepare(picture) / 255 - MEAN) / DEVIATION
        assert found.shape == (SIDE, SIDE, 3)
        # One step of eight bits: versions of transformers resize by different libraries.
        np.testing.assert_allclose(found.transpose(2, 0, 1), expected, rtol=0, atol=1.1 / 255 / 0.2)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_text_is_its_first_position_and_its_word_pieces(
    kind: str, folders: dict[str, Path]
) -> None:
    output = BertTextTower(str(folders[kind])).encode(TEXTS, with_tokens=True)
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    assert output.tokens is not None
    assert output.token_mask is not None
    assert output.token_mask.sum(axis=1).tolist() == [3, 6, 1, 2]
    for row, text in enumerate(TEXTS):
        pieces = tokenizer([text], return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model(input_ids=pieces).last_hidden_state[0].numpy()
        np.testing.assert_allclose(output.pooled[row], states[0], rtol=0, atol=2e-5)
        words = output.tokens[row, : len(states) - 2]
        np.testing.assert_allclose(words, states[1:-1], rtol=0, atol=2e-5)
    assert not output.tokens[~output.token_mask].any()


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_a_text_longer_than_the_model_is_cut(kind: str, folders: dict[str, Path]) -> None:
    tower = BertTextTower(str(folders[kind]))
    output = tower.encode([" ".join(["dog"] * 50)], with_tokens=True)
    assert output.token_mask is not None
    assert output.token_mask.sum() == 12 - 2  # the model's positions without the two marks


@pytest.mark.parametrize(("kind", "tower_class"), TOWERS)
def test_live_features_are_the_encoded_ones_and_take_gradients(
    kind: str,
    tower_class: Callable[[str], NetworkImageTower | NetworkTextTower],
    folders: dict[str, Path],
) -> None:
    tower = tower_class(str(folders[kind]))
    if isinstance(tower, NetworkImageTower):
        prepared = [tower.prepare(picture) for picture in pictures()]
        encoded = tower.encode(prepared, with_tokens=True)
        live = tower.live_features(prepared, with_tokens=True)
        assert tower.live_features(prepared).tokens is None
    else:
        encoded = tower.encode(TEXTS, with_tokens=True)
        live = tower.live_features(TEXTS, with_tokens=True)
        assert tower.live_features(TEXTS).tokens is None
    assert encoded.tokens is not None
    assert encoded.token_mask is not None
    assert live.tokens is not None
    assert live.token_mask is not None
    np.testing.assert_array_equal(live.token_mask.numpy(), encoded.token_mask)
    np.testing.assert_allclose(live.pooled.detach().numpy(), encoded.pooled, rtol=0, atol=2e-5)
    np.testing.assert_allclose(live.tokens.detach().numpy(), encoded.tokens, rtol=0, atol=2e-5)
    (live.pooled.square().sum() + live.tokens.square().sum()).backward()  # type: ignore[no-untyped-call]
    first = next(tower.blocks()[0].parameters())
    assert first.grad is not None
    assert bool(first.grad.any())


@pytest.mark.parametrize(("kind", "tower_class"), TOWERS)
def test_frozen_blocks_and_what_stands_before_them_take_no_gradient(
    kind: str,
    tower_class: Callable[[str], NetworkImageTower | NetworkTextTower],
    folders: dict[str, Path],
) -> None:
    tower = tower_class(str(folders[kind]))
    tower.freeze_blocks(1)
    free = {name for name, value in tower.network.named_parameters() if value.requires_grad}
    assert free
    assert not any("embeddings" in name or "pre_layrnorm" in name for name in free)
    blocks = tower.blocks()
    assert not any(value.requires_grad for value in blocks[0].parameters())
    assert all(value.requires_grad for value in blocks[1].parameters())
    tower.freeze_blocks(0)
    assert all(value.requires_grad for value in tower.network.parameters())
    message = f"freeze_blocks is 3, but {folders[kind]} has 2 blocks"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        tower.freeze_blocks(3)


def test_vit_and_bert_are_a_pair(folders: dict[str, Path]) -> None:
    name = f"vit:{folders['vit']}+bert:{folders['distilbert']}"
    encoder = load_encoder(name)
    assert encoder.name == name
    assert encoder.image.identity()["name"] == "vit"
    assert encoder.text.identity()["name"] == "distilbert"
    json.dumps(dict(encoder.identity()))  # it is JSON


def test_the_towers_of_one_clip_share_the_loaded_model(folders: dict[str, Path]) -> None:
    encoder = load_encoder(f"clip:{folders['clip']}")
    assert isinstance(encoder.image, ClipImageTower)
    assert isinstance(encoder.text, ClipTextTower)
    assert encoder.image.model is encoder.text.model


def test_tuned_folders_take_the_place_of_the_named_ones(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    other = save_tiny_model("vit", tmp_path / "other", seed=1)
    name = f"vit:{folders['vit']}+bert:{folders['bert']}"
    encoder = load_encoder(name, image_folder=other)
    assert encoder.image.fingerprint() == VitImageTower(str(other)).fingerprint()
    assert encoder.image.fingerprint() != load_encoder(name).image.fingerprint()
    assert encoder.text.fingerprint() == load_encoder(name).text.fingerprint()


def test_identity_follows_the_weights_as_they_are_now(folders: dict[str, Path]) -> None:
    tower = VitImageTower(str(folders["vit"]))
    before = tower.fingerprint()
    with torch.no_grad():
        next(tower.network.parameters()).add_(1)
    tower.hash_weights()
    assert tower.fingerprint() != before


def test_a_side_that_a_model_lacks_is_said(folders: dict[str, Path]) -> None:
    message = "encoder 'bert' has no image tower: pair it, as in 'offline+bert'"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_encoder(f"bert:{folders['bert']}")
    message = "encoder 'vit' has no text tower: pair it, as in 'vit+bert'"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_encoder(f"vit:{folders['vit']}")


def test_models_of_another_family_are_refused(folders: dict[str, Path]) -> None:
    message = f"unknown model type of {folders['bert']} 'bert'; known: deit, vit"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        VitImageTower(str(folders["bert"]))
    message = f"unknown model type of {folders['vit']} 'vit'; known: bert, distilbert, roberta"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        BertTextTower(str(folders["vit"]))


def test_a_missing_folder_names_itself(tmp_path: Path) -> None:
    message = f"there is no model folder {tmp_path / 'no'}: check the path"
    with pytest.raises(ModelUnavailableError, match=f"^{re.escape(message)}$"):
        BertTextTower(str(tmp_path / "no"))
