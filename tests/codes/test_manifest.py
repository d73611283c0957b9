"""The manifest of a folder of codes, whoever wrote it."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.bridges.contents import open_source, read_code_rows
from modalhash.codes.manifest import read_codes_manifest
from modalhash.errors import DamagedArtifactError, ModalhashError
from modalhash.scoring import read_scored_codes

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "n_bits": 16,
    "bit_order": "little",
    "model_fingerprint": "a",
    "code_lengths": [16],
    "origin": {"n_bits": 16, "fingerprint": "a"},
    "image_ids": ["p", "q"],
    "text_ids": ["p#0", "q#0", "q#1"],
    "text_images": [0, 1, 1],
    "label_names": [],
}
ODD: tuple[Any, ...] = (
    None, True, -1, 2, 10**30, 1.5, "", "x", [], {}, [None], [0.0], [True], [-1], [7], [[]],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "image_codes.npy", np.array([[1, 2], [3, 4]], np.uint8))
    np.save(tmp_path / "text_codes.npy", np.array([[1, 2], [3, 4], [5, 6]], np.uint8))
    write(tmp_path, DOCUMENT)
    return tmp_path


def write(folder: Path, document: object) -> None:
    (folder / "codes.json").write_text(json.dumps(document), encoding="utf-8")


READERS: list[Callable[[Path], object]] = [
    lambda folder: read_code_rows(folder, "images"),
    lambda folder: read_code_rows(folder, "texts"),
    lambda folder: read_scored_codes(folder, "image"),
    lambda folder: read_scored_codes(folder, "text"),
    lambda folder: open_source(folder, None),
]


def test_a_manifest_is_read(folder: Path) -> None:
    assert read_codes_manifest(folder) == DOCUMENT
    owners = read_code_rows(folder, "texts").owners
    assert owners is not None
    assert list(owners) == ["p", "q", "q"]


@pytest.mark.parametrize("name", DOCUMENT)
@pytest.mark.parametrize("read", READERS)
def test_any_value_of_the_manifest_may_be_odd(
    folder: Path, name: str, read: Callable[[Path], object]
) -> None:
    for value in (*ODD, ...):
        document = {**DOCUMENT, name: value} if value is not ... else dict(DOCUMENT)
        if value is ...:
            del document[name]
        write(folder, document)
        with suppress(ModalhashError):
            read(folder)


@pytest.mark.parametrize("places", [[0, 1, -1], [0, 1, 2], [0, True, 1], [0, 1.0, 1]])
def test_a_text_of_no_picture_is_damage(folder: Path, places: list[Any]) -> None:
    write(folder, DOCUMENT | {"text_images": places})
    message = re.escape(
        f"{folder / 'codes.json'} is damaged: text_images missing or of another sort; encode again"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{message}$"):
        read_codes_manifest(folder)
