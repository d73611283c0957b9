"""Codes of a shared space from pictures alone, with a tiny CLIP, against plain NumPy."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import modalhash as mh
from modalhash.codes import unpack
from modalhash.encoders import load_encoder
from modalhash.encoders.class_names import make_captions
from modalhash.errors import FeatureError, InputError, SettingError
from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import draw
from tests.oracles.tiny_transformers import save_tiny_model

pytestmark = pytest.mark.usefixtures("own_cache")
N_PICTURES, N_BITS = 12, 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{save_tiny_model('clip', tmp_path_factory.mktemp('clip'))}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for item in range(N_PICTURES):
        draw(tmp_path / "photos" / f"{item:02}.png", item)
    return tmp_path / "photos"


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return rows of length 1, in float64."""
    exact = rows.astype(np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit


def test_bits_are_signs_in_the_principal_subspace(photos: Path, clip: str) -> None:
    model = mh.train(photos, encoder=clip, n_bits=N_BITS, split="all")
    features = mh.extract_features(photos, clip)
    pictures = unit_rows(features.image.pooled(np.arange(N_PICTURES)))
    centred = pictures - pictures.mean(axis=0)
    principal = np.linalg.svd(centred)[2][:N_BITS]
    head = model.hasher_in_torch.image.head.state_dict()
    weights, bias = head["map.weight"].double().numpy(), head["map.bias"].double().numpy()
    np.testing.assert_allclose(weights @ weights.T, np.eye(N_BITS), rtol=0, atol=1e-5)
    np.testing.assert_allclose(weights.T @ weights, principal.T @ principal, rtol=0, atol=1e-4)
    np.testing.assert_allclose(bias, -weights @ pictures.mean(axis=0), rtol=0, atol=1e-6)
    projected = centred @ weights.T
    codes = unpack(model.encode_images(sorted(photos.iterdir())), N_BITS)
    is_clear = np.abs(projected) > 1e-4
    np.testing.assert_array_equal(codes[is_clear], np.sign(projected)[is_clear])


def test_texts_meet_the_same_directions_less_the_mean_of_captions(photos: Path, clip: str) -> None:
    model = mh.train(photos, encoder=clip, n_bits=N_BITS, split="all")
    image, text = (
        tower.head.state_dict()
        for tower in (model.hasher_in_torch.image, model.hasher_in_torch.text)
    )
    np.testing.assert_array_equal(text["map.weight"].numpy(), image["map.weight"].numpy())
    mean = unit_rows(load_encoder(clip).text.encode(make_captions()).pooled).mean(axis=0)
    expected = -text["map.weight"].double().numpy() @ mean
    np.testing.assert_allclose(text["map.bias"].numpy(), expected, rtol=0, atol=1e-5)


def test_the_same_seed_gives_the_same_codes(photos: Path, clip: str) -> None:
    models = [mh.train(photos, encoder=clip, n_bits=N_BITS, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (model.fingerprint for model in models)
    assert first == again != other


def test_commands_learn_index_and_search(
    photos: Path, clip: str, tmp_path: Path, modalhash: CommandLine
) -> None:
    run, index = tmp_path / "run", tmp_path / "index"
    train = ("train", photos, "--encoder", clip, "--bits", "4", "-o", run)
    assert modalhash(*train).code == 0
    assert modalhash(*train).code == 1  # the folder holds a run
    assert modalhash(*train, "--resume").code == 0
    assert modalhash("index", run, photos, "-o", index).code == 0
    ended = modalhash("search", index, "--image", photos / "03.png", "-k", "12", "--json")
    assert ended.code == 0
    assert "03.png" in ended.out
    assert mh.load_model(run).record.method == "shared-space"


def test_what_cannot_be_learned_is_refused(photos: Path, clip: str) -> None:
    with pytest.raises(SettingError, match="codes that are learned from pictures alone have no"):
        mh.train(photos, encoder=clip, settings={"epochs": 3})
    width = load_encoder(clip).image.width
    message = f"n_bits is 640, expected 1 to {width}, the width of the features"
    with pytest.raises(SettingError, match=re.escape(message)):
        mh.train(photos, encoder=clip, n_bits=640)
    one = mh.load_collection(photos).subset(np.array([0]))
    with pytest.raises(InputError, match="has 1 pictures: at least 2 are needed"):
        mh.train(one, encoder=clip, n_bits=4, split="all")


@pytest.mark.parametrize("method", ["auto", "lsh"])
def test_encoders_without_a_shared_space_need_texts(photos: Path, method: str) -> None:
    message = "or search them with the ready model, offline-shared"
    with pytest.raises(FeatureError, match=re.escape(message)):
        mh.train(photos, encoder="offline", method=method)
