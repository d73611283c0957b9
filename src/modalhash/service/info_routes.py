"""Routes that say what there is: the server, indexes, models, items, facets."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

import modalhash
from modalhash.errors import UnknownItemError
from modalhash.index import IdKind
from modalhash.search import Side, make_hit
from modalhash.service.answers import ERRORS, answer_with_json, write_code
from modalhash.service.documents import describe_hit
from modalhash.service.facts import collect_model_facts
from modalhash.service.hosting import IndexHandle
from modalhash.service.queries import check_filter, check_items, find_side
from modalhash.service.schemas import (
    FacetList,
    IndexFacts,
    IndexList,
    Item,
    ModelList,
    ServiceFacts,
)
from modalhash.service.state import Service

__all__ = ["collect_facts", "describe_item", "make_info_routes", "read_id"]

INTEGER = re.compile(r"-?[0-9]{1,19}")
SideName = Literal["images", "texts"]
IdText = Annotated[str, Query(min_length=1, max_length=1024)]
FilterText = Annotated[str, Query(min_length=1)]


def make_info_routes(service: Service) -> APIRouter:
    """Make the routes of a server that describe its indexes and items."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, tags=["facts"])
    engine, settings = service.engine, service.settings

    @routes.get("", response_model=ServiceFacts)
    async def facts() -> Response:
        """Say what the server is and allows."""
        return answer_with_json(
            {
                "service": "modalhash",
                "version": modalhash.__version__,
                "auth": "none" if service.keys is None else "key",
                "writable": settings.writable,
                "limits": {
                    "body_bytes": settings.body_bytes,
                    "pixels": settings.pixels,
                    "text_length": settings.text_length,
                    "filter_length": settings.filter_length,
                    "k": settings.k,
                    "rerank": settings.rerank,
                    "batch": settings.batch,
                    "hits": settings.hits,
                    "filter_conditions": settings.filter_conditions,
                    "pixels_together": settings.picture_memory,
                    "timeout_seconds": settings.timeout,
                },
            }
        )

    @routes.get("/indexes", response_model=IndexList)
    async def indexes(request: Request) -> Response:
        """List the indexes, what they hold and can do."""
        facts = [await collect_facts(service, name, request) for name in service.host.hosted]
        return answer_with_json({"indexes": facts})

    @routes.get("/indexes/{name}", response_model=IndexFacts)
    async def index(name: str, request: Request) -> Response:
        """Say what one index holds and can do."""
        return answer_with_json(await collect_facts(service, name, request))

    @routes.get("/models", response_model=ModelList)
    async def models() -> Response:
        """List the models behind the indexes."""
        names: dict[str, list[str]] = {}
        for name, hosted in service.host.hosted.items():
            names.setdefault(hosted.current.index.model.fingerprint, []).append(name)
        return answer_with_json(
            {
                "models": [
                    collect_model_facts(service.host.hosted[used[0]].current.index.model, used)
                    for used in names.values()
                ]
            }
        )

    @routes.get("/indexes/{name}/items", response_model=Item)
    async def item(name: str, identity: Annotated[IdText, Query(alias="id")],
                   side: SideName = "images") -> Response:  # fmt: skip
        """Give one item by its id."""
        with service.hold_index(name) as handle:
            return answer_with_json(
                await engine.look_up(describe_item, handle, find_side(handle, side), identity)
            )

    @routes.get("/indexes/{name}/facets", response_model=FacetList)
    async def facets(
        name: str,
        *,
        side: SideName = "images",
        where: Annotated[FilterText | None, Query(alias="filter")] = None,
    ) -> Response:
        """Count the values of fields, for all items or those that pass a filter."""
        with service.hold_index(name) as handle:
            searched = find_side(handle, side)
            if where is not None:
                check_filter(where, settings)
            counted = await engine.tally(
                handle.facets.count, str(searched), handle.index.sides[searched], where
            )
            return answer_with_json({"side": side, **counted})

    return routes


async def collect_facts(service: Service, name: str, request: Request) -> dict[str, Any]:
    """Collect what an index states of itself, and what the client of a request may do."""
    with service.hold_index(name) as handle:
        facts = await service.engine.look_up(handle.facts)
        return facts | {
            "writable": service.settings.writable,
            "may_change": service.may_change(request),
        }


def read_id(handle: IndexHandle, side: Side, text: str) -> str | int:
    """Convert an id of an address to an id of the index.

    Raises:
        UnknownItemError: if it can't be one.
    """
    if handle.index.sides[side].id_kind is not IdKind.INTEGER:
        return text
    if not INTEGER.fullmatch(text):
        raise UnknownItemError(text, side)
    return int(text)


def describe_item(handle: IndexHandle, side: Side, identity: str) -> dict[str, Any]:
    """Describe an item as a document.

    Raises:
        UnknownItemError: if there is none of that id.
    """
    known = read_id(handle, side, identity)
    check_items(handle, side, [known])
    index: Any = handle.index.sides[side]
    hit = make_hit(handle.index, known, 0, index.metadata([known])[0])
    document = describe_hit(handle, side, hit)
    for name in ("distance", "score", "relevance", "strength"):
        del document[name]
    return document | {"side": str(side), "code": write_code(index.reconstruct([known]))}
