"""Pictures that a client names by their paths: read only in folders that the user named."""

from collections.abc import Sequence
from pathlib import Path

from modalhash.errors import InputError
from modalhash.search_request import refuse_address
from modalhash.service.refusals import beyond_limit, invalid

__all__ = ["check_query_folders", "read_query_file"]


def check_query_folders(folders: Sequence[str | Path]) -> tuple[Path, ...]:
    """Check the folders in which a client may name pictures.

    Raises:
        InputError: if one isn't there.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder} to read pictures from")
    return tuple(Path(folder).resolve() for folder in folders)


def read_query_file(path: str, folders: Sequence[Path], most_bytes: int) -> bytes:
    """Read a picture that a client named.

    Args:
        path: a whole path, or one below a folder.
        folders: whose files may be read, resolved; a link out of them isn't followed.
        most_bytes: of the file.

    Raises:
        InputError: if it is an address of the web.
        RefusedError: if it lies in none of the folders, is no file, or is too large.
    """
    refuse_address(path)
    shown = ", ".join(str(folder) for folder in folders)
    inside = []
    for folder in folders:
        try:
            place = (folder / path).resolve()
        except (OSError, RuntimeError, ValueError):
            continue
        if place.is_relative_to(folder):
            inside.append(place)
    if not inside:
        raise invalid(f"image_file lies in no folder that may be read; those are: {shown}")
    for place in inside:
        try:
            if not place.is_file():
                continue
            if place.stat().st_size > most_bytes:
                raise beyond_limit(f"image_file has more than {most_bytes} bytes")
            return place.read_bytes()
        except OSError:
            raise invalid("image_file can't be read") from None
    raise invalid(f"there is no picture {path} in {shown}")
