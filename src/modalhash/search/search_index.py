"""An index that answers texts and pictures: a model and the codes of a collection."""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self, Unpack

from PIL import Image

from modalhash.errors import InputError
from modalhash.index import Ids
from modalhash.modalities import Side
from modalhash.notebook_html import join_parts, make_fact_table, make_gallery, write_count_list
from modalhash.picture_arrays import PictureInput
from modalhash.search.answers import Answer, Explanation, ItemCounts, make_item_card
from modalhash.search.changing import (
    add_contents,
    compact_sides,
    delete_items,
    delete_items_where,
)
from modalhash.search.contents import SideContent
from modalhash.search.explaining import explain_items
from modalhash.search.parts import IndexParts
from modalhash.search.planning import SearchPlan, plan_search
from modalhash.search.queries import EncodedQuery, encode_request
from modalhash.search.searching import (
    explain_hits,
    find_nearest,
    make_answer,
    make_hit,
)
from modalhash.search_request import Scoring, SearchOptions, SearchRequest, Target

__all__ = ["SearchIndex"]

SHOWN_PICTURES: Final = 6
"""First pictures of an index that a notebook shows."""


class SearchIndex(IndexParts):
    """Answers texts and pictures from codes; see `IndexParts` for what it is made of."""

    def __repr__(self) -> str:
        counts = " and ".join(f"{len(index):,} {side}" for side, index in self.sides.items())
        return f"<SearchIndex of {counts}, {self.model.n_bits} bits, in {self.folder}>"

    def _repr_html_(self) -> str:
        """Write what notebooks show: what the index holds, and its first pictures."""
        record = self.model.record
        facts = {
            "codes": write_count_list({str(side): len(own) for side, own in self.sides.items()}),
            "model": f"{record.title}, {self.model.n_bits} bits, encoder {record.encoder['name']}",
            "collection": self.collection.get("name"),
            "relevance": "calibrated" if self.calibration is not None else "not calibrated",
        }
        return join_parts("Search index", make_fact_table(facts), self._draw_first_pictures())

    def _draw_first_pictures(self) -> str:
        """Draw the first pictures there are as HTML; nothing of an index of texts."""
        blocks = self.sides[Side.IMAGES].blocks(SHOWN_PICTURES) if Side.IMAGES in self.sides else ()
        block = next(iter(blocks), None)
        if block is None:
            return ""
        rows = zip(block.ids.tolist(), block.metadata, strict=True)
        hits = (make_hit(self, identity, 0, row) for identity, row in rows)
        return make_gallery([make_item_card(hit) for hit in hits])

    def search(
        self,
        text: str | None = None,
        image: "PictureInput | None" = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Find what is nearest to a text, a picture, an item, a code or features.

        One side is searched; `answer` takes combinations and searches both.

        Args:
            text: the query, or
            image: the query: a file, its bytes, an opened picture, or its pixels as a uint8 array
                of shape (height, width, 3).
            options: the other fields of `SearchRequest`: `k`, `target`, `where`, ...

        Raises:
            FeatureError: if the model can't encode the query.
            FilterError: if the filter can't be understood, or names a field that no item has,
                marking the place.
            InputError: if there isn't exactly one text or image, and no id, code or features; if a
                picture is unreadable or a value is out of its range.
            UnavailableError: if the index lacks what is wanted: a side, the relevance of distances,
                or what to rerank by.
            UnknownItemError: if there is no item of the id.
            UnknownNameError: if `rerank_by` or `rerank_score` is none.
        """
        is_alone = all(options.get(name) is None for name in ("id", "code", "features"))
        if (text is None) == (image is None) and (is_alone or text is not None):
            raise InputError("give either a text or an image to search for")
        if options.get("target") == Target.BOTH:
            raise InputError("target is 'both', expected images or texts: `answer` searches both")
        (answer,) = self.answer(SearchRequest(text, image, **options))
        return answer

    def answer(self, request: SearchRequest) -> tuple[Answer, ...]:
        """Answer a request: one answer for each side that is searched.

        Raises:
            FeatureError: as `search`, like all that follows.
            FilterError: if the filter can't be understood.
            InputError: if the picture is unreadable.
            UnavailableError: if the index lacks what is wanted.
            UnknownItemError: if there is no item of the id.
        """
        plans = plan_search(self, request)
        query = encode_request(self, request)
        return tuple(self._answer_side(query, plan) for plan in plans)

    def _answer_side(self, query: EncodedQuery, plan: SearchPlan) -> Answer:
        """Search one side."""
        answer = make_answer(self, query, plan, find_nearest(self, query, plan))
        return explain_hits(self, query, answer) if plan.is_explained else answer

    def explain(
        self,
        ids: Sequence[str | int],
        text: str | None = None,
        image: "PictureInput | None" = None,
        *,
        target: Side | str | None = None,
        scoring: Scoring | str = Scoring.ASYMMETRIC,
    ) -> tuple[Explanation, ...]:
        """Explain where items are for a text or a picture; they needn't be hits.

        Args:
            ids: of items on the side that is searched.
            text: the query, or
            image: the query, as for `search`.
            target: as for `search`.
            scoring: as for `search`.

        Returns:
            One for each id. Distances are those of the whole index.

        Raises:
            InputError: unless exactly one of text and image is given; if an id isn't there, naming
                it; or as `search` does.
        """
        if (text is None) == (image is None):
            raise InputError("give either a text or an image that was searched for")
        return self.explain_items(ids, SearchRequest(text, image, target=target, scoring=scoring))

    def explain_items(
        self, ids: Sequence[str | int], request: SearchRequest
    ) -> tuple[Explanation, ...]:
        """Explain where items are for the query of a request, on its one side; see `explain`."""
        (side,) = self.sides_to_search(request)
        self.sides[side].reconstruct(ids)  # an unknown id is refused before the query is encoded
        query = encode_request(self, request)
        return explain_items(self, ids, query, side, scoring=Scoring(request.scoring))

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
        add_contents(self, sides, pictures=pictures, upsert=upsert)

    def delete(self, ids: Ids, *, missing: str = "error", dry_run: bool = False) -> ItemCounts:
        """Remove items with their texts, or single texts; both sides or none.

        Args:
            ids: of pictures, which go with all their texts, or of texts.
            missing: "error", or "ignore" to pass over ids that aren't there.
            dry_run: only count what would be removed.

        Returns:
            How many pictures and texts were removed.

        Raises:
            IndexLockedError: if somebody else changes the index.
            InputError: if an id isn't there, naming it. Nothing is deleted then.
            StorageError: if the file system refuses.
        """
        return delete_items(self, ids, missing=missing, dry_run=dry_run)

    def delete_where(self, where: str, *, dry_run: bool = False) -> ItemCounts:
        """Remove the items that pass a filter, with all their texts; both sides or none.

        An index without pictures loses the texts that pass.

        Args:
            where: the filter.
            dry_run: only count what would be removed.

        Returns:
            How many pictures and texts were removed.

        Raises:
            FilterError: if the filter can't be understood, or names a field that no item has and
                selects items all the same, marking the place.
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses.
        """
        return delete_items_where(self, where, dry_run=dry_run)

    def compact(self) -> None:
        """Write both sides anew: what was deleted is gone from the disk, searchers are rebuilt.

        Raises:
            IndexLockedError: if somebody else changes the index.
            StorageError: if the file system refuses; nothing is lost then.
        """
        compact_sides(self)

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
