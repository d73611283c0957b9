"""Videos: reading them, their shots, the names of moments, subtitles."""

from modalhash.videos.reading import VideoFacts, open_video, read_frame, read_frames
from modalhash.videos.shot_lists import find_shots_of_all, read_or_find_shots
from modalhash.videos.shots import Shot, ShotSettings, VideoShots, find_boundaries, find_shots
from modalhash.videos.spans import (
    VIDEO_SUFFIXES,
    Span,
    is_video_name,
    name_moment,
    parse_moment,
)
from modalhash.videos.subtitles import Cue, find_subtitles, parse_subtitles, read_subtitles

__all__ = [
    "VIDEO_SUFFIXES",
    "Cue",
    "Shot",
    "ShotSettings",
    "Span",
    "VideoFacts",
    "VideoShots",
    "find_boundaries",
    "find_shots",
    "find_shots_of_all",
    "find_subtitles",
    "is_video_name",
    "name_moment",
    "open_video",
    "parse_moment",
    "parse_subtitles",
    "read_frame",
    "read_frames",
    "read_or_find_shots",
    "read_subtitles",
]
