"""Routes that search and explain."""

import asyncio
from typing import Annotated, Any, cast

from fastapi import APIRouter, File, Form, Request, UploadFile
from PIL import Image
from pydantic import ValidationError
from starlette.responses import Response

from modalhash.search import EncodedQuery, Side, explain_items
from modalhash.service.answers import ERRORS, code_text, json_answer
from modalhash.service.documents import answer_document, profile_document, reasons
from modalhash.service.engine import Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.problems import describe_problems
from modalhash.service.queries import (
    check_batch,
    check_encodes,
    check_items,
    encode_query,
    read_picture_upload,
    search_sides,
    side_named,
)
from modalhash.service.refusals import RefusedError, invalid, refusal_of
from modalhash.service.schemas import (
    BatchAnswer,
    BatchSearch,
    ExplainAnswer,
    ExplainQuery,
    ItemId,
    SearchAnswer,
    SearchQuery,
)
from modalhash.service.state import Service

__all__ = ["search_routes"]


def search_routes(service: Service) -> APIRouter:
    """Return the routes of a server that search and explain."""
    routes = APIRouter(prefix="/v1/indexes/{name}", responses=ERRORS, tags=["search"])
    engine, settings = service.engine, service.settings

    @routes.post("/search", response_model=SearchAnswer)
    async def search(name: str, query: SearchQuery, request: Request) -> Response:
        """Search by text, by id, by code, or by several of them."""
        stages: Stages = request.scope["modalhash_stages"]
        with service.held(name) as handle:
            return respond_with_timings(service, stages, await answered(handle, query, stages))

    @routes.post("/search/picture", response_model=SearchAnswer)
    async def search_by_picture(
        name: str,
        request: Request,
        image: Annotated[UploadFile, File(description="A JPEG, PNG or WebP file.")],
        query: Annotated[str, Form(description="A search as JSON text.")] = "{}",
    ) -> Response:
        """Search by an uploaded picture, alone or with other parts."""
        stages: Stages = request.scope["modalhash_stages"]
        try:
            parts = SearchQuery.model_validate_json(query)
        except ValidationError as error:
            raise invalid(f"query: {describe_first_problem(error)}") from None
        with service.held(name) as handle:
            check_encodes(handle, "picture")
            picture = await read_picture_upload(image, "image", engine, stages)
            return respond_with_timings(
                service, stages, await answered(handle, parts, stages, picture)
            )

    @routes.post("/search/batch", response_model=BatchAnswer)
    async def search_batch(name: str, batch: BatchSearch, request: Request) -> Response:
        """Make many searches at once; one that can't be made refuses all."""
        stages: Stages = request.scope["modalhash_stages"]
        check_batch(len(batch.queries), settings, name="queries")
        with service.held(name) as handle:
            each = [Stages() for _ in batch.queries]
            found = await asyncio.gather(
                *(answered(handle, *one) for one in zip(batch.queries, each, strict=True)),
                return_exceptions=True,
            )
        for place, one in enumerate(found):
            if isinstance(one, BaseException):
                raise locate_error(one, f"queries[{place}]")
        stages.encode = max(own.encode for own in each)
        stages.search = max(own.search for own in each)
        stages.rerank = max(own.rerank for own in each)
        return respond_with_timings(service, stages, {"answers": found})

    @routes.post("/explain", response_model=ExplainAnswer)
    async def explain(name: str, query: ExplainQuery, request: Request) -> Response:
        """Say why items are where they are for a query; they needn't be hits."""
        stages: Stages = request.scope["modalhash_stages"]
        check_batch(len(query.ids), settings, name="ids")
        with service.held(name) as handle:
            usual = "images" if Side.IMAGES in handle.index.sides else "texts"
            side = side_named(handle, query.target or usual)
            encoded = await encode_query(handle, query, engine, stages)
            return json_answer(
                await engine.look_up(explanation_document, handle, side, encoded, query.ids)
            )

    async def answered(
        handle: IndexHandle, query: SearchQuery, stages: Stages, picture: Image.Image | None = None
    ) -> dict[str, Any]:
        encoded, found = await search_sides(handle, query, engine, stages, picture=picture)
        return answer_document(handle, encoded, found, stages)

    return routes


def explanation_document(
    handle: IndexHandle, side: Side, query: EncodedQuery, ids: list[ItemId]
) -> dict[str, Any]:
    """Return why items are where they are.

    Raises:
        RefusedError: if one isn't there, naming it.
    """
    check_items(handle, side, ids)
    index, wanted = handle.index, cast("Any", ids)
    found = explain_items(index, ids, query, side)
    codes = index.sides[side].reconstruct(wanted)
    return {
        "index": handle.name,
        "code": code_text(query.code),
        "n_bits": index.model.n_bits,
        "target": str(side),
        "relevance_rule": found[0].relevance_rule,
        "explanation": profile_document(found[0].profile),
        "items": [
            {
                "id": one.id,
                "code": code_text(codes[row : row + 1]),
                "distance": one.distance,
                "relevance": one.relevance,
                **reasons(one),
            }
            for row, one in enumerate(found)
        ],
    }


def respond_with_timings(service: Service, stages: Stages, document: dict[str, Any]) -> Response:
    """Return an answer that says where its time went, and count that."""
    spent = {
        "decode": stages.decode,
        "encode": stages.encode,
        "search": stages.search,
        "rerank": stages.rerank,
    }
    for stage, seconds in spent.items():
        if seconds:
            service.metrics.stages[stage].observe(seconds)
    milliseconds = stages.milliseconds()
    header = ", ".join(f"{stage};dur={value:g}" for stage, value in milliseconds.items())
    return json_answer(document, headers={"Server-Timing": header})


def locate_error(error: BaseException, place: str) -> BaseException:
    """Return an error that says which query of a batch it is of."""
    refusal = refusal_of(error)
    if refusal.status >= 500:
        return error
    return RefusedError(
        refusal.status, refusal.code, f"{place}: {refusal.message}", refusal.retry_after
    )


def describe_first_problem(error: ValidationError) -> str:
    """Return the first problem of a document in a sentence."""
    return describe_problems(
        error.errors(include_url=False, include_context=False, include_input=False)
    )
