"""The client for ordinary code."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.client.answers import (
    AddedItems,
    ExplanationAnswer,
    FacetList,
    IndexFacts,
    ItemFacts,
    ModelFacts,
    PictureLink,
    SearchAnswer,
    ServedHit,
    ServiceFacts,
)
from modalhash.client.calls import (
    Call,
    choose_only_index,
    make_add_call,
    make_delete_call,
    make_encode_images_call,
    make_encode_texts_call,
    make_explain_call,
    make_facets_call,
    make_index_call,
    make_indexes_call,
    make_item_call,
    make_models_call,
    make_ready_call,
    make_reload_call,
    make_search_batch_call,
    make_search_call,
    make_service_call,
    make_thumbnail_call,
)
from modalhash.client.queries import NewItem
from modalhash.client.retrying import Retries
from modalhash.client.sending import describe_lost_connection, make_http_options, read_outcome
from modalhash.errors import ServiceError
from modalhash.extras import import_optional
from modalhash.picture_arrays import PictureInput
from modalhash.search_request import SearchOptions, SearchRequest

if TYPE_CHECKING:
    import httpx2

__all__ = ["Client"]

Result = TypeVar("Result")


class Client:
    """Asks a modalhash server; may be shared by threads.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`.
        index: the index that is asked unless a call names another; needn't be given where the
            server has only one.
        key: API key, where the server asks for one.
        timeout: seconds that one try may take.
        retries: how it tries again; None is the default of `Retries`.
        transport: of httpx, for tests and for proxies of your own.

    Raises:
        MissingExtraError: if the extra `client` isn't installed.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     client.search("a dog in the snow", k=1).hits[0].id
        'dogs/0017.jpg'
    """

    def __init__(
        self,
        url: str,
        *,
        index: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        transport: "httpx2.BaseTransport | None" = None,
    ) -> None:
        httpx = import_optional("httpx2", extra="client", feature="the client")
        self._http: httpx2.Client = httpx.Client(
            **make_http_options(url, key, timeout), transport=transport
        )
        self._retries = Retries() if retries is None else retries
        self._index = index

    def service(self) -> ServiceFacts:
        """Ask what the server is and allows."""
        return self._send(make_service_call())

    def indexes(self) -> tuple[IndexFacts, ...]:
        """List what each index holds and can do."""
        return self._send(make_indexes_call())

    def index(self, name: str | None = None) -> IndexFacts:
        """Ask what one index holds and can do."""
        return self._send(make_index_call(self._choose_index(name)))

    def models(self) -> tuple[ModelFacts, ...]:
        """List the models behind the indexes."""
        return self._send(make_models_call())

    def is_ready(self) -> bool:
        """Tell whether the server answers searches; False also where there is none."""
        try:
            return self._send(make_ready_call(), tries=1)
        except ServiceError:
            return False

    def search(
        self,
        text: str | None = None,
        image: "PictureInput | None" = None,
        *,
        index: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchAnswer:
        """Find what is nearest to a text, a picture, an item, a code, or several of them.

        Args:
            text: words to search for.
            image: a picture to search for: a path, a file's bytes, an opened picture, or its
                pixels, (height, width, 3) uint8.
            index: another than the client's own.
            options: the other fields of `SearchRequest`: `k`, `target`, `where`, ...

        Raises:
            ServiceError: if the server refuses; its `code` says why.
            ServiceUnreachableError: if the server can't be reached.
            InputError: if there is nothing to search for, a value is out of its range, or no index
                is named and there are more.
            StorageError: if the picture's file can't be read.
        """
        request = SearchRequest(text, image, **options)
        return self._send(make_search_call(self._choose_index(index), request))

    def search_batch(
        self, queries: Iterable[SearchRequest | str], *, index: str | None = None
    ) -> tuple[SearchAnswer, ...]:
        """Search for many at once; one answer a query, in order.

        Raises:
            ServiceError: if the server refuses one of them, naming its place.
        """
        return self._send(make_search_batch_call(self._choose_index(index), queries))

    def explain(
        self, ids: Sequence[str | int], query: SearchRequest, *, index: str | None = None
    ) -> ExplanationAnswer:
        """Say why items are where they are for a query; they needn't be hits.

        Args:
            ids: of items on the side that is searched.
            query: what is searched for, and `target`; for a picture, the `code` of its answer.
            index: another than the client's own.

        Raises:
            ServiceError: if the server refuses.
        """
        return self._send(make_explain_call(self._choose_index(index), ids, query))

    def encode_texts(
        self, texts: Sequence[str], *, bit_order: str = "little", index: str | None = None
    ) -> NDArray[np.uint8]:
        """Encode texts to codes, (n, p) uint8, packed.

        Args:
            texts: to encode.
            bit_order: of the codes, "little" (ours) or "big".
            index: whose model encodes.

        Raises:
            ServiceError: if the server refuses.
        """
        return self._send(make_encode_texts_call(self._choose_index(index), texts, bit_order))

    def encode_images(
        self,
        images: "Sequence[PictureInput]",
        *,
        bit_order: str = "little",
        index: str | None = None,
    ) -> NDArray[np.uint8]:
        """Encode pictures to codes, (n, p) uint8, packed.

        Args:
            images: to encode.
            bit_order: of the codes, "little" (ours) or "big".
            index: whose model encodes.

        Raises:
            ServiceError: if the server refuses.
            StorageError: if a picture's file can't be read.
        """
        return self._send(make_encode_images_call(self._choose_index(index), images, bit_order))

    def facets(
        self,
        *,
        side: str = "images",
        where: str | None = None,
        index: str | None = None,
    ) -> FacetList:
        """Count the values of fields, dates by year.

        Args:
            side: `images` or `texts`.
            where: a filter, of which items count.
            index: another than the client's own.

        Raises:
            ServiceError: if the filter can't be understood (`invalid_filter`).
        """
        return self._send(make_facets_call(self._choose_index(index), side, where))

    def item(
        self,
        item_id: str | int,
        *,
        side: str = "images",
        index: str | None = None,
    ) -> ItemFacts:
        """Fetch one item by its id.

        Raises:
            ServiceError: if it isn't there (`unknown_item`).
        """
        return self._send(make_item_call(self._choose_index(index), item_id, side))

    def thumbnail(self, of: ServedHit | ItemFacts | PictureLink, *, size: int = 256) -> bytes:
        """Fetch a small picture of an item, as the bytes of a WebP file.

        Args:
            of: a hit, an item, or the `picture` of one.
            size: of the longer side: 64, 128, 256, 512 or 1024.

        Raises:
            InputError: if it has no picture.
            ServiceError: if the server refuses.
        """
        return self._send(make_thumbnail_call(of, size))

    def add(self, items: Iterable[NewItem], *, index: str | None = None) -> AddedItems:
        """Add items, all or none; they are on disk when this returns.

        It isn't sent again after it may have arrived: an answer that was lost is an error
        (`connection_lost`), and the items may be there. `upsert` doesn't have that problem.

        Raises:
            ServiceError: if the server refuses; `already_there` if an id is.
        """
        return self._send(make_add_call(self._choose_index(index), items, upsert=False))

    def upsert(self, items: Iterable[NewItem], *, index: str | None = None) -> AddedItems:
        """Add items in the place of those of their ids, with all their texts.

        Raises:
            ServiceError: if the server refuses.
        """
        return self._send(make_add_call(self._choose_index(index), items, upsert=True))

    def delete(
        self,
        ids: Sequence[str | int] | None = None,
        *,
        where: str | None = None,
        missing: str = "error",
        index: str | None = None,
    ) -> int:
        """Remove items with their texts, or single texts.

        Args:
            ids: of items or texts, or
            where: a filter of what to remove.
            missing: "error", or "ignore" to pass over ids that aren't there.
            index: another than the client's own.

        Returns:
            How many codes were removed from both sides.

        Raises:
            InputError: unless exactly one of ids and where is given.
            ServiceError: if the server refuses.
        """
        return self._send(make_delete_call(self._choose_index(index), ids, where, missing))

    def reload(self, index: str | None = None) -> IndexFacts:
        """Have the server open an index anew.

        Raises:
            ServiceError: if the server refuses.
        """
        return self._send(make_reload_call(self._choose_index(index)))

    def close(self) -> None:
        """Close connections; the client can't be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _choose_index(self, index: str | None) -> str:
        """Choose the index to ask."""
        if index is None and self._index is None:
            self._index = choose_only_index(self._send(make_indexes_call()))
        name = index or self._index
        assert name is not None
        return name

    def _send(self, call: Call[Result], *, tries: int | None = None) -> Result:
        """Send a request, again where that helps."""
        n_tried = 0
        while True:
            n_tried += 1
            try:
                return read_outcome(call, self._send_once(call))
            except ServiceError as error:
                wait = self._retries.wait(error, n_tried=n_tried, can_repeat=call.can_repeat)
                if wait is None or n_tried == tries:
                    raise
                time.sleep(wait)

    def _send_once(self, call: Call[Any]) -> "httpx2.Response":
        """Send a request once."""
        import httpx2

        try:
            return self._http.request(call.method, call.path, **call.options)
        except httpx2.TransportError as error:
            raise describe_lost_connection(error, self._http.base_url) from error
