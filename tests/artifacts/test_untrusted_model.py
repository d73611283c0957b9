"""A model from somebody else: its file can neither reach a hub nor leave its folder."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from modalhash.artifacts import load_model
from modalhash.errors import DamagedArtifactError, ModelUnavailableError
from modalhash.files import sealed

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


def changed_model(scene_run: Path, place: Path, **encoder: Any) -> Path:
    """Copy a model whose file says something else of its encoder."""
    shutil.copytree(scene_run, place)
    document = json.loads((place / "model.json").read_text())
    document.pop("checksum", None)
    document["encoder"] |= encoder
    (place / "model.json").write_text(json.dumps(sealed(document)))
    return place


@pytest.mark.parametrize(
    "name", ["clip:attacker/model", "vit:attacker/model+bow", "offline+bert:a/b"]
)
def test_a_model_that_a_file_names_is_not_fetched(
    scene_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    transformers = pytest.importorskip("transformers")
    calls: list[bool] = []

    def from_pretrained(_: Any, **options: Any) -> None:
        calls.append(bool(options.get("local_files_only")))
        raise OSError("it isn't in the cache")

    for loader in ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor"):
        monkeypatch.setattr(getattr(transformers, loader), "from_pretrained", from_pretrained)
    place = changed_model(
        scene_run, tmp_path / "run", name=name, image_state={}, text_state={"words": []}
    )
    model = load_model(place)
    with pytest.raises(ModelUnavailableError, match="nothing is fetched because a file says so"):
        model.encode_texts(["a dog"])
    assert calls
    assert all(calls)


@pytest.mark.parametrize("folder", ["../../../../etc", "/etc", "encoder/../..", "link", ""])
def test_tuned_weights_lie_inside_the_model(scene_run: Path, tmp_path: Path, folder: str) -> None:
    place = changed_model(scene_run, tmp_path / "run", tuned={"image": folder})
    (place / "link").symlink_to(tmp_path)
    with pytest.raises(DamagedArtifactError, match=re.escape(str(place))):
        load_model(place).encode_texts(["a dog"])
