"""Write small data sets as tables in the layouts that Kaggle, Hugging Face and img2dataset use.

As in `official_layouts`, each writer fills a folder with `N_ITEMS` items and returns what follows
the source's name and a colon.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.oracles.official_layouts import (
    N_ITEMS,
    draw,
    karpathy_split,
    text_of,
    word_of,
    write_karpathy,
    write_lines,
)


def name_of(item: int) -> str:
    return f"{100 + item}_photo.jpg"


def draw_all(folder: Path) -> None:
    for item in range(N_ITEMS):
        draw(folder / name_of(item), item)


def picture_bytes(folder: Path, item: int) -> bytes:
    path = folder / "drawn.jpg"
    draw(path, item)
    content = path.read_bytes()
    path.unlink()
    return content


def write_kaggle_flickr8k(folder: Path) -> str:
    """`captions.txt` with commas and quotes, `Images/`."""
    draw_all(folder / "Images")
    with (folder / "captions.txt").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        for item in range(N_ITEMS):
            rows.writerows([name_of(item), f"{text_of(item, n)} , it is"] for n in range(2))
    return str(folder)


def write_kaggle_flickr30k(folder: Path) -> str:
    """`results.csv` with `| `, one row with a bar too few, pictures two folders down."""
    draw_all(folder / "flickr30k_images" / "flickr30k_images")
    lines = ["image_name| comment_number| comment"]
    for item in range(N_ITEMS):
        bar = "| " if item != 7 else "   "
        lines.append(f"{name_of(item)}| 0| {text_of(item)}")
        lines.append(f"{name_of(item)}| 4{bar}{text_of(item, 1)}")
    write_lines(folder / "flickr30k_images" / "results.csv", lines)
    return str(folder)


def split_folder(item: int) -> str:
    return {"train": "train", "val": "validation", "test": "test"}[karpathy_split(item)]


def write_imagefolder(folder: Path) -> str:
    """A folder a split, each with its `metadata.csv`, whose first column is `file_name`."""
    for item in range(N_ITEMS):
        own = folder / split_folder(item)
        draw(own / name_of(item), item)
        with (own / "metadata.csv").open("a") as file:
            if not file.tell():
                file.write("file_name,text,width\n")
            file.write(f'{name_of(item)},"{text_of(item)}, seen",32\n')
    return str(folder)


def write_imagefolder_jsonl(folder: Path) -> str:
    """One `metadata.jsonl` for all, pictures in folders, several texts an item, split inside."""
    lines = []
    for item in range(N_ITEMS):
        draw(folder / "pictures" / word_of(item) / name_of(item), item)
        row = {
            "text": [text_of(item), text_of(item, 1)],
            "file_name": f"pictures/{word_of(item)}/{name_of(item)}",
            "split": split_folder(item),
        }
        lines.append(json.dumps(row))
    write_lines(folder / "metadata.jsonl", lines)
    return str(folder)


def _rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [
        {
            "image": {"bytes": picture_bytes(folder, item), "path": name_of(item)},
            "caption": [text_of(item), text_of(item, 1)],
            "label": item % 3,
        }
        for item in range(N_ITEMS)
        if split_folder(item) == split
    ]


FEATURES = json.dumps(
    {"info": {"features": {"label": {"names": ["sky", "dog", "water"], "_type": "ClassLabel"}}}}
)


def _as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": FEATURES})


def write_huggingface_parquet(folder: Path) -> str:
    """`data/SPLIT-00000-of-0000N.parquet` with `{bytes, path}` and class numbers; no `id`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    for split in ("train", "validation", "test"):
        rows = _rows(folder, split)
        half = len(rows) // 2
        for part, own in enumerate((rows[:half], rows[half:])):
            file = folder / "data" / f"{split}-{part:05d}-of-00002.parquet"
            pq.write_table(_as_table(own), file, row_group_size=3)
    return str(folder)


def write_saved_to_disk(folder: Path) -> str:
    """A `DatasetDict` as `save_to_disk` leaves it: Arrow streams in a folder a split."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train", "validation", "test"]
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    for split in splits:
        table = _as_table(_rows(folder, split))
        name = "data-00000-of-00001.arrow"
        (folder / split).mkdir()
        with (
            pa.OSFile(str(folder / split / name), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as stream,
        ):
            stream.write_table(table, max_chunksize=4)
        (folder / split / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": name}]})
        )
        (folder / split / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return str(folder)


def write_coco_karpathy(folder: Path) -> str:
    """`dataset_coco.json` beside `train2014/` and `val2014/`, with `filepath` and `restval`."""
    images = []
    for item in range(N_ITEMS):
        part = "train2014" if item < 16 else "val2014"
        name = f"COCO_{part}_{item:012d}.jpg"
        draw(folder / part / name, item)
        split = karpathy_split(item)
        images.append(
            {
                "filepath": part,
                "sentids": [2 * item, 2 * item + 1],
                "filename": name,
                "imgid": item,
                "split": "restval" if split == "train" and item % 2 else split,
                "sentences": [{"tokens": [], "raw": text_of(item, n)} for n in range(2)],
                "cocoid": item,
            }
        )
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return str(folder)


def write_rsitmd(folder: Path) -> str:
    """`dataset_RSITMD.json` beside `images/*.tif`."""
    source = write_karpathy(folder, "rsitmd", "images", ".tif")
    (folder / "dataset_rsitmd.json").rename(folder / "dataset_RSITMD.json")
    return source


def write_sydney(folder: Path) -> str:
    """`dataset.json` beside `imgs/*.tif`, as the archive Sydney_captions unpacks."""
    source = write_karpathy(folder, "sydney", "imgs", ".tif")
    (folder / "dataset_sydney.json").rename(folder / "dataset.json")
    return source


def write_img2dataset_parquet(folder: Path) -> str:
    """Shards with a column `jpg`, and rows of pictures that couldn't be downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        rows = [
            {
                "url": f"http://host.example/{item}.jpg",
                "key": f"{shard:05d}{item:04d}",
                "status": "success",
                "error_message": None,
                "caption": text_of(item),
                "width": 32,
                "jpg": picture_bytes(folder, item),
            }
            for item in range(shard * N_ITEMS // 2, (shard + 1) * N_ITEMS // 2)
        ]
        lost = {"status": "failed_to_download", "error_message": "404", "jpg": None, "width": None}
        rows.insert(3, {**rows[0], **lost, "key": f"{shard:05d}9999"})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text("{}")
    return str(folder)


def write_img2dataset_files(folder: Path) -> str:
    """A folder a shard: picture, text and JSON of each key; a table of all beside the folder."""
    for item in range(N_ITEMS):
        shard, key = f"{item // 12:05d}", f"{item // 12:05d}{item % 12:04d}"
        draw(folder / shard / f"{key}.jpg", item)
        (folder / shard / f"{key}.txt").write_text(text_of(item))
        document = {"caption": text_of(item), "url": f"http://host.example/{item}", "key": key}
        (folder / shard / f"{key}.json").write_text(json.dumps({**document, "width": 32}))
    described = {"url": "http://host.example/0", "caption": "x", "status": "success"}
    rows = [{"key": "000000000", **described}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return str(folder)


def write_captioned_files(folder: Path) -> str:
    """Pictures whose Exif holds captions, one with a title too, and one without any text."""
    for item in range(N_ITEMS):
        path = folder / f"{2020 + item % 2}" / f"{item}.jpg"
        draw(path, item)
        exif = Image.Exif()
        exif[0x010E], exif[0x4746] = text_of(item), item % 6
        if item == 0:
            exif[0x9C9B] = "a title".encode("utf-16-le")
        with Image.open(path) as picture:
            picture.load()
            picture.save(path, exif=exif)
    draw(folder / "bare.jpg", N_ITEMS)
    return str(folder)


def write_laion_table(folder: Path) -> str:
    """A table whose columns have names of their own, divided by semicolons."""
    draw_all(folder / "downloaded")
    lines = ["SAMPLE_ID;URL_LOCAL;TEXT;similarity"]
    lines += [f"{item};{name_of(item)};{text_of(item)};0.3" for item in range(N_ITEMS)]
    write_lines(folder / "laion.csv", lines)
    return f"{folder / 'laion.csv'}#image=URL_LOCAL,caption=TEXT"
