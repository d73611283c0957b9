"""Read and check what a folder of codes, which `modalhash encode` wrote, says of itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from modalhash.codes.fingerprints import is_model_entry
from modalhash.errors import DamagedArtifactError
from modalhash.files import read_json

__all__ = ["CODES_FORMAT", "CODES_MANIFEST", "read_codes_manifest"]

CODES_MANIFEST, CODES_FORMAT = "codes.json", 1


def is_list_of(kind: type) -> Callable[[Any], bool]:
    """Make a test for lists of one kind of values; a bool is no int."""
    return lambda value: isinstance(value, list) and all(type(part) is kind for part in value)


REQUIRED: Final[dict[str, Callable[[Any], bool]]] = {
    "n_bits": lambda value: type(value) is int and value > 0,
    "bit_order": lambda value: isinstance(value, str),
    "model_fingerprint": lambda value: isinstance(value, str),
    "image_ids": is_list_of(str),
    "text_images": is_list_of(int),
}
"""Entry of a manifest to the test of its value."""
OPTIONAL: Final[dict[str, Callable[[Any], bool]]] = {
    "text_ids": is_list_of(str),
    "code_lengths": lambda value: is_list_of(int)(value) and len(value) > 0,
    "compatible_with": lambda value: isinstance(value, list) and all(map(is_model_entry, value)),
    "origin": lambda value: isinstance(value, dict) and isinstance(value.get("fingerprint"), str),
}
"""Entries that older versions and other programs leave out."""


def read_codes_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of codes, and check the sort of each value.

    Args:
        folder: that `modalhash encode` wrote.

    Returns:
        The manifest; each place in `text_images` is one of `image_ids`.

    Raises:
        DamagedArtifactError: if an entry is missing or of another sort.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    manifest = read_json(folder / CODES_MANIFEST, kind="codes", newest_format=CODES_FORMAT)
    odd = [name for name, is_right in REQUIRED.items() if not is_right(manifest.get(name))]
    odd += [
        name
        for name, is_right in OPTIONAL.items()
        if name in manifest and not is_right(manifest[name])
    ]
    if not odd:
        n_images = len(manifest["image_ids"])
        odd = ["text_images"] * any(not 0 <= place < n_images for place in manifest["text_images"])
    if odd:
        raise DamagedArtifactError(
            f"{folder / CODES_MANIFEST} is damaged: {', '.join(odd)} missing or of another sort; "
            "encode again"
        )
    return manifest
