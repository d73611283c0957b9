"""Pictures whose files hold captions, as a collection."""

from pathlib import Path

from modalhash.data import check_collection, load_collection
from modalhash.data.loading import read_source
from tests.oracles.official_layouts import N_ITEMS, draw, text_of
from tests.oracles.table_layouts import write_captioned_files


def test_texts_and_metadata_come_from_the_files(tmp_path: Path) -> None:
    source = f"file-captions:{write_captioned_files(tmp_path / 'photos')}"
    collection = load_collection(source)
    assert collection.n_items == N_ITEMS
    assert sorted(collection.item_ids)[:2] == ["2020/0.jpg", "2020/10.jpg"]
    starts = collection.caption_starts
    texts = {
        item: (collection.captions or ())[starts[place] : starts[place + 1]]
        for place, item in enumerate(collection.item_ids)
    }
    assert texts["2020/0.jpg"] == (text_of(0), "a title")
    assert texts["2021/3.jpg"] == (text_of(3),)
    ratings = dict(zip(collection.item_ids, collection.metadata["rating"], strict=True))
    assert (ratings["2020/4.jpg"], ratings["2021/7.jpg"]) == (4, 1)
    assert [note for note in read_source(source).notes if "hold no caption" in note] == [
        f"{tmp_path / 'photos'}: 1 pictures hold no caption and are left out"
    ]


def test_a_folder_without_captions_has_no_items(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 0)
    [defect] = check_collection(f"file-captions:{tmp_path}").defects
    assert defect.kind == "no-items"
    [defect] = check_collection(f"file-captions:{tmp_path / 'missing'}").defects
    assert "missing" in defect.where
