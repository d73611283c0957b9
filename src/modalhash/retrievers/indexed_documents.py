"""Documents of a search index: pictures and texts that a trained model encodes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np

from modalhash.api import open_index
from modalhash.api.opening import open_model
from modalhash.artifacts import HashModel, read_calibration
from modalhash.choices import Scoring
from modalhash.codes import Codes, code_width
from modalhash.errors import InputError, UnknownNameError
from modalhash.index import HashIndex, Ids
from modalhash.modalities import Side
from modalhash.picture_arrays import PictureInput
from modalhash.retrievers.documents import FoundDocument, NewDocument, clip_score
from modalhash.search import (
    Answer,
    Hit,
    NewItem,
    NewText,
    SearchIndex,
    SideContent,
    build_search_index,
    contents_of_items,
    make_hit,
)
from modalhash.search.folder import check_target
from modalhash.search_request import SearchRequest

__all__ = ["IndexedDocuments"]

IMAGE, CAPTION, ITEM = "image", "caption", "item"
OPTIONS: Final = (
    "group_by", "min_relevance", "min_score", "minus_text", "radius", "rerank", "rerank_by",
    "rerank_score", "scoring", "weights",
)  # fmt: skip
"""Fields of a request that aren't the query, and aren't set here."""
QUERY_FIELDS: Final = frozenset({"text", "image", "k", "where"})


class IndexedDocuments:
    """Find and change what one side of a search index holds, as documents.

    A picture is a document whose text is its first caption and whose metadata have its file under
    `image`; a text is one whose metadata have the id of its picture under `item`.

    Args:
        index: opened.
        target: the side that is searched, "images" or "texts"; by default images, if the index has
            them.
        options: of every search, fields of `SearchRequest`: `rerank`, `scoring`, `min_relevance`.

    Raises:
        InputError: if there is no such side.
        UnavailableError: if the index lacks the side.
        UnknownNameError: if there is no such option.
    """

    def __init__(
        self,
        index: SearchIndex,
        *,
        target: Side | str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.index = index
        self.side = index.side_of_items if target is None else index.side(target)
        self.options = dict(options or {})
        check_options(self.options)

    @classmethod
    def open(
        cls,
        index: SearchIndex | Path | str,
        *,
        target: Side | str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open the documents of an index, or of its folder or name on a hub.

        Raises:
            ArtifactError: if the folder is no search index, damaged or newer.
            InputError: as the class does.
        """
        opened = index if isinstance(index, SearchIndex) else open_index(index)
        return cls(opened, target=target, options=options)

    @classmethod
    def create(
        cls,
        model: HashModel | Path | str,
        folder: Path | str,
        *,
        target: Side | str = Side.TEXTS,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a new index without items.

        Args:
            model: or its run folder, or the name of a ready model.
            folder: of the new index.
            target: the side that it holds.
            options: as for the class.

        Raises:
            InputError: if the folder is there, or there is no such side or option.
        """
        if target not in list(Side):
            raise InputError(f"target is {target!r}, expected images or texts")
        check_target(Path(folder), kind="flat", overwrite=False)
        opened = open_model(model, "auto")
        none = SideContent([], np.zeros((0, code_width(opened.n_bits)), np.uint8), [])
        about = {"name": Path(folder).name, "split": "all", "source": "", "features": "none"}
        run = opened.folder
        index = build_search_index(
            opened,
            {Side(target): none},
            Path(folder),
            collection=about,
            kind="flat",
            calibration=None if run is None else read_calibration(run, opened.fingerprint),
        )
        return cls(index, target=target, options=options)

    @property
    def codes(self) -> HashIndex:
        """The index of the side that is searched."""
        return self.index.sides[self.side]

    def search(self, text: str, k: int, where: str | None = None) -> list[FoundDocument]:
        """Find the k best documents for a text; see `search_request`."""
        return self.search_request({"text": text, "k": k, "where": where})

    def search_request(self, fields: Mapping[str, Any]) -> list[FoundDocument]:
        """Find documents.

        Args:
            fields: of a `SearchRequest`, beside the options of the store: `text`, `image`, `k`, ...

        Raises:
            InputError: as `SearchIndex.answer` does, like its other errors.
        """
        check_options(set(fields) - QUERY_FIELDS)
        request = SearchRequest(**{**self.options, "target": self.side.value, **fields})
        (answer,) = self.index.answer(request)
        return [read_hit(hit, answer) for hit in answer.hits]

    def add(self, documents: Sequence[NewDocument]) -> None:
        """Encode documents and add them, in the place of those of the same ids.

        On the side of pictures, each needs its file under `image`; its text becomes a text of the
        picture, if the index has texts. On the side of texts, `item` may name its picture.

        Raises:
            IndexLockedError: if somebody else changes the index.
            InputError: if a document has no picture where pictures are searched, no text where
                texts are, or metadata named `caption`. Nothing is added then.
        """
        items = [self._make_item(document) for document in documents]
        if items:
            contents, pictures = contents_of_items(self.index, items)
            self.index.add(contents, pictures=pictures, upsert=True)

    def _make_item(self, document: NewDocument) -> NewItem:
        """Make the item of a document."""
        metadata, identity = dict(document.metadata), self._read_id(document.id)
        if CAPTION in metadata:
            raise InputError(
                f"metadata of {document.id!r} has the name {CAPTION!r}, which is the document's "
                "text: give it another name"
            )
        if self.side is Side.TEXTS:
            owner = metadata.pop(ITEM, document.id)
            text = NewText(identity, document.text)
            return NewItem(owner, texts=[text], metadata=metadata)
        image = metadata.pop(IMAGE, None)
        if not isinstance(image, str | Path):
            raise InputError(
                f"document {document.id!r} has no picture, and this store searches pictures: name "
                "its file in metadata['image'], or open the store with target='texts'"
            )
        has_text = Side.TEXTS in self.index.sides and document.text.strip()
        texts = [NewText(f"{document.id}#0", document.text)] if has_text else []
        return NewItem(
            identity, picture_file=Path(image), texts=texts, metadata=metadata,
            caption=document.text or None,
        )  # fmt: skip

    def read(self, ids: Sequence[str]) -> list[FoundDocument]:
        """Read documents by their ids; ids that aren't there are passed over."""
        known = self._select_known(ids)
        rows = self.codes.metadata(known) if known else []
        hits = [
            make_hit(self.index, identity, 0, row)
            for identity, row in zip(known, rows, strict=True)
        ]
        return [read_hit(hit) for hit in hits]

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents, pictures with all their texts; unknown ids are passed over."""
        known = self._select_known(ids)
        if known:
            self.index.delete(cast("Ids", known), missing="ignore")

    def delete_where(self, where: str) -> None:
        """Remove the documents that pass a filter, pictures with all their texts."""
        ids: Any = self.codes.select(where).tolist()
        if ids:
            self.index.delete(ids, missing="ignore")

    def read_codes(self, ids: Sequence[str]) -> tuple[Codes, int]:
        """Look up the packed codes of documents, (n, p) uint8, and their bits."""
        own: Any = [self._read_id(identity) for identity in ids]
        return self.codes.reconstruct(own), self.index.model.n_bits

    def close(self) -> None:
        """Let go of files; the index can't be used afterwards."""
        self.index.close()

    def search_image(
        self, image: PictureInput, k: int, where: str | None = None
    ) -> list[FoundDocument]:
        """Find the k best documents for a picture: a file, its bytes, opened, or pixels."""
        return self.search_request({"image": image, "k": k, "where": where})

    def _read_id(self, identity: str) -> str | int:
        """Read an id of the index, whose ids may be integers.

        Raises:
            InputError: if they are, and this is none.
        """
        if not self.index.has_integer_ids:
            return identity
        try:
            return int(identity)
        except ValueError:
            raise InputError(
                f"the ids of this index are integers, {identity!r} is none: give integers as texts"
            ) from None

    def _select_known(self, ids: Sequence[str]) -> list[Any]:
        """List those of some ids that there are, each once."""
        own: list[Any] = []
        for identity in dict.fromkeys(ids):
            is_integer = identity.removeprefix("-").isdecimal()
            if not self.index.has_integer_ids or is_integer:
                own.append(self._read_id(identity))
        is_there: list[bool] = self.codes.contains(own).tolist() if own else []
        return [identity for identity, known in zip(own, is_there, strict=True) if known]


def check_options(names: Iterable[str]) -> None:
    """Refuse options that a search here doesn't have.

    Raises:
        UnknownNameError: naming the first.
    """
    for name in names:
        if name not in OPTIONS:
            raise UnknownNameError("option of a search", name, OPTIONS)


def read_hit(hit: Hit, answer: Answer | None = None) -> FoundDocument:
    """Make a document of a hit; without an answer nothing was searched for."""
    metadata = dict(hit.metadata)
    if metadata.get(ITEM) == hit.id:
        del metadata[ITEM]
    if hit.image is not None:
        metadata[IMAGE] = hit.image
    if hit.video is not None:
        metadata |= {"video": hit.video, "start": hit.start, "end": hit.end}
    if answer is None:
        return FoundDocument(str(hit.id), hit.caption, metadata)
    relevance = hit.relevance
    if relevance is None:
        is_share = answer.scoring == Scoring.HAMMING.value and answer.reranked_by is None
        relevance = clip_score(2 * hit.score - 1 if is_share else hit.score)
    return FoundDocument(str(hit.id), hit.caption, metadata, hit.score, relevance)
