"""A folder that was taken for another is named for what it is, with the way out."""

import re
from pathlib import Path

import pytest

from modalhash.errors import DamagedArtifactError
from modalhash.files import read_json


@pytest.mark.parametrize(
    ("kind", "name", "held", "hint"),
    [
        (
            "index", "manifest.json", "model.json",
            "; it is a run: make an index of it with `modalhash index {folder} -o INDEX`",
        ),
        (
            "index", "manifest.json", "codes.json",
            "; it holds codes: make an index of them with `modalhash import`",
        ),
        (
            "model", "model.json", "manifest.json",
            ("; it is an index: name the run that it was made of, or {folder}/model, which holds "
             "its model"),
        ),
        ("model", "model.json", "codes.json", "; it holds codes: name the run that made them"),
        (
            "codes", "codes.json", "model.json",
            "; it is a run: write codes with `modalhash encode {folder} -o CODES`",
        ),
        ("codes", "codes.json", "else.json", ""),
    ],
)  # fmt: skip
def test_the_hint_says_what_it_is(
    tmp_path: Path, kind: str, name: str, held: str, hint: str
) -> None:
    (tmp_path / held).write_text("{}")
    message = f"{tmp_path} is no {kind} folder: it has no {name}{hint.format(folder=tmp_path)}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        read_json(tmp_path / name, kind=kind, newest_format=1)


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "photos.index").mkdir()
    (tmp_path / "photos.indes").touch()
    for asked, end in (
        ("photo.index", f"did you mean {tmp_path / 'photos.index'}?"),
        ("zebra", "check the path"),
        ("no/zebra", "check the path"),
    ):
        message = f"there is no folder {tmp_path / asked}: {end}"
        with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
            read_json(tmp_path / asked / "model.json", kind="model", newest_format=1)
