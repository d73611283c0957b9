"""UCMFH's CLIP features: `ucmfh:PATH`.

PATH is a folder with `train.pkl`, `query.pkl` and `retrieval.pkl`, each a pickled dict of numpy
arrays `image` (n, 512), `text` (n, 512) and `label` (n, c). The pickles are looked at, not run.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.data.array_pickles import read_array_pickle
from modalhash.data.feature_parts import FeatureParts, Part
from modalhash.data.pair_lists import missing_file
from modalhash.data.reading import Reading
from modalhash.errors import CollectionError, Defect

__all__ = ["read_ucmfh"]

_FILES: Final = {"train": "train.pkl", "test": "query.pkl", "database": "retrieval.pkl"}
_KEYS: Final = {"image": "image", "text": "text", "labels": "label"}


def read_ucmfh(argument: str, *, split_seed: int) -> Reading:
    """Read UCMFH's pickles; see `SourceReader` and the module's description."""
    path = Path(argument)
    parts = FeatureParts(path.absolute().name, f"ucmfh:{path.absolute()}", path)
    for name, file_name in _FILES.items():
        file = path / file_name
        if not file.exists():
            return missing_file(file, f"a dict of the arrays {', '.join(_KEYS.values())}")
        try:
            document = read_array_pickle(file)
        except CollectionError as error:
            return Reading(None, error.defects)
        missing = [key for key in _KEYS.values() if key not in _keys(document)]
        if missing:
            there = ", ".join(map(str, _keys(document))) or type(document).__name__
            problem = f"has no array {missing[0]!r}; it has {there}"
            return Reading(None, (Defect("missing-array", str(file), problem),))
        arrays = {side: np.asarray(document[key]) for side, key in _KEYS.items()}
        origins = {side: f"{file}:{key}" for side, key in _KEYS.items()}
        parts.parts[name] = Part(arrays, origins)
    return parts.reading(split_seed=split_seed)


def _keys(document: Any) -> list[Any]:
    return list(document) if isinstance(document, dict) else []
