"""Keep the shots that were found in a video, so that they are found once.

A file a video lies in the user's cache, and says the size and times of the video it was made for.
After a kill, the videos that were finished aren't looked at again. Of a video that can't be used it
says why, so that it isn't tried again either, until the video or PyAV changes.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from modalhash.errors import ArtifactError, CollectionError, Defect, StorageError
from modalhash.files import file_stamp, peek_json, read_json, write_json
from modalhash.machine import user_cache_folder
from modalhash.progress import Progress, automatic
from modalhash.videos.reading import load_av, video_fault
from modalhash.videos.shots import Shot, ShotSettings, VideoShots, find_shots

__all__ = ["find_shots_of_all", "read_or_find_shots"]

logger = logging.getLogger(__name__)

FOLDER: Final = "shots"
FORMAT: Final = 1
AT_ONCE: Final = 2
"""Videos that are looked at side by side; each decoder takes what cores are left."""


def read_or_find_shots(
    path: Path, settings: ShotSettings | None = None, *, cache: Path | None = None
) -> VideoShots:
    """Read the shots of a video from the cache, or find them and keep them there.

    Args:
        path: of the video.
        settings: how it is divided; by default the defaults.
        cache: the folder of all caches; by default the user's.

    Raises:
        CollectionError: as `find_shots`.
        MissingExtraError: if PyAV isn't installed.
    """
    settings = settings or ShotSettings()
    try:
        stamp = file_stamp(path)
    except OSError as error:
        raise video_fault("missing-video", path, error.strerror or str(error)) from error
    document = {"stamp": stamp, "settings": asdict(settings)}
    key = hashlib.sha256(f"{path.resolve()}\n{settings}".encode(errors="surrogateescape"))
    file = (cache or user_cache_folder()) / FOLDER / f"{key.hexdigest()[:32]}.json"
    earlier_result = read_kept(file, document) or read_failure(file, path, document)
    if isinstance(earlier_result, CollectionError):
        raise earlier_result
    if earlier_result is not None:
        return earlier_result
    try:
        shots = find_shots(path, settings)
    except CollectionError as error:
        if not isinstance(error.__cause__, OSError):  # the file's content is at fault
            keep(file, path, {**document, **describe_failure(error)})
        raise
    rows = [[shot.start, shot.end, *shot.frames] for shot in shots.shots]
    content = {"duration": shots.duration, "cut_off": shots.cut_off, "shots": rows}
    keep(file, path, {**document, **content})
    return shots


def keep(file: Path, path: Path, document: Mapping[str, Any]) -> None:
    """Keep what was found in a video; where that can't be, log it."""
    try:
        write_json(file, {"format": FORMAT, "video": path.name, **document})
    except (StorageError, OSError, UnicodeError) as error:
        logger.warning("the shots of %s can't be kept for the next time: %s", path.name, error)


def describe_failure(error: CollectionError) -> dict[str, Any]:
    """Describe why a video can't be used by the present PyAV, as JSON."""
    return {
        "reader": str(load_av().__version__),
        "defects": [[defect.kind, defect.problem] for defect in error.defects],
    }


def read_failure(file: Path, path: Path, expected: Mapping[str, Any]) -> CollectionError | None:
    """Read why a video can't be used; None if that isn't known of this state of it and PyAV."""
    document = peek_json(file)
    if document is None or "defects" not in document:
        return None
    expected = {**expected, "reader": str(load_av().__version__)}
    if any(document.get(name) != value for name, value in expected.items()):
        return None
    try:
        defects = [
            Defect(str(kind), str(path), str(problem)) for kind, problem in document["defects"]
        ]
    except (TypeError, ValueError):
        return None
    return CollectionError(defects) if defects else None


def read_kept(file: Path, expected: dict[str, Any]) -> VideoShots | None:
    """Read shots that were kept; None if there are none of this state of the video."""
    if not file.is_file():
        return None
    try:
        document = read_json(file, kind="list of shots", newest_format=FORMAT)
        if any(document.get(name) != value for name, value in expected.items()):
            return None
        shots = tuple(read_shot(row) for row in document["shots"])
        return VideoShots(float(document["duration"]), shots, str(document["cut_off"]))
    except (ArtifactError, StorageError, KeyError, TypeError, ValueError):
        return None


def read_shot(row: Sequence[float]) -> Shot:
    """Read a shot that was kept: where it begins and ends, and its frames."""
    start, end, first, *others = map(float, row)
    return Shot(start, end, (first, *others))


def find_shots_of_all(
    paths: Sequence[Path],
    settings: ShotSettings | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = automatic,
) -> Iterator[VideoShots | CollectionError]:
    """Yield the shots of each video, or the error of one that can't be used.

    Args:
        paths: of the videos.
        settings: how they are divided.
        cache: the folder of all caches; by default the user's.
        progress: told of the stage "find shots", in videos.

    Raises:
        MissingExtraError: if PyAV isn't installed.
    """
    load_av()
    progress("find shots", 0, len(paths))
    pool = ThreadPoolExecutor(AT_ONCE, "modalhash-shots")
    try:
        waiting: list[Future[VideoShots | CollectionError]] = [
            pool.submit(find_or_fail, path, settings, cache) for path in paths
        ]
        for done, future in enumerate(waiting, 1):
            yield future.result()
            progress("find shots", done, len(paths))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def find_or_fail(
    path: Path, settings: ShotSettings | None, cache: Path | None
) -> VideoShots | CollectionError:
    """Find the shots of a video; return the error of one that can't be used."""
    try:
        return read_or_find_shots(path, settings, cache=cache)
    except CollectionError as error:
        return error
