"""A model from somebody else: its file can neither reach a hub nor leave its folder."""

import copy
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modalhash.artifacts import load_model
from modalhash.errors import DamagedArtifactError, ModalhashError, ModelUnavailableError
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


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_fifo_in_place_of_a_file_of_a_model_does_not_hang(
    scene_run: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(scene_run, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(ModalhashError, match="is no regular file"):
        load_model(tmp_path / "run")


def values_of(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value of a document; of a list to its first."""
    parts = document.items() if isinstance(document, dict) else enumerate(document[:1])
    for name, value in parts:
        yield (*place, name)
        if isinstance(value, dict | list):
            yield from values_of(value, (*place, name))


def test_any_value_of_the_towers_may_be_odd(scene_run: Path, tmp_path: Path) -> None:
    shutil.copytree(scene_run, tmp_path / "run")
    path = tmp_path / "run" / "model.json"
    document = json.loads(path.read_text())
    for place in [("towers",), *(("towers", *rest) for rest in values_of(document["towers"]))]:
        for value in (None, True, -1, 10**6, 10**19, 1.5, "x", "", [], {}, [0], {"a": 1}):
            changed = copy.deepcopy(document)
            part = changed
            for name in place[:-1]:
                part = part[name]
            part[place[-1]] = value
            path.write_text(json.dumps(sealed(changed)))
            with suppress(ModalhashError):
                load_model(tmp_path / "run")


def test_any_value_of_the_record_may_be_odd(scene_run: Path, tmp_path: Path) -> None:
    shutil.copytree(scene_run, tmp_path / "run")
    path = tmp_path / "run" / "model.json"
    document = json.loads(path.read_text())
    odd_values: tuple[Any, ...] = (None, True, -1, 1.5, "x", [], {}, {"a": 1})
    for place in values_of(document):
        if place[0] in {"towers", "training", "settings", "results", "checksum", "format"}:
            continue
        for value in odd_values:
            changed = copy.deepcopy(document)
            part = changed
            for name in place[:-1]:
                part = part[name]
            part[place[-1]] = value
            path.write_text(json.dumps(sealed(changed)))
            with suppress(ModalhashError):
                load_model(tmp_path / "run").encode_texts(["a dog"])
