"""An index that answers texts and pictures: a model and the codes of a collection."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from modalhash.codes import Codes
from modalhash.encoders import TowerOutput
from modalhash.errors import InputError
from modalhash.index import Ids
from modalhash.index.rerank import RerankScore
from modalhash.modalities import MODALITIES, Modality, Side
from modalhash.search.answers import Answer
from modalhash.search.changing import (
    add_contents,
    compact_sides,
    delete_items,
    delete_items_where,
)
from modalhash.search.contents import SideContent
from modalhash.search.explaining import Explanation, explain_items
from modalhash.search.parts import IndexParts
from modalhash.search.queries import encoded_query, query_of_code
from modalhash.search.reranking import SecondStage
from modalhash.search.searching import find_nearest, make_answer, plan_search

__all__ = ["SearchIndex"]


class SearchIndex(IndexParts):
    """Answers texts and pictures from codes; see `IndexParts` for what it is made of."""

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
        plan = plan_search(
            self,
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
        return make_answer(self, query, plan, find_nearest(self, query, plan))

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
        self.sides[side].reconstruct(list(ids))  # before the query is encoded
        stated, output = self.asked(text, image)
        asked: Modality = "image" if text is None else "text"
        return explain_items(self, ids, encoded_query(self.model, output, asked, stated), side)

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
        modality: Modality | None = next((one for one in MODALITIES if one in query), None)
        plan = plan_search(self, modality, target=target, k=k, where=where, radius=radius)
        encoded = query_of_code(code, self.model.n_bits, query, modality)
        return make_answer(self, encoded, plan, find_nearest(self, encoded, plan))

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
        return delete_items(self, ids, missing=missing)

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
        return delete_items_where(self, where)

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
