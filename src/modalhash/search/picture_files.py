"""Which file of an item's picture may be shown."""

from pathlib import Path

__all__ = ["find_picture_file"]


def find_picture_file(path: str | None) -> Path | None:
    """Find the file of an item's picture; None if it has none that may be shown.

    It must still be what was indexed: a regular file whose path has no symbolic link and no `..`,
    so that a relative one is inside the index folder.

    Args:
        path: as a hit has it.
    """
    if not path or "\0" in path:
        return None
    expected = Path(path)
    try:
        resolved = expected.resolve()
        is_itself = resolved == expected and resolved.is_file()
    except (OSError, RuntimeError):
        return None
    return resolved if is_itself else None
