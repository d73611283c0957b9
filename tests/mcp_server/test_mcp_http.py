"""Assistants over HTTP: the SDK's client, and the checks that the HTTP service makes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modalhash.service import KeyFile
from tests.mcp_server.conftest import Connect, make_calls

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_client_of_the_sdk_searches(connect_http: Connect, tmp_path: Path, mode: str) -> None:
    keys, token = KeyFile.read(tmp_path / "keys.json", is_needed=False).add_key("bot", "read")
    keys.write()

    async def run() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        async with connect_http(mode=mode, keys=str(keys.path), headers=headers) as client:
            result = await client.call_tool("search", {"text": "red circle", "k": 3})
            content: Any = result.content[0]
            assert len(json.loads(content.text)["hits"]) == 3
            refused = await client.call_tool("search", {"text": ""})
            assert refused.is_error
            content = (await client.call_tool("search", {"image_file": "/etc/passwd"})).content[0]
            assert content.text.startswith("this server reads no files")

    asyncio.run(run())


def test_requests_are_checked_as_those_of_the_service(
    tiny_encoder: None, scene_index: Path, tmp_path: Path
) -> None:
    from modalhash.mcp_server.http_app import create_protocol_app
    from modalhash.mcp_server.protocol import make_protocol_server

    keys, token = KeyFile.read(tmp_path / "keys.json", is_needed=False).add_key("bot", "read")
    keys.write()
    calls = make_calls({"scenes": scene_index}, keys=str(keys.path), body_bytes=1000)
    app = create_protocol_app(calls.service, make_protocol_server(calls))
    key = {"authorization": f"Bearer {token}"}

    async def run() -> None:
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
            ) as http,
        ):

            async def ask(document: Any = LIST, **headers: str) -> tuple[int, Any]:
                response = await http.post("/mcp", json=document, headers=HEADERS | headers)
                return response.status_code, response.json()

            status, answer = await ask(**key)
            assert status == 200
            assert {tool["name"] for tool in answer["result"]["tools"]} >= {"search"}
            for headers in ({}, {"authorization": "Bearer mh_" + "a" * 43}):
                status, answer = await ask(**headers)
                assert (status, answer["error"]["code"]) == (401, "unauthorized")
            status, answer = await ask(**key, host="evil.example")
            assert (status, answer["error"]["code"]) == (400, "malformed_request")
            status, answer = await ask(**key, origin="http://evil.example")
            assert (status, answer["error"]["code"]) == (403, "forbidden")
            status, answer = await ask({**LIST, "params": {"cursor": "a" * 2000}}, **key)
            assert (status, answer["error"]["code"]) == (413, "body_too_large")
            # There is no stream of events to wait for: each request has one answer.
            assert (await http.get("/mcp", headers=key)).status_code == 405
            assert (await http.get("/v1/indexes", headers=key)).status_code == 404
            assert (await http.get("/readyz")).json()["indexes"] == {"scenes": 360}

    asyncio.run(run())
