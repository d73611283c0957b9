"""The text side for sentence-transformers: its own modules give our codes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import modalhash as mh
from modalhash.errors import InputError
from modalhash.layers import FeatureScaling, KernelHead, LinearHead, NormalisedHead, ScalingRule
from modalhash.layers.hash_heads import GeluHead, HashHead, MlpHead
from modalhash.layers.kernel_head import BitMap
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.methods.hasher import HashTower
from modalhash.model_export.dense_layers import DenseLayers, add_tower
from tests.conftest import SCENES
from tests.oracles.command_line import CommandLine
from tests.oracles.method_cases import QUICK
from tests.oracles.tiny_transformers import save_tiny_model

WIDTH = 40
TEXTS = ["a red dog", "the blue picture", "green dog runs", "grey"]
pytestmark = pytest.mark.usefixtures("own_cache")


def random_tower(rule: ScalingRule, head: HashHead) -> HashTower:
    """Return a tower with random weights and statistics, in float64."""
    made = HashTower(FeatureScaling(rule, WIDTH), head).eval().double()
    generator = torch.Generator().manual_seed(3)
    for name, values in made.state_dict().items():
        if not values.is_floating_point():
            continue
        drawn = torch.randn(values.shape, generator=generator).double()
        if name.endswith(("running_var", "scaling.scale")):
            values.copy_(drawn.abs() + 0.5)
        elif name.endswith("landmarks"):
            values.copy_(nn.functional.normalize(drawn, dim=1))
        else:
            values.copy_(drawn / max(1, values.shape[-1]) ** 0.5)
    return made


def run_modules(modules: list[nn.Module], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Run modules of sentence-transformers on sentence embeddings, in float64."""
    features = {"sentence_embedding": torch.from_numpy(rows)}
    with torch.no_grad():
        for module in modules:
            features = module.double()(features)
    return features["sentence_embedding"].numpy()


@pytest.mark.parametrize(
    ("rule", "head"),
    [
        (ScalingRule.STANDARDISED, LinearHead(WIDTH, 9)),
        (ScalingRule.NONE, MlpHead((WIDTH, 30, 20, 9))),
        (ScalingRule.UNIT, GeluHead((WIDTH, 30, 9))),
        (ScalingRule.CENTRED_UNIT, NormalisedHead((WIDTH, 24, 16, 9))),
        (ScalingRule.CENTRED_UNIT, KernelHead(WIDTH, 60, 0.7, BitMap(20, 6, 9))),
        (ScalingRule.UNIT, KernelHead(WIDTH, 60, 1.5, BitMap(20, 0, 9))),
    ],
    ids=["linear", "mlp", "gelu", "normalised", "kernel", "kernel without hidden layer"],
)
def test_layers_are_the_very_function(rule: ScalingRule, head: HashHead) -> None:
    """In float64 both agree to its rounding: nothing is approximated."""
    tower = random_tower(rule, head)
    rows = np.random.default_rng(0).standard_normal((50, WIDTH))
    layers = DenseLayers(WIDTH)
    add_tower(layers, tower)
    with torch.no_grad():
        expected = tower(ModalityFeatures(torch.from_numpy(rows))).numpy()
    # Weights are kept as float32, so that they differ by 6e-8 of themselves.
    np.testing.assert_allclose(run_modules(layers.modules, rows), expected, rtol=1e-4, atol=1e-5)


def test_a_kernel_regression_of_rows_of_any_length_is_refused() -> None:
    tower = random_tower(ScalingRule.NONE, KernelHead(WIDTH, 60, 0.7, BitMap(20, 6, 9)))
    message = "can't write a KernelHead: it writes linear maps, hidden layers and kernel"
    with pytest.raises(InputError, match=message):
        add_tower(DenseLayers(WIDTH), tower)


@pytest.fixture(scope="module")
def bert_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """A nested model of 32 bits on a tiny CLIP and a tiny BERT."""
    folder = tmp_path_factory.mktemp("bert")
    for kind in ("clip", "bert"):
        save_tiny_model(kind, folder / kind)
    mh.train(
        SCENES, output=folder / "run", method="nested", n_bits=32, cache=session_cache,
        encoder=f"clip:{folder / 'clip'}+bert:{folder / 'bert'}", settings=QUICK["nested"],
    )  # fmt: skip
    return folder / "run"


def test_the_library_gives_our_codes_and_their_prefixes(
    bert_run: Path, tmp_path: Path, modalhash: CommandLine
) -> None:
    library = pytest.importorskip("sentence_transformers")
    place = tmp_path / "texts"
    ended = modalhash("export", bert_run, "--format", "sentence-transformers", "-o", place)
    assert ended.code == 0, ended.err
    assert "text side of 32 bits for sentence-transformers" in ended.out
    model = mh.load_model(bert_run)
    theirs = library.SentenceTransformer(str(place), device="cpu", local_files_only=True)
    codes = theirs.encode(TEXTS, precision="ubinary")
    # Features that aren't rounded to float16 first, as the library doesn't.
    relaxed = model.hasher.text.relaxed(model.encoder.text.encode(TEXTS).pooled)
    np.testing.assert_array_equal(codes, np.packbits(relaxed > 0, axis=1))
    different = codes ^ model.encode_texts(TEXTS, bit_order="big")
    assert int(np.bitwise_count(different).sum()) <= 3
    short = theirs.encode(TEXTS, precision="ubinary", truncate_dim=16)
    np.testing.assert_array_equal(short, codes[:, :2])
    different = short ^ model.shortened(16).encode_texts(TEXTS, bit_order="big")
    assert int(np.bitwise_count(different).sum()) <= 3

    document = json.loads((place / "codes_export.json").read_text())
    assert document["bit_order"] == "big"
    assert document["code_lengths"] == [16, 32]
    assert document["model_fingerprint"] == model.fingerprint
    assert document["compared"]["bits"] == 200 * 32
    assert document["compared"]["bits_different"] <= 0.01 * 200 * 32
    types = [entry["type"] for entry in json.loads((place / "modules.json").read_text())]
    assert all(name.startswith("sentence_transformers.") for name in types)
    ended = modalhash("export", bert_run, "--format", "sentence-transformers", "-o", place)
    assert "exists already: replace it with --overwrite" in ended.err


def test_encoders_without_modules_are_refused(
    scene_run: Path, tmp_path: Path, tiny_encoder: None
) -> None:
    message = "can't write an encoder of the class TinyTextTower: it writes offline"
    with pytest.raises(InputError, match=re.escape(message)):
        mh.export_sentence_model(scene_run, tmp_path / "texts")


@pytest.mark.slow
def test_the_ready_model_in_the_library(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = mh.ready_model(64)
    mh.export_sentence_model(model, tmp_path / "texts")
    theirs = library.SentenceTransformer(str(tmp_path / "texts"), device="cpu")
    texts = ["a dog in the snow", "two children on the beach", "a red car next to a house"]
    codes = theirs.encode(texts, precision="ubinary", truncate_dim=64)
    np.testing.assert_array_equal(codes, model.encode_texts(texts, bit_order="big"))
