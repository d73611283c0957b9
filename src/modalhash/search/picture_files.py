"""Which file of an item's picture may be shown."""

from pathlib import Path

from modalhash.videos import parse_moment

__all__ = ["find_picture_file"]


def find_picture_file(path: str | None) -> Path | None:
    """Find the file of an item's picture; None if it has none that may be shown.

    It must still be what was indexed: a regular file whose path has no symbolic link and no `..`,
    so that a relative one is inside the index folder. Of a moment of a video it is the video's
    file, with the moment at its end.

    Args:
        path: as a hit has it.
    """
    if not path or "\0" in path:
        return None
    span = parse_moment(path)
    if span is not None and not Path(path).exists():
        video = find_picture_file(span.video)
        return None if video is None else Path(f"{video}{path.removeprefix(span.video)}")
    expected = Path(path)
    try:
        resolved = expected.resolve()
        is_itself = resolved == expected and resolved.is_file()
    except (OSError, RuntimeError):
        return None
    return resolved if is_itself else None
