"""`modalhash mcp` as a process: the SDK's client over standard input and output, and its end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from modalhash.mcp_server.stdio import StandardInput
from tests.oracles.command_line import CommandLine

ROOT = Path(__file__).parents[2]
START = ["-m", "tests.oracles.tiny_encoder", "0", "mcp"]
MESSAGES = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "search", "arguments": {"text": "red circle", "k": 2}},
    },
]


def test_a_process_answers_and_ends_with_its_client(scene_index: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Started first, so that both processes load their libraries at the same time.
    stopped = subprocess.Popen(
        [sys.executable, *START, str(scene_index)],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    parameters = StdioServerParameters(
        command=sys.executable, args=[*START, str(scene_index)], cwd=ROOT, env=environment
    )
    log = tmp_path / "log.txt"

    async def run() -> None:
        with log.open("w") as file:
            async with Client(stdio_client(parameters, errlog=file)) as client:
                result = await client.call_tool("search", {"text": "red circle", "k": 3})
                content = result.content[0]
                assert content.type == "text"
                assert len(json.loads(content.text)["hits"]) == 3

    asyncio.run(run())
    # The client closed standard input, and the process ended by itself.
    lines = log.read_text().splitlines()
    assert lines[0].endswith("INFO serving scenes on standard input and output")
    assert lines[-1].endswith("INFO stopped")

    assert stopped.stdin is not None
    assert stopped.stdout is not None
    for message in [*MESSAGES, "no JSON-RPC"]:
        stopped.stdin.write(json.dumps(message) + "\n")
    stopped.stdin.flush()
    answers = [json.loads(stopped.stdout.readline()) for _ in range(2)]
    assert {answer["id"] for answer in answers} == {1, 2}
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=30)
    assert (stopped.returncode, out) == (0, "")
    assert err.splitlines()[-1].endswith("INFO stopped")
    assert "Traceback" not in err


def test_lines_are_read_whole_and_the_last_without_its_end() -> None:
    async def run() -> list[str]:
        from modalhash.mcp_server.stdio import Progress

        reading, writing = os.pipe()
        stdin, sys.stdin = sys.stdin, os.fdopen(reading)
        try:
            lines = StandardInput(Progress(), grace=1.0)
            long = "é" * 200_000
            await asyncio.to_thread(os.write, writing, f"{long[:30_000]}".encode())
            await asyncio.to_thread(os.write, writing, b"\n\n  \nlast")
            os.close(writing)
            return [line async for line in lines]
        finally:
            sys.stdin.close()
            sys.stdin = stdin

    assert asyncio.run(run()) == ["é" * 30_000, "last"]


def test_options_that_contradict_are_refused(
    modalhash: CommandLine, scene_index: Path, tmp_path: Path
) -> None:
    for arguments, message in (
        (["--http", "--query-pictures", tmp_path], "Error: --query-pictures isn't for --http"),
        (["--port", "1"], "Error: --port is for --http, which is missing."),
        (["--keys", "keys.json"], "Error: --keys is for --http, which is missing."),
    ):
        ended = modalhash("mcp", scene_index, *arguments)
        assert ended.code == 2
        assert message in ended.err
    ended = modalhash("mcp")
    assert ended.code == 2
    assert "Name at least one index" in ended.err
    ended = modalhash("mcp", tmp_path / "nothing")
    assert ended.code == 1
    assert "there is no folder" in ended.err
