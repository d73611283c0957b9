"""Videos that tests draw: scenes of known texts at known times, encoded with PyAV."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data import load_collection

__all__ = ["DrawnScene", "cut_scenes", "draw_scenes", "write_scenes", "write_video"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnScene:
    """A scene of a video.

    Attributes:
        start: in seconds.
        end: in seconds.
        text: what it shows.
        picture: how it looks.
    """

    start: float
    end: float
    text: str
    picture: Image.Image


def draw_scenes(seconds: Sequence[float], *, first: int = 0) -> list[DrawnScene]:
    """Draw scenes of given lengths, each another picture of the collection `scenes`."""
    collection = load_collection(f"scenes:{first + len(seconds)}")
    assert collection.pictures is not None
    assert collection.captions is not None
    scenes, start = [], 0.0
    for place, length in enumerate(seconds, first):
        text = collection.captions[int(collection.caption_starts[place])]
        picture = collection.pictures.open(place)
        scenes.append(DrawnScene(start, start + length, text, picture))
        start += length
    return scenes


def write_video(
    path: Path,
    frames: Iterable[tuple[float, Pixels]],
    *,
    rate: int = 10,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    rotation: int = 0,
    **options: str,
) -> Path:
    """Encode frames, (height, width, 3) uint8 each with its time in seconds, to a file."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options={**options})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for time, pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_scenes(
    scenes: Sequence[DrawnScene],
    *,
    rate: int = 10,
    size: tuple[int, int] = (160, 120),
    fade: float = 0,
) -> Iterator[tuple[float, Pixels]]:
    """Yield the frames of scenes, which slide slowly, with hard cuts or fades of some seconds."""
    wide = [
        np.asarray(scene.picture.resize((size[0] + 16, size[1]))).astype(np.float64)
        for scene in scenes
    ]
    n_frames = round(scenes[-1].end * rate)
    ends = np.array([scene.end for scene in scenes])
    for number in range(n_frames):
        time = number / rate
        place = int(np.searchsorted(ends, time, side="right"))
        shift = number * 4 // (rate * 4) % 16
        pixels = wide[place][:, shift : shift + size[0]]
        left = scenes[place].end - time
        if fade and place + 1 < len(scenes) and left < fade:
            other = wide[place + 1][:, shift : shift + size[0]]
            pixels = pixels * (left / fade) + other * (1 - left / fade)
        yield time, pixels.astype(np.uint8)


def write_scenes(
    path: Path, scenes: Sequence[DrawnScene], *, rate: int = 10, fade: float = 0, **options: Any
) -> Path:
    """Write scenes as a video."""
    size = options.get("size", (160, 120))
    return write_video(
        path, cut_scenes(scenes, rate=rate, size=size, fade=fade), rate=rate, **options
    )
