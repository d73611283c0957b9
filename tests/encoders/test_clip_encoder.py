import json
import re
import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from modalhash.encoders.clip import ClipImageTower, ClipTextTower
from modalhash.encoders.picture_preparation import PicturePreparation
from modalhash.errors import InputError, ModelUnavailableError, SettingError, UnknownNameError

transformers: Any = import_module("transformers")
WORDS = ["[PAD]", "[UNK]", "[START]", "a", "dog", "cat", "runs", "in", "the", "snow", "[END]"]
TEXTS = ["a dog", "the cat runs in the snow", "snow", "a cat runs"]
SIDE = 8
VISION = {
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 4,
}
TEXT = {
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 9,
}
KINDS = ["clip", "siglip", "chinese_clip"]


def tiny_model(kind: str) -> Any:
    if kind == "clip":
        text = {**TEXT, "bos_token_id": 2, "eos_token_id": 10, "pad_token_id": 0}
        config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=10)
        return transformers.CLIPModel(config)
    if kind == "siglip":
        text = {**TEXT, "hidden_size": 16, "projection_size": 16}
        config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
        return transformers.SiglipModel(config)
    config = transformers.ChineseCLIPConfig(
        text_config={**TEXT, "type_vocab_size": 1}, vision_config=VISION, projection_dim=10
    )
    return transformers.ChineseCLIPModel(config)


def tiny_tokenizer(kind: str) -> Any:
    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = "$A [END]" if kind == "siglip" else "[START] $A [END]"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=marks, special_tokens=[("[START]", 2), ("[END]", 10)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        bos_token="[START]",
        eos_token="[END]",
        model_max_length=9,
    )


def picture_settings(kind: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.25],
    }
    if kind == "siglip":
        return {
            **settings,
            "size": {"height": SIDE, "width": SIDE},
            "image_processor_type": "SiglipImageProcessor",
        }
    if kind == "chinese_clip":
        return {
            **settings,
            "do_center_crop": False,
            "size": {"height": SIDE, "width": SIDE},
            "image_processor_type": "ChineseCLIPImageProcessor",
        }
    return {
        **settings,
        "do_center_crop": True,
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "image_processor_type": "CLIPImageProcessor",
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for seed, kind in enumerate(KINDS):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(kind)
        tiny_model(kind).save_pretrained(folder)
        tiny_tokenizer(kind).save_pretrained(folder)
        settings = json.dumps(picture_settings(kind))
        (folder / "preprocessor_config.json").write_text(settings, encoding="utf-8")
        made[kind] = folder
    return made


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(8, 8), (19, 11), (11, 23), (40, 8)]
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for width, height in sizes
    ]


def pooler_output(output: Any) -> torch.Tensor:
    """Return projected features from what this version of transformers returns."""
    found: torch.Tensor = getattr(output, "pooler_output", output)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_image_features_are_those_of_the_whole_model(
    kind: str, folders: dict[str, Path]
) -> None:
    tower = ClipImageTower(str(folders[kind]))
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    pixels = torch.as_tensor(np.array(processor(pictures())["pixel_values"]))
    with torch.inference_mode():
        expected = pooler_output(model.get_image_features(pixel_values=pixels)).numpy()
    found = tower.encode([tower.prepare(picture) for picture in pictures()]).pooled
    assert found.shape == (4, tower.width)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_text_features_are_those_of_the_whole_model_one_text_at_a_time(
    kind: str, folders: dict[str, Path]
) -> None:
    tower = ClipTextTower(str(folders[kind]))
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    found = tower.encode(TEXTS).pooled
    padding = "max_length" if kind == "siglip" else False
    for text, row in zip(TEXTS, found, strict=True):
        pieces = tokenizer([text], return_tensors="pt", padding=padding)["input_ids"]
        with torch.inference_mode():
            expected = pooler_output(model.get_text_features(input_ids=pieces)).numpy()[0]
        np.testing.assert_allclose(row, expected, rtol=0, atol=2e-5)


def test_clip_image_tokens_go_through_the_class_tokens_norm_and_projection(
    folders: dict[str, Path],
) -> None:
    tower = ClipImageTower(str(folders["clip"]))
    model = transformers.AutoModel.from_pretrained(folders["clip"]).eval()
    prepared = [tower.prepare(picture) for picture in pictures()]
    output = tower.encode(prepared, with_tokens=True)
    assert output.tokens is not None
    assert output.token_mask is not None
    assert output.tokens.shape == (4, 4, tower.token_width)  # 8 / 4 squared patches
    assert output.token_mask.all()
    pixels = (np.stack(prepared) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.25]
    with torch.inference_mode():
        states = model.vision_model(
            pixel_values=torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2)
        ).last_hidden_state
        everything = model.visual_projection(model.vision_model.post_layernorm(states)).numpy()
    np.testing.assert_allclose(output.pooled, everything[:, 0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(output.tokens, everything[:, 1:], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_text_tokens_are_the_words_between_the_marks(kind: str, folders: dict[str, Path]) -> None:
    output = ClipTextTower(str(folders[kind])).encode(TEXTS, with_tokens=True)
    assert output.tokens is not None
    assert output.token_mask is not None
    assert output.token_mask.sum(axis=1).tolist() == [2, 6, 1, 3]
    assert output.tokens.shape == (4, 6, output.tokens.shape[2])
    assert not output.tokens[~output.token_mask].any()
    alone = ClipTextTower(str(folders[kind])).encode(TEXTS[2:3], with_tokens=True)
    assert alone.tokens is not None
    np.testing.assert_allclose(output.tokens[2, :1], alone.tokens[0], rtol=0, atol=1e-6)


def test_a_text_longer_than_the_model_is_cut(folders: dict[str, Path]) -> None:
    output = ClipTextTower(str(folders["clip"])).encode([" ".join(["dog"] * 50)], with_tokens=True)
    assert output.token_mask is not None
    assert output.token_mask.sum() == 9 - 2  # the model's positions without the two marks


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_prepared_as_the_models_own_processor_does(
    kind: str, folders: dict[str, Path]
) -> None:
    tower = ClipImageTower(str(folders[kind]))
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    for picture in pictures():
        expected = np.asarray(processor([picture])["pixel_values"][0])
        found = tower.prepare(picture) / 255
        found = (found - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.25]
        np.testing.assert_allclose(found.transpose(2, 0, 1), expected, rtol=0, atol=1e-5)


def test_identity_follows_the_weights_and_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folders["clip"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    for tower in (ClipImageTower, ClipTextTower):
        first, second = tower(str(folders["clip"])), tower(str(copy))
        assert first.fingerprint() == second.fingerprint()
        assert first.fingerprint() != tower(str(folders["chinese_clip"])).fingerprint()
        json.dumps(dict(first.identity()))  # it is JSON


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    message = f"there is no model folder {missing}: check the path"
    with pytest.raises(ModelUnavailableError, match=f"^{re.escape(message)}$"):
        ClipImageTower(str(missing))


def test_a_folder_without_safetensors_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["clip"].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ModelUnavailableError, match=r"can't be loaded .*: it must hold config\.json, model\.safe"
    ):
        ClipImageTower(str(tmp_path))


def test_a_hub_name_without_network_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def from_pretrained(source: str, **options: Any) -> Any:
        asked.append((source, options))
        raise OSError("We couldn't connect to the hub.\nMore lines.")

    def no_network(*arguments: Any) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)
    message = (
        "the model some/model can't be loaded (We couldn't connect to the hub.): run once with "
        "network access, or give a local folder: clip:FOLDER"
    )
    with pytest.raises(ModelUnavailableError, match=f"^{re.escape(message)}$"):
        ClipTextTower("some/model")
    assert asked == [("some/model", {"local_files_only": True}), ("some/model", {})]


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    message = f"unknown model type of {tmp_path} 'bert'; known: chinese_clip, clip, siglip"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        ClipImageTower(str(tmp_path))


def test_an_unknown_device_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingError, match=r"^device 'abacus' can't be used .*: try 'cpu'$"):
        ClipImageTower(str(folders["clip"]), device="abacus")


def test_empty_texts_are_refused(folders: dict[str, Path]) -> None:
    tower = ClipTextTower(str(folders["clip"]))
    with pytest.raises(InputError, match=re.escape("texts[1] is empty: give at least one word")):
        tower.encode(["a dog", " "])


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: settings.pop("size"),
        lambda settings: settings.update(do_center_crop=False),
        lambda settings: settings.update(size={"longest_edge": 9}, do_center_crop=False),
    ],
)
def test_preparations_that_leave_the_size_open_are_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    settings = picture_settings("clip")
    change(settings)
    with pytest.raises((KeyError, ValueError)):
        PicturePreparation.from_config(settings)


def test_old_configurations_state_sizes_as_numbers() -> None:
    old = {**picture_settings("clip"), "size": 8, "crop_size": 8}
    new = PicturePreparation.from_config(picture_settings("clip"))
    assert PicturePreparation.from_config(old) == new
