"""Read a JSON file of a public data set, with an error that names what is missing in it."""

import json
from pathlib import Path
from typing import Any

from modalhash.errors import CollectionError, Defect
from modalhash.files import read_regular_text

__all__ = ["json_fault", "read_json_lists", "read_json_object"]


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        CollectionError: if it isn't there, isn't JSON, or holds something else.
    """
    try:
        document = json.loads(read_regular_text(path))
    except OSError as error:
        raise json_fault(path, f"can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise json_fault(path, f"isn't valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise json_fault(path, f"holds a {type(document).__name__}, expected an object")
    return document


def read_json_lists(path: Path, *keys: str) -> list[list[dict[str, Any]]]:
    """Read lists of objects out of a file that holds one JSON object.

    Args:
        path: the file.
        keys: names of the lists.

    Returns:
        The lists, in the order of `keys`.

    Raises:
        CollectionError: if the file can't be read, or one of the lists isn't in it.
    """
    document = read_json_object(path)
    lists = []
    for key in keys:
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            present = ", ".join(map(repr, document)) or "nothing"
            raise json_fault(path, f"has no list of objects {key!r}; it has {present}")
        lists.append(entries)
    return lists


def json_fault(path: Path, problem: str) -> CollectionError:
    """Describe, as an error, a JSON file that can't be used."""
    return CollectionError([Defect("unreadable-file", str(path), problem)])
