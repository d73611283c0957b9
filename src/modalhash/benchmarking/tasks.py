"""What a comparison runs: methods with their settings, on collections, with lengths and seeds."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.data import Collection, load_collection
from modalhash.encoders import check_encoder
from modalhash.errors import ModalhashError, UnknownNameError
from modalhash.methods import method_class
from modalhash.methods.base import ClosedFormMethod

__all__ = [
    "Place",
    "Task",
    "Variant",
    "check_place",
    "describe_method",
    "describe_variants",
    "load_place",
    "make_tasks",
    "name_place",
    "usual_encoder",
    "usual_split",
]


@dataclass(frozen=True)
class Variant:
    """One row of a table: a method with its settings.

    Attributes:
        name: of the row.
        method: in the table of methods.
        settings: changes to its settings, by name.
        preset: of the method, "auto" or "" for its defaults.
        hug: "", or how it is hugged: "contrastive", "same" or "plus".
    """

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "auto"
    hug: str = ""


@dataclass(frozen=True)
class Place:
    """Where methods are measured.

    Attributes:
        collection: what `load_collection` takes.
        encoder: makes the features; "auto" is `offline`, or `precomputed` where there are features
            only.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        protocol: divides the collection as for `load_collection`, and its measures are taken too;
            "" keeps the collection's own splits.
    """

    collection: str
    encoder: str = "auto"
    split: str = "auto"
    protocol: str = ""


@dataclass(frozen=True)
class Task:
    """One training and one measurement."""

    place: Place
    variant: Variant
    n_bits: int
    seed: int

    @property
    def key(self) -> str:
        """Name of its result: readable, and a hash of all that decides it."""
        task = asdict(self)
        if not self.place.protocol:  # results from before there were protocols keep their names
            del task["place"]["protocol"]
        decisive = [task, version("modalhash"), describe_method(self.variant.method)]
        document = json.dumps(decisive, sort_keys=True)
        words = f"{Path(self.place.collection).name} {self.variant.name} {self.n_bits} {self.seed}"
        readable = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        return f"{readable}-{hashlib.sha256(document.encode()).hexdigest()[:10]}"


def describe_method(method: str) -> list[Any]:
    """Describe a method's defaults and presets as they are now; empty for an unknown method."""
    try:
        the_class = method_class(method)
    except UnknownNameError:
        return []
    training = None if issubclass(the_class, ClosedFormMethod) else asdict(the_class.training)
    return [asdict(the_class.settings_class()), training, {**the_class.presets}]


def describe_variants(variants: Sequence[Variant]) -> dict[str, dict[str, Any]]:
    """Describe each row: its method, preset, changes, and the method's presets."""
    return {
        variant.name: {**asdict(variant), "presets": dict(method_class(variant.method).presets)}
        for variant in variants
    }


def name_place(place: Place) -> str:
    """Name the collection and the split that is measured; as typed if it can't be read."""
    try:
        collection = load_place(place.collection, place.protocol)
        return f"{collection.name} {usual_split(collection, place.split)}"
    except (ModalhashError, OSError):
        return f"{place.collection} {place.split}"


def check_place(place: Place) -> None:
    """Refuse a place where nothing can be measured, before anything is trained.

    Raises:
        CollectionError, InputError: if the collection can't be read, or not divided by the
            protocol, or the encoder has no tower for a modality.
        UnknownNameError: if there is no such collection, split or encoder.
    """
    collection = load_place(place.collection, place.protocol)
    check_encoder(usual_encoder(collection, place.encoder))
    collection.split(usual_split(collection, place.split))


def usual_split(collection: Collection, split: str) -> str:
    """Resolve a split; "auto" is `test` if there is such a split, else `dev`."""
    if split != "auto":
        return split
    return "test" if "test" in collection.splits else "dev"


def usual_encoder(collection: Collection, encoder: str) -> str:
    """Resolve an encoder; "auto" is `precomputed` for features only, else `offline`."""
    if encoder != "auto":
        return encoder
    return "precomputed" if collection.pictures is None else "offline"


@lru_cache(maxsize=4)
def load_place(collection: str, protocol: str = "") -> Collection:
    """Load a collection, once a process, divided as a protocol says."""
    return load_collection(collection, protocol=protocol or None)


def make_tasks(
    places: Sequence[Place], variants: Sequence[Variant], bits: Sequence[int], seeds: Sequence[int]
) -> list[Task]:
    """List every variant at every place, of every length, with every seed."""
    return [
        Task(place, variant, n_bits, seed)
        for place in places
        for variant in variants
        for n_bits in bits
        for seed in seeds
    ]
