"""The client for asynchronous code (asyncio)."""

import asyncio
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

__all__ = ["AsyncClient"]

Result = TypeVar("Result")


class AsyncClient:
    """Asks a modalhash server; the methods are those of `Client`, to be awaited.

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
        >>> async def nearest(words: str) -> str | int:
        ...     async with AsyncClient("http://127.0.0.1:8000") as client:
        ...         return (await client.search(words, k=1)).hits[0].id
    """

    def __init__(
        self,
        url: str,
        *,
        index: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        transport: "httpx2.AsyncBaseTransport | None" = None,
    ) -> None:
        httpx = import_optional("httpx2", extra="client", feature="the client")
        self._http: httpx2.AsyncClient = httpx.AsyncClient(
            **make_http_options(url, key, timeout), transport=transport
        )
        self._retries = Retries() if retries is None else retries
        self._index = index

    async def service(self) -> ServiceFacts:
        """Ask what the server is and allows."""
        return await self._send(make_service_call())

    async def indexes(self) -> tuple[IndexFacts, ...]:
        """List what each index holds and can do."""
        return await self._send(make_indexes_call())

    async def index(self, name: str | None = None) -> IndexFacts:
        """Ask what one index holds and can do."""
        return await self._send(make_index_call(await self._choose_index(name)))

    async def models(self) -> tuple[ModelFacts, ...]:
        """List the models behind the indexes."""
        return await self._send(make_models_call())

    async def is_ready(self) -> bool:
        """Tell whether the server answers searches; False also where there is none."""
        try:
            return await self._send(make_ready_call(), tries=1)
        except ServiceError:
            return False

    async def search(
        self,
        text: str | None = None,
        image: "PictureInput | None" = None,
        *,
        index: str | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchAnswer:
        """Find what is nearest to a query; see `Client.search`."""
        request = SearchRequest(text, image, **options)
        return await self._send(make_search_call(await self._choose_index(index), request))

    async def search_batch(
        self, queries: Iterable[SearchRequest | str], *, index: str | None = None
    ) -> tuple[SearchAnswer, ...]:
        """Search for many at once; one answer a query, in order; see `Client.search_batch`."""
        return await self._send(make_search_batch_call(await self._choose_index(index), queries))

    async def explain(
        self, ids: Sequence[str | int], query: SearchRequest, *, index: str | None = None
    ) -> ExplanationAnswer:
        """Say why items are where they are for a query; see `Client.explain`."""
        return await self._send(make_explain_call(await self._choose_index(index), ids, query))

    async def encode_texts(
        self, texts: Sequence[str], *, bit_order: str = "little", index: str | None = None
    ) -> NDArray[np.uint8]:
        """Encode texts to codes, (n, p) uint8, packed; see `Client.encode_texts`."""
        return await self._send(
            make_encode_texts_call(await self._choose_index(index), texts, bit_order)
        )

    async def encode_images(
        self,
        images: "Sequence[PictureInput]",
        *,
        bit_order: str = "little",
        index: str | None = None,
    ) -> NDArray[np.uint8]:
        """Encode pictures to codes, (n, p) uint8, packed; see `Client.encode_images`."""
        return await self._send(
            make_encode_images_call(await self._choose_index(index), images, bit_order)
        )

    async def facets(
        self,
        *,
        side: str = "images",
        where: str | None = None,
        index: str | None = None,
    ) -> FacetList:
        """Count the values of fields, dates by year; see `Client.facets`."""
        return await self._send(make_facets_call(await self._choose_index(index), side, where))

    async def item(
        self,
        item_id: str | int,
        *,
        side: str = "images",
        index: str | None = None,
    ) -> ItemFacts:
        """Fetch one item by its id; see `Client.item`."""
        return await self._send(make_item_call(await self._choose_index(index), item_id, side))

    async def thumbnail(self, of: ServedHit | ItemFacts | PictureLink, *, size: int = 256) -> bytes:
        """Fetch a small picture of an item; see `Client.thumbnail`."""
        return await self._send(make_thumbnail_call(of, size))

    async def add(self, items: Iterable[NewItem], *, index: str | None = None) -> AddedItems:
        """Add items, all or none; they are on disk when this returns; see `Client.add`."""
        return await self._send(make_add_call(await self._choose_index(index), items, upsert=False))

    async def upsert(self, items: Iterable[NewItem], *, index: str | None = None) -> AddedItems:
        """Add items in the place of those of their ids; see `Client.upsert`."""
        return await self._send(make_add_call(await self._choose_index(index), items, upsert=True))

    async def delete(
        self,
        ids: Sequence[str | int] | None = None,
        *,
        where: str | None = None,
        missing: str = "error",
        index: str | None = None,
    ) -> int:
        """Remove items with their texts, or single texts; see `Client.delete`."""
        return await self._send(
            make_delete_call(await self._choose_index(index), ids, where, missing)
        )

    async def reload(self, index: str | None = None) -> IndexFacts:
        """Have the server open an index anew; see `Client.reload`."""
        return await self._send(make_reload_call(await self._choose_index(index)))

    async def close(self) -> None:
        """Close connections; the client can't be used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _choose_index(self, index: str | None) -> str:
        """Choose the index to ask."""
        if index is None and self._index is None:
            self._index = choose_only_index(await self._send(make_indexes_call()))
        name = index or self._index
        assert name is not None
        return name

    async def _send(self, call: Call[Result], *, tries: int | None = None) -> Result:
        """Send a request, again where that helps."""
        n_tried = 0
        while True:
            n_tried += 1
            try:
                return read_outcome(call, await self._send_once(call))
            except ServiceError as error:
                wait = self._retries.wait(error, n_tried=n_tried, can_repeat=call.can_repeat)
                if wait is None or n_tried == tries:
                    raise
                await asyncio.sleep(wait)

    async def _send_once(self, call: Call[Any]) -> "httpx2.Response":
        """Send a request once."""
        import httpx2

        try:
            return await self._http.request(call.method, call.path, **call.options)
        except httpx2.TransportError as error:
            raise describe_lost_connection(error, self._http.base_url) from error
