"""Video files as items of a collection: whole videos and moments of them, beside pictures.

A moment is a shot, and its id says where it is: `films/a.mp4#t=12,17.5`, in seconds. The item of
the whole video has the file's name as its id.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from PIL import Image

from modalhash.data.collection import Positions, open_for_side
from modalhash.data.frames import choose_frames
from modalhash.data.pictures import PICTURE_SUFFIXES, PictureFiles
from modalhash.errors import StorageError
from modalhash.files import file_stamp, sha256_of_file
from modalhash.videos import is_video_name, name_moment, open_video, read_frames
from modalhash.videos.reading import video_fault

__all__ = ["POOLED_FRAMES", "VideoPart", "VideoParts", "even_times"]

POOLED_FRAMES: Final = 12
"""Frames whose mean is the whole video, where an encoder takes single pictures."""
KEPT_DIGESTS: Final = 4096
digest_lock = threading.Lock()


@dataclass(frozen=True)
class VideoPart:
    """An item that is a video, a moment of one, or a picture beside videos.

    Attributes:
        name: of the file.
        start: of a moment, in seconds; None for a whole file.
        end: of a moment, in seconds; of a whole video its duration, None if that isn't known.
        times: of the frames that represent it, in seconds; empty if they aren't chosen yet.
    """

    name: str
    start: float | None = None
    end: float | None = None
    times: tuple[float, ...] = ()

    @property
    def is_video(self) -> bool:
        """Whether it is a video or a moment of one."""
        return is_video_name(self.name)

    @property
    def is_moment(self) -> bool:
        """Whether it is a part of a video."""
        return self.start is not None

    @property
    def id(self) -> str:
        """The id of the item, which is the name of the file or of the moment."""
        if self.start is None or self.end is None:
            return self.name
        return name_moment(self.name, self.start, self.end)


@dataclass(frozen=True)
class VideoParts:
    """Videos and their moments, and pictures beside them; see `Frames`.

    Attributes:
        folder: where the files are.
        parts: in item order.
    """

    folder: Path
    parts: Sequence[VideoPart]

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.absolute())

    def select(self, positions: Positions) -> "VideoParts":
        """Select some items, in the order given."""
        return VideoParts(self.folder, tuple(self.parts[place] for place in positions.tolist()))

    def span(self, position: int) -> tuple[float, float] | None:
        """Look up where a moment begins and ends, in seconds; None for a whole file."""
        part = self.parts[position]
        return None if part.start is None or part.end is None else (part.start, part.end)

    def pooled_frames(self, position: int, *, side: int | None = None) -> list[Image.Image]:
        """Open the frames whose mean an item is, where an encoder takes single pictures.

        Of a picture it is one, and of a moment as many as represent it.
        """
        part = self.parts[position]
        most = max(1, len(part.times)) if part.is_moment else POOLED_FRAMES
        return self.frames(position, most, side=side)

    def open(self, position: int) -> Image.Image:
        """Open the frame that represents an item; see `Pictures.open`."""
        return self.frames(position, 1)[0]

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open what represents an item; see `ScalablePictures.open_scaled`."""
        return self.frames(position, 1, side=side)[0]

    def frames(self, position: int, most: int, *, side: int | None = None) -> list[Image.Image]:
        """Open up to `most` frames of a video or moment; see `Frames.frames`.

        Several frames of a moment are those at the middles of equal parts of it. Frames are at most
        1024 pixels wide or high, whatever `side` is.
        """
        part = self.parts[position]
        if not part.is_video:
            return [open_for_side(PictureFiles(self.folder, (part.name,)), 0, side)]
        path = self.folder / part.name
        if part.times and (most <= len(part.times) or not part.is_moment):
            chosen = choose_frames(len(part.times), most)
            return read_frames(path, [part.times[place] for place in chosen])
        start, end = part.start or 0.0, part.end
        if end is None:
            with open_video(path) as video:
                end = video.facts.duration
        return read_frames(path, even_times(start, end, most))

    def frame_paths(self, position: int) -> list[Path]:
        """Name what `read_picture` opens of an item, which is one frame of a video."""
        return [self.folder / self.parts[position].id]

    def stamp(self, position: int) -> str:
        """Combine the size and times of the file with the part that is meant."""
        part = self.parts[position]
        return f"{self.file_stamp(part)}{self.suffix(part)}"

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of the file and the part that is meant; see `Pictures.digest`."""
        part = self.parts[position]
        path = self.folder / part.name
        with digest_lock:
            digest = digest_of_file(str(path), self.file_stamp(part))
        suffix = self.suffix(part)
        return hashlib.sha256(f"{digest}{suffix}".encode()).hexdigest() if suffix else digest

    def path(self, position: int) -> Path:
        """Give the file of a video or picture."""
        return self.folder / self.parts[position].name

    def file_stamp(self, part: VideoPart) -> str:
        """Combine the size and times of the file of an item.

        Raises:
            CollectionError: if it is gone.
        """
        path = self.folder / part.name
        try:
            return file_stamp(path)
        except OSError as error:
            raise video_fault("missing-video", path, error.strerror or str(error)) from error

    @staticmethod
    def suffix(part: VideoPart) -> str:
        """Write which frames represent a part; nothing for a picture."""
        if not part.is_video:
            return ""
        return f" {part.id} {' '.join(f'{time:g}' for time in part.times)}"

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """Of each item, the position of its whole video; its own for others and where it lacks."""
        whole = {part.name: place for place, part in enumerate(self.parts) if not part.is_moment}
        return tuple(
            whole.get(part.name, place) if part.is_moment else place
            for place, part in enumerate(self.parts)
        )


@lru_cache(KEPT_DIGESTS)
def digest_of_file(path: str, stamp: str) -> str:  # noqa: ARG001 - a key of the cache
    """Compute the SHA-256 of a file of some size and times; all moments of a video share it.

    Raises:
        CollectionError: if it can't be read.
    """
    try:
        return sha256_of_file(Path(path))
    except StorageError as error:
        kind = "picture" if path.lower().endswith(PICTURE_SUFFIXES) else "video"
        raise video_fault(f"unreadable-{kind}", Path(path), str(error)) from error


def even_times(start: float, end: float, most: int) -> list[float]:
    """List the middles of equal parts of a time, in seconds.

    Example:
        >>> even_times(10, 14, 2)
        [11.0, 13.0]
    """
    return [start + (end - start) * (2 * place + 1) / (2 * most) for place in range(most)]
