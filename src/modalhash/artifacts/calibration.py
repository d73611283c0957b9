"""What a model's distances are worth: curves of relevance in `calibration.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.errors import DamagedArtifactError, InputError
from modalhash.files import read_json, sealed, write_json
from modalhash.metrics import Direction, last_level
from modalhash.metrics.calibration import DirectionCalibration

__all__ = ["CALIBRATION", "ModelCalibration", "read_calibration", "write_calibration"]

FORMAT = 1
CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class ModelCalibration:
    """The probability of relevance at each distance and at each score, by direction.

    Attributes:
        model_fingerprint: of the model; the curves say nothing about another.
        n_bits: bits of a code.
        collection: whose items they were fitted on.
        collection_fingerprint: what it held.
        split: which items, in words.
        n_items: how many.
        seed: that drew queries and halves.
        directions: the curves over Hamming distance, by direction.
        asymmetric: the curves over the levels of asymmetric scores, by direction; empty in
            calibrations from before there were such scores.
    """

    model_fingerprint: str
    n_bits: int
    collection: str
    collection_fingerprint: str
    split: str
    n_items: int
    seed: int
    directions: Mapping[Direction, DirectionCalibration]
    asymmetric: Mapping[Direction, DirectionCalibration] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Convert the calibration to the document of `calibration.json`."""
        return {
            "format": FORMAT,
            "modalhash": version("modalhash"),
            "model_fingerprint": self.model_fingerprint,
            "n_bits": self.n_bits,
            "collection": self.collection,
            "collection_fingerprint": self.collection_fingerprint,
            "split": self.split,
            "n_items": self.n_items,
            "seed": self.seed,
            "directions": [direction.to_json() for direction in self.directions.values()],
            "asymmetric": [direction.to_json() for direction in self.asymmetric.values()],
        }

    @property
    def stated(self) -> str:
        """What it was made on, in words."""
        rules = dict.fromkeys(direction.curve.rule.value for direction in self.directions.values())
        rule = " and ".join(rules).replace("_", " ")
        return f"calibrated on {self.n_items} items of {self.collection}, {self.split}, by {rule}"


def write_calibration(calibration: ModelCalibration, folder: Path) -> None:
    """Write a calibration beside a model.

    Raises:
        StorageError: if the file system refuses.
    """
    write_json(folder / CALIBRATION, sealed(calibration.to_json()))


def read_curves(
    documents: Sequence[Mapping[str, Any]], last: int
) -> dict[Direction, DirectionCalibration]:
    """Read the curves of some directions; `last` is the largest distance or level."""
    entries = [DirectionCalibration.from_json(document, last) for document in documents]
    return {entry.direction: entry for entry in entries}


def read_calibration(folder: Path, model_fingerprint: str) -> ModelCalibration | None:
    """Read the calibration beside a model.

    Returns:
        None if there is none, or it is of another model.

    Raises:
        DamagedArtifactError: if it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    document = read_json(path, kind="calibration", newest_format=FORMAT)
    try:
        if document["model_fingerprint"] != model_fingerprint:
            return None
        n_bits = document["n_bits"]
        names = ModelCalibration.__dataclass_fields__.keys() - {"directions", "asymmetric"}
        return ModelCalibration(
            **{name: document[name] for name in names},
            directions=read_curves(document["directions"], n_bits),
            asymmetric=read_curves(document.get("asymmetric", []), last_level(n_bits)),
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise DamagedArtifactError(
            f"{path} is damaged: {error}; make it again with `modalhash calibrate`"
        ) from error
