from modalhash.videos import Span, name_moment, parse_moment


def test_a_moment_is_named_by_its_video_and_its_seconds() -> None:
    assert name_moment("films/a b.MP4", 0, 60.126) == "films/a b.MP4#t=0,60.13"
    assert parse_moment("films/a b.MP4#t=0,60.13") == Span("films/a b.MP4", 0, 60.13)
    for name in ("a.mp4", "a.mp4#t=1", "a.jpg#t=1,2", "a.mp4#t=-1,2", "a.mp4#t=1,2x", "#t=1,2"):
        assert parse_moment(name) is None, name
    assert parse_moment("a#t=1,2.mp4#t=3,4") == Span("a#t=1,2.mp4", 3, 4)
