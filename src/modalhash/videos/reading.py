"""Read video files with PyAV, whose wheels carry FFmpeg: facts, key frames, frames at a time.

Times are seconds from the beginning of the file, by the timestamps of its frames, so that a
variable frame rate does no harm. A file that is cut off is read as far as it goes.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from PIL import Image

from modalhash.errors import CollectionError, Defect
from modalhash.extras import import_optional

__all__ = [
    "TimedFrame",
    "VideoFacts",
    "VideoReader",
    "open_video",
    "read_frame",
    "read_frames",
    "video_fault",
]

MOST_PIXELS: Final = 8192 * 8192
"""Pixels of a frame at most: twice the width of 8K."""
LONGER_SIDE: Final = 1024
"""Frames come back at this longer side at most; encoders look at no more."""
ALMOST: Final = 1e-3
"""Seconds by which a frame may be early."""
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class VideoFacts:
    """What a video file states of itself.

    Attributes:
        duration: in seconds; 0 if the file doesn't say.
        width: of a frame as stored, in pixels.
        height: of a frame as stored.
        codec: FFmpeg's name of the video codec.
    """

    duration: float
    width: int
    height: int
    codec: str


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame and its time.

    Attributes:
        time: in seconds from the beginning of the file.
        is_key: whether it can be decoded without other frames.
        frame: PyAV's frame.
    """

    time: float
    is_key: bool
    frame: Any

    def picture(self, longer_side: int = LONGER_SIDE) -> Image.Image:
        """Convert the frame to an upright RGB picture of square pixels.

        Args:
            longer_side: of the picture at most, in pixels; frames are never enlarged.
        """
        frame = self.frame
        ratio = float(getattr(frame, "sample_aspect_ratio", None) or 1)
        width, height = frame.width * (ratio if ratio > 1 else 1), frame.height
        scale = min(1.0, longer_side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture: Image.Image = frame.to_image(width=size[0], height=size[1])
        turn = int(frame.rotation or 0)
        return picture.rotate(turn, expand=True) if turn % 360 else picture


def video_fault(kind: str, path: Path, problem: str) -> CollectionError:
    """Make the error of a video that can't be used.

    Args:
        kind: of the defect.
        path: of the video.
        problem: what is wrong, and the way out.
    """
    return CollectionError([Defect(kind, str(path), problem)])


def load_av() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingExtraError: if it isn't installed.
    """
    return import_optional("av", extra="video", feature="reading videos")


class VideoReader:
    """An opened video file; `open_video` makes it.

    Attributes:
        path: the file.
        facts: what it states of itself.
        failure: why decoding stopped early; "" if it didn't.
    """

    def __init__(self, path: Path, container: Any, errors: tuple[type[Exception], ...]) -> None:
        self.path, self.failure = path, ""
        self._container, self._errors = container, errors
        self._stream = choose_stream(path, container)
        context = self._stream.codec_context
        if context.width * context.height > MOST_PIXELS:
            raise video_fault(
                "too-large-video",
                path,
                f"has frames of {context.width} x {context.height} pixels; make it smaller",
            )
        context.thread_type = "AUTO"
        start = container.start_time
        self._start = 0.0 if start is None else start / MICROSECONDS
        seconds = 0.0 if container.duration is None else container.duration / MICROSECONDS
        self.facts = VideoFacts(max(0.0, seconds), context.width, context.height, context.name)

    def key_frames(self, *, step: float) -> Iterator[TimedFrame]:
        """Decode the key frames from the beginning on, at least `step` seconds apart.

        Others are passed over without being decoded. Where the file is cut off or damaged, the
        frames end, and `failure` says why.
        """
        yield from self._decode("NONKEY", after=0.0, step=step)

    def frames(
        self, start: float, *, step: float = 0.0, skip: str = "DEFAULT"
    ) -> Iterator[TimedFrame]:
        """Decode frames from the last key frame before `start` on, at least `step` seconds apart.

        Args:
            start: in seconds; frames before it are yielded only by where a key frame is.
            step: 0 for every frame.
            skip: "NONREF" to pass over frames that no other needs.
        """
        yield from self._decode(skip, after=start, step=step)

    def _decode(self, skip: str, *, after: float, step: float) -> Iterator[TimedFrame]:
        stream, context = self._stream, self._stream.codec_context
        last, self.failure = float("-inf"), ""
        try:
            if after > 0:
                place = int((after + self._start) / stream.time_base)
                self._container.seek(place, stream=stream, backward=True)
            else:
                self._container.seek(int(self._start * MICROSECONDS), backward=True)
            context.flush_buffers()
            context.skip_frame = skip
            for packet in self._container.demux(stream):
                if skip == "NONKEY" and not self._is_wanted_key(packet, last, step):
                    continue
                for frame in packet.decode():
                    if frame.time is None:
                        continue
                    time = max(0.0, float(frame.time) - self._start)
                    if time - last >= step - ALMOST:
                        last = time
                        yield TimedFrame(time, bool(frame.key_frame), frame)
        except self._errors as error:
            self.failure = getattr(error, "strerror", None) or str(error)

    def _is_wanted_key(self, packet: Any, last: float, step: float) -> bool:
        """Tell whether a packet is a key frame far enough from the last one, or the end."""
        if packet.size == 0:
            return True
        if not packet.is_keyframe:
            return False
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return True
        time = float(stamp * self._stream.time_base) - self._start
        return time - last >= step - ALMOST


def choose_stream(path: Path, container: Any) -> Any:
    """Choose the video stream of a container: the first that is no cover picture.

    Raises:
        CollectionError: if there is none (no-video-stream), or none that this FFmpeg decodes
            (unknown-codec).
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        others = sorted({stream.type for stream in container.streams if stream.type != "video"})
        problem = f"has no video stream, only {' and '.join(others)}" if others else "has no stream"
        raise video_fault("no-video-stream", path, f"{problem}; leave it out")
    for stream in streams:
        if stream.codec_context is not None and stream.codec_context.width:
            return stream
    if streams[0].codec_context is None:
        problem = (
            "is encrypted, or has a video codec that FFmpeg doesn't know; convert it, to H.264 for "
            "instance"
        )
        raise video_fault("unknown-codec", path, problem)
    problem = "states no size of its frames: it is cut off or damaged; copy it again"
    raise video_fault("unreadable-video", path, problem)


def is_cover(stream: Any) -> bool:
    """Tell whether a stream is the cover picture of a piece of music."""
    return "attached_pic" in (getattr(stream.disposition, "name", None) or "").lower()


@contextmanager
def open_video(path: Path) -> Iterator[VideoReader]:
    """Open a video file.

    Raises:
        CollectionError: if it is missing (missing-video), empty (empty-video), no video file, cut
            off at its beginning or damaged (unreadable-video), without a video stream
            (no-video-stream), of a codec that FFmpeg doesn't decode (unknown-codec), or with frames
            too large (too-large-video).
        MissingExtraError: if PyAV isn't installed.
    """
    av = load_av()
    errors = (av.FFmpegError, EOFError, ValueError, OSError)
    try:
        if not path.stat().st_size:
            raise video_fault("empty-video", path, "is empty; copy it again")
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except FileNotFoundError as error:
        raise video_fault("missing-video", path, "there is no such video") from error
    except errors as error:
        if isinstance(error, CollectionError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"is no video, or is cut off or damaged ({reason}); copy it again or convert it"
        raise video_fault("unreadable-video", path, problem) from error
    with closing(container):
        try:
            yield VideoReader(path, container, errors)
        except errors as error:
            if isinstance(error, CollectionError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"can't be decoded ({reason}); convert it, to H.264 for instance"
            raise video_fault("unreadable-video", path, problem) from error


def no_frame(path: Path, failure: str) -> CollectionError:
    """Make the error of a video of which no frame can be decoded."""
    reason = f" ({failure})" if failure else ""
    problem = f"has no frame that can be decoded{reason}: it is encrypted, cut off or damaged"
    return video_fault("unreadable-video", path, f"{problem}; copy it again or convert it")


def read_frame(path: Path, time: float, *, longer_side: int = LONGER_SIDE) -> Image.Image:
    """Read the frame of a video that is shown at a time.

    Args:
        path: of the video.
        time: in seconds; later than the last frame means that one.
        longer_side: of the picture at most, in pixels.

    Returns:
        The frame as an RGB picture, upright.

    Raises:
        CollectionError: as `open_video`; if no frame can be decoded (unreadable-video).
    """
    with open_video(path) as video:
        return find_frame(video, time).picture(longer_side)


def read_frames(
    path: Path, times: list[float], *, longer_side: int = LONGER_SIDE
) -> list[Image.Image]:
    """Read several frames of a video; see `read_frame`."""
    with open_video(path) as video:
        return [find_frame(video, time).picture(longer_side) for time in times]


def find_frame(video: VideoReader, time: float) -> TimedFrame:
    """Decode the last frame that isn't after a time, or the first one.

    Raises:
        CollectionError: if none can be decoded.
    """
    shown: TimedFrame | None = None
    with closing(video.frames(time)) as frames:  # type: ignore[type-var]
        for frame in frames:
            if shown is not None and frame.time > time + ALMOST:
                break
            shown = frame
            if frame.time >= time - ALMOST:
                break
    if shown is None and time > 0:
        return find_frame(video, 0.0)
    if shown is None:
        raise no_frame(video.path, video.failure)
    return shown
