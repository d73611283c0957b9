"""What items keep beside their codes, to rerank by.

It lies in an item's metadata under `FINE` or `FEATURES`, as text, so that it is added, replaced,
deleted, logged and compacted with the item; hits don't show it.

- **finer codes** (`fine`): kept by every index of a model that makes them;
- **features** (`features`): kept with `keep_features`, a byte a number.

A third name, `FILE`, holds what `FileRecord` says of the item's file.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.errors import DamagedArtifactError, InputError
from modalhash.index.rerank import ByteFeatures, FineCodes

__all__ = [
    "FEATURES",
    "FILE",
    "FINE",
    "KEPT_NAMES",
    "KeepFeatures",
    "read_features",
    "read_kept_bytes",
    "write_features",
    "write_fine_codes",
]

FINE, FEATURES, FILE = "_fine", "_features", "_file"
KEPT_NAMES = (FINE, FEATURES, FILE)
"""Names in an item's metadata that are no metadata of the user's."""
SCALE_BYTES = 4


class KeepFeatures(StrEnum):
    """What of their features items keep: nothing, or a byte a number."""

    NONE = "none"
    INT8 = "int8"


def write_fine_codes(fine: FineCodes) -> list[dict[str, str]]:
    """Write finer codes, (n, s) uint8, as metadata that items keep."""
    return [{FINE: base64.b64encode(row.tobytes()).decode()} for row in fine]


def write_features(features: NDArray[np.floating[Any]]) -> list[dict[str, str]]:
    """Write features, (n, d), as metadata that items keep: a byte a number."""
    stored = ByteFeatures.of(features)
    return [
        {FEATURES: base64.b64encode(scale.astype("<f4").tobytes() + row.tobytes()).decode()}
        for row, scale in zip(stored.values, stored.scales, strict=True)
    ]


def read_kept_bytes(
    documents: Sequence[Mapping[str, Any]], name: str, width: int
) -> NDArray[np.uint8]:
    """Read what items keep under a name, (n, width) uint8.

    Raises:
        InputError: if an item keeps nothing there.
        DamagedArtifactError: if it isn't what was written.
    """
    rows = []
    for document in documents:
        if name not in document:
            raise InputError(
                "an item of the index keeps nothing to rerank by: it was added without finer "
                "codes or features; build the index again"
            )
        try:
            row = base64.b64decode(document[name], validate=True)
        except (binascii.Error, TypeError, ValueError):
            row = b""
        if len(row) != width:
            raise DamagedArtifactError(
                f"an item of the index keeps {len(row)} bytes to rerank by, expected {width}: "
                "build the index again"
            )
        rows.append(np.frombuffer(row, np.uint8))
    return np.stack(rows) if rows else np.zeros((0, width), np.uint8)


def read_features(documents: Sequence[Mapping[str, Any]], width: int) -> ByteFeatures:
    """Read the features that items keep; errors as in `read_kept_bytes`."""
    rows = read_kept_bytes(documents, FEATURES, SCALE_BYTES + width)
    scales = np.ascontiguousarray(rows[:, :SCALE_BYTES]).view("<f4")[:, 0]
    values = np.ascontiguousarray(rows[:, SCALE_BYTES:]).view(np.int8)
    return ByteFeatures(values, scales.astype(np.float32))
