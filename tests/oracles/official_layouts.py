"""Write small data sets in the exact layouts that their authors publish or pass on.

Each writer fills a folder with `N_ITEMS` items and returns what follows the source's name and a
colon. Item i shows label i % 3; its texts and features say the same, so that something can be
learnt.
"""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.oracles.drawn_videos import write_video

N_ITEMS = 24
WORDS = ("sky", "dog", "water")
"""What item i shows: WORDS[i % 3]. All three are labels of MIRFlickr and NUS-WIDE."""
_COLOURS = ((60, 120, 220), (130, 80, 30), (20, 160, 150))


def word_of(item: int) -> str:
    return WORDS[item % 3]


def text_of(item: int, number: int = 0) -> str:
    return f"{word_of(item)} number{number} item{item % 6}"


def label_matrix(n_items: int = N_ITEMS, n_labels: int = 3) -> NDArray[np.uint8]:
    labels = np.zeros((n_items, n_labels), np.uint8)
    labels[np.arange(n_items), np.arange(n_items) % 3] = 1
    return labels


def image_features(n_items: int = N_ITEMS, width: int = 6) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(size=(n_items, width)) / 4
    noise[np.arange(n_items), np.arange(n_items) % 3] += 3
    return noise.astype(np.float32)


def text_features(n_items: int = N_ITEMS, width: int = 5) -> NDArray[np.float32]:
    """Return 0/1 rows, as bags of words are: the item's word, and one more."""
    rows = np.zeros((n_items, width), np.float32)
    rows[np.arange(n_items), np.arange(n_items) % 3] = 1
    rows[np.arange(n_items), 3 + np.arange(n_items) % 2] = 1
    return rows


def draw(path: Path, item: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (32, 32), _COLOURS[item % 3])
    picture.putpixel((item % 32, 0), (255, 255, 255))
    picture.save(path)


def write_lines(path: Path, lines: list[str], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)


def write_mirflickr(folder: Path) -> str:
    """Numbers from 1; tag files of one tag a line; a file of numbers for each label."""
    labels = (
        "animals baby bird car clouds dog female flower food indoor lake male night people "
        "plant_life portrait river sea sky structures sunset transport tree water"
    )
    for label in labels.split():
        numbers = [str(item + 1) for item in range(N_ITEMS) if word_of(item) == label]
        write_lines(folder / "annotations" / f"{label}.txt", numbers)
    write_lines(folder / "annotations" / "dog_r1.txt", ["2"])
    for item in range(N_ITEMS):
        draw(folder / "mirflickr" / f"im{item + 1}.jpg", item)
        tags = [word_of(item), "photo", f"rare{item}"]
        write_lines(folder / "mirflickr" / "meta" / "tags" / f"tags{item + 1}.txt", tags)
    return str(folder)


def nuswide_name(item: int) -> str:
    return f"{word_of(item)}\\{item:04d}_{9000 + item}.jpg"


def write_nuswide(folder: Path, n_concepts: int = 10) -> str:
    """A list of pictures with backslashes; one 0/1 file a concept; tags by photo id."""
    names = [nuswide_name(item) for item in range(N_ITEMS)]
    write_lines(folder / "ImageList" / "Imagelist.txt", names)
    concepts = [*WORDS, *(f"seldom{number:02d}" for number in range(n_concepts))]
    for concept in concepts:
        shown = [concept in (word_of(item), f"seldom{item:02d}") for item in range(N_ITEMS)]
        file = folder / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt"
        write_lines(file, [str(int(one)) for one in shown])
    tags = [f"{9000 + item}      {word_of(item)} photo unknown " for item in range(N_ITEMS)]
    write_lines(folder / "NUS_WID_Tags" / "All_Tags.txt", tags)
    write_lines(folder / "NUS_WID_Tags" / "TagList1k.txt", [*WORDS, "photo"])
    for item, name in enumerate(names):
        draw(folder / "Flickr" / name.replace("\\", "/"), item)
    return str(folder)


def write_nuswide_21(folder: Path) -> str:
    return write_nuswide(folder, 21)


def coco_name(item: int, part: str) -> str:
    return f"COCO_{part}_{item:012d}.jpg" if part.endswith("2014") else f"{item:012d}.jpg"


def write_coco(folder: Path, year: str = "2014") -> str:
    """Instances and captions of two parts; category ids with gaps, as COCO's have."""
    categories = [
        {"supercategory": "thing", "id": 10 * (place + 1), "name": name}
        for place, name in enumerate(WORDS)
    ]
    for part, items in ((f"train{year}", range(16)), (f"val{year}", range(16, N_ITEMS))):
        images = [
            {"id": item + 1, "file_name": coco_name(item + 1, part), "width": 32, "height": 32}
            for item in items
        ]
        objects = [
            {"id": 100 + item, "image_id": item + 1, "category_id": 10 * (item % 3 + 1)}
            for item in items
        ]
        captions = [
            {"id": 5 * item + number, "image_id": item + 1, "caption": text_of(item, number)}
            for item in items
            for number in range(2)
        ]
        annotations = folder / "annotations"
        annotations.mkdir(parents=True, exist_ok=True)
        (annotations / f"instances_{part}.json").write_text(
            json.dumps({"images": images, "annotations": objects, "categories": categories})
        )
        (annotations / f"captions_{part}.json").write_text(
            json.dumps({"images": images, "annotations": captions})
        )
        for item in items:
            draw(folder / part / coco_name(item + 1, part), item)
    return str(folder)


def write_coco_2017(folder: Path) -> str:
    return write_coco(folder, "2017")


def write_iapr(folder: Path) -> str:
    """One .eng file a picture, Latin-1; labels.txt of picture, region and label number."""
    for item in range(N_ITEMS):
        name = f"{item // 10:02d}/{item}"
        text = (
            f"<DOC>\n<DOCNO>annotations/{name}.eng</DOCNO>\n<TITLE>Título {item}</TITLE>\n"
            f"<DESCRIPTION>{text_of(item)}; a caf\xe9 &amp; more;</DESCRIPTION>\n<NOTES></NOTES>\n"
            f"<LOCATION>Lima, Peru</LOCATION>\n<DATE>2004</DATE>\n<IMAGE>images/{name}.jpg</IMAGE>"
            "\n</DOC>"
        )
        write_lines(
            folder / "iaprtc12" / "annotations_complete_eng" / f"{name}.eng", [text], "latin-1"
        )
        draw(folder / "iaprtc12" / "images" / f"{name}.jpg", item)
    for start in range(0, N_ITEMS, 10):
        rows = [
            f"{item}\t{region}\t{item % 3 + 7}"
            for item in range(start, min(start + 10, N_ITEMS))
            for region in (1, 2)
        ]
        write_lines(folder / "saiapr_tc-12" / f"{start // 10:02d}" / "labels.txt", rows)
    names = [f"{number + 7}\t{word}" for number, word in enumerate(WORDS)]
    write_lines(folder / "saiapr_tc-12" / "wlist.txt", names)
    return str(folder)


def karpathy_split(item: int) -> str:
    return "test" if item % 6 == 5 else "val" if item % 6 == 4 else "train"


def write_karpathy(folder: Path, name: str, pictures: str, suffix: str) -> str:
    images = [
        {
            "filename": f"{word_of(item)}_{item}{suffix}",
            "imgid": item,
            "split": karpathy_split(item),
            "sentids": [2 * item, 2 * item + 1],
            "sentences": [
                {"raw": text_of(item, number), "tokens": text_of(item, number).split(),
                 "imgid": item, "sentid": 2 * item + number}
                for number in range(2)
            ],
        }
        for item in range(N_ITEMS)
    ]  # fmt: skip
    for item, image in enumerate(images):
        draw(folder / pictures / str(image["filename"]), item)
    (folder / f"dataset_{name}.json").write_text(json.dumps({"images": images, "dataset": name}))
    return str(folder)


def write_flickr8k_json(folder: Path) -> str:
    return write_karpathy(folder, "flickr8k", "Flicker8k_Dataset", ".jpg")


def write_flickr30k_json(folder: Path) -> str:
    return write_karpathy(folder, "flickr30k", "flickr30k-images", ".jpg")


def write_rsicd(folder: Path) -> str:
    for place, word in enumerate(WORDS):
        names = [f"{word}_{item}.jpg" for item in range(place, N_ITEMS, 3)]
        write_lines(folder / "txtclasses_rsicd" / f"{word}.txt", names)
    return write_karpathy(folder, "rsicd", "RSICD_images", ".jpg")


def write_ucm(folder: Path) -> str:
    return write_karpathy(folder, "ucm", "imgs", ".tif")


def write_flickr8k_tokens(folder: Path) -> str:
    """The authors' token file, with the line about no picture that theirs has."""
    names = [f"{1000 + item}_ab.jpg" for item in range(N_ITEMS)]
    rows = [
        f"{name}#{number}\t{text_of(item, number)} ."
        for item, name in enumerate(names)
        for number in range(2)
    ]
    rows.insert(4, "2258277193_586949ec62.jpg.1#0\tno picture has this name .")
    text = folder / "Flickr8k_text"
    write_lines(text / "Flickr8k.token.txt", rows)
    for part, spelling in (("train", "train"), ("dev", "val"), ("test", "test")):
        listed = [name for item, name in enumerate(names) if karpathy_split(item) == spelling]
        write_lines(text / f"Flickr_8k.{part}Images.txt", listed)
    for item, name in enumerate(names):
        draw(folder / "Flicker8k_Dataset" / name, item)
    return str(folder)


def write_flickr30k_tokens(folder: Path) -> str:
    """The token file, with lists of names that lack the suffix."""
    rows = [
        f"{1000 + item}.jpg#{number}\t{text_of(item, number)} ."
        for item in range(N_ITEMS)
        for number in range(2)
    ]
    write_lines(folder / "results_20130124.token", rows)
    for part in ("train", "val", "test"):
        listed = [str(1000 + item) for item in range(N_ITEMS) if karpathy_split(item) == part]
        write_lines(folder / f"{part}.txt", listed)
    for item in range(N_ITEMS):
        draw(folder / "flickr30k-images" / f"{1000 + item}.jpg", item)
    return str(folder)


def write_msrvtt_captions(folder: Path) -> None:
    videos = [
        {"category": item % 3, "url": "", "video_id": f"video{item}", "start time": 0.0,
         "end time": 9.0, "id": item,
         "split": karpathy_split(item).replace("val", "validate")}
        for item in range(N_ITEMS)
    ]  # fmt: skip
    sentences = [
        {"caption": text_of(item, number), "video_id": f"video{item}", "sen_id": 2 * item + number}
        for item in range(N_ITEMS)
        for number in range(2)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MSRVTT_data.json").write_text(
        json.dumps({"info": {}, "videos": videos, "sentences": sentences})
    )


def write_msrvtt_frames(folder: Path) -> str:
    write_msrvtt_captions(folder)
    for item in range(N_ITEMS):
        for frame in range(3):
            draw(folder / "frames" / f"video{item}" / f"{frame:04d}.jpg", item + (frame != 1))
    return str(folder)


def write_msrvtt_features(folder: Path) -> str:
    write_msrvtt_captions(folder)
    (folder / "features").mkdir(parents=True)
    for item, row in enumerate(image_features()):
        np.save(folder / "features" / f"video{item}.npy", np.stack([row - 1, row, row + 1]))
    return str(folder)


def write_clip(path: Path, item: int, codec: str = "libx264") -> None:
    """Write a second of video that shows the picture of an item."""
    pixels = np.full((48, 64, 3), _COLOURS[item % 3], np.uint8)
    frames = ((number / 5, pixels) for number in range(5))
    write_video(path, frames, rate=5, size=(64, 48), codec=codec)


def write_msrvtt_videos(folder: Path) -> str:
    """The captions of MSR-VTT with the videos in the two folders of the challenge."""
    write_msrvtt_captions(folder)
    for item in range(N_ITEMS):
        place = "TestVideo" if karpathy_split(item) == "test" else "TrainValVideo"
        write_clip(folder / place / f"video{item}.mp4", item)
    return str(folder)


def write_msvd_videos(folder: Path) -> str:
    """MSVD as CLIP4Clip has it: `raw-captions.pkl`, and the videos as AVI files."""
    write_msvd(folder)
    (folder / "AllVideoDescriptions.txt").unlink()
    shutil.rmtree(folder / "frames")
    captions = {
        msvd_name(item): [text_of(item, number).split() for number in range(2)]
        for item in range(N_ITEMS)
    }
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(captions))
    for item in range(N_ITEMS):
        write_clip(folder / "YouTubeClips" / f"{msvd_name(item)}.avi", item, "mpeg4")
    return str(folder)


def msvd_name(item: int) -> str:
    return f"-4wsuPCjD{item:02d}_5_15"


def write_msvd(folder: Path) -> str:
    rows = [
        "# Descriptions of the videos",
        *(
            f"{msvd_name(item)} {text_of(item, number)}"
            for item in range(N_ITEMS)
            for number in range(2)
        ),
    ]
    write_lines(folder / "AllVideoDescriptions.txt", rows)
    for part in ("train", "val", "test"):
        listed = [msvd_name(item) for item in range(N_ITEMS) if karpathy_split(item) == part]
        write_lines(folder / f"{part}_list.txt", listed)
    for item in range(N_ITEMS):
        draw(folder / "frames" / msvd_name(item) / "0001.jpg", item)
    return str(folder)
