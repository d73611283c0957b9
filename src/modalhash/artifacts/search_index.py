"""An index that answers texts and pictures: a model and the codes of a collection, in one folder.

::

    manifest.json     format, model fingerprint, collection, what each side holds
    model/            the model, so that queries are encoded offline, and its calibration
    images/           index of image codes; ids are item ids
    texts/            index of text codes; ids are caption ids
    pictures/         copies of pictures that have no file of their own (drawn ones)
    pending.json      a change of both sides that isn't finished
"""

import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from PIL import Image

from modalhash.artifacts.calibration import (
    ModelCalibration,
    read_calibration,
    write_calibration,
)
from modalhash.artifacts.model import HashModel, load_model, save_model
from modalhash.artifacts.search_changes import (
    PENDING,
    SideChange,
    change_sides,
    finish_pending,
    writing,
)
from modalhash.artifacts.search_explanation import Explanation
from modalhash.artifacts.search_query import EncodedQuery, encoded_query
from modalhash.artifacts.search_rerank import (
    KEPT,
    KeepFeatures,
    SecondStage,
    chosen_stage,
    scorer_of,
)
from modalhash.codes import Codes, code_width
from modalhash.data import Modality
from modalhash.encoders import TowerOutput
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    IndexLockedError,
    InputError,
    NewerFormatError,
    StorageError,
    UnknownNameError,
)
from modalhash.files import exchange, read_json, sealed, write_json, write_with
from modalhash.index import (
    Ids,
    Metadata,
    QueryHits,
    build_index,
    check_kind,
    open_index,
    stated_choice,
)
from modalhash.index.base import check_radius, check_top_k
from modalhash.index.embedded import EmbeddedIndex
from modalhash.index.explanation import DistanceProfile, compare_bits
from modalhash.index.filters import parse_filter, quoted
from modalhash.index.ids import shown
from modalhash.index.milvus import drop_collections
from modalhash.index.rerank import RerankScore, shortlist_length
from modalhash.index.rerank import rerank as reranked
from modalhash.metrics import Direction, RelevanceCurve
from modalhash.metrics.calibration import check_probability

__all__ = [
    "Answer",
    "Hit",
    "SearchIndex",
    "SearchPlan",
    "Side",
    "SideContent",
    "is_search_index",
    "open_search_index",
]

logger = logging.getLogger(__name__)
Choice = TypeVar("Choice", bound=StrEnum)

FORMAT = 1
IDS_A_FILTER = 200
MANIFEST = "manifest.json"
ARTIFACT = "modalhash search index"
PICTURES = "pictures"
USUAL_HITS = 10
NOTHING = -1
"""A radius that no item is within."""


class Side(StrEnum):
    """What is searched: pictures or texts."""

    IMAGES = "images"
    TEXTS = "texts"


@dataclass(frozen=True)
class SideContent:
    """What goes into one side of an index.

    Attributes:
        ids: n distinct ids.
        codes: (n, p) uint8.
        metadata: n mappings; `caption`, `image` (a file, or None) and `item` are shown with hits.
    """

    ids: Ids
    codes: Codes
    metadata: Sequence[Metadata]


@dataclass(frozen=True)
class Hit:
    """One answer.

    Attributes:
        id: of the picture or the text.
        distance: differing bits; smaller is nearer.
        score: share of agreeing bits, in [0, 1]; of a reranked search what the second stage
            scored. Larger is better.
        caption: the text, or the picture's first one.
        image: the picture's file, or None.
        metadata: what else the collection says of it.
        relevance: probability that a random item at this distance is relevant; None if the model
            isn't calibrated for this direction.
    """

    id: str | int
    distance: int
    score: float
    caption: str
    image: str | None
    metadata: Mapping[str, Any]
    relevance: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        query: `{"text": ...}` or `{"image": ...}`.
        target: what was searched.
        n_bits: bits of a code.
        hits: nearest first.
        relevance_rule: what `relevance` of a hit means: that it shares a label with the query
            (`shared_label`), or is its own item (`pair`); None if it isn't known.
    """

    query: Mapping[str, str]
    target: Side
    n_bits: int
    hits: tuple[Hit, ...]
    relevance_rule: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `search --json` prints."""
        return {
            "format": 1,
            "query": dict(self.query),
            "target": str(self.target),
            "n_bits": self.n_bits,
            "relevance_rule": self.relevance_rule,
            "hits": [asdict(hit) for hit in self.hits],
        }


@dataclass(frozen=True)
class SearchPlan:
    """What is wanted of a search, checked; `SearchIndex.plan` makes it.

    Attributes:
        side: what is searched.
        k: hits at most; None is all within the radius.
        where: a filter; None counts all items.
        radius: largest distance; `NOTHING` if no item is near enough, None if all are.
        shortlist: items that the second stage puts in order; 0 is none.
        stage: the second stage.
        score: what its score is made of.
    """

    side: Side
    k: int | None
    where: str | None
    radius: int | None
    shortlist: int
    stage: SecondStage
    score: RerankScore


class SearchIndex:
    """Answers texts and pictures from codes.

    Args:
        model: encodes the queries.
        sides: one index a side.
        collection: name and counts of what was indexed.
        folder: where it lies.
        calibration: what its distances are worth, if that is known.
    """

    def __init__(
        self,
        model: HashModel,
        sides: Mapping[Side, EmbeddedIndex],
        collection: Mapping[str, Any],
        folder: Path,
        calibration: ModelCalibration | None = None,
    ) -> None:
        self.model, self.sides = model, dict(sides)
        self.collection, self.folder = dict(collection), folder
        self.calibration = calibration

    @classmethod
    def build(
        cls,
        model: HashModel,
        sides: Mapping[Side, SideContent],
        folder: Path,
        *,
        collection: Mapping[str, Any],
        pictures: Iterable[tuple[str, Image.Image]] = (),
        kind: str = "auto",
        parameters: Mapping[str, Any] | None = None,
        calibration: ModelCalibration | None = None,
        overwrite: bool = False,
    ) -> "SearchIndex":
        """Make an index folder; it appears when it is complete.

        Args:
            model: whose codes these are.
            sides: what each side holds.
            folder: where it goes.
            collection: name and counts, for people.
            pictures: file names (.png) and pictures, for pictures without a file; metadata name
                them as `pictures/NAME`.
            kind: of the indexes, a name in `modalhash.index.KINDS`.
            parameters: of the kind, by name; what is left out is chosen.
            calibration: what distances of this model are worth.
            overwrite: take the place of an index that is there.

        Raises:
            InputError: see `check_target`.
            StorageError: if the file system refuses; what was there is kept.
        """
        check_target(folder, kind=kind, parameters=parameters, overwrite=overwrite)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            part.chmod(0o755)
            try:
                save_model(model, part / "model")
                if calibration is not None:
                    write_calibration(calibration, part / "model")
                for side, content in sides.items():
                    build_index(
                        content.ids,
                        content.codes,
                        model.n_bits,
                        metadata=content.metadata,
                        kind=kind,
                        parameters=parameters,
                        model_fingerprint=model.fingerprint,
                        folder=part / side,
                    ).close()
                for name, picture in pictures:
                    write_picture(part / PICTURES / name, picture)
                document = {
                    "format": FORMAT,
                    "artifact": ARTIFACT,
                    "modalhash": version("modalhash"),
                    "model_fingerprint": model.fingerprint,
                    "method": model.record.method,
                    "n_bits": model.n_bits,
                    "encoder": model.record.encoder["name"],
                    "kind": kind,
                    "collection": dict(collection),
                    "sides": [str(side) for side in sides],
                }
                write_json(part / MANIFEST, sealed(document))
                if folder.exists():
                    exchange(part, folder)
                else:
                    part.rename(folder)
            finally:
                # What failed, or what was there before: its codes may lie on a server.
                drop_collections([part / side for side in Side])
                shutil.rmtree(part, ignore_errors=True)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
        return open_search_index(folder, device=model.device)

    def search(
        self,
        text: str | None = None,
        image: Path | str | Image.Image | None = None,
        *,
        k: int | None = None,
        target: Side | str | None = None,
        where: str | None = None,
        radius: int | None = None,
        min_relevance: float | None = None,
        rerank: int | str = 0,
        rerank_by: str = SecondStage.AUTO,
        rerank_score: str = RerankScore.FUSED,
    ) -> Answer:
        """Find what is nearest to a text or a picture.

        Args:
            text: the query, or
            image: the query: a file or an opened picture.
            k: hits at most; by default 10, and with a radius or a relevance all.
            target: what to search; by default pictures for a text and texts for a picture.
            where: a filter over metadata; None counts all items.
            radius: only items at this distance at most.
            min_relevance: only items that are relevant with this probability at least.
            rerank: how many items nearest by Hamming distance are put in order by something finer:
                a number, "auto" (5 %, between 500 and 5000) or "all"; 0 is none. At least k are.
            rerank_by: "fine" (finer codes), "features", "relaxed", or "auto", which takes the first
                of the first two that the index has.
            rerank_score: for finer codes, "fused" with the hash code, or "local".

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            InputError: unless exactly one of text and image is given, or if the text is empty, the
                picture unreadable, k below 1, or the side isn't in this index; if the radius is
                negative, the relevance no probability, or not known here; if there is nothing to
                rerank by.
            UnknownNameError: if `rerank_by` or `rerank_score` is none.
        """
        if (text is None) == (image is None):
            raise InputError("give either a text or an image to search for")
        asked: Modality = "image" if text is None else "text"
        plan = self.plan(
            asked,
            k=k,
            target=target or (Side.TEXTS if text is None else Side.IMAGES),
            where=where,
            radius=radius,
            min_relevance=min_relevance,
            rerank=rerank,
            rerank_by=rerank_by,
            rerank_score=rerank_score,
        )  # before the query is encoded, which takes longer
        stated, output = self.asked(text, image)
        query = encoded_query(self.model, output, asked, stated)
        return self.answer(query, plan, self.nearest(query, plan))

    def plan(
        self,
        asked: Modality | None,
        *,
        is_encoded: bool = True,
        target: Side | str,
        k: int | None = None,
        where: str | None = None,
        radius: int | None = None,
        min_relevance: float | None = None,
        rerank: int | str = 0,
        rerank_by: str = SecondStage.AUTO,
        rerank_score: str = RerankScore.FUSED,
    ) -> SearchPlan:
        """Check what is wanted of a search, for `nearest` and `answer`.

        Args:
            asked: modality of the query; None of a combination or a code of unknown origin.
            is_encoded: whether the encoder's output for the query is there; without it, the query
                can only be reranked by `relaxed`.
            target: what to search.
            k: as for `search`, like all that follows.
            where: a filter.
            radius: largest distance.
            min_relevance: least probability.
            rerank: length of the shortlist.
            rerank_by: what puts it in order.
            rerank_score: what its score is made of.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            InputError: as for `search`.
            UnknownNameError: if `rerank_by` or `rerank_score` is none.
        """
        if k is None and radius is None and min_relevance is None:
            k = USUAL_HITS
        if k is not None:
            check_top_k(k)
        side = self.side(target)
        if where is not None:
            parse_filter(where)
        radius = self.cut_off(asked, side, radius, min_relevance)
        shortlist = shortlist_length(rerank, len(self.sides[side]))
        stage, score = (
            one_of("rerank_by", SecondStage, rerank_by),
            one_of("rerank_score", RerankScore, rerank_score),
        )
        if shortlist:
            stage = chosen_stage(
                stage,
                self.model,
                keeps_features=self.keeps_features,
                asked=asked if is_encoded else None,
                target="image" if side is Side.IMAGES else "text",
            )
        return SearchPlan(side, k, where, radius, shortlist, stage, score)

    def nearest(self, query: EncodedQuery, plan: SearchPlan) -> QueryHits:
        """Return what is nearest by Hamming distance: the shortlist of a search, with metadata."""
        k = None if plan.k is None else max(plan.k, plan.shortlist)
        return self.found(plan.side, query.code, k, plan.radius, plan.where)

    def nearest_of_all(self, queries: Sequence[EncodedQuery], plan: SearchPlan) -> list[QueryHits]:
        """Return what `nearest` gives for each of some queries, looked for at once."""
        if plan.radius is not None or plan.k is None:
            return [self.nearest(query, plan) for query in queries]
        codes = np.concatenate([query.code for query in queries])
        index, k = self.sides[plan.side], max(plan.k, plan.shortlist)
        found = index.search(codes, k, plan.where, with_metadata=True)
        return [found[row] for row in range(len(queries))]

    def answer(self, query: EncodedQuery, plan: SearchPlan, found: QueryHits) -> Answer:
        """Make the answer of a shortlist, put in the order of the second stage if there is one.

        Args:
            query: what was asked.
            plan: what is wanted.
            found: what `nearest` gave for them.

        Raises:
            InputError: if an item keeps nothing to rerank by.
            DamagedArtifactError: if what it keeps isn't what was written.
        """
        assert found.metadata is not None
        curve = None if query.modality is None else self.curve(query.modality, plan.side)
        probabilities = self.probabilities(curve, plan.side)
        order, scores = np.arange(len(found)), None
        if plan.shortlist:
            scorer = scorer_of(
                plan.stage,
                self.model,
                query,
                documents=found.metadata,
                codes=self.shortlist_codes(plan.stage, self.sides[plan.side], found.ids),
                score=plan.score,
            )
            order, scores = reranked(order, found.distances, scorer)
        hits = tuple(
            self.hit(
                found.ids[place],
                int(found.distances[place]),
                found.metadata[place],
                score=None if scores is None else float(scores[rank]),
                probabilities=probabilities,
            )
            for rank, place in enumerate(order[: plan.k].tolist())
        )
        return Answer(dict(query.stated), plan.side, self.model.n_bits, hits, rule_of(curve))

    def asked(
        self, text: str | None, image: Path | str | Image.Image | None
    ) -> tuple[dict[str, str], TowerOutput]:
        """Return a query as answers state it, and what the encoder gives for it.

        Raises:
            InputError: if the text is empty or the picture unreadable.
        """
        if text is not None:
            if not text.strip():
                raise InputError("the text to search for is empty: give at least one word")
            return {"text": text}, self.model.text_output(text)
        assert image is not None
        name = "a picture" if isinstance(image, Image.Image) else str(image)
        return {"image": name}, self.model.image_output(image)

    def curve(self, asked: str, side: Side) -> RelevanceCurve | None:
        """Return what distances in one direction are worth; None if that isn't known."""
        target = "image" if side is Side.IMAGES else "text"
        directions = {} if self.calibration is None else self.calibration.directions
        found = directions.get(Direction(f"{asked}_to_{target}"))
        return None if found is None else found.curve

    def probabilities(self, curve: RelevanceCurve | None, side: Side) -> Sequence[float] | None:
        """Return the probability of relevance at each distance, in a side as large as it is."""
        return None if curve is None else curve.at(len(self.sides[side])).tolist()

    def cut_off(
        self, asked: str | None, side: Side, radius: int | None, min_relevance: float | None
    ) -> int | None:
        """Return the largest distance that is wanted; None if all are, `NOTHING` if none is.

        Raises:
            InputError: if the radius is negative, the relevance no probability, or not known.
        """
        if radius is not None:
            check_radius(radius)
        if min_relevance is None:
            return radius
        check_probability(min_relevance)
        if asked is None:
            raise InputError(
                "how relevant items are at which distance is known for single texts and pictures, "
                "not for combinations or codes of unknown origin: cut off by a radius"
            )
        curve = self.curve(asked, side)
        if curve is None:
            raise InputError(
                f"this index doesn't know how relevant {side} are at which distance: run "
                f"`modalhash calibrate {self.folder}`, or cut off by a radius"
            )
        reached = curve.radius(min_relevance, len(self.sides[side]))
        if reached is None:
            return NOTHING
        return reached if radius is None else min(radius, reached)

    def found(
        self, side: Side, code: Codes, k: int | None, radius: int | None, where: str | None
    ) -> QueryHits:
        """Return up to k items within a radius, each of which may be None, with metadata."""
        index = self.sides[side]
        if k is None and radius is not None and radius >= 0:
            return index.search_radius(code, radius, where, with_metadata=True)[0]
        hits = index.search(code, 1 if k is None else k, where, with_metadata=True)[0]
        if radius is None:
            return hits
        n_within = int(np.searchsorted(hits.distances, radius, side="right"))
        assert hits.metadata is not None
        return QueryHits(hits.ids[:n_within], hits.distances[:n_within], hits.metadata[:n_within])

    def explain(
        self,
        ids: Sequence[str | int],
        text: str | None = None,
        image: Path | str | Image.Image | None = None,
        *,
        target: Side | str | None = None,
    ) -> tuple[Explanation, ...]:
        """Say why items are where they are for a text or a picture; they needn't be hits.

        Args:
            ids: of items on the side that is searched.
            text: the query, or
            image: the query: a file or an opened picture.
            target: as for `search`.

        Returns:
            One for each id. Distances are those of the whole index.

        Raises:
            InputError: unless exactly one of text and image is given; if an id isn't there, naming
                it; or as `search` does.
        """
        if (text is None) == (image is None):
            raise InputError("give either a text or an image that was searched for")
        side = self.side(target or (Side.TEXTS if text is None else Side.IMAGES))
        self.sides[side].reconstruct(known_list(ids))  # before the query is encoded
        stated, output = self.asked(text, image)
        asked: Modality = "image" if text is None else "text"
        return self.explain_query(ids, encoded_query(self.model, output, asked, stated), side)

    def explain_query(
        self, ids: Sequence[str | int], query: EncodedQuery, side: Side
    ) -> tuple[Explanation, ...]:
        """Say why items are where they are for an encoded query; see `explain`.

        Raises:
            InputError: if an id isn't there, naming it.
        """
        index = self.sides[side]
        known = known_list(ids)
        codes, documents = index.reconstruct(known), index.metadata(known)
        profile = DistanceProfile(index.distance_histogram(query.code)[0])
        curve = None if query.modality is None else self.curve(query.modality, side)
        probabilities = self.probabilities(curve, side)
        compared = [
            compare_bits(query.code, codes[row : row + 1], self.model.n_bits)
            for row in range(len(codes))
        ]
        distances = np.array([bits.distance for bits in compared], np.int32)
        local: list[float | None] = [None] * len(compared)
        if self.model.has_fine_codes and query.output is not None and compared:
            scorer = scorer_of(
                SecondStage.FINE,
                self.model,
                query,
                documents=documents,
                codes=codes,
                score=RerankScore.LOCAL,
            )
            local = list(map(float, scorer(0, np.arange(len(compared)), distances)))
        return tuple(
            Explanation(
                identity if isinstance(identity, str) else int(identity),
                bits,
                profile,
                None if probabilities is None else round(probabilities[bits.distance], 6),
                rule_of(curve),
                score,
            )
            for identity, bits, score in zip(ids, compared, local, strict=True)
        )

    def shortlist_codes(self, stage: SecondStage, index: EmbeddedIndex, ids: Ids) -> Codes:
        """Return the codes of a shortlist, or none where the second stage doesn't read them."""
        if stage is SecondStage.RELAXED:
            return index.reconstruct(ids)
        return np.zeros((0, code_width(self.model.n_bits)), np.uint8)

    @property
    def keeps_features(self) -> bool:
        """Whether items keep their features, to rerank by."""
        return self.collection.get("features") == KeepFeatures.INT8.value

    def search_code(
        self,
        code: Codes,
        *,
        query: Mapping[str, str],
        k: int | None,
        target: Side,
        where: str | None = None,
        radius: int | None = None,
    ) -> Answer:
        """Find what is nearest to one code, (1, p) uint8; see `search`."""
        found = self.found(target, code, k, radius, where)
        assert found.metadata is not None
        curve = self.curve(next(iter(query)), target)
        probabilities = self.probabilities(curve, target)
        hits = tuple(
            self.hit(identity, int(distance), metadata, probabilities=probabilities)
            for identity, distance, metadata in zip(
                found.ids, found.distances, found.metadata, strict=True
            )
        )
        return Answer(dict(query), target, self.model.n_bits, hits, rule_of(curve))

    def hit(
        self,
        identity: str | int,
        distance: int,
        metadata: Mapping[str, Any],
        *,
        score: float | None = None,
        probabilities: Sequence[float] | None = None,
    ) -> Hit:
        """Return one hit with what is known of it."""
        rest = {name: value for name, value in metadata.items() if name not in KEPT}
        caption, image = rest.pop("caption", None), rest.pop("image", None)
        if image is not None and not Path(image).is_absolute():
            image = str(self.folder / image)
        return Hit(
            identity if isinstance(identity, str) else int(identity),
            distance,
            round(1 - distance / self.model.n_bits if score is None else score, 6),
            caption or "",
            image,
            rest,
            None if probabilities is None else round(probabilities[distance], 6),
        )

    @property
    def choices(self) -> dict[Side, str]:
        """How each side is searched, in words: the kind, why it was chosen, the recall measured."""
        return {
            side: stated_choice(index.kind, index.searcher_parameters)
            for side, index in self.sides.items()
        }

    def add(
        self,
        sides: Mapping[Side, SideContent],
        *,
        pictures: Iterable[tuple[str, Image.Image]] = (),
        upsert: bool = False,
    ) -> None:
        """Add items to both sides, or to none; on disk when this returns.

        Args:
            sides: what is added to each side there is.
            pictures: file names (.png) and pictures, for pictures without a file; metadata name
                them as `pictures/NAME`.
            upsert: take the place of items that are there, with all their texts.

        Raises:
            IndexLockedError: if somebody else changes the index.
            InputError: if an id is there already, unless `upsert`; or comes twice. Nothing is
                added then.
            StorageError: if the file system refuses.
        """
        with writing(self.sides):
            finish_pending(self.folder, self.sides)
            operation = "upsert" if upsert else "add"
            changes = [
                (side, SideChange(operation, list(content.ids), content.codes, content.metadata))
                for side, content in sides.items()
                if side in self.sides and len(content.ids)
            ]
            for side, change in changes:
                check_new(self.sides[side], change)
            if upsert:
                changes = [*self._outdated_texts(sides), *changes]
            for name, picture in pictures:
                write_picture(self.folder / PICTURES / name, picture)
            change_sides(self.folder, self.sides, changes)

    def delete(self, ids: Ids, *, missing: str = "error") -> int:
        """Remove items with their texts, or single texts; both sides or none.

        Args:
            ids: of pictures, which go with all their texts, or of texts.
            missing: "error", or "ignore" to pass over ids that aren't there.

        Returns:
            How many codes were removed from both sides.

        Raises:
            IndexLockedError: if somebody else changes the index.
            InputError: if an id isn't there, naming it. Nothing is deleted then.
            StorageError: if the file system refuses.
        """
        with writing(self.sides):
            finish_pending(self.folder, self.sides)
            left = list(dict.fromkeys(ids))
            found: dict[Side, list[Any]] = {}
            for side, index in self.sides.items():
                known = known_ids(index, left)
                found[side] = known
                taken = set(known)
                left = [value for value in left if value not in taken]
            if left and missing == "error":
                raise InputError(
                    f"the index has no item {shown(left)}: nothing was deleted; ids are those of "
                    "pictures or of texts"
                )
            return self._delete(found)

    def delete_where(self, where: str) -> int:
        """Remove the items that pass a filter, with all their texts; both sides or none.

        An index without pictures loses the texts that pass.

        Returns:
            How many codes were removed from both sides.

        Raises:
            FilterError: if the filter can't be understood, marking the place.
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses.
        """
        with writing(self.sides):
            finish_pending(self.folder, self.sides)
            side = Side.IMAGES if Side.IMAGES in self.sides else Side.TEXTS
            return self._delete({side: self.sides[side].select(where).tolist()})

    def _delete(self, found: Mapping[Side, Sequence[Any]]) -> int:
        """Remove what was found, and the texts and drawn pictures that belong to it."""
        images, texts = list(found.get(Side.IMAGES, ())), list(found.get(Side.TEXTS, ()))
        drawn: list[str] = []
        if images:
            drawn = [
                str(one["image"])
                for one in self.sides[Side.IMAGES].metadata(images)
                if str(one.get("image")).startswith(f"{PICTURES}/")
            ]
            texts = list(dict.fromkeys([*texts, *self._texts_of(images)]))
        changes = [
            (side, SideChange("delete", gone))
            for side, gone in ((Side.IMAGES, images), (Side.TEXTS, texts))
            if gone
        ]
        change_sides(self.folder, self.sides, changes)
        for name in drawn:
            (self.folder / name).unlink(missing_ok=True)
        return len(images) + len(texts)

    def _texts_of(self, images: Sequence[Any]) -> list[Any]:
        """Return the ids of the texts of some pictures."""
        if Side.TEXTS not in self.sides:
            return []
        texts: list[Any] = []
        for start in range(0, len(images), IDS_A_FILTER):
            values = ", ".join(quoted(value) for value in images[start : start + IDS_A_FILTER])
            texts += self.sides[Side.TEXTS].select(f"item in ({values})").tolist()
        return texts

    def _outdated_texts(self, sides: Mapping[Side, SideContent]) -> list[tuple[Side, SideChange]]:
        """Return the removal of texts of replaced pictures that aren't replaced themselves."""
        images, texts = sides.get(Side.IMAGES), sides.get(Side.TEXTS)
        kept = set() if texts is None else set(texts.ids)
        gone = [
            value
            for value in self._texts_of([] if images is None else list(images.ids))
            if value not in kept
        ]
        return [(Side.TEXTS, SideChange("delete", gone))] if gone else []

    def compact(self) -> None:
        """Write both sides anew: what was deleted is gone from the disk, searchers are rebuilt.

        Raises:
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses; nothing is lost then.
        """
        with writing(self.sides):
            finish_pending(self.folder, self.sides)
            for index in self.sides.values():
                index.compact()

    def side(self, target: Side | str) -> Side:
        """Return the side of that name.

        Raises:
            InputError: if there is none of that name, or this index was built without it.
        """
        if target not in list(Side):
            raise InputError(f"target is {target!r}, expected images or texts")
        side = Side(target)
        if side not in self.sides:
            raise InputError(f"this index holds no {side}: build it with both sides")
        return side

    def __len__(self) -> int:
        """Return the number of codes of all sides."""
        return sum(len(index) for index in self.sides.values())

    def close(self) -> None:
        """Let go of files; the index can't be used afterwards."""
        for index in self.sides.values():
            index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def rule_of(curve: RelevanceCurve | None) -> str | None:
    """Return what a curve calls relevant."""
    return None if curve is None else curve.rule.value


def known_list(ids: Sequence[str | int]) -> Any:
    """Return ids as an index takes them; it refuses a mixture itself."""
    return list(ids)


def known_ids(index: EmbeddedIndex, ids: Sequence[Any]) -> list[Any]:
    """Return those of some ids that an index has."""
    return [value for value, is_there in zip(ids, index.contains(ids), strict=True) if is_there]


def check_new(index: EmbeddedIndex, change: SideChange) -> None:
    """Refuse what can't be added to a side, before anything is changed.

    Raises:
        InputError: if an id comes twice, or is there although it is added, naming it; or if codes
            or metadata don't fit.
    """
    assert change.codes is not None
    index.check_items(change.ids, change.codes, change.metadata)
    twice = [value for value, count in Counter(change.ids).items() if count > 1]
    if twice:
        raise InputError(f"ids holds {shown(twice)} more than once: nothing was added")
    there = known_ids(index, change.ids) if change.operation == "add" else []
    if there:
        raise InputError(
            f"the index already has {shown(there)}: nothing was added; take their place with "
            "upsert (on the command line --upsert), or leave them out"
        )


def one_of(name: str, kind: type[Choice], value: str) -> Choice:
    """Return a member of an enum of texts.

    Raises:
        UnknownNameError: if the value is none, listing those there are.
    """
    if value not in list(kind):
        raise UnknownNameError(name, value, [one.value for one in kind])
    return kind(value)


def check_target(
    folder: Path, *, kind: str, parameters: Mapping[str, Any] | None = None, overwrite: bool
) -> None:
    """Refuse a folder or a kind that an index can't be built in or of; costs nothing.

    Raises:
        InputError: if the folder exists and isn't a search index, or `overwrite` is False.
        SettingError: if the kind doesn't take a parameter, or it is out of its range.
        UnknownNameError: if there is no such kind of index.
    """
    check_kind(kind, parameters)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_search_index(folder):
        raise InputError(f"{folder} exists already and is no search index: choose another folder")
    if not overwrite:
        raise InputError(
            f"{folder} exists already: replace it with --overwrite, or choose another folder"
        )


def is_search_index(folder: Path) -> bool:
    """Return whether a folder holds a search index, be it damaged or newer."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"model_fingerprint", "sides"} <= manifest.keys()


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG file."""
    write_with(path, lambda file: picture.save(file, "PNG"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a search index.

    Raises:
        DamagedArtifactError: if there is none, or it isn't what was written.
        NewerFormatError: if a newer modalhash wrote it.
        StorageError: if it can't be read.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path, kind="index", newest_format=FORMAT)
    except NewerFormatError:
        if is_search_index(folder):
            raise
        manifest = {}  # of something else, whose formats are counted apart
    match manifest:
        case {"model_fingerprint": str(), "collection": dict(), "sides": [*names]} if set(
            names
        ) <= set(Side):
            return manifest
    raise DamagedArtifactError(
        f"{folder} is no search index: its {MANIFEST} is of another sort; give the folder that "
        "`modalhash index` made"
    )


def open_search_index(
    folder: Path | str,
    *,
    device: str = "auto",
    models: Mapping[str, HashModel] = MappingProxyType({}),
) -> SearchIndex:
    """Open an index folder.

    Args:
        folder: what `SearchIndex.build` made.
        device: where queries are encoded.
        models: by fingerprint, that are in memory already: one of these isn't loaded again.

    Raises:
        ArtifactError: if the folder is no index, is damaged or newer, or its parts are of
            different models.
        StorageError: if it can't be read.
    """
    folder = Path(folder).resolve()
    manifest = read_manifest(folder)
    model = models.get(manifest["model_fingerprint"]) or load_model(folder / "model", device=device)
    if model.fingerprint != manifest["model_fingerprint"]:
        raise ArtifactError(
            f"{folder / 'model'} isn't the model this index was made with: make the index again"
        )
    sides = {
        Side(name): open_index(folder / name, expect_model=model.fingerprint)
        for name in manifest["sides"]
    }
    if (folder / PENDING).exists():
        try:
            with writing(sides):
                finish_pending(folder, sides)
        except (IndexLockedError, StorageError) as error:
            logger.info("a change of %s isn't finished yet: %s", folder, error)
    calibration = read_calibration(folder / "model", model.fingerprint)
    return SearchIndex(model, sides, manifest["collection"], folder, calibration)
