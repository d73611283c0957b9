"""Our tools and resources in the hands of the official SDK."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

import modalhash
from modalhash.errors import ModalhashError
from modalhash.mcp_server.calls import ToolCalls
from modalhash.mcp_server.resources import TEMPLATES, index_address, read_resource
from modalhash.mcp_server.tool_list import INSTRUCTIONS, TOOLS, list_tools
from modalhash.service.app import run_service
from modalhash.service.problems import refuse_problems
from modalhash.service.refusals import make_refusal
from modalhash.service.work import Work, current_work

__all__ = ["make_protocol_server"]

logger = logging.getLogger("modalhash.service")

JSON, WEBP = "application/json", "image/webp"
LASTING: Final = CacheHint(ttl_ms=3_600_000, scope="private")
"""The tools of a server don't change while it runs."""
INTERNAL: Final = "something went wrong that shouldn't; the server's log says what"
Context = ServerRequestContext[Any, Any]


def make_protocol_server(calls: ToolCalls) -> Server[Any]:
    """Make the SDK's server of some tools; the service runs while the server does.

    Args:
        calls: the tools.
    """
    return Server(
        "modalhash",
        version=modalhash.__version__,
        title="modalhash",
        description="Search pictures by words and texts by pictures.",
        instructions=INSTRUCTIONS,
        lifespan=lambda _: run_calls(calls),
        cache_hints={"tools/list": LASTING, "resources/templates/list": LASTING},
        on_list_tools=list_protocol_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_protocol_resource,
    )


@asynccontextmanager
async def run_calls(calls: ToolCalls) -> AsyncIterator[ToolCalls]:
    """Run the service behind the tools."""
    async with run_service(calls.service):
        yield calls


async def list_protocol_tools(
    context: Context, _: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """List the tools; none of them changes anything."""
    annotations = types.ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    tools = list_tools(context.lifespan_context)
    return types.ListToolsResult(
        tools=[types.Tool(**fields, annotations=annotations) for fields in tools]
    )


async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Carry out a call; what is wrong with it is an answer that an assistant can learn from.

    Raises:
        MCPError: if there is no such tool.
    """
    tool = TOOLS.get(params.name)
    if tool is None:
        known = ", ".join(TOOLS)
        raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}, but: {known}")
    calls: ToolCalls = context.lifespan_context
    began = time.perf_counter()
    try:
        arguments = tool.arguments.model_validate(params.arguments or {})
        content = await within_time(calls, lambda: tool.call(calls, arguments))
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
        message = describe_error(error)
        logger.info("tool %s: refused", params.name)
        return types.CallToolResult(content=[types.TextContent(text=message)], is_error=True)
    logger.info("tool %s: %.0f ms", params.name, 1000 * (time.perf_counter() - began))
    return types.CallToolResult(content=[make_content(content)])


def make_content(content: str | bytes) -> types.TextContent | types.ImageContent:
    """Make the content of an answer: a text, or a picture."""
    if isinstance(content, str):
        return types.TextContent(text=content)
    return types.ImageContent(data=base64.b64encode(content).decode(), mime_type=WEBP)


async def within_time(calls: ToolCalls, start: Callable[[], Awaitable[str | bytes]]) -> str | bytes:
    """Carry out a call in the time that a request may take; its work stops when the client leaves.

    Raises:
        TimeoutError: if its time is over.
    """
    if current_work.get() is not None:  # over HTTP, where the request gate has a limit
        return await start()
    seconds = calls.service.settings.timeout
    work = Work("", time.monotonic() + seconds)
    token = current_work.set(work)
    try:
        async with asyncio.timeout(seconds):
            return await start()
    finally:
        work.is_abandoned = True
        current_work.reset(token)


def describe_error(error: Exception) -> str:
    """Describe an error in one line; bugs and what the disk refuses go to the log."""
    if isinstance(error, ValidationError):
        error = refuse_problems(error.errors(include_url=False))
    refusal = make_refusal(error)
    message = INTERNAL if refusal.code == "internal_error" else refusal.message
    if refusal.status >= 500 and not isinstance(error, TimeoutError):
        is_ours = isinstance(error, ModalhashError)
        logger.error("a call failed: %s", error, exc_info=None if is_ours else error)
    # A filter's error goes on with the filter and a mark under it, which need a fixed width.
    return message.partition("\n")[0].removesuffix(":")


async def list_resources(
    context: Context, _: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    """List the indexes; items are too many to be listed, `list_templates` says how to name them."""
    calls: ToolCalls = context.lifespan_context
    return types.ListResourcesResult(
        resources=[
            types.Resource(
                uri=index_address(name),
                name=name,
                description="What this index holds, and the fields that filters can test.",
                mime_type=JSON,
            )
            for name in calls.service.host.hosted
        ]
    )


async def list_templates(
    _context: Context, _: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    """List how items and pictures are named."""
    return types.ListResourceTemplatesResult(
        resource_templates=[
            types.ResourceTemplate(
                uri_template=entry.address,
                name=entry.name,
                description=entry.description,
                mime_type=entry.media_type,
            )
            for entry in TEMPLATES
        ]
    )


async def read_protocol_resource(
    context: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    """Read a resource.

    Raises:
        MCPError: if it isn't there, or can't be read.
    """
    calls: ToolCalls = context.lifespan_context
    address = str(params.uri)
    try:
        content = await within_time(calls, lambda: read_resource(calls, address))
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
        raise MCPError(types.INVALID_PARAMS, describe_error(error)) from None
    if isinstance(content, str):
        entry: Any = types.TextResourceContents(uri=address, mime_type=JSON, text=content)
    else:
        blob = base64.b64encode(content).decode()
        entry = types.BlobResourceContents(uri=address, mime_type=WEBP, blob=blob)
    return types.ReadResourceResult(contents=[entry])
