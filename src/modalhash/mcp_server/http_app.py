"""Clients over HTTP: the protocol's streamable transport behind the checks of the HTTP service.

A request is answered with one JSON document and nothing is kept of it, so any number of servers can
stand behind one address. Keys, hosts, origins, limits, timeouts and the log are those of `serve`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.routing import Route

import modalhash
from modalhash.service.app import add_request_gate
from modalhash.service.page_routes import make_operation_routes
from modalhash.service.state import Service

__all__ = ["MCP_PATH", "create_protocol_app"]

MCP_PATH: Final = "/mcp"
PROTOCOL_HEADERS: Final = ("Accept", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name")


def create_protocol_app(service: Service, server: Server[Any]) -> FastAPI:
    """Create the application that answers assistants, and says whether it is well.

    Args:
        service: behind the tools.
        server: of the SDK.
    """
    manager = StreamableHTTPSessionManager(
        server,
        json_response=True,
        stateless=True,
        max_request_body_size=service.settings.body_bytes,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with manager.run():
            yield

    app = FastAPI(
        title="modalhash for assistants",
        version=modalhash.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.router.routes.append(
        Route(MCP_PATH, StreamableHTTPASGIApp(manager), methods=["POST"], include_in_schema=False)
    )
    app.include_router(make_operation_routes(service))
    add_request_gate(app, service, headers=PROTOCOL_HEADERS)
    return app
