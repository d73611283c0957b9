"""What the tools do: calls are checked, answered by the engine of the service, and described."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modalhash.index import IdKind
from modalhash.mcp_server.arguments import DescribeIndex, GetItem, GetPicture, Search
from modalhash.mcp_server.query_files import read_query_file
from modalhash.mcp_server.short_documents import write_entries, write_short
from modalhash.mcp_server.verdicts import find_verdict
from modalhash.metrics import RelevanceRule
from modalhash.modalities import Side
from modalhash.search import EncodedQuery, Hit
from modalhash.search.filter_fields import hint_at_lists
from modalhash.search_request import SearchRequest
from modalhash.service.engine import SideResult, Stages
from modalhash.service.hosting import IndexHandle
from modalhash.service.info_routes import describe_item
from modalhash.service.picture_routes import find_shown_picture, make_thumbnail
from modalhash.service.queries import build_request, find_side, search_sides
from modalhash.service.refusals import beyond_limit, invalid
from modalhash.service.schemas import SearchQuery
from modalhash.service.state import Service
from modalhash.service.uploads import decode_base64

__all__ = ["ToolCalls"]

ANSWER_BYTES: Final = 2000
"""Bytes of an answer of ten hits or fewer; of more hits in proportion."""
FACT_BYTES: Final = 4000
"""Bytes of an item, or of what an index says of itself."""
FIELD_VALUES: Final = 12
"""Values of a field that are listed."""


@dataclass(frozen=True)
class ToolCalls:
    """The tools of one server.

    Attributes:
        service: the indexes and the engine.
        query_folders: in which a client may name pictures by their paths; resolved.
    """

    service: Service
    query_folders: tuple[Path, ...] = ()

    @contextmanager
    def hold_index(self, name: str | None) -> Iterator[IndexHandle]:
        """Yield an index by its name; without one the only one.

        Raises:
            RefusedError: if there is none of that name, or there are several.
        """
        names = list(self.service.host.hosted)
        if name is None and len(names) > 1:
            raise invalid(f"there are several indexes, name one of them as index: {join(names)}")
        with self.service.hold_index(names[0] if name is None else name) as handle:
            yield handle

    async def search(self, call: Search) -> str:
        """Search an index, and describe one page of hits.

        Raises:
            RefusedError: if there is nothing to search for, the call is beyond a limit, or the
                index lacks what is asked for.
            FilterError: if the filter can't be understood, or names no field.
            UnknownItemError: if there is no item of the id.
        """
        settings, engine = self.service.settings, self.service.engine
        if call.text is None and call.id is None and call.image is None and call.image_file is None:
            raise invalid("give a text, an id or a picture (image) to search for")
        if call.offset >= settings.k:
            raise beyond_limit(
                f"offset is {call.offset}, but only the first {settings.k} hits of a search can be "
                "had: narrow it down with a filter"
            )
        with self.hold_index(call.index) as handle:
            picture = await self._read_picture(call)
            # One hit more than is shown tells whether there is another page.
            k = min(call.offset + call.k + 1, settings.k)
            request = build_request(handle, make_query(call, k), settings, picture)
            request = match_id(handle, request)
            query, (result,) = await search_sides(handle, request, engine, Stages())
            hint = None
            if call.where is not None and not result.answer.hits:
                searched = handle.index.sides[result.answer.target]
                hint = await engine.tally(hint_at_lists, searched, call.where)
            return describe_page(handle, query, result, call, hint=hint)

    async def _read_picture(self, call: Search) -> bytes | None:
        """Read the picture of a search, if it has one.

        Raises:
            RefusedError: if it may not be read, or there are two.
        """
        settings = self.service.settings
        if call.image is not None and call.image_file is not None:
            raise invalid("give either image or image_file")
        if call.image_file is not None:
            if not self.query_folders:
                raise invalid(
                    "this server reads no files: send the picture in base 64 as image, or start it "
                    "with --query-pictures FOLDER"
                )
            return await self.service.engine.look_up(
                read_query_file, call.image_file, self.query_folders, settings.body_bytes
            )
        if call.image is None:
            return None
        if len(call.image) * 3 // 4 > settings.body_bytes:
            raise beyond_limit(f"image has more than {settings.body_bytes} bytes")
        text = call.image
        if text.startswith("data:"):
            text = text.partition(",")[2]
        return decode_base64(text, name="image")

    async def get_item(self, call: GetItem) -> str:
        """Describe one item with all its metadata.

        Raises:
            RefusedError: if the index hasn't that side.
            UnknownItemError: if there is no such item.
        """
        with self.hold_index(call.index) as handle:
            side = find_side(handle, call.side)
            item = await self.service.engine.look_up(describe_item, handle, side, str(call.id))
        file = item["picture"] and (item["picture"]["path"] or item["picture"]["file_name"])
        moment = item["moment"] or {}
        document = {
            "index": handle.name,
            "side": item["side"],
            "id": item["id"],
            "item": item["item"],
            "caption": item["caption"],
            "file": file,
            **{name: moment.get(name) for name in ("video", "start", "end")},
            "metadata": item["metadata"],
        }
        return write_short(drop_missing(document), FACT_BYTES)

    async def get_picture(self, call: GetPicture) -> bytes:
        """Make the picture of an item small.

        Returns:
            A WebP file.

        Raises:
            RefusedError: if the item has no picture here.
            UnknownItemError: if there is no such item.
        """
        with self.hold_index(call.index) as handle:
            name = handle.name
        async with find_shown_picture(self.service, name, call.side, str(call.id)) as place:
            return await make_thumbnail(self.service, *place, call.size)

    async def describe_index(self, call: DescribeIndex) -> str:
        """Describe what an index holds and can do; without a name of several, list them.

        Raises:
            RefusedError: if there is none of that name.
        """
        names = list(self.service.host.hosted)
        if call.index is None and len(names) > 1:
            sizes = await self.service.count_codes()
            rows = [
                {"index": name, **{side: n for (of, side), n in sizes.items() if of == name}}
                for name in names
            ]
            return write_short({"indexes": rows}, FACT_BYTES)
        with self.hold_index(call.index) as handle:
            facts = await self.service.engine.look_up(handle.facts)
        return write_short(describe_facts(facts), FACT_BYTES)


def join(names: list[str]) -> str:
    """List names in a sentence."""
    return ", ".join(names)


def drop_missing(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what isn't there."""
    return {name: value for name, value in document.items() if value not in (None, "", {}, [])}


def make_query(call: Search, k: int) -> SearchQuery:
    """Make the query of a search as the HTTP API takes it."""
    names = SearchQuery.model_fields.keys() & call.model_fields_set
    fields = {name: getattr(call, name) for name in names if name != "where"}
    if call.weights is None:
        fields.pop("weights", None)
    if call.where is not None:
        fields["filter"] = call.where
    return SearchQuery(**{**fields, "k": k})


def match_id(handle: IndexHandle, request: SearchRequest) -> SearchRequest:
    """Write the id of a request as the index has ids: an assistant may write digits either way."""
    if request.id is None:
        return request
    sides = handle.index.sides
    side = Side(request.id_side) if request.id_side else next(iter(sides))
    text = str(request.id)
    if sides[side].id_kind is not IdKind.INTEGER:
        return replace(request, id=text)
    return replace(request, id=int(text)) if text.lstrip("-").isdecimal() else request


def describe_page(
    handle: IndexHandle,
    query: EncodedQuery,
    result: SideResult,
    call: Search,
    *,
    hint: str | None = None,
) -> str:
    """Describe one page of hits as JSON of few bytes; the hint says why there are none."""
    answer = result.answer
    end = call.offset + call.k
    # Where relevant means the query's very own item, the best hit has some percent, which misleads.
    shows_relevance = (
        answer.relevance_rule == RelevanceRule.SHARED_LABEL or call.min_relevance is not None
    )
    hits = [
        describe_hit(handle, hit, call.fields, shows_relevance=shows_relevance)
        for hit in answer.hits[call.offset : end]
    ]
    head = {
        "index": handle.name,
        "target": str(answer.target),
        "verdict": find_verdict(query, answer, offset=call.offset, hint=hint),
        "relevance_means": answer.relevance_rule if shows_relevance else None,
    }

    def describe(shown: list[dict[str, Any]]) -> dict[str, Any]:
        following = call.offset + len(shown)
        is_more = following < len(answer.hits)
        return {
            **drop_missing(head),
            "hits": shown,
            **({"next_offset": following} if is_more else {}),
        }

    return write_entries(describe, hits, ANSWER_BYTES * max(10, call.k) // 10)


def describe_hit(
    handle: IndexHandle, hit: Hit, fields: list[str], *, shows_relevance: bool
) -> dict[str, Any]:
    """Describe a hit: what it is, and how much its place says."""
    relevance = hit.relevance if shows_relevance else None
    return drop_missing(
        {
            "id": hit.id,
            "strength": None if hit.strength is None else hit.strength.value,
            "score": round(hit.score, 3),
            "relevance": None if relevance is None else round(relevance, 3),
            "caption": hit.caption,
            "file": find_shown_file(handle, hit),
            "item": hit.metadata.get("item"),
            "video": hit.video,
            "start": hit.start,
            "end": hit.end,
            "fields": {name: hit.metadata[name] for name in fields if name in hit.metadata},
        }
    )


def find_shown_file(handle: IndexHandle, hit: Hit) -> str | None:
    """Find the file of a hit as it is shown; None where its id says as much, and of a moment."""
    path = handle.tell_path(hit.image)
    if path is None or hit.video is not None:
        return None
    if not handle.shows_paths and path.rpartition("/")[2] == str(hit.id).rpartition("/")[2]:
        return None
    return write_path(path)


def write_path(path: str) -> str:
    """Write a path so that JSON takes it, also where it isn't UTF-8."""
    return path.encode(errors="replace").decode()


def describe_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an index: how much it holds, what can be searched for, the fields of filters."""
    return drop_missing(
        {
            "index": facts["name"],
            "collection": facts["collection"],
            "items": {side: entry["count"] for side, entry in facts["sides"].items()},
            "search_by": [
                *(kind for kind, is_possible in facts["queries"].items() if is_possible),
                "id",
            ],
            "has_captions": facts["captions"],
            "has_pictures": facts["pictures"],
            "calibrated": facts["relevance"] or "no",
            "fields": [describe_field(field) for field in facts["fields"]],
            "bits": facts["n_bits"],
        }
    )


def describe_field(field: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a field of filters, with some of its values or their range."""
    values = field["values"]
    described = {
        "name": field["name"],
        "type": "date" if field["is_date"] else " or ".join(field["types"]),
        "values": values[:FIELD_VALUES],
        "more_values": max(0, len(values) - FIELD_VALUES) or None,
        "minimum": field["minimum"],
        "maximum": field["maximum"],
    }
    return drop_missing(described)
