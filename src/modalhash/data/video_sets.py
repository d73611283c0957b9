"""Captioned videos: `msrvtt:PATH`, `msrvtt-1ka:PATH` and `msvd:PATH`.

PATH holds the videos, or their frames in the order of their names, or features of the frames::

    videos/video0.mp4               a file a video, of any suffix of a video
    frames/video0/0001.jpg ...      a folder a video
    features/video0.npy             (frames, d) or (d,) numbers, a file a video

(`TrainValVideo/` and `TestVideo/`, `YouTubeClips/` and `all/` are read as well as `videos/`)

beside the captions:

- MSR-VTT: `MSRVTT_data.json`, or `train_val_videodatainfo.json` with `test_videodatainfo.json`:
  `videos` with `video_id`, `split` and `category`, `sentences` with `video_id` and `caption`;
- MSR-VTT as "1k-A": the same beside `MSRVTT_train.9k.csv` (or `MSRVTT_train.7k.csv`), a list of
  `video_id`, and `MSRVTT_JSFUSION_test.csv` with `video_id` and the one `sentence` that is asked;
- MSVD: `AllVideoDescriptions.txt` with a video's name, a blank and a caption a line, or
  `raw-captions.pkl`, a pickled dict of a video's name to captions, each a list of words; and
  `train_list.txt`, `val_list.txt`, `test_list.txt`.

An encoder sees frames that are uniformly kept (12 by default); where one picture must do, it is the
middle frame. Of features, the mean over the frames is the pooled feature, and each frame a content
token. The splits `validate` and `val` are called `dev`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.data.collection import Modality, TokenArrays
from modalhash.data.features import collect_arrays
from modalhash.data.frames import FrameFolders, frame_names
from modalhash.data.json_files import read_json_lists
from modalhash.data.pair_lists import PairList, first_existing, missing_file
from modalhash.data.pickled_files import read_pickled_file
from modalhash.data.reading import Reading
from modalhash.data.splits import unknown_members
from modalhash.data.tables import read_table
from modalhash.data.text_lines import ascii_if_broken, clean_lines, quote_text
from modalhash.data.videos import VideoPart, VideoParts
from modalhash.errors import CollectionError, Defect
from modalhash.files import map_array
from modalhash.videos import is_video_name

__all__ = ["read_msrvtt", "read_msrvtt_1ka", "read_msvd"]

_VIDEO_FOLDERS: Final = (
    "videos", "TrainValVideo", "TestVideo", "YouTubeClips", "YouTubeClips_avi", "all", "clips",
)  # fmt: skip
_SPLITS: Final = {"train": "train", "validate": "dev", "val": "dev", "test": "test"}
_CATEGORIES: Final = (
    "music", "people", "gaming", "sports/actions", "news/events/politics", "education", "tv shows",
    "movie/comedy", "animation", "vehicles/autos", "howto", "travel", "science/technology",
    "animals/pets", "kids/family", "documentary", "food/drink", "cooking", "beauty/fashion",
    "advertisement",
)  # fmt: skip


@dataclass
class Videos:
    """What the captions' files say.

    Attributes:
        name: of the source.
        path: what was asked for.
        texts: video to its captions.
        where: video to the file (and line) that names it first.
        splits: split to its videos.
        categories: video to its category; empty if there are none.
        defects: what is wrong.
    """

    name: str
    path: Path
    texts: dict[str, list[str]] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)

    @property
    def source(self) -> str:
        """How `load_collection` finds it again."""
        return f"{self.name}:{self.path.absolute()}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted(set(self.categories.values())))


def read_msrvtt(argument: str, *, split_seed: int) -> Reading:
    """Read MSR-VTT; see `SourceReader` and the module's description."""
    videos = Videos("msrvtt", Path(argument))
    return _read_msrvtt(videos) or _collect(videos, split_seed)


def read_msrvtt_1ka(argument: str, *, split_seed: int) -> Reading:
    """Read MSR-VTT with the lists of the division "1k-A"; see the module's description."""
    videos = Videos("msrvtt-1ka", Path(argument))
    failure = _read_msrvtt(videos)
    if failure is not None:
        return failure
    train = first_existing(videos.path, ("MSRVTT_train.9k.csv", "MSRVTT_train.7k.csv"))
    test = videos.path / "MSRVTT_JSFUSION_test.csv"
    for file in (train, test):
        if not file.exists():
            return missing_file(file, "a list of the division 1k-A")
    _divide_by_lists(videos, train, test)
    return _collect(videos, split_seed)


def _divide_by_lists(videos: Videos, train: Path, test: Path) -> None:
    """Keep the videos of two lists; a test video has the one sentence that its list gives."""
    trained = _list_videos(train, ("video_id",), videos)
    tested = _list_videos(test, ("video_id", "sentence"), videos)
    videos.texts = {
        **{video: videos.texts[video] for video, _ in trained},
        **{video: [sentence] for video, sentence in tested},
    }
    videos.splits = {
        "train": [video for video, _ in trained],
        "test": [video for video, _ in tested],
    }


def _list_videos(file: Path, columns: Sequence[str], videos: Videos) -> list[tuple[str, str]]:
    """List the videos of a list that have captions, each with its sentence, or "".

    A name that the captions don't know is a defect.
    """
    table = read_table(file, columns)
    videos.defects += table.defects
    if not table.is_usable:
        return []
    listed = []
    sentences = table.columns.get("sentence") or [""] * len(table.lines)
    for row, (video, sentence) in enumerate(zip(table.columns["video_id"], sentences, strict=True)):
        if video in videos.texts:
            listed.append((video, sentence))
        else:
            problem = f"{quote_text(video)} is no video of the captions; correct the list"
            videos.defects.append(Defect("unknown-in-split", table.where(row), problem, (video,)))
    return listed


def _read_msrvtt(videos: Videos) -> Reading | None:
    """Read the captions of MSR-VTT; return what there is to report if that fails."""
    path = videos.path
    names = ("MSRVTT_data.json", "train_val_videodatainfo.json", "test_videodatainfo.json")
    files = [path / name for name in names if (path / name).exists()]
    if not files:
        return missing_file(path / names[0], f"the captions ({' or '.join(names)})")
    try:
        for file in files if files[0].name != names[0] else files[:1]:
            _read_video_json(file, videos)
    except CollectionError as error:
        return Reading(None, error.defects)
    return None


def read_msvd(argument: str, *, split_seed: int) -> Reading:
    """Read MSVD; see `SourceReader` and the module's description."""
    path = Path(argument)
    videos = Videos("msvd", path)
    file, pickled = path / "AllVideoDescriptions.txt", path / "raw-captions.pkl"
    if file.exists():
        _read_descriptions(file, videos)
    elif pickled.exists():
        try:
            _read_pickled_captions(pickled, videos)
        except CollectionError as error:
            return Reading(None, error.defects)
    else:
        expected = "the captions, a video's name and a sentence a line (or raw-captions.pkl)"
        return missing_file(file, expected)
    for part in ("train", "val", "test"):
        list_file = path / f"{part}_list.txt"
        if list_file.exists():
            names = [text.strip() for _, text in clean_lines(list_file, videos.defects)]
            videos.splits[_SPLITS[part]] = names
    return _collect(videos, split_seed)


def _read_descriptions(file: Path, videos: Videos) -> None:
    for line, text in clean_lines(file, videos.defects):
        name, _, sentence = text.strip().partition(" ")
        if name.startswith("#"):
            continue
        videos.where.setdefault(name, f"{file}:{line}")
        videos.texts.setdefault(name, []).append(sentence)


def _read_pickled_captions(file: Path, videos: Videos) -> None:
    """Read a pickled dict of a video's name to captions, as lists of words or as texts.

    Raises:
        CollectionError: if the file can't be read, or holds something else.
    """
    document = read_pickled_file(file)
    entries = document.items() if isinstance(document, dict) else ()
    for key, captions in entries:
        name = _decode_text(key)
        sentences = [_join_words(caption) for caption in captions] if _is_list(captions) else []
        if name is None or not sentences or None in sentences:
            problem = f"entry {key!r} is no list of captions, each a list of words"
            raise CollectionError([Defect("wrong-column", str(file), problem)])
        videos.where[name] = f"{file}: {name}"
        videos.texts[name] = [sentence for sentence in sentences if sentence is not None]
    if not videos.texts:
        problem = "holds no dict of a video's name to its captions"
        raise CollectionError([Defect("wrong-column", str(file), problem)])


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _decode_text(value: object) -> str | None:
    """Decode a text of a pickle; those of Python 2 are bytes. None if it is no text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value) if isinstance(value, str) else None


def _join_words(caption: Any) -> str | None:
    """Join the words of a caption; a text stays. None if it is neither."""
    if not _is_list(caption):
        return _decode_text(caption)
    words = [_decode_text(word) for word in caption]
    return None if None in words else " ".join(word for word in words if word is not None)


def _read_video_json(file: Path, videos: Videos) -> None:
    entries, sentences = read_json_lists(file, "videos", "sentences")
    try:
        for entry in entries:
            name = str(entry["video_id"])
            videos.where.setdefault(name, f"{file}: video {name}")
            videos.texts.setdefault(name, [])
            split = str(entry.get("split", "train"))
            videos.splits.setdefault(_SPLITS.get(split, split), []).append(name)
            if "category" in entry:
                number = int(entry["category"])
                known = 0 <= number < len(_CATEGORIES)
                videos.categories[name] = _CATEGORIES[number] if known else f"category {number}"
        for sentence in sentences:
            videos.texts[str(sentence["video_id"])].append(sentence["caption"])
    except KeyError as error:
        problem = f"an entry lacks or doesn't know {error.args[0]!r}"
        raise CollectionError([Defect("wrong-column", str(file), problem)]) from error


def _collect(videos: Videos, split_seed: int) -> Reading:
    if videos.defects:
        return Reading(None, tuple(videos.defects))
    frames = first_existing(videos.path, ("frames", "images"))
    features = videos.path / "features"
    if frames.is_dir():
        return _collect_frames(videos, frames, split_seed)
    if features.is_dir():
        return _collect_features(videos, features, split_seed)
    files = _list_video_files(videos.path)
    if files:
        return _collect_files(videos, files, split_seed)
    expected = (
        "a folder of frames a video; or features/, a .npy file a video; or videos/ with files"
    )
    return missing_file(frames, expected)


def _list_video_files(path: Path) -> dict[str, str]:
    """List the video files of a data set: their names without suffix, and where they are."""
    files: dict[str, str] = {}
    for folder in _VIDEO_FOLDERS:
        if (path / folder).is_dir():
            for file in sorted((path / folder).iterdir()):
                if is_video_name(file.name) and not file.name.startswith("."):
                    files.setdefault(file.stem, file.relative_to(path).as_posix())
    return files


def _collect_files(videos: Videos, files: Mapping[str, str], split_seed: int) -> Reading:
    """Make a collection whose items are whole videos in files."""
    pairs = PairList(videos.name, videos.source, videos.path, videos.labels, videos.splits)
    for video, texts in videos.texts.items():
        name = files.get(video, f"{_VIDEO_FOLDERS[0]}/{video}.mp4")
        labels = [videos.categories[video]] if video in videos.categories else []
        pairs.add(name, texts, where=videos.where[video], item=video, labels=labels)
    reading = pairs.reading(split_seed=split_seed)
    if reading.collection is None:
        return reading
    parts = [
        VideoPart(files.get(item, f"{_VIDEO_FOLDERS[0]}/{item}.mp4"))
        for item in reading.collection.item_ids
    ]
    collection = replace(reading.collection, pictures=VideoParts(videos.path, parts))
    return replace(reading, collection=collection)


def _collect_frames(videos: Videos, frames: Path, split_seed: int) -> Reading:
    pairs = PairList(videos.name, videos.source, frames, videos.labels, videos.splits)
    names: dict[str, list[str]] = {}
    for video, texts in videos.texts.items():
        folder = frames / video
        files = frame_names(folder)
        middle = files[len(files) // 2] if files else "FRAME.jpg"
        names[ascii_if_broken(video)] = [f"{video}/{file}" for file in files or [middle]]
        own = [videos.categories[video]] if video in videos.categories else []
        where = videos.where[video]
        pairs.add(f"{video}/{middle}", texts, where=where, item=video, labels=own)
    reading = pairs.reading(split_seed=split_seed)
    if reading.collection is None:
        return reading
    files_read = tuple(tuple(names[item]) for item in reading.collection.item_ids)
    collection = replace(reading.collection, pictures=FrameFolders(frames, files_read))
    return replace(reading, collection=collection)


def _collect_features(videos: Videos, features: Path, split_seed: int) -> Reading:
    """Read the features of each video's frames; videos without a file or caption are defects."""
    rows: list[NDArray[np.floating[Any]]] = []
    videos_read: list[str] = []
    defects: list[Defect] = []
    for video, texts in videos.texts.items():
        file = features / f"{video}.npy"
        problem = ""
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            problem = f"video {video!r} has no caption or an empty one, expected one at least"
        elif not file.exists():
            problem = f"video {video!r} has no file {file}; add it"
        else:
            problem = _append_frames(file, rows)
        if problem:
            defects.append(Defect("bad-video", videos.where[video], problem, (video,)))
        else:
            videos_read.append(video)
    if not videos_read:
        return Reading(None, tuple(defects) or (Defect("no-items", str(features), "has no video"),))
    known = videos.texts.keys()
    defects += unknown_members(videos.splits, known, str(videos.path))
    place = {video: number for number, video in enumerate(videos_read)}
    counts = [len(videos.texts[video]) for video in videos_read]
    arrays: dict[str, NDArray[Any]] = {
        "image": np.stack([own.mean(axis=0, dtype=np.float64) for own in rows]).astype(np.float32),
        "captions": np.array([text for video in videos_read for text in videos.texts[video]]),
        "caption_items": np.repeat(np.arange(len(videos_read)), counts),
        "item_ids": np.array(videos_read),
        "caption_ids": np.array(_number_captions(videos_read, counts)),
    }
    for split, members in videos.splits.items():
        arrays[f"split_{split}"] = np.array([place[video] for video in members if video in place])
    if labels := videos.labels:
        arrays["label_names"] = np.array(labels)
        arrays["labels"] = np.array(
            [[videos.categories.get(video) == label for label in labels] for video in videos_read]
        ).astype(np.uint8)
    arrays = {key: array for key, array in arrays.items() if array.size}
    reading = collect_arrays(
        arrays, name=videos.name, path=videos.path, source=videos.source, split_seed=split_seed
    )
    note = f"{features}: a video's pooled feature is the mean over its frames, which are its tokens"
    collection = reading.collection
    if collection is not None and not reading.defects:
        ends = np.cumsum([len(own) for own in rows], dtype=np.int64)
        tokens: dict[Modality, TokenArrays] = {"image": TokenArrays(np.concatenate(rows), ends)}
        collection = replace(collection, tokens=tokens)
    return Reading(collection, (*defects, *reading.defects), (note, *reading.notes))


def _append_frames(file: Path, rows: list[NDArray[np.floating[Any]]]) -> str:
    """Append the features of a video's frames; return what is wrong with the file instead."""
    try:
        array = map_array(file)
    except (OSError, ValueError, EOFError) as error:
        return f"{file} can't be read: {error}"
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or not array.size:
        return f"{file} is {array.dtype} {array.shape}, expected numbers (frames, d) or (d,)"
    own = np.atleast_2d(array)
    if rows and own.shape[1] != rows[0].shape[1]:
        return f"{file} is {own.shape[1]} wide, the first one {rows[0].shape[1]}"
    rows.append(own.astype(np.float16 if own.dtype == np.float16 else np.float32, copy=False))
    return ""


def _number_captions(items: Iterable[str], counts: Iterable[int]) -> list[str]:
    return [
        f"{item}#{number}"
        for item, count in zip(items, counts, strict=True)
        for number in range(count)
    ]
