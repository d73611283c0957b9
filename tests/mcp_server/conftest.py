"""What tests of the server for assistants share: its tools, and the SDK's own client."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

Connect = Callable[..., AbstractAsyncContextManager[Client]]
"""Takes indexes by name, and settings; gives a client of the SDK."""


def make_calls(
    indexes: dict[str, Path], *, query_folders: tuple[Path, ...] = (), **settings: Any
) -> Any:
    from modalhash.mcp_server.running import open_calls
    from modalhash.service.settings import ServiceSettings

    values: dict[str, Any] = {"watch": 0.0, "batch_wait": 0.0, **settings}
    return open_calls(indexes, ServiceSettings(**values), [str(folder) for folder in query_folders])


@pytest.fixture
def connect(tiny_encoder: None, scene_index: Path) -> Connect:
    """Connect clients in this process."""
    from modalhash.mcp_server.protocol import make_protocol_server

    @asynccontextmanager
    async def connected(
        indexes: dict[str, Path] | None = None, *, mode: str = "auto", **settings: Any
    ) -> AsyncIterator[Client]:
        calls = make_calls(indexes or {"scenes": scene_index}, **settings)
        async with Client(make_protocol_server(calls), mode=mode) as client:
            yield client

    return connected


@pytest.fixture
def connect_http(tiny_encoder: None, scene_index: Path) -> Connect:
    """Connect clients over HTTP without a network: the requests go to the application at once."""
    from modalhash.mcp_server.http_app import create_protocol_app
    from modalhash.mcp_server.protocol import make_protocol_server

    @asynccontextmanager
    async def connected(
        *, mode: str = "auto", headers: dict[str, str] | None = None, **settings: Any
    ) -> AsyncIterator[Client]:
        calls = make_calls({"scenes": scene_index}, **settings)
        app = create_protocol_app(calls.service, make_protocol_server(calls))
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app), headers=headers or {}
            ) as http,
            Client(
                streamable_http_client("http://localhost/mcp", http_client=http), mode=mode
            ) as client,
        ):
            yield client

    return connected
