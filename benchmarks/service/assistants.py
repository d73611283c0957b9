"""What an assistant waits for and reads: bytes and times of the tools of `modalhash mcp`.

    python -m benchmarks.service.assistants flickr8k

An index of the photos of one split, made by the ready model, is served to the client of the
official SDK, over standard input and output and then over HTTP. Each text asks once.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mcp import Client
from mcp.client.stdio import StdioServerParameters

import modalhash as mh
from benchmarks.result_files import RESULTS, write_result

COMMAND = ["-m", "modalhash", "-q", "mcp"]


def main() -> None:
    """Make the index, ask over both transports, and write what was seen."""
    parser = argparse.ArgumentParser(description="Measure the tools for assistants.")
    parser.add_argument("collection", help="A collection with captions.")
    parser.add_argument("--split", default="dev", help="Items that are indexed.")
    parser.add_argument("--queries", type=int, default=200, help="Captions that are asked for.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "service-assistants.json")
    options = parser.parse_args()
    collection = mh.load_collection(options.collection)
    positions = np.random.default_rng(options.seed).choice(
        np.flatnonzero(np.isin(collection.caption_items, collection.split(options.split))),
        options.queries,
        replace=False,
    )
    assert collection.captions is not None
    texts = [collection.captions[position] for position in positions]
    with TemporaryDirectory() as place:
        folder = Path(place) / "photos.index"
        mh.build_index("offline-shared", collection, output=folder, split=options.split).close()
        results = {
            name: asyncio.run(ask(connect(folder), texts))
            for name, connect in (("stdio", connect_stdio), ("http", connect_http))
        }
    settings = {**vars(options), "collection": collection.name}
    write_result(options.output, "service.assistants", settings, results)


@asynccontextmanager
async def connect_stdio(folder: Path) -> AsyncIterator[Client]:
    """Start a server and speak with it over its standard input and output."""
    parameters = StdioServerParameters(
        command=sys.executable, args=[*COMMAND, str(folder)], env=dict(os.environ)
    )
    async with Client(parameters) as client:
        yield client


@asynccontextmanager
async def connect_http(folder: Path) -> AsyncIterator[Client]:
    """Start a server and speak with it over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *COMMAND, str(folder), "--http", "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        while True:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.05)
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


async def ask(connection: Any, texts: list[str]) -> dict[str, Any]:
    """Ask for each text, and for the first hit and its picture; count bytes and milliseconds."""
    began = time.perf_counter()
    times: dict[str, list[float]] = {"search": [], "get_item": [], "get_picture": []}
    sizes: dict[str, list[int]] = {"search": [], "get_item": [], "get_picture": []}
    verdicts: dict[str, int] = {}
    async with connection as client:
        tools = (await client.list_tools()).tools
        tool_bytes = sum(len(tool.model_dump_json(exclude_none=True)) for tool in tools)
        starting = time.perf_counter() - began

        async def call(name: str, **arguments: Any) -> Any:
            started = time.perf_counter()
            result = await client.call_tool(name, arguments)
            times[name].append(1000 * (time.perf_counter() - started))
            assert not result.is_error, result.content
            content = result.content[0]
            body = content.text if content.type == "text" else content.data
            sizes[name].append(len(body.encode()))
            return body

        for text in texts:
            page = json.loads(await call("search", text=text))
            verdict = page.get("verdict", "none")
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
            await call("get_item", id=page["hits"][0]["id"])
            await call("get_picture", id=page["hits"][0]["id"])
    return {
        "seconds_until_tools_are_listed": round(starting, 2),
        "bytes_of_all_tools": tool_bytes,
        "verdicts": verdicts,
        **{
            name: {
                "n_calls": len(times[name]),
                "median_ms": round(statistics.median(times[name]), 1),
                "p95_ms": round(float(np.percentile(times[name], 95)), 1),
                "median_bytes": int(statistics.median(sizes[name])),
                "most_bytes": max(sizes[name]),
            }
            for name in times
        },
    }


if __name__ == "__main__":
    main()
