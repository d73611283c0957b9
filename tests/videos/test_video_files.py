import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import CollectionError
from modalhash.videos import (
    ShotSettings,
    VideoShots,
    find_shots,
    open_video,
    read_frame,
    read_or_find_shots,
    shot_lists,
)
from tests.oracles.drawn_videos import Pixels, draw_scenes, write_scenes, write_video

av = pytest.importorskip("av")


def grey(times: list[float]) -> Iterator[tuple[float, Pixels]]:
    """Yield frames whose brightness is 10 times their number."""
    for number, time in enumerate(times):
        yield time, np.full((120, 160, 3), 10 * number, np.uint8)


def brightness(path: Path, time: float) -> int:
    return round(float(np.asarray(read_frame(path, time)).mean()) / 10)


def test_the_frame_of_a_time_is_the_last_not_after_it_at_any_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.5, 0.6, 2.0, 2.05, 5.0]  # a variable frame rate
    path = write_video(tmp_path / "a.mp4", grey(times), rate=20)
    for time, number in [(0, 0), (0.1, 1), (0.49, 1), (0.55, 2), (1.9, 3), (2.04, 4), (99, 6)]:
        assert brightness(path, time) == number, time
    with open_video(path) as video:
        assert [frame.time for frame in video.frames(0)] == pytest.approx(times)


def test_frames_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[:, :80] = 200  # the left half is bright
    turned = write_video(tmp_path / "a.mp4", [(0, pixels), (0.1, pixels)], rotation=90)
    picture = np.asarray(read_frame(turned, 0))
    assert picture.shape == (160, 120, 3)
    # Turned by 90 degrees against the clock, what was left is below.
    assert picture[-20:].mean() > 150 > 50 > picture[:20].mean()


def broken(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "text.mp4":
        path.write_bytes(b"no video at all " * 100)
    elif name == "empty.mp4":
        path.touch()
    elif name == "head.mp4":  # the table of an MP4 is at its end
        whole = write_scenes(folder / "whole.mp4", draw_scenes((4.0,)))
        path.write_bytes(whole.read_bytes()[:4000])
    elif name == "sound.mp4":
        write_sound(path)
    return path


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("text.mp4", "unreadable-video", "is no video, or is cut off or damaged"),
        ("head.mp4", "unreadable-video", "is no video, or is cut off or damaged"),
        ("empty.mp4", "empty-video", "is empty; copy it again"),
        ("sound.mp4", "no-video-stream", "has no video stream, only audio; leave it out"),
        ("none.mp4", "missing-video", "there is no such video"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, name: str, kind: str, message: str) -> None:
    path = broken(tmp_path, name)
    for read in (find_shots, lambda file: read_frame(file, 1.0)):
        with pytest.raises(CollectionError, match=re.escape(message)) as caught:
            read(path)
        (defect,) = caught.value.defects
        assert (defect.kind, defect.where) == (kind, str(path))


def test_frames_that_cannot_be_decoded_are_one_clear_defect(tmp_path: Path) -> None:
    path = write_scenes(tmp_path / "a.mp4", draw_scenes((4.0,)))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4  # as if it were encrypted
    stop = content.index(b"moov")
    content[start:stop] = np.random.default_rng(0).bytes(stop - start)
    path.write_bytes(content)
    message = "has no frame that can be decoded"
    with pytest.raises(CollectionError, match=message):
        find_shots(path)
    with pytest.raises(CollectionError, match=message):
        read_frame(path, 1.0)


def test_a_video_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    scenes = draw_scenes((4.0, 4.0, 4.0, 4.0))
    whole = write_scenes(tmp_path / "whole.mkv", scenes)
    path = tmp_path / "a.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    shots = find_shots(path)
    assert 4 <= shots.duration < 14
    assert re.fullmatch(r"is cut off: \d+\.\d of 16\.0 seconds can be read", shots.cut_off)
    assert find_shots(whole).cut_off == ""


def test_shots_are_found_once_and_again_when_the_video_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def find(path: Path, settings: Any) -> Any:
        calls.append(path)
        return find_shots(path, settings)

    monkeypatch.setattr("modalhash.videos.shot_lists.find_shots", find)
    path = write_scenes(tmp_path / "a.mp4", draw_scenes((3.0, 3.0)))
    first = read_or_find_shots(path, cache=tmp_path / "cache")
    assert read_or_find_shots(path, cache=tmp_path / "cache") == first
    assert len(calls) == 1
    write_scenes(path, draw_scenes((3.0, 3.0, 3.0)))
    assert len(read_or_find_shots(path, cache=tmp_path / "cache").shots) == 3
    (kept,) = (tmp_path / "cache" / "shots").iterdir()
    kept.write_text("damaged", encoding="utf-8")
    assert len(read_or_find_shots(path, cache=tmp_path / "cache").shots) == 3
    assert len(calls) == 3


def test_what_a_video_lacks_is_known_until_it_or_pyav_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache, looked_at = broken(tmp_path, "text.mp4"), tmp_path / "cache", []

    def note(path: Path, settings: ShotSettings) -> VideoShots:
        looked_at.append(path.name)
        return find_shots(path, settings)

    monkeypatch.setattr(shot_lists, "find_shots", note)
    messages = []
    for _ in range(3):
        with pytest.raises(CollectionError) as caught:
            read_or_find_shots(path, cache=cache)
        messages.append(str(caught.value))
    assert len(looked_at) == 1
    assert len(set(messages)) == 1
    monkeypatch.setattr(av, "__version__", "99.0.0")
    with pytest.raises(CollectionError):
        read_or_find_shots(path, cache=cache)
    assert len(looked_at) == 2
    write_scenes(path, draw_scenes((2.0, 2.0)))
    assert len(read_or_find_shots(path, cache=cache).shots) == 2
    assert len(looked_at) == 3


def test_a_video_that_may_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_scenes(tmp_path / "a.mp4", draw_scenes((2.0, 2.0)))

    def refuse(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(av, "open", refuse)
        with pytest.raises(CollectionError, match="Permission denied"):
            read_or_find_shots(path, cache=tmp_path / "cache")
    assert len(read_or_find_shots(path, cache=tmp_path / "cache").shots) == 2
