import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from modalhash.data import load_collection
from modalhash.encoders import extract_features, load_encoder
from modalhash.encoders.network_towers import NetworkImageTower, NetworkTextTower
from modalhash.errors import SettingError
from modalhash.layers import LinearHead, ModalityFeatures
from modalhash.methods.base import (
    Batch,
    CaptionChoice,
    FeatureShapes,
    GradientMethod,
    Moment,
    Optimiser,
)
from modalhash.methods.cca_sign import CcaSign
from modalhash.methods.cfrh import Cfrh, CfrhSettings
from modalhash.training import TrainingData, TrainingPlan, TrainingResult, loop, train_method
from modalhash.training.live_features import LivePictures, LiveTexts
from tests.oracles.coloured_photos import write_coloured_photos
from tests.oracles.tiny_methods import Fault, FaultyMethod, FaultySettings, TokenMethod
from tests.oracles.tiny_transformers import DEVIATION, MEAN, WIDTH, save_tiny_model

transformers: Any = import_module("transformers")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    write_coloured_photos(folder / "photos")
    for kind in ("clip", "vit", "distilbert"):
        save_tiny_model(kind, folder / kind)
    return folder


def data_of(root: Path, *, encoder: str = "", sides: tuple[str, ...] = ("image", "text")) -> Any:
    """Return training data whose towers are fresh each time, and the towers."""
    collection = load_collection(root / "photos")
    loaded = load_encoder(encoder or f"clip:{root / 'clip'}")
    features = extract_features(
        collection, loaded, cache_folder=root / "cache", with_tokens=len(sides) < 2
    )
    assert isinstance(loaded.image, NetworkImageTower)
    assert isinstance(loaded.text, NetworkTextTower)
    assert collection.pictures is not None
    assert collection.captions is not None
    image = LivePictures(loaded.image, collection.pictures, collection.n_items)
    text = LiveTexts(loaded.text, collection.captions)
    data = TrainingData(
        features.image,
        features.text,
        collection.caption_starts,
        collection.split("train"),
        collection.labels,
        live_image=image if "image" in sides else None,
        live_text=text if "text" in sides else None,
    )
    return data, loaded


def cfrh() -> Cfrh:
    return Cfrh(CfrhSettings(hidden_width=24))


def plan_of(
    method: GradientMethod[Any], folder: Path | None = None, **changes: Any
) -> TrainingPlan:
    settings = replace(
        method.training,
        **{"epochs": 3, "batch_size": 8, "tune_encoder": True, "encoder_rate_scale": 20.0}
        | changes,
    )
    return TrainingPlan(method, settings, 12, seed=9, run_folder=folder)


def weights(encoder: Any) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, tower in (("image", encoder.image), ("text", encoder.text))
        for key, value in tower.network.state_dict().items()
    }


def test_a_step_is_the_gradient_through_both_backbones(root: Path) -> None:
    data, encoder = data_of(root)
    data = replace(data, items=data.items[:4], labels=None)
    method = FaultyMethod(FaultySettings(Fault.NONE))
    rate, scale, tuned = 0.25, 20.0, 0.002
    plan = plan_of(
        method,
        epochs=1,
        batch_size=4,
        learning_rate=rate,
        encoder_rate_scale=scale,
        momentum=0.0,
        weight_decay=0.0,
        captions=CaptionChoice.FIRST,
        image_scaling="none",
        text_scaling="none",
    )
    train_method(plan, data)
    # The same step by hand, with the models as transformers loads them.
    model = transformers.CLIPModel.from_pretrained(root / "clip")
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        heads = method.build_heads(FeatureShapes(WIDTH, WIDTH), plan.n_bits)
    order = data.items.tolist()  # a full batch: its order doesn't matter
    collection = load_collection(root / "photos")
    assert collection.pictures is not None
    assert collection.captions is not None
    prepared = [encoder.image.prepare(collection.pictures.open(item)) for item in order]
    pixels = torch.tensor((np.stack(prepared) / 255 - MEAN) / DEVIATION, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "clip")
    texts = [collection.captions[data.caption_starts[item]] for item in order]
    words = tokenizer(texts, return_tensors="pt", padding=True)
    vision = model.vision_model(pixel_values=pixels.permute(0, 3, 1, 2)).pooler_output
    text = model.text_model(
        input_ids=words["input_ids"], attention_mask=words["attention_mask"]
    ).pooler_output
    assert isinstance(heads.image, LinearHead)
    assert isinstance(heads.text, LinearHead)
    loss = mse_loss(
        torch.tanh(heads.image.map(model.visual_projection(vision))),
        torch.tanh(heads.text.map(model.text_projection(text))),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    for network, own, project in (
        (encoder.image.network, model.vision_model, model.visual_projection),
        (encoder.text.network, model.text_model, model.text_projection),
    ):
        pairs = [("model", own), ("projection", project)]
        found = dict(network.named_parameters())
        for prefix, part in pairs:
            for name, parameter in part.named_parameters():
                stepped = parameter.detach() - rate * scale * tuned * parameter.grad
                torch.testing.assert_close(
                    found[f"{prefix}.{name}"].detach(), stepped, rtol=1e-4, atol=1e-6
                )


class StoppedError(Exception):
    """The run was stopped from outside."""


def stop_at(step: int) -> Callable[..., None]:
    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if done == step:
            raise StoppedError

    return watch


def assert_same(one: TrainingResult, other: TrainingResult) -> None:
    for name, value in one.hasher.state_dict().items():
        assert torch.equal(value, other.hasher.state_dict()[name]), name
    for entry, other_entry in zip(one.log, other.log, strict=True):
        assert {**entry, "seconds": 0} == {**other_entry, "seconds": 0}


@pytest.mark.parametrize(
    ("make", "stop", "changes"),
    [
        (cfrh, 5, {"optimiser": Optimiser.ADAMW, "flip_pictures": True, "smallest_crop": 0.5}),
        (TokenMethod, 2, {"freeze_blocks": 1, "validation_share": 0.5}),
    ],
)
def test_a_stopped_run_ends_like_an_unbroken_one_weights_of_the_encoder_included(
    make: Callable[[], GradientMethod[Any]],
    stop: int,
    changes: dict[str, Any],
    root: Path,
    tmp_path: Path,
) -> None:
    # Dropout inside the backbone must be drawn again as it was.
    name = f"vit:{root / 'vit'}+bert:{root / 'distilbert'}"
    data, encoder = data_of(root, encoder=name)
    unbroken = train_method(plan_of(make(), **changes), data)
    expected = weights(encoder)
    data, encoder = data_of(root, encoder=name)
    with pytest.raises(StoppedError):
        train_method(plan_of(make(), tmp_path, **changes), data, progress=stop_at(stop))
    data, encoder = data_of(root, encoder=name)
    torch.manual_seed(1)
    resumed = train_method(plan_of(make(), tmp_path, **changes), data, resume=True)
    assert_same(resumed, unbroken)
    for key, value in weights(encoder).items():
        assert torch.equal(value, expected[key]), key
    assert not encoder.image.network.training


def test_a_finished_run_that_is_resumed_has_the_tuned_weights(root: Path, tmp_path: Path) -> None:
    data, encoder = data_of(root)
    train_method(plan_of(cfrh(), tmp_path), data)
    expected = weights(encoder)
    data, encoder = data_of(root)
    train_method(plan_of(cfrh(), tmp_path), data, resume=True)
    for key, value in weights(encoder).items():
        assert torch.equal(value, expected[key]), key
    assert not encoder.text.network.training


def test_frozen_blocks_stay_and_the_others_learn(root: Path) -> None:
    data, encoder = data_of(root)
    before = weights(encoder)
    train_method(plan_of(cfrh(), freeze_blocks=1), data)
    changed = {
        key for key, value in weights(encoder).items() if not torch.equal(value, before[key])
    }
    assert changed
    assert not any("embeddings" in key or "layers.0." in key for key in changed)
    assert any(key.startswith("image.model.encoder.layers.1.") for key in changed)
    assert any(key.startswith("text.model.encoder.layers.1.") for key in changed)
    assert "image.projection.weight" in changed


def test_a_rate_scale_of_zero_leaves_the_encoder_and_gives_the_frozen_codes(root: Path) -> None:
    data, encoder = data_of(root)
    before = weights(encoder)
    tuned = train_method(plan_of(cfrh(), encoder_rate_scale=0.0, weight_decay=0.0), data)
    for key, value in weights(encoder).items():
        assert torch.equal(value, before[key]), key
    frozen = train_method(
        plan_of(cfrh(), weight_decay=0.0), replace(data, live_image=None, live_text=None)
    )
    for name, value in tuned.hasher.state_dict().items():
        # Stored features are float16.
        torch.testing.assert_close(
            value, frozen.hasher.state_dict()[name], rtol=0, atol=5e-3, msg=name
        )


def test_the_encoder_is_that_of_the_best_epoch(root: Path, tmp_path: Path) -> None:
    data, encoder = data_of(root)
    plan = plan_of(cfrh(), tmp_path, validation_share=0.5)
    values = iter([0.1, 0.9, 0.2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "pair_recall", lambda *_: next(values))
        result = train_method(plan, data)
    assert result.best_epoch == 1
    best = dict(torch_file(tmp_path / "checkpoint" / "best-00001.safetensors"))
    for name in ("image", "text"):
        for key, value in getattr(encoder, name).network.state_dict().items():
            assert torch.equal(value, best[f"encoder.{name}.{key}"]), key


def torch_file(path: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = import_module("safetensors.torch").load_file(path)
    return loaded


def test_methods_see_live_features_and_the_ones_before_tuning(root: Path) -> None:
    data, _ = data_of(root)
    method = TokenMethod()
    train_method(plan_of(method, epochs=1), data)
    for batch in method.seen:
        for side, table, rows in (
            (batch.image, data.image, batch.items),
            (batch.text, None, None),
        ):
            assert side.pooled.requires_grad
            assert side.tokens is not None
            assert side.tokens.requires_grad
            assert side.untuned is not None
            assert not side.untuned.requires_grad
            assert side.reference is side.untuned
            if table is not None and rows is not None:
                stored = torch.from_numpy(table.pooled(rows.numpy()))
                assert torch.equal(side.untuned, stored)


def test_one_tower_can_be_tuned_beside_stored_features(root: Path) -> None:
    data, encoder = data_of(root, sides=("image",))
    before = weights(encoder)
    method = TokenMethod()
    train_method(plan_of(method, epochs=1), data)
    changed = {
        key for key, value in weights(encoder).items() if not torch.equal(value, before[key])
    }
    assert {key.partition(".")[0] for key in changed} == {"image"}
    assert method.seen[0].text.untuned is None
    assert method.seen[0].text.tokens is not None
    assert not method.seen[0].text.tokens.requires_grad


def test_targets_of_cfrh_are_the_features_before_tuning() -> None:
    method = cfrh()
    heads = method.build_heads(FeatureShapes(WIDTH, WIDTH), 12)
    with torch.no_grad():
        for parameter in (*heads.image.parameters(), *heads.text.parameters()):
            parameter.zero_()  # no gradient passes through the heads, only through targets
    live = torch.randn(2, 5, WIDTH, requires_grad=True)
    still = torch.randn(2, 5, WIDTH)

    def slope(untuned: torch.Tensor | None) -> torch.Tensor:
        image, text = (
            ModalityFeatures(live[side], untuned=None if untuned is None else untuned[side])
            for side in (0, 1)
        )
        batch = Batch(image, text, None, torch.arange(5), torch.arange(5))
        loss = method.batch_loss(heads, batch, Moment(0, 1)).total
        (found,) = torch.autograd.grad(loss, live)
        return found

    assert bool(slope(None).any())
    assert not bool(slope(still).any())


def test_closed_forms_are_refused(root: Path) -> None:
    data, _ = data_of(root)
    plan = TrainingPlan(CcaSign(), replace(CcaSign.training, tune_encoder=True), 8)
    message = (
        "tune_encoder is true, but CCA + sign solves for its heads and has no gradient for an "
        "encoder: choose another method, or leave the encoder as it is"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        train_method(plan, data)


def test_texts_that_are_averaged_are_refused(root: Path) -> None:
    data, _ = data_of(root)
    message = (
        "captions is mean, but the encoder is tuned on texts, which have no mean: choose random, "
        "first or all"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        train_method(plan_of(cfrh(), captions=CaptionChoice.MEAN), data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_rate_scale": -1.0}, "encoder_rate_scale is -1.0, expected 0 or more"),
        ({"freeze_blocks": -1}, "freeze_blocks is -1, expected 0 or more"),
        ({"smallest_crop": 0.0}, "smallest_crop is 0.0, expected in (0, 1]"),
        ({"smallest_crop": 1.5}, "smallest_crop is 1.5, expected in (0, 1]"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        plan_of(cfrh(), **change)
