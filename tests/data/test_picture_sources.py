"""Public data sets of pictures and texts, in the layouts their authors publish."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modalhash.data import check_collection, load_collection
from modalhash.errors import CollectionError
from tests.oracles.official_layouts import (
    N_ITEMS,
    draw,
    image_features,
    karpathy_split,
    msvd_name,
    nuswide_name,
    text_of,
    word_of,
    write_coco,
    write_coco_2017,
    write_flickr8k_json,
    write_flickr8k_tokens,
    write_flickr30k_json,
    write_flickr30k_tokens,
    write_iapr,
    write_lines,
    write_mirflickr,
    write_msrvtt_features,
    write_msrvtt_frames,
    write_msvd,
    write_nuswide,
    write_nuswide_21,
    write_rsicd,
    write_ucm,
)

OFFICIAL_SPLITS = {
    split: [item for item in range(N_ITEMS) if karpathy_split(item) == part]
    for split, part in (("train", "train"), ("dev", "val"), ("test", "test"))
}


def shown_labels(source: str) -> list[list[str]]:
    """Return the names of each item's labels, by a plain loop."""
    collection = load_collection(source)
    assert collection.labels is not None
    return [
        [name for name, cell in zip(collection.label_names, row, strict=True) if cell]
        for row in collection.labels
    ]


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("coco", write_coco),
        ("coco-2017", write_coco_2017),
        ("flickr30k", write_flickr30k_json),
        ("flickr30k", write_flickr30k_tokens),
        ("flickr8k", write_flickr8k_json),
        ("flickr8k", write_flickr8k_tokens),
        ("iapr", write_iapr),
        ("mirflickr-all", write_mirflickr),
        ("msrvtt", write_msrvtt_features),
        ("msrvtt", write_msrvtt_frames),
        ("msvd", write_msvd),
        ("nuswide-10", write_nuswide),
        ("nuswide-21", write_nuswide_21),
        ("rsicd", write_rsicd),
        ("ucm", write_ucm),
    ],
)
def test_the_official_layout_is_read(
    source: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    report = check_collection(f"{source}:{write(tmp_path)}")
    assert report.defects == ()
    assert report.n_items == N_ITEMS
    collection = load_collection(f"{source}:{tmp_path}", split_seed=3)
    assert collection.captions is not None
    texts = [collection.captions[row] for row in collection.caption_starts[:-1]]
    assert [text.split()[0] for text in texts] == [word_of(item) for item in range(N_ITEMS)]
    again = load_collection(collection.source, split_seed=3)
    assert again.fingerprint() == collection.fingerprint()
    assert {name: rows.tolist() for name, rows in again.splits.items()} == {
        name: rows.tolist() for name, rows in collection.splits.items()
    }


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("flickr30k", write_flickr30k_json),
        ("flickr30k", write_flickr30k_tokens),
        ("flickr8k", write_flickr8k_json),
        ("flickr8k", write_flickr8k_tokens),
        ("msrvtt", write_msrvtt_features),
        ("msrvtt", write_msrvtt_frames),
        ("msvd", write_msvd),
        ("rsicd", write_rsicd),
        ("ucm", write_ucm),
    ],
)
def test_official_splits_are_kept(
    source: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    collection = load_collection(f"{source}:{write(tmp_path)}")
    splits = {name: rows.tolist() for name, rows in collection.splits.items()}
    assert splits == OFFICIAL_SPLITS
    assert not collection.split_note.startswith("made by")


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("coco", write_coco),
        ("iapr", write_iapr),
        ("mirflickr-all", write_mirflickr),
        ("rsicd", write_rsicd),
    ],
)
def test_labels_are_those_of_the_files(
    source: str, write: Callable[[Path], str], tmp_path: Path
) -> None:
    expected = [[word_of(item)] for item in range(N_ITEMS)]
    assert shown_labels(f"{source}:{write(tmp_path)}") == expected


def test_mirflickr_keeps_photos_with_a_frequent_tag(tmp_path: Path) -> None:
    write_mirflickr(tmp_path)
    tags = tmp_path / "mirflickr" / "meta" / "tags"
    write_lines(tags / "tags1.txt", ["sky", "rare0"])  # "photo" is left with 23 pictures
    write_lines(tags / "tags2.txt", [])
    report = check_collection(f"mirflickr:{tmp_path}")
    assert (report.n_items, report.defects) == (N_ITEMS - 2, ())
    note = f"{tmp_path}: 2 labelled pictures without a tag that 20 pictures have are left out"
    assert note in report.notes
    assert check_collection(f"mirflickr-all:{tmp_path}").n_items == N_ITEMS - 1
    assert load_collection(f"mirflickr:{tmp_path}").item_ids[0] == "im3.jpg"


def test_mirflickr_numbers_from_one_are_expected(tmp_path: Path) -> None:
    write_mirflickr(tmp_path)
    file = tmp_path / "annotations" / "sky.txt"
    write_lines(file, ["0", "3"])
    [defect] = check_collection(f"mirflickr-all:{tmp_path}").defects
    assert str(defect) == f"{file}:1: holds '0', expected a picture's number, counted from 1"


def test_mirflickrs_common_tags_count_all_pictures(tmp_path: Path) -> None:
    """A tag of 20 pictures counts, though most of them have no label here."""
    write_mirflickr(tmp_path)
    tags = tmp_path / "mirflickr" / "meta" / "tags"
    for file in tags.iterdir():
        file.write_text("border\n" if file.stem in ("tags1", "tags2") else "own\n")
    common = tmp_path / "mirflickr" / "doc" / "common_tags.txt"
    write_lines(common, ["border 20", "own 19"])
    assert load_collection(f"mirflickr:{tmp_path}").item_ids == ("im1.jpg", "im2.jpg")
    write_lines(common, ["border twenty"])
    defects = check_collection(f"mirflickr:{tmp_path}").defects
    assert str(defects[0]) == (
        f"{common}:1: holds 'border twenty', expected a tag and the number of its pictures"
    )


def test_tags_of_unlabelled_pictures_are_counted_too(tmp_path: Path) -> None:
    write_mirflickr(tmp_path)
    tags = tmp_path / "mirflickr" / "meta" / "tags"
    for number in range(1, 20):  # 19 of labelled pictures, and one of a picture without a label
        (tags / f"tags{number}.txt").write_text("border\n")
    for number in range(20, N_ITEMS + 1):
        (tags / f"tags{number}.txt").write_text(f"rare{number}\n")
    (tags / "tags999.txt").write_text("border\n")
    assert load_collection(f"mirflickr:{tmp_path}").n_items == 19


def test_nuswides_texts_are_those_of_all_tags_1k(tmp_path: Path) -> None:
    write_nuswide(tmp_path)
    folder = tmp_path / "NUS_WID_Tags"
    note = "AllTags1k.txt, which programs read, isn't there: the texts come from All_Tags.txt"
    assert f"{tmp_path}: {note}" in check_collection(f"nuswide-10:{tmp_path}").notes
    names = (folder / "TagList1k.txt").read_text().split()
    rows = [
        "\t".join("01"[place in (item % 3, 3)] for place in range(len(names))) + "\t"
        for item in range(N_ITEMS)
    ]
    write_lines(folder / "AllTags1k.txt", rows)
    collection = load_collection(f"nuswide-10:{tmp_path}")
    row_of = {nuswide_name(item).replace("\\", "/"): item for item in range(N_ITEMS)}
    assert collection.captions is not None
    for name, text in zip(collection.item_ids, collection.captions, strict=True):
        assert text == f"{names[row_of[name] % 3]} {names[3]}"
    write_lines(folder / "AllTags1k.txt", ["0 2"])
    assert check_collection(f"nuswide-10:{tmp_path}").defects[0].problem == (
        f"has 2 cells, expected 0 and 1 for each of {len(names)} tags"
    )


def test_names_in_split_lists_that_are_nowhere_are_defects(tmp_path: Path) -> None:
    write_msvd(tmp_path)
    listed = (tmp_path / "test_list.txt").read_text().split()
    write_lines(tmp_path / "test_list.txt", [*listed, "elsewhere"])
    [defect] = check_collection(f"msvd:{tmp_path}").defects
    assert str(defect) == (
        f"{tmp_path}: split test: 1 names are no items of this collection: 'elsewhere'; the list "
        "and the captions must name items alike"
    )
    assert defect.items == ("elsewhere",)
    write_lines(tmp_path / "test_list.txt", ["vid1", "vid2"])
    [defect] = check_collection(f"msvd:{tmp_path}").defects
    assert (defect.items, defect.kind) == ((), "unknown-in-split")
    assert defect.problem.startswith("none of its 2 names is an item of this collection: 'vid1'")


def test_nuswide_keeps_the_most_frequent_concepts(tmp_path: Path) -> None:
    write_nuswide(tmp_path)
    collection = load_collection(f"nuswide-10:{tmp_path}")
    seldom = tuple(f"seldom{number:02d}" for number in range(7))
    assert collection.label_names == ("dog", *seldom, "sky", "water")
    assert collection.captions is not None
    assert collection.captions[0] == "sky photo"
    assert collection.item_ids[0] == "sky/0000_9000.jpg"


def test_nuswide_names_a_label_file_of_another_length(tmp_path: Path) -> None:
    write_nuswide(tmp_path)
    file = tmp_path / "Groundtruth" / "AllLabels" / "Labels_sky.txt"
    write_lines(file, ["1", "0"])
    [defect] = check_collection(f"nuswide-10:{tmp_path}").defects
    assert str(defect) == f"{file}: has 2 lines, expected 24, one a picture of the list"
    write_lines(file, ["1", "-1"])
    [defect] = check_collection(f"nuswide-10:{tmp_path}").defects
    assert str(defect) == f"{file}:2: holds '-1', expected 0 or 1"


def test_coco_of_two_years_must_be_chosen(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco_2017(tmp_path)
    [defect] = check_collection(f"coco:{tmp_path}").defects
    problem = "holds 2014 and 2017: write coco-2014:PATH or coco-2017:PATH"
    assert str(defect) == f"{tmp_path / 'annotations'}: {problem}"
    assert load_collection(f"coco-2017:{tmp_path}").item_ids[0] == "train2017/000000000001.jpg"
    parts = load_collection(f"coco-2014:{tmp_path}").splits
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 16, "dev": 8}


def test_coco_leaves_out_pictures_without_an_object(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_val2014.json"
    document = json.loads(file.read_text())
    document["annotations"].pop()
    file.write_text(json.dumps(document))
    report = check_collection(f"coco:{tmp_path}")
    assert (report.n_items, report.defects) == (N_ITEMS - 1, ())
    assert report.notes == (f"{tmp_path}: 1 pictures without object or caption are left out",)


def test_coco_without_a_key_is_named(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2014.json"
    file.write_text(json.dumps({"images": [], "objects": []}))
    expected = f"{file}: has no list of objects 'annotations'; it has 'images', 'objects'"
    with pytest.raises(CollectionError, match=f"^{re.escape(expected)}$"):
        load_collection(f"coco:{tmp_path}")


def test_iapr_reads_latin_1_and_entities(tmp_path: Path) -> None:
    collection = load_collection(f"iapr:{write_iapr(tmp_path)}")
    assert collection.captions is not None
    assert collection.captions[0] == f"{text_of(0)}; a café & more;"
    assert collection.metadata["title"][1] == "Título 1"


def test_the_flickr8k_line_about_no_picture_is_said(tmp_path: Path) -> None:
    report = check_collection(f"flickr8k:{write_flickr8k_tokens(tmp_path)}")
    file = tmp_path / "Flickr8k_text" / "Flickr8k.token.txt"
    name = "2258277193_586949ec62.jpg.1"
    assert report.notes == (f"{file}:5: {name} is no picture; left out",)


def test_a_missing_picture_is_one_defect_and_can_be_skipped(tmp_path: Path) -> None:
    source = f"flickr8k:{write_flickr8k_json(tmp_path)}"
    pictures = tmp_path / "Flicker8k_Dataset"
    (pictures / "dog_1.jpg").unlink()
    [defect] = check_collection(source).defects
    where = f"{tmp_path / 'dataset_flickr8k.json'}: images[1]"
    assert str(defect) == f"{where}: picture 'dog_1.jpg' isn't in {pictures}; add it"
    assert load_collection(source, skip_bad=True).n_items == N_ITEMS - 1


def test_no_folder_of_pictures_is_one_defect(tmp_path: Path) -> None:
    write_nuswide(tmp_path)
    (tmp_path / "Flickr").rename(tmp_path / "elsewhere")
    [defect] = check_collection(f"nuswide-10:{tmp_path}").defects
    problem = "there is no such folder, and 24 pictures should be in it"
    assert str(defect) == f"{tmp_path / 'Flickr'}: {problem}"


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("mirflickr", "annotations"),
        ("nuswide-10", "ImageList/Imagelist.txt"),
        ("coco", "annotations/instances_train2014.json"),
        ("iapr", "annotations_complete_eng"),
        ("flickr8k", "dataset_flickr8k.json"),
        ("msrvtt", "MSRVTT_data.json"),
        ("msvd", "AllVideoDescriptions.txt"),
    ],
)
def test_a_wrong_folder_is_named_by_what_it_lacks(source: str, file: str, tmp_path: Path) -> None:
    [defect] = check_collection(f"{source}:{tmp_path}").defects
    assert (defect.kind, defect.where) == ("missing-file", str(tmp_path / file))
    assert defect.problem.startswith("isn't there: the ")


def test_ragged_captions_and_empty_ones_are_named(tmp_path: Path) -> None:
    write_flickr8k_json(tmp_path)
    file = tmp_path / "dataset_flickr8k.json"
    document = json.loads(file.read_text())
    document["images"][0]["sentences"] = [{"raw": "one only"}]
    document["images"][1]["sentences"].append({"raw": " "})
    document["images"][2]["sentences"] = []
    file.write_text(json.dumps(document))
    report = check_collection(f"flickr8k:{tmp_path}")
    assert [str(defect) for defect in report.defects] == [
        f"{file}: images[1]: caption 2 of 'dog_1.jpg' is ' ', expected a text",
        f"{file}: images[2]: 'water_2.jpg' has no caption, expected at least one",
    ]
    assert load_collection(f"flickr8k:{tmp_path}", skip_bad=True).n_items == N_ITEMS - 2


def test_a_picture_outside_the_folder_or_twice_is_named(tmp_path: Path) -> None:
    write_flickr8k_json(tmp_path)
    file = tmp_path / "dataset_flickr8k.json"
    document = json.loads(file.read_text())
    document["images"][0]["filename"] = "../sky_0.jpg"
    document["images"][2]["filename"] = "dog_1.jpg"
    file.write_text(json.dumps(document))
    folder = tmp_path / "Flicker8k_Dataset"
    assert [str(defect) for defect in check_collection(f"flickr8k:{tmp_path}").defects] == [
        f"{file}: images[0]: the picture '../sky_0.jpg' isn't a name inside {folder}",
        f"{file}: images[2]: 'dog_1.jpg' is listed twice, first in {file}: images[1]",
    ]


def test_the_middle_frame_or_the_mean_stands_for_a_video(tmp_path: Path) -> None:
    framed = load_collection(f"msrvtt:{write_msrvtt_frames(tmp_path / 'a')}")
    assert framed.item_ids[1] == "video1"
    assert framed.pictures is not None
    path = framed.pictures.path(1)
    assert path == tmp_path / "a" / "frames" / "video1" / "0001.jpg"
    assert framed.label_names == ("gaming", "music", "people")
    averaged = load_collection(f"msrvtt:{write_msrvtt_features(tmp_path / 'b')}")
    np.testing.assert_allclose(averaged.features["image"], image_features(), rtol=0, atol=1e-6)
    assert averaged.captions == framed.captions


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    source = f"msvd:{write_msvd(tmp_path)}"
    frame = tmp_path / "frames" / msvd_name(0) / "0001.jpg"
    frame.unlink()
    [defect] = check_collection(source).defects
    assert defect.kind == "missing-picture"
    assert defect.items == (msvd_name(0),)
    draw(frame, 0)
    assert check_collection(source).is_sound
