import re
from pathlib import Path

import pytest

from modalhash.errors import CollectionError
from modalhash.videos import Cue, find_subtitles, parse_subtitles, read_subtitles
from modalhash.videos.subtitles import text_of_span

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Good</i> morning,
{\\an8}Anna &amp; Bob

2
01:00:00,5 --> 01:00:04,000
Bye

3
00:00:09,000 --> 00:00:08,000
never shown
"""
VTT = """WEBVTT Kind: captions

STYLE
::cue { color: red }

NOTE 00:01.000 is no time here

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>Good morning,
Anna & Bob

01:00:00.500 --> 01:00:04.000
Bye
"""
CUES = [Cue(1.0, 2.5, "Good morning, Anna & Bob"), Cue(3600.5, 3604.0, "Bye")]


@pytest.mark.parametrize("text", [SRT, VTT, SRT.replace("\n", "\r\n")])
def test_both_forms_of_subtitles_say_the_same(text: str) -> None:
    assert parse_subtitles(text) == CUES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_subtitles_of_old_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.srt"
    file.write_text("1\n00:00:01,000 --> 00:00:02,000\nGrüße\n", encoding=encoding)
    assert read_subtitles(file) == [Cue(1, 2, "Grüße")]


def test_a_file_without_subtitles_is_a_defect(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_text("nothing\n", encoding="utf-8")
    message = f"{file}: holds no subtitle: expected lines such as 00:00:01,000 --> 00:00:03,500"
    with pytest.raises(CollectionError, match=re.escape(message)):
        read_subtitles(file)


def test_the_subtitles_of_a_video_lie_beside_it(tmp_path: Path) -> None:
    video = tmp_path / "a.b.mp4"
    assert find_subtitles(video) is None
    for name in ("a.srt", "a.b.x.y.srt", "a.b.fr.vtt", "a.b.en.srt"):
        (tmp_path / name).touch()
    assert find_subtitles(video) == tmp_path / "a.b.en.srt"
    (tmp_path / "a.b.VTT").touch()
    assert find_subtitles(video) == tmp_path / "a.b.VTT"


def test_a_span_has_the_text_whose_middle_is_in_it() -> None:
    cues = [Cue(0, 2, "a"), Cue(2, 4, "b"), Cue(2, 4, "b"), Cue(3, 5, "c"), Cue(9, 10, "d")]
    assert text_of_span(cues, 0, 4) == "a b"  # the middle of c is 4, which the next span has
    assert text_of_span(cues, 4, 9) == "c"
    assert text_of_span(cues, 5, 9) == ""
