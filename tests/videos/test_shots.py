import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalhash.errors import SettingError
from modalhash.videos import ShotSettings, VideoShots, find_boundaries, find_shots
from modalhash.videos.shots import compare, describe_pixels, divide_evenly
from tests.oracles.drawn_videos import Pixels, cut_scenes, draw_scenes, write_scenes, write_video

pytest.importorskip("av")

SECONDS = (4.2, 3.1, 5.0, 2.6, 6.3, 3.9)
"""Of scenes; each is shorter than the longest shot, so that all boundaries are cuts."""


def flashing(frames: Iterable[tuple[float, Pixels]]) -> Iterator[tuple[float, Pixels]]:
    """Make two frames white, of every 25."""
    for number, (time, pixels) in enumerate(frames):
        yield time, np.full_like(pixels, 255) if number % 25 in (11, 12) else pixels


def starts(shots: VideoShots) -> list[float]:
    return [shot.start for shot in shots.shots[1:]]


@pytest.mark.parametrize(
    ("fade", "options"),
    [
        (0, {}),  # x264 puts key frames at cuts
        (0, {"sc_threshold": "0", "g": "100"}),  # a key frame every ten seconds
        (0.8, {}),
    ],
)
def test_every_cut_and_fade_is_found_and_nothing_else(
    tmp_path: Path, fade: float, options: dict[str, Any]
) -> None:
    scenes = draw_scenes(SECONDS)
    shots = find_shots(write_scenes(tmp_path / "a.mp4", scenes, fade=fade, **options))
    expected = [scene.start - fade / 2 for scene in scenes[1:]]
    assert len(starts(shots)) == len(expected)
    tolerance = 0.21 + fade / 2
    np.testing.assert_allclose(starts(shots), expected, rtol=0, atol=tolerance)
    assert not shots.cut_off
    assert abs(shots.duration - sum(SECONDS)) <= 0.2
    assert shots.shots[0].start == 0
    assert shots.shots[-1].end == shots.duration
    assert all(first.end == second.start for first, second in pairwise(shots.shots))
    assert all(shot.start <= shot.frames[0] < shot.end for shot in shots.shots)


def test_flashes_are_no_cuts(tmp_path: Path) -> None:
    frames = flashing(cut_scenes(draw_scenes(SECONDS[:3])))
    shots = find_shots(write_video(tmp_path / "a.mp4", frames))
    assert len(shots.shots) == 3


def test_a_static_camera_gives_even_shots_of_at_most_the_longest(tmp_path: Path) -> None:
    def frames() -> Iterator[tuple[float, Pixels]]:
        ground = np.full((120, 160, 3), 90, np.uint8)
        for number in range(250):
            pixels = ground.copy()
            left = number % 140
            pixels[50:70, left : left + 15] = (200, 30, 30)
            yield number / 10, pixels

    shots = find_shots(write_video(tmp_path / "a.mp4", frames()))
    assert [shot.start for shot in shots.shots] == [
        0,
        pytest.approx(25 / 3, abs=0.1),
        pytest.approx(50 / 3, abs=0.1),
    ]


def test_shots_keep_their_shortest_length_however_many_cuts_there_are(tmp_path: Path) -> None:
    def frames() -> Iterator[tuple[float, Pixels]]:
        for number in range(200):  # a cut at every frame
            yield number / 10, np.full((120, 160, 3), 255 * (number % 2), np.uint8)

    shots = find_shots(write_video(tmp_path / "a.mp4", frames(), g="1"))
    assert all(shot.end - shot.start >= 2 for shot in shots.shots)
    assert len(shots.shots) <= 10


def test_a_boundary_is_where_the_medians_before_and_after_differ() -> None:
    # Six frames at 0, then one at 1 (a flash), three at 0, and six at 1: one boundary, at time 10.
    values = np.array([0] * 6 + [1] + [0] * 3 + [1] * 6, np.float32)
    descriptions = np.repeat(values[:, None], 4, axis=1)
    assert find_boundaries(np.arange(16.0), descriptions, ShotSettings()) == [10.0]


def test_frames_are_described_by_shares_of_dark_pixels() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16, 16:] = 255  # the second quarter is white
    description = describe_pixels(pixels).reshape(4, 3, 16)
    white = np.array([0] * 15 + [1])
    np.testing.assert_array_equal(description[1], np.tile(white, (3, 1)))
    np.testing.assert_array_equal(description[[0, 2, 3]], np.ones((3, 3, 16)))


def test_long_parts_are_divided_evenly() -> None:
    assert divide_evenly([0, 10, 35], ShotSettings()) == [0, 10, 18.33, 26.67, 35]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"shortest": 6.0},
            (
                "shortest is 6.0 and longest 10.0 seconds, expected above 0 and at most half the "
                "longest"
            ),
        ),
        (
            {"threshold": 0.0},
            (
                "threshold is 0.0 and certain 0.09, expected above 0 and at most 1, and the "
                "threshold not above `certain`"
            ),
        ),
        ({"frames": 13}, "frames is 13, expected 1 to 12"),
        ({"contrast": 0.5}, "contrast is 0.5, expected at least 1"),
        (
            {"step": 3.0},
            "step is 3.0 and unseen 2.0 seconds, expected above 0 and at most `unseen`",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        ShotSettings(**settings)


def test_what_only_moves_within_the_frame_is_no_boundary() -> None:
    first, second = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    first[:16, :16], second[16:, 16:] = 255, 255  # a white quarter moves to the other corner
    both = np.stack([describe_pixels(first), describe_pixels(second)])
    assert compare(both[:1], both[1:])[0] == 0
    # Another quarter turns white: 15 of 16 bins change by 1 in it, and by a quarter in the whole.
    second[:16, :16] = 255
    grown = describe_pixels(second)[None]
    np.testing.assert_allclose(compare(grown, both[:1]), [15 / 16 / 4], rtol=0, atol=1e-6)
