"""The former model that a new one is to be compatible with: what it must be, and what it says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.api.opening import open_model
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.data import Collection, Modality
from modalhash.data.collection import Positions
from modalhash.errors import InputError
from modalhash.progress import Progress
from modalhash.training.former import FormerTables

__all__ = ["describe_former", "make_former_tables", "open_former_model"]


def open_former_model(model: HashModel | Path | str, n_bits: int, device: str) -> HashModel:
    """Load the model that a new one is to be compatible with.

    Args:
        model: or its run folder.
        n_bits: of the new model.
        device: where its encoder computes.

    Raises:
        ArtifactError: if the folder holds no model.
        InputError: if its codes have another length.
    """
    former = open_model(model, device)
    if former.n_bits != n_bits:
        shorter = [length for length in former.code_lengths if length < former.n_bits]
        cut = n_bits in shorter
        raise InputError(
            f"n_bits is {n_bits}, but the codes of the model to be compatible with have "
            f"{former.n_bits} bits: train with --bits {former.n_bits}"
            + (f", or shorten that model to {n_bits} bits first" if cut else "")
        )
    return former


def describe_former(former: HashModel) -> list[dict[str, Any]]:
    """List the models that a model which is compatible with a former one is compatible with.

    These are the former one, and those that it is compatible with itself.
    """
    entries: list[Mapping[str, Any]] = [former.origin, *former.record.compatible_with]
    return [{"n_bits": entry["n_bits"], "fingerprint": entry["fingerprint"]} for entry in entries]


def make_former_tables(
    former: HashModel,
    collection: Collection,
    items: Positions,
    *,
    cache: Path | None,
    progress: Progress,
) -> FormerTables:
    """Compute what a former model says of the pictures and texts of some items.

    Raises:
        ArtifactError: if its encoder isn't the one it was trained with any more.
        CollectionError: if a picture can't be read.
        FeatureError: if the collection doesn't have what its encoder reads.
        ModelUnavailableError: if its encoder can't be had.
    """
    codes = CollectionCodes(former, collection, cache_folder=cache, progress=progress)

    def fill(n_rows: int, rows: Positions, modality: Modality) -> NDArray[np.float32]:
        table = np.zeros((n_rows, former.n_bits), np.float32)
        table[rows] = codes.relaxed(rows, modality)
        return table

    return FormerTables(
        image=fill(collection.n_items, items, "image"),
        text=fill(int(collection.caption_starts[-1]), codes.texts_of(items), "text"),
    )
