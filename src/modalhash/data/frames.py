"""Videos as folders of frames: which of them are kept, and the pictures of a collection of videos.

Video files are another matter (`data/videos.py`). A player cuts frames, one a second for instance::

    ffmpeg -i VIDEO.mp4 -vf fps=1 videos/NAME/%05d.jpg
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data.collection import Frames, Pictures, open_for_side
from modalhash.data.pictures import PICTURE_SUFFIXES, PictureFiles

__all__ = ["FrameFolders", "choose_frames", "frame_names", "frames_of"]


def choose_frames(n_frames: int, most: int) -> NDArray[np.int64]:
    """Choose the frames to keep by number: the middles of equal parts of the video.

    Args:
        n_frames: how many there are, at least 1.
        most: how many to keep at most, at least 1.

    Example:
        >>> choose_frames(10, 3), choose_frames(2, 12)
        (array([1, 5, 8]), array([0, 1]))
    """
    if n_frames <= most:
        return np.arange(n_frames, dtype=np.int64)
    return (2 * np.arange(most, dtype=np.int64) + 1) * n_frames // (2 * most)


def frame_names(folder: Path) -> list[str]:
    """List the names of the frames in a video's folder, sorted; none if there is no folder."""
    if not folder.is_dir():
        return []
    names = (file.name for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(name for name in names if name.lower().endswith(PICTURE_SUFFIXES))


def frames_of(
    pictures: Pictures, position: int, most: int, *, side: int | None = None
) -> list[Image.Image]:
    """Open up to `most` frames of an item; of an item that is one picture, that picture.

    Args:
        pictures: of a collection.
        position: of the item.
        most: frames at most.
        side: pixels that the shorter side of each is needed with; None for all there are.
    """
    if isinstance(pictures, Frames):
        return pictures.frames(position, most, side=side)
    return [open_for_side(pictures, position, side)]


@dataclass(frozen=True)
class FrameFolders:
    """Videos that are folders of frames; as pictures, each is its middle frame.

    Attributes:
        folder: where the videos' folders are.
        names: of each item, the names of its frames relative to `folder`, at least one.
    """

    folder: Path
    names: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.absolute())

    def open(self, position: int) -> Image.Image:
        """Open the middle frame; see `Pictures.open`."""
        return self.files(self.middle(position)).open(0)

    def open_scaled(self, position: int, side: int) -> Image.Image:
        """Open the middle frame, smaller where that is quicker."""
        return self.files(self.middle(position)).open_scaled(0, side)

    def frames(self, position: int, most: int, *, side: int | None = None) -> list[Image.Image]:
        """Open up to `most` frames of a video; see `Frames.frames`."""
        names = self.names[position]
        files = self.files(*(names[place] for place in choose_frames(len(names), most)))
        return [open_for_side(files, place, side) for place in range(len(files.names))]

    def frame_paths(self, position: int) -> list[Path]:
        """List the files of all frames of a video, in their order."""
        return [self.folder / name for name in self.names[position]]

    def stamp(self, position: int) -> str:
        """Combine the names, sizes and times of all frames; see `Pictures.stamp`."""
        return self.joint(position, PictureFiles.stamp)

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of all frames and their names; see `Pictures.digest`."""
        return self.joint(position, PictureFiles.digest)

    def path(self, position: int) -> Path | None:
        """Find the file of the middle frame."""
        return self.folder / self.middle(position)

    def middle(self, position: int) -> str:
        """Find the name of a video's middle frame."""
        names = self.names[position]
        return names[len(names) // 2]

    def files(self, *names: str) -> PictureFiles:
        """Select some frames as picture files."""
        return PictureFiles(self.folder, names)

    def joint(self, position: int, describe_frame: "FrameDescription") -> str:
        """Compute a SHA-256 over the answers of `describe_frame` for every frame."""
        names, digest = self.names[position], hashlib.sha256()
        files = self.files(*names)
        for place, name in enumerate(names):
            digest.update(f"{Path(name).name} {describe_frame(files, place)}\n".encode())
        return digest.hexdigest()


class FrameDescription(Protocol):
    """What describes one frame of a video: its stamp or its digest."""

    def __call__(self, files: PictureFiles, position: int, /) -> str:
        """Describe the frame of a position."""
