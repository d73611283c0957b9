"""What an index and a model say of themselves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

from modalhash.artifacts import HashModel
from modalhash.codes import binarise, pack
from modalhash.encoders.precomputed import PrecomputedImageTower, PrecomputedTextTower
from modalhash.errors import UnavailableError
from modalhash.index.filters import WORDS
from modalhash.metrics import DirectionCalibration
from modalhash.modalities import Direction
from modalhash.search import SearchIndex, Side
from modalhash.search.reranking import choose_reranking
from modalhash.search_request import RerankBy

__all__ = ["DATE", "collect_index_facts", "collect_model_facts", "list_query_kinds"]

SAMPLED: Final = 1000
DRAWS: Final = 8
MOST_VALUES: Final = 50
LONGEST_VALUE: Final = 200
DEEPEST: Final = 3
DATE: Final = re.compile(r"\d{4}-\d{2}(-\d{2}([T ].*)?)?")
"""A date as photos carry it: a month, a day, or a moment."""
OWN: Final = ("caption", "image", "item")
"""What answers show apart from metadata; a filter can test it all the same."""


def list_query_kinds(model: HashModel) -> dict[str, bool]:
    """List what a model can encode; nothing where its features were made elsewhere."""
    encoder = model.encoder
    return {
        "text": not isinstance(encoder.text, PrecomputedTextTower),
        "picture": not isinstance(encoder.image, PrecomputedImageTower),
    }


def collect_model_facts(model: HashModel, indexes: Sequence[str]) -> dict[str, Any]:
    """Collect what a model states of itself, without its place on the disk."""
    record = model.record
    trained_on = {
        name: record.trained_on[name]
        for name in ("collection", "split", "n_items", "n_captions")
        if name in record.trained_on
    }
    return {
        "fingerprint": model.fingerprint,
        "method": record.method,
        "title": record.title,
        "n_bits": model.n_bits,
        "encoder": record.encoder["name"],
        "trained_on": trained_on,
        "fine_codes": model.has_fine_codes,
        "queries": list_query_kinds(model),
        "indexes": list(indexes),
        "modalhash": record.modalhash,
    }


def collect_index_facts(index: SearchIndex) -> dict[str, Any]:
    """Collect what an index holds and can do."""
    sampled = {side: sample(index, side) for side in index.sides}
    everything = [document for documents in sampled.values() for document in documents]
    choices = index.choices
    return {
        "collection": str(index.collection.get("name", "")),
        "split": str(index.collection.get("split", "")),
        "model": index.model.fingerprint,
        "n_bits": index.model.n_bits,
        "sides": {
            str(side): {
                "count": len(side_index),
                "sampled": len(sampled[side]),
                "kind": side_index.kind,
                "search": choices[side],
                "id_kind": None if side_index.id_kind is None else str(side_index.id_kind),
            }
            for side, side_index in index.sides.items()
        },
        "fields": describe_fields(sampled),
        "queries": list_query_kinds(index.model),
        "captions": any(document.get("caption") for document in everything),
        "pictures": any(document.get("image") for document in everything),
        "relevance": {
            str(direction): str(calibration.curve.rule.value)
            for direction, calibration in list_curves(index).items()
        },
        "reach": list_reaches(index),
        "rerank": list_rerank_stages(index),
    }


def list_curves(index: SearchIndex) -> Mapping[Direction, DirectionCalibration]:
    """List the calibrated directions, by the scoring that searches use unless they say another."""
    return {} if index.calibration is None else index.calibration.asymmetric


def list_reaches(index: SearchIndex) -> dict[str, float]:
    """List the largest probability of relevance that the calibration reaches, by direction."""
    return {
        str(direction): round(float(calibration.curve.at(len(index.sides[side]))[0]), 6)
        for direction, calibration in list_curves(index).items()
        if (side := Side.of(direction.database)) in index.sides
    }


def list_rerank_stages(index: SearchIndex) -> dict[str, list[str]]:
    """List by what a shortlist can be reranked, for each direction."""
    stages: dict[str, list[str]] = {}
    for direction in Direction:
        side = Side.of(direction.database)
        if side not in index.sides:
            continue
        stages[str(direction)] = []
        for stage in (RerankBy.FINE, RerankBy.FEATURES, RerankBy.RELAXED):
            try:
                choose_reranking(index, stage, direction.query, side)
            except UnavailableError:
                continue
            stages[str(direction)].append(stage.value)
    return stages


def sample(index: SearchIndex, side: Side) -> list[Mapping[str, Any]]:
    """Sample metadata of up to `SAMPLED` items: those near to some drawn codes, the same always."""
    side_index = index.sides[side]
    if not len(side_index):
        return []
    n_draws = 1 if len(side_index) <= SAMPLED else DRAWS
    signs = np.random.default_rng(0).standard_normal((n_draws, index.model.n_bits))
    hits = side_index.search(pack(binarise(signs)), SAMPLED // n_draws, with_metadata=True)
    assert hits.metadata is not None
    distinct: dict[Any, Mapping[str, Any]] = {}
    for ids, documents in zip(hits.ids, hits.metadata, strict=True):
        distinct.update(zip(ids.tolist(), documents, strict=True))
    return list(distinct.values())


@dataclass
class Seen:
    """What was seen of one field.

    Attributes:
        types: of its values.
        sides: where.
        count: in how many items.
        values: distinct texts and truths; None where there are too many, or they are long.
        numbers: least and greatest.
        dates: values that are dates, see `DATE`.
    """

    types: set[str] = field(default_factory=set)
    sides: set[str] = field(default_factory=set)
    count: int = 0
    values: set[str | bool] | None = field(default_factory=set)
    numbers: tuple[float, float] | None = None
    dates: int = 0

    def take(self, value: Any, side: str) -> None:
        """Take note of a value."""
        self.count += 1
        self.sides.add(side)
        sort = name_json_type(value)
        self.types.add(sort)
        self.dates += isinstance(value, str) and DATE.fullmatch(value) is not None
        if sort == "number":
            least, greatest = self.numbers or (value, value)
            self.numbers = (min(least, value), max(greatest, value))
            return
        for entry in value if isinstance(value, list) else [value]:
            if self.values is not None and isinstance(entry, str | bool):
                self.values.add(entry)
                if len(self.values) > MOST_VALUES or len(str(entry)) > LONGEST_VALUE:
                    self.values = None


def describe_fields(sampled: Mapping[Side, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Describe the fields of some items, by the name that a filter uses."""
    seen: dict[str, Seen] = {}
    for side, documents in sampled.items():
        for document in documents:
            for name, value in iterate_fields(document):
                seen.setdefault(name, Seen()).take(value, str(side))
    return [
        {
            "name": name,
            "types": sorted(field.types),
            "sides": sorted(field.sides),
            "count": field.count,
            "is_date": field.dates == field.count,
            "values": sorted(field.values or (), key=str),
            "minimum": None if field.numbers is None else field.numbers[0],
            "maximum": None if field.numbers is None else field.numbers[1],
        }
        for name, field in sorted(seen.items())
    ]


def iterate_fields(document: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[Any]:
    """Yield names and values of a document, those of mappings too; null counts as missing."""
    for name, value in document.items():
        is_ours = not prefix and (name in OWN or name.startswith("_"))
        if value is None or is_ours or not is_nameable(name):
            continue
        full = f"{prefix}{quote_field(name)}"
        yield full, value
        if isinstance(value, dict) and depth < DEEPEST:
            yield from iterate_fields(value, f"{full}.", depth + 1)


@lru_cache(maxsize=4096)
def is_nameable(name: str) -> bool:
    """Tell whether a filter can name a field."""
    return bool(name) and not any(character in '`"\\' or ord(character) < 32 for character in name)


@lru_cache(maxsize=4096)
def quote_field(name: str) -> str:
    """Quote a name as a filter takes it.

    Example:
        >>> quote_field("year"), quote_field("Exif ISO")
        ('year', '`Exif ISO`')
    """
    return name if name.isidentifier() and name.lower() not in WORDS else f"`{name}`"


def name_json_type(value: Any) -> str:
    """Name the type of a JSON value in words."""
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
    return "mapping"
