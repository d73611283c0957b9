"""One search: what is searched for, and what is wanted of the answer.

The only definition of these fields, their defaults and the checks that need no index. The command
line, the HTTP service, the clients and `SearchIndex` all build a `SearchRequest` and pass it on.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import index as whole_number
from os import PathLike
from typing import Any, Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from modalhash.choices import BitOrder, Scoring, read_choice, reverse_bits
from modalhash.errors import InputError, UnknownNameError
from modalhash.modalities import MODALITIES, Side
from modalhash.picture_arrays import PictureInput, picture_from_array

__all__ = [
    "PART_NAMES",
    "USUAL_HITS",
    "Code",
    "GroupBy",
    "PartName",
    "RerankBy",
    "RerankScore",
    "Scoring",
    "SearchOptions",
    "SearchRequest",
    "Target",
    "code_hex",
    "refuse_address",
]

Code = str | bytes | NDArray[np.uint8]
"""A packed code: in hexadecimal, as bytes, or (p,) or (1, p) uint8."""
PartName = Literal["id", "code", "features", "text", "image", "minus_text"]
PART_NAMES: Final[tuple[PartName, ...]] = (
    "id", "code", "features", "text", "image", "minus_text"
)  # fmt: skip
"""The parts of a query, in the order in which they are put together."""
USUAL_HITS: Final = 10
LARGEST_WEIGHT: Final = 1000.0
ADDRESS: Final = re.compile(r"(?i)(https?|ftps?|s3|gs|file|data):")


class Target(StrEnum):
    """What is searched: one side of an index, or both."""

    IMAGES = "images"
    TEXTS = "texts"
    BOTH = "both"


class GroupBy(StrEnum):
    """What hits are grouped by; of each group the best hit is kept."""

    VIDEO = "video"


class RerankBy(StrEnum):
    """What puts a shortlist in order.

    - `fine`: finer codes, where the model makes them;
    - `features`: the features that items keep;
    - `relaxed`: the query's relaxed code against the items' codes; needs nothing;
    - `auto`: the first of the first two that the index has.
    """

    AUTO = "auto"
    FINE = "fine"
    FEATURES = "features"
    RELAXED = "relaxed"


class RerankScore(StrEnum):
    """What the score of the second stage is made of.

    - `fused`: similarity by hash code and by finer codes, weighted.
    - `local`: finer codes alone.
    """

    FUSED = "fused"
    LOCAL = "local"


class SearchOptions(TypedDict, total=False):
    """The fields of a `SearchRequest` besides text and image, as keyword arguments."""

    id: str | int | None
    code: Code | None
    features: NDArray[np.floating[Any]] | None
    minus_text: str | None
    modality: str | None
    bit_order: str
    id_side: str | None
    weights: Mapping[str, float]
    target: str | None
    k: int | None
    where: str | None
    scoring: str
    radius: int | None
    min_score: float | None
    min_relevance: float | None
    rerank: int | str
    rerank_by: str
    rerank_score: str
    group_by: str | None
    explain: bool


def about(meaning: str, **limits: float) -> dict[str, Any]:
    """Describe a field: its meaning, its least value (`ge`), its bounds."""
    return {"about": meaning, **limits}


@dataclass(frozen=True)
class SearchRequest:
    """One search. At least one of its parts but `minus_text` is needed; several are combined.

    A combination is the sum of the parts' relaxed codes, each of length 1 times its weight; the
    part `minus_text` is subtracted.

    Attributes:
        text: words to search for.
        image: a picture to search for: a path, a file's bytes, an opened picture, or its pixels as
            a uint8 array of shape (height, width, 3), which is kept as an opened picture.
        id: an item of the index: more like this. The item itself is no hit.
        code: a packed code of the index's width; kept in hexadecimal.
        features: what the model's encoder gave for a picture or a text, as `extract_features` keeps
            it: (d,) or (1, d) floats. `modality` says which; a server takes none.
        minus_text: words to lead away from.
        bit_order: of `code`: "little" (ours) or "big". It is kept in ours.
        modality: what `code` or `features` is of, "image" or "text"; then its relevance is known.
        id_side: the side that `id` is on; `images` by default.
        weights: how much each part of a combination counts, by the part's name; 1 by default.
        target: `images`, `texts` or `both`; by default images, for a picture alone texts.
        k: hits of a side at most; by default 10, and with a radius, a score or a relevance all.
        where: only items that pass this filter over metadata.
        scoring: what ranks the items, see `Scoring`: by default `asymmetric`, where the query keeps
            its numbers; `hamming` counts differing bits. The code of an item or of `code` has no
            numbers but its bits, so that both rank alike.
        radius: only items at this Hamming distance at most, by either scoring.
        min_score: only items of this asymmetric score at least, from -1 to 1.
        min_relevance: only items that are relevant with this probability at least.
        rerank: how many items nearest by `scoring` are put in order by something finer: a
            number, "auto" (5 %, between 500 and 5000) or "all"; 0 is none. At least k are.
        rerank_by: see `RerankBy`.
        rerank_score: see `RerankScore`; for finer codes.
        group_by: "video" keeps the best moment of each video.
        explain: say why each hit is where it is.

    Raises:
        InputError: if there is nothing to search for, or a value is out of its range.
        UnknownNameError: if `scoring`, `rerank_by` or `rerank_score` is none.

    Example:
        >>> SearchRequest("a dog", minus_text="snow", k=3).to_json()
        {'text': 'a dog', 'minus_text': 'snow', 'k': 3}
    """

    text: str | None = field(default=None, metadata=about("Words to search for."))
    image: "PictureInput | None" = field(default=None, metadata=about("A picture to search for."))
    id: str | int | None = field(
        default=None, metadata=about("An item of the index: more like this.")
    )
    code: Code | None = field(default=None, metadata=about("A packed code of the index's width."))
    features: NDArray[np.floating[Any]] | None = field(
        default=None, metadata=about("What the model's encoder gave for a picture or a text.")
    )
    minus_text: str | None = field(default=None, metadata=about("Words to lead away from."))
    modality: str | None = field(
        default=None, metadata=about("What the code, or the features, are of.")
    )
    bit_order: str = field(
        default=BitOrder.LITTLE, metadata=about("Which end of a byte is the first bit of the code.")
    )
    id_side: str | None = field(default=None, metadata=about("The side that the id is on."))
    weights: Mapping[str, float] = field(
        default_factory=dict, metadata=about("How much each part of a combination counts.")
    )
    target: str | None = field(default=None, metadata=about("What to search."))
    k: int | None = field(default=None, metadata=about("Hits of a side at most.", ge=1))
    where: str | None = field(default=None, metadata=about("Only items that pass this filter."))
    radius: int | None = field(
        default=None, metadata=about("Only items at this distance at most.", ge=0, lt=2**31)
    )
    scoring: str = field(
        default=Scoring.ASYMMETRIC,
        metadata=about("What ranks items: the query's own numbers, or Hamming distance."),
    )
    min_score: float | None = field(
        default=None,
        metadata=about("Only items of this asymmetric score at least.", ge=-1, le=1),
    )
    min_relevance: float | None = field(
        default=None,
        metadata=about("Only items that are relevant with this probability at least.", ge=0, le=1),
    )
    rerank: int | str = field(
        default=0,
        metadata=about("Put the N nearest items in a finer order."),
    )
    rerank_by: str = field(
        default=RerankBy.AUTO, metadata=about("What puts the shortlist in order.")
    )
    rerank_score: str = field(
        default=RerankScore.FUSED, metadata=about("What the score of finer codes is made of.")
    )
    group_by: str | None = field(
        default=None, metadata=about("Keep only the best moment of each video.")
    )
    explain: bool = field(default=False, metadata=about("Say why each hit is where it is."))

    def __post_init__(self) -> None:
        self._check_texts()
        if not set(self.parts) - {"minus_text"}:
            raise InputError("give a text, an id, a code or a picture to search for")
        self._check_arrays()
        order = read_choice("bit order", BitOrder, self.bit_order)
        if self.code is not None:
            self._set("code", code_hex(self.code, order))
        self._set("bit_order", BitOrder.LITTLE)
        for name in ("k", "radius"):
            self._set(name, check_whole(name, getattr(self, name)))
        if self.min_relevance is not None and not 0 <= self.min_relevance <= 1:
            raise InputError(
                f"min_relevance is {self.min_relevance}, expected a probability from 0 to 1"
            )
        self._set("scoring", read_choice("scoring", Scoring, self.scoring))
        if self.min_score is not None:
            self._check_min_score(self.min_score)
        if self.target is not None and self.target not in list(Target):
            raise InputError(f"target is {self.target!r}, expected images or texts")
        if self.id_side is not None and self.id_side not in list(Side):
            raise InputError(f"id_side is {self.id_side!r}, expected images or texts")
        if self.modality is not None and self.modality not in MODALITIES:
            raise InputError(f"modality is {self.modality!r}, expected image or text")
        self._set("weights", check_weights(self.weights))
        if self.group_by is not None:
            self._set("group_by", read_choice("group_by", GroupBy, self.group_by))
        self._set("rerank_by", read_choice("rerank_by", RerankBy, self.rerank_by))
        self._set("rerank_score", read_choice("rerank_score", RerankScore, self.rerank_score))

    def _check_texts(self) -> None:
        for name in ("text", "minus_text"):
            value: object = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f"{name} is {value!r:.60}, expected a text")
        if self.text is not None and not self.text.strip():
            raise InputError("the text to search for is empty: give at least one word")
        if self.minus_text is not None and not self.minus_text.strip():
            raise InputError("minus_text is empty: give at least one word, or leave it out")

    def _check_arrays(self) -> None:
        """Check the picture and the features; pixels become a picture, features a row."""
        if isinstance(self.image, str | PathLike):
            refuse_address(self.image)
        elif isinstance(self.image, np.ndarray):
            self._set("image", picture_from_array(self.image))
        if self.features is not None:
            self._set("features", check_features(self.features, self.modality))

    def _check_min_score(self, least: float) -> None:
        """Refuse a least score that no item can have, or that Hamming distance doesn't give."""
        if self.scoring is Scoring.HAMMING:
            raise InputError(
                "min_score is of asymmetric scores, but scoring is hamming: cut off by radius, or "
                "leave scoring out"
            )
        if not -1 <= least <= 1:
            raise InputError(f"min_score is {least}, expected a score from -1 to 1")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def parts(self) -> tuple[PartName, ...]:
        """The parts of the query that are given, in the order of `PART_NAMES`."""
        return tuple(name for name in PART_NAMES if getattr(self, name) is not None)

    def weight(self, part: PartName) -> float:
        """Look up how much a part counts; that of `minus_text` is negative."""
        weight = self.weights.get(part, 1.0)
        return -weight if part == "minus_text" else weight

    @property
    def usual_target(self) -> Side:
        """The side that is searched where none is named: texts for a picture alone, else images."""
        is_picture = self.parts == ("features",) and self.modality == "image"
        return Side.TEXTS if self.parts == ("image",) or is_picture else Side.IMAGES

    @property
    def hits_at_most(self) -> int | None:
        """Hits of a side at most; None is all items within a radius, a score or a relevance."""
        limits = (self.radius, self.min_score, self.min_relevance)
        is_cut_off = any(limit is not None for limit in limits)
        return USUAL_HITS if self.k is None and not is_cut_off else self.k

    def to_json(self) -> dict[str, Any]:
        """Write the document of an HTTP request, without defaults and the picture.

        Raises:
            InputError: if there are features, which a server doesn't take.
        """
        if self.features is not None:
            raise InputError(
                "features aren't sent to a server: give a text, a picture, an id or a code"
            )
        document: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in ("image", "modality") or value in (entry.default, {}):
                continue
            document["filter" if entry.name == "where" else entry.name] = value
        if self.code is not None:
            of = {} if self.modality is None else {"modality": str(self.modality)}
            document["code"] = {"hex": self.code, **of}
        if "weights" in document:
            document["weights"] = dict(self.weights)
        return document


def refuse_address(path: "str | PathLike[str]") -> None:
    """Refuse an address of the web in the place of a file's path.

    Raises:
        InputError: if it is one.
    """
    if ADDRESS.match(str(path)):
        raise InputError(
            f"{path} is an address, and addresses aren't read: download the picture first, and "
            "give its file"
        )


def check_features(
    features: NDArray[np.floating[Any]], modality: str | None
) -> NDArray[np.floating[Any]]:
    """Check the features of one picture or text, and make them a row, (1, d).

    Raises:
        InputError: if they aren't floats of one row, or nobody says what they are of.
    """
    if not isinstance(features, np.ndarray) or features.dtype.kind != "f":
        came = features.dtype if isinstance(features, np.ndarray) else type(features).__name__
        raise InputError(f"features are {came}, expected an array of floats")
    if not features.size or features.size != features.shape[-1] or features.ndim > 2:
        raise InputError(
            f"features have the shape {features.shape}, expected (d,) or (1, d): search for one "
            "picture or text at a time"
        )
    if modality is None:
        raise InputError("modality is missing: say whether the features are of an image or a text")
    return features.reshape(1, -1)


def check_whole(name: str, value: Any) -> int | None:
    """Check a whole number of a field; None stays None.

    Raises:
        InputError: if it is no whole number, or smaller than the field's least.
    """
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else whole_number(value)
    except TypeError:
        number = None
    least = SearchRequest.__dataclass_fields__[name].metadata["ge"]
    expected = f"at least {least}" if least else "0 or more"
    if number is None or number < least:
        raise InputError(f"{name} is {value!r}, expected {expected}")
    return number


def check_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Check the weights of parts, and make them plain numbers.

    Raises:
        InputError: if a weight isn't above 0, or is above 1000.
        UnknownNameError: if there is no such part.
    """
    checked: dict[str, float] = {}
    for name, weight in weights.items():
        if name not in PART_NAMES:
            raise UnknownNameError("part of a query", name, PART_NAMES)
        if not 0 < weight <= LARGEST_WEIGHT or math.isnan(weight):
            raise InputError(
                f"the weight of {name} is {weight}, expected above 0 and at most "
                f"{LARGEST_WEIGHT:g}; to lead away from words, give them as minus_text"
            )
        checked[name] = float(weight)
    return checked


def code_hex(code: Code, bit_order: BitOrder | str = BitOrder.LITTLE) -> str:
    """Write a packed code in hexadecimal, in our bit order.

    Args:
        code: in hexadecimal, as bytes, or an array; what isn't hexadecimal stays for a later check.
        bit_order: that it is in.

    Raises:
        InputError: if it isn't one packed code.

    Example:
        >>> code_hex(np.array([[143, 2]], np.uint8))
        '8f02'
    """
    is_big = read_choice("bit order", BitOrder, bit_order) is BitOrder.BIG
    if isinstance(code, str):
        return reverse_hex(code) if is_big else code
    if isinstance(code, bytes):
        return (reverse_bits(code) if is_big else code).hex()
    if code.dtype != np.uint8 or code.size != code.shape[-1]:
        raise InputError(
            f"code is {code.dtype} of shape {code.shape}, expected one packed code: uint8 of "
            "shape (p,) or (1, p), as the library's pack gives it"
        )
    content = code.tobytes()
    return (reverse_bits(content) if is_big else content).hex()


def reverse_hex(text: str) -> str:
    """Write a code in hexadecimal in the other bit order; what isn't hexadecimal stays.

    Example:
        >>> reverse_hex("8f02"), reverse_hex("no code")
        ('f140', 'no code')
    """
    try:
        return reverse_bits(bytes.fromhex(text)).hex()
    except ValueError:
        return text
