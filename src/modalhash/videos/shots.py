"""Divide a video into shots: what the camera shows without a cut.

Key frames are looked at first: encoders place them at cuts, and they are decoded quickly. Where two
key frames differ, or are far apart, frames at even times between them are looked at too. Each
frame is described by cumulative histograms of its quarters. A boundary is where the median of the
frames before differs from that of the frames after: a flash changes neither median, and of a fade
the middle differs most.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import SettingError
from modalhash.videos.reading import TimedFrame, VideoReader, no_frame, open_video

__all__ = ["Shot", "ShotSettings", "VideoShots", "describe_frame", "find_boundaries", "find_shots"]

logger = logging.getLogger(__name__)

SIDE: Final = 32
"""Frames are described at this size, in pixels."""
BINS: Final = 16
WIDTH: Final = 4 * 3 * BINS
BLOCK_ROWS: Final = 4096
WHOLE_FRAME: Final = 2.5
"""How many times as much quarters may differ as whole frames; see `compare`."""
WINDOW: Final = 3
"""Frames on either side whose median is compared."""
NEARBY: Final = 10
"""Frames on either side that tell how much frames usually differ."""
CUT_OFF_SECONDS: Final = 2.0
"""A file that ends so much earlier than it states is cut off."""
MOST_FRAMES: Final = 12
EDGE_COST, KEY_GAIN = 0.02, 0.01
"""What lying at the edge of a shot costs a frame, and being a key frame gains it, as a difference
of descriptions."""

Descriptions = NDArray[np.float32]
"""(n, d) cumulative histograms of n frames."""


@dataclass(frozen=True)
class ShotSettings:
    """How a video is divided.

    Attributes:
        shortest: seconds of a shot at least; shorter ones join a neighbour.
        longest: seconds of a shot at most; longer ones are divided evenly.
        threshold: how much the frames before and after a boundary differ at least, in [0, 1].
        contrast: how many times as much they differ at least as frames nearby usually do; a
            difference of `certain` needs no contrast.
        certain: see `contrast`.
        step: seconds between the frames that are looked at between key frames.
        unseen: seconds between two key frames that may pass unseen if both look alike.
        frames: how many frames represent a shot; the mean of their features is the moment's.

    Raises:
        SettingError: if a value is out of its range.
    """

    shortest: float = 2.0
    longest: float = 10.0
    threshold: float = 0.018
    contrast: float = 2.5
    certain: float = 0.09
    step: float = 0.5
    unseen: float = 2.0
    frames: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.shortest <= self.longest / 2:
            raise SettingError(
                f"shortest is {self.shortest} and longest {self.longest} seconds, expected above 0 "
                "and at most half the longest"
            )
        if not 0 < self.threshold <= self.certain <= 1:
            raise SettingError(
                f"threshold is {self.threshold} and certain {self.certain}, expected above 0 and "
                "at most 1, and the threshold not above `certain`"
            )
        if self.contrast < 1:
            raise SettingError(f"contrast is {self.contrast}, expected at least 1")
        if not 0 < self.step <= self.unseen:
            raise SettingError(
                f"step is {self.step} and unseen {self.unseen} seconds, expected above 0 and at "
                "most `unseen`"
            )
        if not 1 <= self.frames <= MOST_FRAMES:
            raise SettingError(f"frames is {self.frames}, expected 1 to {MOST_FRAMES}")


@dataclass(frozen=True)
class Shot:
    """One shot.

    Attributes:
        start: in seconds.
        end: in seconds, after `start`.
        frames: the times of the frames that represent it, in seconds; at least one.
    """

    start: float
    end: float
    frames: tuple[float, ...]


@dataclass(frozen=True)
class VideoShots:
    """What was found in a video.

    Attributes:
        duration: in seconds, as far as it could be read.
        shots: in their order; at least one. They meet without gaps.
        cut_off: what is missing of the file, for people; "" if nothing is.
    """

    duration: float
    shots: tuple[Shot, ...]
    cut_off: str = ""


@dataclass(frozen=True)
class Sampled:
    """Frames that were looked at, in order of their times.

    Attributes:
        times: (n,) float64, in seconds, increasing.
        descriptions: (n, 192) float32 of each frame.
        keys: (n,) bool, whether each is a key frame.
    """

    times: NDArray[np.float64]
    descriptions: Descriptions
    keys: NDArray[np.bool_]


class FrameTable:
    """Collects descriptions of frames, in any order.

    They lie in large blocks: small arrays between the decoder's buffers would keep the memory of
    these from being used again.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._keys: list[bool] = []
        self._blocks: list[NDArray[np.float16]] = []

    def __len__(self) -> int:
        return len(self._times)

    def add(self, frame: TimedFrame) -> None:
        """Describe a frame."""
        row = len(self) % BLOCK_ROWS
        if row == 0:
            self._blocks.append(np.empty((BLOCK_ROWS, WIDTH), np.float16))
        self._blocks[-1][row] = describe_frame(frame.frame)
        self._times.append(frame.time)
        self._keys.append(frame.is_key)

    def sort(self) -> Sampled:
        """Put the frames in order of their times, each time once."""
        times, places = np.unique(np.array(self._times), return_index=True)
        blocks = [np.empty((0, WIDTH), np.float16), *self._blocks]
        descriptions = np.concatenate(blocks)[: len(self)][places].astype(np.float32)
        return Sampled(times, descriptions, np.array(self._keys, np.bool_)[places])


def describe_frame(frame: Any) -> NDArray[np.float32]:
    """Describe PyAV's frame by cumulative histograms of its quarters, (192,) float32 in [0, 1]."""
    small = frame.reformat(width=SIDE, height=SIDE, format="rgb24", interpolation="AREA")
    return describe_pixels(small.to_ndarray())


def describe_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute cumulative histograms of the quarters of a picture.

    Args:
        pixels: (32, 32, 3) uint8.

    Returns:
        (192,) float32: of each quarter and each colour, the share of pixels in the darkest bins.
    """
    half = SIDE // 2
    parts = pixels.reshape(2, half, 2, half, 3).transpose(0, 2, 4, 1, 3).reshape(12, half * half)
    bins = (parts.astype(np.int64) * BINS // 256) + np.arange(12)[:, None] * BINS
    counts = np.bincount(bins.ravel(), minlength=12 * BINS).reshape(12, BINS)
    return (np.cumsum(counts, axis=1) / (half * half)).astype(np.float32).ravel()


def find_shots(path: Path, settings: ShotSettings | None = None) -> VideoShots:
    """Divide a video into shots.

    Args:
        path: of the video.
        settings: how; by default the defaults.

    Raises:
        CollectionError: as `open_video`; if no frame can be decoded.
        MissingExtraError: if PyAV isn't installed.
    """
    settings = settings or ShotSettings()
    with open_video(path) as video:
        sampled, failure = look_at(video, settings)
        if not len(sampled.times):
            raise no_frame(path, failure)
        stated = video.facts.duration
        boundaries = [
            place_cut(video, sampled, time, settings)
            for time in find_boundaries(sampled.times, sampled.descriptions, settings)
        ]
    last = float(sampled.times[-1])
    duration, cut_off = max(stated, last), ""
    typical = float(np.median(np.diff(sampled.times))) if len(sampled.times) > 1 else 0.0
    tolerated = max(CUT_OFF_SECONDS, settings.unseen, 2 * typical)
    if failure or stated > last + tolerated:
        end = last + min(typical, settings.step)
        if stated > end + tolerated:
            cut_off = f"is cut off: {end:.1f} of {stated:.1f} seconds can be read"
            duration = end
    duration = round(max(duration, last + 0.01), 2)
    edges = divide_evenly(space_out(boundaries, duration, settings), settings)
    return VideoShots(duration, tuple(make_shots(edges, sampled, settings)), cut_off)


def look_at(video: VideoReader, settings: ShotSettings) -> tuple[Sampled, str]:
    """Describe the key frames of a video, and frames at even times where these don't suffice.

    Returns:
        The frames, in order, and why decoding stopped early, or "".
    """
    table = FrameTable()
    for frame in video.key_frames(step=settings.step):
        table.add(frame)
    failure, keys = video.failure, table.sort()
    times, descriptions = keys.times, keys.descriptions
    if not len(times):
        times, descriptions = np.zeros(1), np.zeros((1, WIDTH), np.float32)
    if video.facts.duration > times[-1] + settings.step or not len(table):
        # Nothing is known of the end: its frames are looked at in any case.
        times = np.append(times, np.inf)
        descriptions = np.append(descriptions, np.full((1, WIDTH), 2, np.float32), axis=0)
    for start, stop in list_gaps(times.tolist(), descriptions, settings):
        with closing(video.frames(start, step=settings.step, skip="NONREF")) as frames:  # type: ignore[type-var]
            for frame in frames:
                if frame.time >= stop - settings.step / 2:
                    break
                if frame.time > start or not len(table):
                    table.add(frame)
        failure = failure or video.failure
    return table.sort(), failure


def list_gaps(
    times: Sequence[float], descriptions: Descriptions, settings: ShotSettings
) -> Iterator[tuple[float, float]]:
    """List the gaps between key frames in which frames must be looked at; neighbours are joined."""
    waiting: tuple[float, float] | None = None
    for (start, before), (stop, after) in pairwise(zip(times, descriptions, strict=True)):
        is_long = stop - start > settings.unseen
        is_other = float(np.abs(after - before).mean()) > settings.threshold / 2
        if stop - start <= settings.step * 1.5 or not (is_long or is_other):
            continue
        if waiting is not None and waiting[1] == start:
            waiting = (waiting[0], stop)
            continue
        if waiting is not None:
            yield waiting
        waiting = (start, stop)
    if waiting is not None:
        yield waiting


def find_boundaries(
    times: NDArray[np.float64], descriptions: Descriptions, settings: ShotSettings
) -> list[float]:
    """Find the times at which new shots begin.

    Args:
        times: (n,) of frames, in seconds, increasing.
        descriptions: (n, d) of these frames.
        settings: `shortest` and `threshold` count.

    Returns:
        Times of frames that begin a shot, increasing; the first frame isn't one of them. They are
        at least `shortest` apart, and from the first and last frame.
    """
    changes = compare_medians(descriptions)
    steps = compare(descriptions[1:], descriptions[:-1])
    # A cut gives equal medians at several places: the largest step from frame to frame decides.
    strength = changes + np.minimum(steps, changes)
    usual = settings.contrast * nearby_medians(changes)
    needed = np.minimum(np.maximum(usual, settings.threshold), settings.certain)
    chosen: list[float] = []
    for place in np.argsort(-strength, kind="stable").tolist():
        if changes[place] < needed[place]:
            continue
        time = float(times[place + 1])
        edges = [float(times[0]), float(times[-1]) + settings.step, *chosen]
        if all(abs(time - edge) >= settings.shortest for edge in edges):
            chosen.append(round(time, 2))
    return sorted(chosen)


def place_cut(
    video: VideoReader, sampled: Sampled, boundary: float, settings: ShotSettings
) -> float:
    """Find the frame with which a shot begins, among all frames since the one looked at before.

    Args:
        video: opened.
        sampled: the frames that were looked at.
        boundary: a time of `find_boundaries`.
        settings: `step` counts.

    Returns:
        A time not after `boundary`; that itself where the frame before is too far away.
    """
    place = int(np.abs(sampled.times - boundary).argmin())
    before = float(sampled.times[place - 1])
    if sampled.times[place] - before > settings.unseen:
        return boundary
    time, description = before, sampled.descriptions[place - 1]
    largest, chosen = 0.0, boundary
    with closing(video.frames(before)) as frames:  # type: ignore[type-var]
        for frame in frames:
            if frame.time > boundary + 1e-3:
                break
            if frame.time > time:
                own = describe_frame(frame.frame)
                change = float(compare(own[None], description[None])[0])
                if change > largest:
                    largest, chosen = change, frame.time
                description = own
    return round(min(chosen, boundary), 2)


def compare_medians(descriptions: Descriptions) -> NDArray[np.float64]:
    """Compare, at every place between two frames, the medians of up to three before and after.

    Returns:
        (n - 1,) float64 in [0, 1]: the mean difference of the descriptions.
    """
    changes = np.zeros(max(0, len(descriptions) - 1))
    for place in range(len(changes)):
        before = np.median(descriptions[max(0, place + 1 - WINDOW) : place + 1], axis=0)
        after = np.median(descriptions[place + 1 : place + 1 + WINDOW], axis=0)
        changes[place] = compare(after[None], before[None])[0]
    return changes


def compare(first: Descriptions, second: Descriptions) -> NDArray[np.float64]:
    """Compare descriptions of frames, pair by pair.

    Things that move from one quarter of a frame to another change the quarters, but not the frame
    as a whole: the difference is that of the quarters, and at most `WHOLE_FRAME` times that of the
    whole frames.

    Args:
        first: (n, 192).
        second: (n, 192).

    Returns:
        (n,) float64 in [0, 1].
    """
    differences = (first - second).reshape(len(first), 4, -1)
    by_quarters = np.abs(differences).mean(axis=(1, 2), dtype=np.float64)
    by_frames = np.abs(differences.mean(axis=1)).mean(axis=1, dtype=np.float64)
    smaller: NDArray[np.float64] = np.minimum(by_quarters, WHOLE_FRAME * by_frames)
    return smaller


def nearby_medians(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute, at every place, the median of the changes at up to 10 places on either side."""
    return np.array(
        [
            np.median(changes[max(0, place - NEARBY) : place + NEARBY + 1])
            for place in range(len(changes))
        ]
    )


def space_out(boundaries: Sequence[float], duration: float, settings: ShotSettings) -> list[float]:
    """List the edges of shots without boundaries that are too near to the one before or the end."""
    edges = [0.0]
    for boundary in boundaries:
        if boundary - edges[-1] >= settings.shortest <= duration - boundary:
            edges.append(boundary)
    return [*edges, duration]


def divide_evenly(edges: Sequence[float], settings: ShotSettings) -> list[float]:
    """Divide parts that are longer than the longest shot, each into equal ones."""
    divided = [edges[0]]
    for start, end in pairwise(edges):
        n_parts = max(1, int(np.ceil((end - start) / settings.longest - 1e-9)))
        divided += [
            round(start + (end - start) * part / n_parts, 2) for part in range(1, n_parts + 1)
        ]
    return divided


def make_shots(edges: Sequence[float], sampled: Sampled, settings: ShotSettings) -> Iterator[Shot]:
    """Make shots between edges, each with the frames that represent it: one of each equal part."""
    for start, end in pairwise(edges):
        parts = np.linspace(start, end, settings.frames + 1).tolist()
        chosen = {choose_frame(sampled, *part) for part in pairwise(parts)}
        yield Shot(start, end, tuple(sorted(chosen)))


def choose_frame(sampled: Sampled, start: float, end: float) -> float:
    """Choose the time of the frame that represents a part of a video.

    It is the one among those looked at that is most like the median of the part, where being a key
    frame, which is decoded quickly, counts for something, and so does lying near the middle. If no
    frame was looked at, it is the middle.
    """
    middle, reach = (start + end) / 2, (end - start) / 2
    first, last = np.searchsorted(sampled.times, [start - 1e-6, end - 1e-6]).tolist()
    if first >= last:
        return round(min(middle, float(sampled.times[-1])), 3)
    descriptions = sampled.descriptions[first:last]
    times, keys = sampled.times[first:last], sampled.keys[first:last]
    costs = np.abs(descriptions - np.median(descriptions, axis=0)).mean(axis=1)
    costs += EDGE_COST * np.abs(times - middle) / reach - KEY_GAIN * keys
    return round(float(times[costs.argmin()]), 3)
