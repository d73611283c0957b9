"""Routes that search and explain."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalhash.errors import ModalhashError
from modalhash.search import EncodedQuery, Side, explain_items
from modalhash.search_request import Scoring, SearchRequest
from modalhash.service.answers import (
    ERRORS,
    answer_with_bytes,
    answer_with_json,
    write_code,
    write_json_bytes,
)
from modalhash.service.bodies import FormPart, load_json, read_files, validate_document
from modalhash.service.documents import describe_answer, describe_profile, describe_reasons
from modalhash.service.engine import SideResult, Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.openapi import FILE, form_body, json_body
from modalhash.service.queries import (
    build_request,
    check_batch,
    check_encodes,
    check_hits,
    check_items,
    encode_query,
    search_sides,
)
from modalhash.service.refusals import RefusedError, invalid, make_refusal
from modalhash.service.schemas import (
    BatchAnswer,
    BatchSearch,
    ExplainAnswer,
    ExplainQuery,
    ItemId,
    SearchAnswer,
    SearchQuery,
)
from modalhash.service.settings import ServiceSettings
from modalhash.service.state import Service

__all__ = ["make_search_routes"]

SLICE: Final = 16
"""Queries of a batch that are answered side by side."""
WRITTEN_AT_ONCE: Final = 50
"""Hits of an answer that is written in the event loop: it takes less than going to a thread."""
FORM_PARTS: Final = 16
"""Parts of a form with one picture."""


def make_search_routes(service: Service) -> APIRouter:
    """Make the routes of a server that search and explain."""
    routes = APIRouter(prefix="/v1/indexes/{name}", responses=ERRORS, tags=["search"])
    engine, settings = service.engine, service.settings

    @routes.post("/search", response_model=SearchAnswer, openapi_extra=json_body(SearchQuery))
    async def search(name: str, request: Request) -> Response:
        """Search by text, by id, by code, or by several of them."""
        stages: Stages = request.scope["modalhash_stages"]
        with service.hold_index(name) as handle:
            query = await service.read_document(request, SearchQuery)
            answer = await answer_request(handle, build_request(handle, query, settings), stages)
        return respond_with_timings(service, stages, answer)

    @routes.post(
        "/search/picture",
        response_model=SearchAnswer,
        openapi_extra=form_body(
            {"image": FILE, "query": {"type": "string", "description": "A search as JSON text."}},
            needed="image",
        ),
    )
    async def search_by_picture(name: str, request: Request) -> Response:
        """Search by an uploaded picture, alone or with other parts."""
        stages: Stages = request.scope["modalhash_stages"]
        with service.hold_index(name) as handle:
            check_encodes(handle, "picture")
            parts = await service.read_form(request, most_parts=FORM_PARTS)
            picture, query = read_picture_form(parts, settings.values)
            answer = await answer_request(
                handle, build_request(handle, query, settings, picture), stages
            )
        return respond_with_timings(service, stages, answer)

    @routes.post("/search/batch", response_model=BatchAnswer, openapi_extra=json_body(BatchSearch))
    async def search_batch(name: str, request: Request) -> Response:
        """Make many searches at once; one that can't be made refuses all."""
        stages: Stages = request.scope["modalhash_stages"]
        with service.hold_index(name) as handle:
            queries = (await service.read_document(request, BatchSearch)).queries
            check_batch(len(queries), settings, name="queries")
            requests = build_requests(handle, queries, settings)
            answers: list[bytes] = []
            for start in range(0, len(requests), SLICE):
                answers += await answer_slice(
                    handle, requests[start : start + SLICE], start, stages
                )
        return respond_with_timings(service, stages, b'{"answers":[', b",".join(answers), b"]}")

    @routes.post("/explain", response_model=ExplainAnswer, openapi_extra=json_body(ExplainQuery))
    async def explain(name: str, request: Request) -> Response:
        """Say why items are where they are for a query; they needn't be hits."""
        stages: Stages = request.scope["modalhash_stages"]
        with service.hold_index(name) as handle:
            query = await service.read_document(request, ExplainQuery)
            check_batch(len(query.ids), settings, name="ids")
            search_request = build_request(handle, query, settings)
            (side,) = handle.index.sides_to_search(search_request)
            encoded = await encode_query(handle, search_request, engine, stages)
            return answer_with_json(
                await engine.look_up(
                    partial(describe_explanation, scoring=Scoring(search_request.scoring)),
                    handle,
                    side,
                    encoded,
                    query.ids,
                )
            )

    async def answer_request(
        handle: IndexHandle, search_request: SearchRequest, stages: Stages
    ) -> bytes:
        encoded, results = await search_sides(handle, search_request, engine, stages)
        write = partial(write_answer, handle, encoded, results, stages)
        n_hits = sum(len(side.answer.hits) for side in results)
        return write() if n_hits <= WRITTEN_AT_ONCE else await engine.convert(write)

    async def answer_slice(
        handle: IndexHandle, requests: Sequence[SearchRequest], start: int, stages: Stages
    ) -> list[bytes]:
        """Answer some queries of a batch side by side; others get their turn between slices."""
        each = [Stages() for _ in requests]
        outcomes = await asyncio.gather(
            *(answer_request(handle, *arguments) for arguments in zip(requests, each, strict=True)),
            return_exceptions=True,
        )
        answers: list[bytes] = []
        for place, outcome in enumerate(outcomes, start):
            if isinstance(outcome, BaseException):
                raise locate_error(outcome, f"queries[{place}]")
            answers.append(outcome)
        stages.encode += max(own.encode for own in each)
        stages.search += max(own.search for own in each)
        stages.rerank += max(own.rerank for own in each)
        return answers

    return routes


def build_requests(
    handle: IndexHandle, queries: Sequence[SearchQuery], settings: ServiceSettings
) -> list[SearchRequest]:
    """Build the requests of a batch.

    Raises:
        RefusedError: if one can't be answered, saying which, or they ask for too many hits.
    """
    requests = []
    for place, query in enumerate(queries):
        try:
            requests.append(build_request(handle, query, settings))
        except ModalhashError as error:
            raise locate_error(error, f"queries[{place}]") from error
    check_hits(handle, requests, settings)
    return requests


def read_picture_form(parts: Sequence[FormPart], most_values: int) -> tuple[bytes, SearchQuery]:
    """Read the form of a search by a picture: the picture's file, and the query beside it.

    Raises:
        RefusedError: if there is no picture, or the query can't be used.
    """
    picture = read_files(parts, "image")[-1]
    text = next((part.content for part in parts if part.name == "query"), b"{}")
    try:
        document = load_json(text, most_values)
    except (ValueError, RecursionError):
        raise invalid("query: it isn't JSON") from None
    return picture, validate_document(document, SearchQuery, place="query")


def write_answer(
    handle: IndexHandle, query: EncodedQuery, results: Sequence[SideResult], stages: Stages
) -> bytes:
    """Write an answer as JSON."""
    return write_json_bytes(describe_answer(handle, query, results, stages))


def describe_explanation(
    handle: IndexHandle, side: Side, query: EncodedQuery, ids: list[ItemId], *, scoring: Scoring
) -> dict[str, Any]:
    """Describe why items are where they are.

    Raises:
        UnknownItemError: if one isn't there, naming it.
    """
    check_items(handle, side, ids)
    index = handle.index
    explanations = explain_items(index, ids, query, side, scoring=scoring)
    codes = index.sides[side].reconstruct(ids)
    return {
        "index": handle.name,
        "code": write_code(query.code),
        "n_bits": index.model.n_bits,
        "target": str(side),
        "scoring": scoring.value,
        "relevance_rule": explanations[0].relevance_rule,
        "explanation": describe_profile(explanations[0].profile),
        "items": [
            {
                "id": explanation.id,
                "code": write_code(codes[row : row + 1]),
                "distance": explanation.distance,
                "relevance": explanation.relevance,
                "strength": explanation.strength,
                **describe_reasons(explanation),
            }
            for row, explanation in enumerate(explanations)
        ],
    }


def respond_with_timings(service: Service, stages: Stages, *parts: bytes) -> Response:
    """Answer with the time of each stage in a header, and count it.

    Args:
        service: counts.
        stages: of the request.
        parts: of the answer's JSON.
    """
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
    return answer_with_bytes(b"".join(parts), headers={"Server-Timing": header})


def locate_error(error: BaseException, place: str) -> BaseException:
    """Add to an error which query of a batch it belongs to."""
    refusal = make_refusal(error)
    if refusal.status >= 500:
        return error
    return RefusedError(
        refusal.status, refusal.code, f"{place}: {refusal.message}", refusal.retry_after
    )
