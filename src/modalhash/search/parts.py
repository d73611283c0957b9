"""What a search index is made of: a model, one index a side, and what is known of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modalhash.artifacts import HashModel, ModelCalibration
from modalhash.choices import Scoring
from modalhash.errors import InputError, UnavailableError
from modalhash.index import HashIndex, IdKind, stated_choice
from modalhash.metrics import RelevanceCurve
from modalhash.modalities import Direction, Modality, Side
from modalhash.search.filter_fields import check_filter_fields
from modalhash.search.kept_features import KeepFeatures
from modalhash.search_request import SearchRequest, Target

__all__ = ["IndexParts"]


class IndexParts:
    """The parts of a search index, which searching, explaining and changing share.

    Args:
        model: encodes the queries.
        sides: one index a side.
        collection: name and counts of what was indexed.
        folder: where it lies.
        calibration: probability of relevance at each distance, if that is known.
    """

    def __init__(
        self,
        model: HashModel,
        sides: Mapping[Side, HashIndex],
        collection: Mapping[str, Any],
        folder: Path,
        calibration: ModelCalibration | None = None,
    ) -> None:
        self.model, self.sides = model, dict(sides)
        self.collection, self.folder = dict(collection), folder
        self.calibration = calibration
        self.pictures: Path | None = None
        """Where the folder that was indexed lies now, if it was moved."""

    def locate_picture(self, image: str) -> str:
        """Locate a picture's file: below `pictures`, if the folder that was indexed lies there."""
        source = str(self.collection.get("source") or "")
        if self.pictures is None or not source or not Path(image).is_relative_to(source):
            return image
        return str(self.pictures / Path(image).relative_to(source))

    def side(self, target: Side | str) -> Side:
        """Look up the side of a name.

        Raises:
            InputError: if there is none of that name.
            UnavailableError: if this index was built without it.
        """
        if target not in list(Side):
            raise InputError(f"target is {target!r}, expected images or texts")
        side = Side(target)
        if side not in self.sides:
            raise UnavailableError(f"this index holds no {side}: build it with both sides")
        return side

    def side_of_item(self, request: SearchRequest) -> Side:
        """Choose the side that the id of a request is on: by default images, if there are any.

        Raises:
            UnavailableError: if this index was built without it.
        """
        if request.id_side is not None:
            return self.side(request.id_side)
        return self.side_of_items

    def sides_to_search(self, request: SearchRequest) -> tuple[Side, ...]:
        """Choose the sides that a request is for.

        A picture searches pictures where an index holds no texts.

        Raises:
            UnavailableError: if this index was built without one of them.
        """
        if request.target == Target.BOTH:
            return tuple(self.sides)
        usual = request.usual_target if Side.TEXTS in self.sides else Side.IMAGES
        return (self.side(request.target or usual),)

    @property
    def side_of_items(self) -> Side:
        """The side whose ids are those of items: images, if there are any."""
        return Side.IMAGES if Side.IMAGES in self.sides else Side.TEXTS

    def check_filter(self, where: str) -> None:
        """Refuse a filter of items that names a field which no item has.

        Raises:
            FilterError: if it does, or can't be understood.
        """
        check_filter_fields(self.sides[self.side_of_items], where)

    @property
    def has_integer_ids(self) -> bool:
        """Whether ids of items are integers; they are texts otherwise."""
        return any(index.id_kind is IdKind.INTEGER for index in self.sides.values())

    @property
    def keeps_features(self) -> bool:
        """Whether items keep their features, to rerank by."""
        return self.collection.get("features") == KeepFeatures.INT8.value

    @property
    def choices(self) -> dict[Side, str]:
        """How each side is searched, in words: the kind, why it was chosen, the recall measured."""
        return {
            side: stated_choice(index.kind, index.searcher_parameters)
            for side, index in self.sides.items()
        }

    def curve(
        self, modality: Modality, side: Side, scoring: Scoring = Scoring.HAMMING
    ) -> RelevanceCurve | None:
        """Look up how probable relevance is in one direction; None if unknown.

        Args:
            modality: of the query.
            side: that is searched.
            scoring: probabilities by Hamming distance, or by the level of asymmetric scores.
        """
        if self.calibration is None:
            return None
        direction = Direction.between(modality, side.modality)
        is_asymmetric = scoring is Scoring.ASYMMETRIC
        curves = self.calibration.asymmetric if is_asymmetric else self.calibration.directions
        calibrated = curves.get(direction)
        return None if calibrated is None else calibrated.curve

    def __len__(self) -> int:
        """Count the codes of all sides."""
        return sum(len(index) for index in self.sides.values())
