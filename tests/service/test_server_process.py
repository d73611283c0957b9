"""The server as a process: it starts, stops in good order, and keeps what it acknowledged."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modalhash as mh

ROOT = Path(__file__).parents[2]


class Server:
    """`modalhash serve` with the encoder `tiny`, in a process of its own."""

    def __init__(self, *arguments: str | Path, seconds: float = 0.0) -> None:
        command = [
            sys.executable, "-m", "tests.oracles.tiny_encoder", str(seconds), "serve", *arguments,
            "--port", "0",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [str(one) for one in command],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.port = 0
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if "port" in self.log[-1]:
                self.port = self.log[-1]["port"]
                break
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log += [json.loads(line) for line in self.process.stderr]

    def ask(self, path: str, query: Any = None, timeout: float = 20) -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if query is not None:
            request.data = json.dumps(query).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(30)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def started() -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.end(signal.SIGKILL)


def item(number: int) -> dict[str, Any]:
    return {
        "id": f"new-{number}",
        "image_code": {"hex": f"{number % 256:02x}00"},
        "texts": [{"text": f"number {number}"}],
    }


def test_it_answers_logs_and_stops_in_good_order(own_index: Path, started: list[Server]) -> None:
    server = Server(own_index, "--writable")
    started.append(server)
    assert server.ask("/readyz") == (200, {"status": "ready", "indexes": {"own": 360}})
    status, answer = server.ask("/v1/indexes/own/search", {"text": "a red circle", "k": 2})
    assert (status, len(answer["results"][0]["hits"])) == (200, 2)
    assert server.ask("/v1/indexes/own/items", {"items": [item(1)]})[0] == 200
    server.process.send_signal(signal.SIGHUP)
    for _ in range(100):
        if any(line["message"] == "opened anew: own" for line in server.log):
            break
        time.sleep(0.05)
    assert server.ask("/v1/indexes/own/items?id=new-1")[0] == 200
    assert server.end() == 0
    assert [line["level"] for line in server.log if line["message"] == "opened anew: own"]
    requests = [line for line in server.log if "request_id" in line]
    assert {line["path"] for line in requests} >= {"/readyz", "/v1/indexes/own/search"}
    assert server.log[-1]["message"] == "stopped"


@pytest.mark.slow
def test_what_is_under_way_is_finished_before_it_stops(
    own_index: Path, started: list[Server]
) -> None:
    server = Server(own_index, "--writable")
    started.append(server)
    with socket.create_connection(("127.0.0.1", server.port), 10) as slow:
        body = json.dumps({"items": [item(7)]}).encode()
        head = (
            "POST /v1/indexes/own/items HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        slow.sendall(head.encode() + body[:10])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises((ConnectionError, urllib.error.URLError)):
            server.ask("/healthz", timeout=2)
        slow.sendall(body[10:])
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += slow.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200")
    assert server.process.wait(20) == 0


@pytest.mark.slow
def test_an_index_that_is_none_ends_it_with_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.oracles.tiny_encoder", "0", "serve", str(tmp_path)],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_killed_while_it_is_written_to_it_keeps_what_it_acknowledged(
    own_index: Path, started: list[Server]
) -> None:
    kept: list[int] = []
    number = 0
    for round_ in range(6):
        server = Server(own_index, "--writable")
        started.append(server)
        for known in kept:
            for side, identity in (("images", f"new-{known}"), ("texts", f"new-{known}%230")):
                path = f"/v1/indexes/own/items?side={side}&id={identity}"
                assert server.ask(path)[0] == 200, identity
        killer = threading.Timer(0.2 + 0.15 * round_, server.process.kill)
        killer.start()
        try:
            while True:
                status, _ = server.ask("/v1/indexes/own/items", {"items": [item(number)]})
                if status == 200:
                    kept.append(number)
                number += 1
        except (OSError, ValueError):
            number += 1
        killer.join()
        server.process.wait(10)
    assert len(kept) > 20
    with mh.open_index(own_index) as index:
        images, texts = (index.sides[index.side(name)].ids for name in ("images", "texts"))
        there = {one for one in images if one.startswith("new-")}
        assert {f"new-{known}" for known in kept} <= there
        assert {one.partition("#")[0] for one in texts if one.startswith("new-")} == there
