"""What picture files say of themselves, in indexes: stored, filtered by, synced, or left out."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import modalhash as mh
from modalhash.api.syncing import SyncCounts
from modalhash.search import Side
from tests.data.test_file_metadata import exif_of, xmp
from tests.oracles.official_layouts import draw

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")


def draw_photo(path: Path, seed: int, caption: str | None, year: int) -> None:
    """Draw a photo with a date, a place and perhaps a caption."""
    draw(path, seed)
    base = {} if caption is None else {0x010E: caption}
    details = {0x9003: f"{year}:07:14 10:22:05"}
    place = {1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (2.0, 15.0, 0.0)}
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, exif=exif_of(base, details, place))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw_photo(folder / "a.jpg", 0, "a red circle", 2019)
    draw_photo(folder / "b.jpg", 1, None, 2020)
    draw_photo(folder / "c.jpg", 2, None, 2021)
    draw(folder / "d.jpg", 3)
    return folder


def rows_of(index: Path, side: Side = Side.IMAGES) -> dict[str, dict[str, Any]]:
    with mh.open_index(index) as opened:
        if side not in opened.sides:
            return {}
        ids = opened.sides[side].ids.tolist()
        return dict(zip(ids, map(dict, opened.sides[side].metadata(ids)), strict=True))


def test_find_filters_by_date(photos: Path, scene_run: Path, tmp_path: Path) -> None:
    def found(where: str) -> set[str]:
        answer = mh.find(photos, "a circle", model=scene_run, cache=tmp_path / "c", where=where)
        return {Path(str(hit.image)).name for hit in answer.hits}

    assert found("taken >= 2020") == {"b.jpg", "c.jpg"}
    assert found("taken in 2019-07") == {"a.jpg"}
    assert found("taken is null") == {"d.jpg"}
    assert found("latitude between 48 and 49") == {"a.jpg", "b.jpg", "c.jpg"}
    assert found('caption like "%circle"') == {"a.jpg"}


def test_find_without_metadata_keeps_another_index(
    photos: Path, scene_run: Path, tmp_path: Path
) -> None:
    for file_metadata, fields in ((False, set()), (True, {"taken", "latitude", "longitude"})):
        with mh.open_folder_index(
            photos, model=scene_run, cache=tmp_path / "c", file_metadata=file_metadata
        ) as index:
            [row] = index.sides[Side.IMAGES].metadata(["b.jpg"])
            assert {"taken", "latitude", "longitude"} & row.keys() == fields
            assert index.collection["file_metadata"] is file_metadata
    assert len(list((tmp_path / "c" / "folders").glob("photos-*/manifest.json"))) == 2


def test_captions_in_files_become_texts_of_an_index(
    photos: Path, scene_run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "index"
    mh.build_index(scene_run, photos, output=output, calibrate=False).close()
    images, texts = rows_of(output), rows_of(output, Side.TEXTS)
    assert images["a.jpg"]["caption"] == "a red circle"
    assert images["a.jpg"]["taken"] == "2019-07-14T10:22:05"
    assert images["d.jpg"]["caption"] is None
    assert {key: row["item"] for key, row in texts.items()} == {"a.jpg#0": "a.jpg"}
    with mh.open_index(output) as index:
        [hit] = index.search("a red circle", target=Side.TEXTS, k=1).hits
        assert (hit.id, hit.caption, hit.distance) == ("a.jpg#0", "a red circle", 0)


def test_sync_follows_captions_and_files_beside(
    photos: Path, scene_run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "index"
    mh.build_index(scene_run, photos, output=output, calibrate=False).close()
    mh.sync(output, photos)
    assert mh.sync(output, photos) == SyncCounts(0, 0, 0, 4)
    draw_photo(photos / "e.jpg", 5, "a blue square", 2022)
    draw_photo(photos / "a.jpg", 0, "a green star", 2018)
    (photos / "b.xmp").write_bytes(xmp('xmp:Rating="5"'))
    assert mh.sync(output, photos) == SyncCounts(1, 2, 0, 2)
    images, texts = rows_of(output), rows_of(output, Side.TEXTS)
    assert (images["b.jpg"]["rating"], images["b.jpg"]["taken"][:4]) == (5, "2020")
    captions = {key: row["caption"] for key, row in texts.items()}
    assert captions == {"a.jpg#0": "a green star", "e.jpg#0": "a blue square"}
    (photos / "b.xmp").unlink()
    (photos / "e.jpg").unlink()
    assert mh.sync(output, photos) == SyncCounts(0, 1, 1, 3)
    assert "rating" not in rows_of(output)["b.jpg"]
    assert list(rows_of(output, Side.TEXTS)) == ["a.jpg#0"]


def test_sync_and_add_do_as_the_index_does(photos: Path, scene_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "index"
    mh.build_index(scene_run, photos, output=output, calibrate=False, file_metadata=False).close()
    assert rows_of(output)["a.jpg"].keys() - {"_file"} == {"caption", "image"}
    draw_photo(photos / "e.jpg", 5, "a blue square", 2022)
    mh.sync(output, photos)
    assert "taken" not in rows_of(output)["e.jpg"]
    more = tmp_path / "more"
    draw_photo(more / "f.jpg", 6, None, 2023)
    mh.add_to_index(output, more)
    assert "taken" not in rows_of(output)["f.jpg"]
    mh.add_to_index(output, more, upsert=True, file_metadata=True)
    assert rows_of(output)["f.jpg"]["taken"] == "2023-07-14T10:22:05"


def test_a_table_goes_before_the_files(photos: Path, scene_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tabled"
    folder.mkdir()
    photos.rename(folder / "images")
    lines = ["image\tcaption\ttaken\trating"]
    lines += [
        f"{name}.jpg\tmine {name}\t{taken}\t"
        for name, taken in zip("abcd", ("1999", "", "", ""), strict=True)
    ]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    output = tmp_path / "index"
    mh.build_index(scene_run, folder, output=output, calibrate=False).close()
    images = rows_of(output)
    assert images["a.jpg"]["caption"] == "mine a"
    assert (images["a.jpg"]["taken"], images["b.jpg"]["taken"]) == (1999, "2020-07-14T10:22:05")
    assert len(rows_of(output, Side.TEXTS)) == 4
