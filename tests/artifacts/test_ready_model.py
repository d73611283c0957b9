"""The ready model: codes without training, the same everywhere, reachable by name."""

import re
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import save_model
from modalhash.codes import unpack
from modalhash.errors import InputError
from tests.oracles.command_line import CommandLine
from tests.oracles.official_layouts import draw

pytestmark = pytest.mark.usefixtures("own_cache")
TEXTS = ["a dog in the snow", "a red car"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for item in range(4):
        draw(tmp_path / "photos" / "2024" / f"{item}.png", item)
    return tmp_path / "photos"


@pytest.mark.parametrize("n_bits", [64, 256])
def test_codes_are_signs_in_orthonormal_directions(n_bits: int) -> None:
    model = mh.ready_model(n_bits)
    weights = model.hasher_in_torch.text.head.state_dict()["map.weight"].numpy()
    np.testing.assert_allclose(weights @ weights.T, np.eye(n_bits), rtol=0, atol=2e-3)
    features = model.encoder.text.encode(TEXTS).pooled.astype(np.float16).astype(np.float64)
    projected = features @ weights.T.astype(np.float64)
    codes = unpack(model.encode_texts(TEXTS), n_bits)
    is_clear = np.abs(projected) > 1e-4
    np.testing.assert_array_equal(codes[is_clear], np.sign(projected)[is_clear])
    assert is_clear.mean() > 0.98
    image = model.hasher_in_torch.image.head.state_dict()["map.weight"].numpy()
    np.testing.assert_array_equal(image, weights)


def test_graded_codes_keep_the_inner_products_of_features() -> None:
    model = mh.ready_model(384)
    generator = np.random.default_rng(0)
    words = ["dog", "snow", "car", "beach", "boat", "horse", "bread", "train", "cup", "tree"]
    texts = [f"a {first} and a {second}" for first in words for second in words]
    rows = model.encoder.text.encode(texts).pooled
    # Pictures of the shared space are mixtures; mixtures of texts lie where pictures do.
    mixed = generator.dirichlet(np.full(len(texts), 0.05), 200) @ rows
    pictures = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    exact = rows @ pictures.T
    errors = {}
    for n_bits in (256, 384):
        sized = mh.ready_model(n_bits)
        signs = np.where(sized.relaxed_features(pictures, "image") >= 0, 1.0, -1.0)
        scores = sized.relaxed_features(rows, "text") @ signs.T
        errors[n_bits] = 1 - np.corrcoef(scores.ravel(), exact.ravel())[0, 1]
    assert errors[384] < 0.02
    assert errors[384] < errors[256] / 2


def test_near_texts_have_near_codes() -> None:
    model = mh.ready_model()
    dog, puppy, car = unpack(
        model.encode_texts(["a dog in the snow", "a puppy in deep snow", "a red car"]), 256
    )
    assert (dog != puppy).sum() < 64 < 96 < (dog != car).sum()


def test_the_model_is_the_same_each_time_and_after_saving(tmp_path: Path) -> None:
    model = mh.ready_model(64)
    assert mh.ready_model(64).fingerprint == model.fingerprint != mh.ready_model(256).fingerprint
    save_model(model, tmp_path / "run")
    again = mh.load_model(tmp_path / "run")
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_pictures_without_captions_are_indexed_by_name(photos: Path, tmp_path: Path) -> None:
    with mh.build_index("offline-shared", photos, output=tmp_path / "index") as index:
        assert index.model.n_bits == 256
        answer = index.search(image=photos / "2024" / "2.png", k=2)
        assert (answer.hits[0].id, answer.hits[0].distance) == ("2024/2.png", 0)
        assert len(index.search(text="a dog in the snow", k=4).hits) == 4


def test_commands_take_the_name(photos: Path, tmp_path: Path, modalhash: CommandLine) -> None:
    modalhash("index", "offline-shared:64", photos, "-o", tmp_path / "index")
    ended = modalhash("search", tmp_path / "index", "--text", "a dog", "--json")
    assert ended.code == 0
    assert "2024/" in ended.out


def test_find_needs_no_model(photos: Path, modalhash: CommandLine) -> None:
    ended = modalhash("find", photos, "a dog in the snow", "-k", "2")
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 2
    hit = mh.find(photos, image=photos / "2024" / "1.png", k=1).hits[0]
    assert hit.image == str(photos / "2024" / "1.png")


def test_other_names_and_lengths_are_refused(tmp_path: Path) -> None:
    message = re.escape(
        "there is no ready model 'offline-shared:32': name offline-shared:64, "
        "offline-shared:256 or offline-shared:384"
    )
    with pytest.raises(InputError, match=message):
        mh.build_index("offline-shared:32", "icons", output=tmp_path / "index")
    message = re.escape(
        "n_bits is 128, but ready models have 64, 256 or 384 bits: choose one of these, or learn "
        "codes from your own pictures with modalhash train"
    )
    with pytest.raises(InputError, match=message):
        mh.ready_model(128)


def test_it_must_be_told_what_to_index(tmp_path: Path) -> None:
    message = "the model doesn't say where its collection is: name the collection"
    with pytest.raises(InputError, match=re.escape(message)):
        mh.build_index("offline-shared", output=tmp_path / "index")
