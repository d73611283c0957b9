"""Encoders in ONNX files give the features of the towers that were exported."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modalhash.encoders.bert import BertTextTower
from modalhash.encoders.clip import ClipImageTower, ClipTextTower
from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.encoders.onnx_towers import OnnxImageTower, OnnxTextTower
from modalhash.encoders.vit import VitImageTower
from modalhash.errors import DamagedArtifactError
from modalhash.files import sha256_of_file
from modalhash.model_export.encoder_graphs import export_image_tower, export_text_tower
from tests.oracles.tiny_transformers import save_tiny_model

TEXTS = ["a red dog", "grey", "a " * 30, "green blue grey dog runs of the picture"]


@pytest.mark.parametrize(
    ("kind", "tower_class"), [("clip", ClipImageTower), ("deit", VitImageTower)]
)
def test_pictures_get_the_same_features(
    kind: str, tower_class: type[ClipImageTower] | type[VitImageTower], tmp_path: Path
) -> None:
    tower = tower_class(str(save_tiny_model(kind, tmp_path / kind)))
    path = tmp_path / "pictures.onnx"
    about = export_image_tower(tower, path).about
    exported = OnnxImageTower(OnnxSession(path, sha256_of_file(path)), about)
    drawn = np.random.default_rng(0).integers(0, 256, (3, 30, 40, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in drawn]
    expected = tower.encode([tower.prepare(picture) for picture in pictures]).pooled
    prepared = [exported.prepare(picture) for picture in pictures]
    np.testing.assert_allclose(exported.encode(prepared).pooled, expected, rtol=1e-4, atol=1e-5)
    assert (exported.width, exported.picture_side) == (tower.width, tower.picture_side)


@pytest.mark.parametrize(
    ("kind", "tower_class"),
    [("clip", ClipTextTower), ("roberta", BertTextTower), ("distilbert", BertTextTower)],
)
def test_texts_get_the_same_features_alone_and_together(
    kind: str, tower_class: type[ClipTextTower] | type[BertTextTower], tmp_path: Path
) -> None:
    tower = tower_class(str(save_tiny_model(kind, tmp_path / kind)))
    path, tokenizer = tmp_path / "texts.onnx", tmp_path / "tokenizer.json"
    exported_tower = export_text_tower(tower, path)
    tokenizer.write_text(exported_tower.tokenizer, encoding="utf-8")
    session = OnnxSession(path, sha256_of_file(path))
    exported = OnnxTextTower(session, exported_tower.about, tokenizer)
    expected = tower.encode(TEXTS).pooled
    together = exported.encode(TEXTS).pooled
    alone = np.concatenate([exported.encode([text]).pooled for text in TEXTS])
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)
    assert [exported.knows(text) for text in ("a dog", "zz")] == [True, False]


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.onnx"
    path.write_text("these are words")
    session = OnnxSession(path, sha256_of_file(path))
    with pytest.raises(DamagedArtifactError, match="can't be opened by onnxruntime"):
        session.load()
    with pytest.raises(DamagedArtifactError, match="its checksum isn't the one in onnx"):
        OnnxSession(path, "0" * 64).load()
    with pytest.raises(DamagedArtifactError, match="can't read"):
        OnnxSession(tmp_path / "none.onnx", "0" * 64).load()
