"""Connections that send too much, too slowly, or don't read, against a server on a socket."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from modalhash.service.connections import ConnectionGuard, ConnectionLimits, GuardedConnection

HEAD = b"POST /v1/indexes/scenes/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
SMALL = ConnectionLimits(
    head_bytes=4096, head_fields=20, head_seconds=0.5, read_seconds=0.5, connections=40,
    client_connections=30, unread_bytes=1 << 20,
)  # fmt: skip


class RunningServer:
    """The service on a socket, in a thread."""

    def __init__(self, app: Any, limits: ConnectionLimits, trusted: tuple[str, ...]) -> None:
        self.refused: list[str] = []
        self.guard = ConnectionGuard(limits, trusted=trusted, count_refusal=self.refused.append)

        def connect(*arguments: Any, **named: Any) -> GuardedConnection:
            return GuardedConnection(*arguments, guard=self.guard, **named)

        config = uvicorn.Config(app, http=connect, log_config=None, lifespan="on", ws="none")  # type: ignore[arg-type]
        self.server = uvicorn.Server(config)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10, source_address=(source, 0))

    def ask(self, content: bytes, source: str = "127.0.0.1") -> bytes:
        """Send bytes, and read until the server closes."""
        with closing(self.connect(source)) as connection:
            can_send(connection, content)
            return read_all(connection)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while part := connection.recv(1 << 16):
            answer += part
    except ConnectionError:
        pass
    return answer


def can_send(connection: socket.socket, content: bytes) -> bool:
    """Return whether the server still takes something."""
    try:
        connection.sendall(content)
    except OSError:
        return False
    return True


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> tuple[int, str]:
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    return status_of(answer), body["error"]["code"]


def search(query: dict[str, Any]) -> bytes:
    body = json.dumps(query).encode()
    head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return HEAD + head.encode() + body


SEARCH = search({"text": "a red circle", "k": 2})


@pytest.fixture(scope="module")
def app(scene_index: Path) -> Iterator[Any]:
    from modalhash.service.app import create_app
    from modalhash.service.settings import ServiceSettings
    from tests.conftest import add_tiny_encoder

    with pytest.MonkeyPatch.context() as patch:
        add_tiny_encoder(patch)
        yield create_app(
            {"scenes": scene_index},
            ServiceSettings(watch=0.0, body_bytes=1 << 20, body_timeout=2.0),
        )


@pytest.fixture(scope="module")
def server(app: Any) -> Iterator[RunningServer]:
    running = RunningServer(app, SMALL, trusted=("127.0.0.9",))
    yield running
    running.end()


def test_an_ordinary_request_is_answered(server: RunningServer) -> None:
    assert status_of(server.ask(SEARCH)) == 200


@pytest.mark.parametrize(
    "content",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 21 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000,
        b"GET /v1?" + b"a=b&" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 1000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 1_000_000,
    ],
    ids=["endless value", "long value", "many headers", "endless headers", "long address",
         "trailers", "chunk extension"],
)  # fmt: skip
def test_a_head_that_is_too_large_is_refused(server: RunningServer, content: bytes) -> None:
    assert error_of(server.ask(content)) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET\r\n\r\n", b"nothing at all\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n", HEAD + b"Content-Length: 1, 2\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http_is_refused_and_logged_in_one_line(
    server: RunningServer, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modalhash.service")
    assert error_of(server.ask(content)) == (400, "malformed_request")
    lines = [record for record in caplog.records if "Invalid HTTP request" in record.getMessage()]
    assert [line.__dict__["service"] for line in lines] == [
        {"status": 400, "code": "malformed_request", "client": "127.0.0.1"}
    ]


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc", b"\r\n\r\n"])
def test_a_request_that_does_not_come_is_given_up(server: RunningServer, start: bytes) -> None:
    began = time.monotonic()
    assert error_of(server.ask(start)) == (408, "timed_out")
    assert 0.4 < time.monotonic() - began < 5


def test_a_head_that_drips_is_given_up(server: RunningServer) -> None:
    with closing(server.connect()) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        began = time.monotonic()
        while (is_open := can_send(connection, b"a")) and time.monotonic() - began < 10:
            time.sleep(0.05)
    assert not is_open


def test_bodies_that_do_not_come_take_no_place(server: RunningServer) -> None:
    announced = HEAD + b"Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n{"
    held = [server.connect() for _ in range(30)]  # as many as one client may have
    for connection in held:
        connection.sendall(announced)
    time.sleep(0.1)
    assert status_of(server.ask(SEARCH)) == 200
    assert read_all(held[0]) == b""  # it made room
    assert error_of(read_all(held[-1])) == (408, "timed_out")
    for connection in held:
        connection.close()


def test_connections_of_one_client_are_bounded_and_others_are_served(
    server: RunningServer,
) -> None:
    held = [server.connect("127.0.0.2") for _ in range(60)]
    time.sleep(0.1)
    assert len(server.guard.by_client["127.0.0.2"]) <= 30
    assert status_of(server.ask(SEARCH)) == 200
    # The newest stay: those that waited longest for a request made room.
    held[-1].sendall(SEARCH)
    assert status_of(read_all(held[-1])) == 200
    assert "too_many_connections" in server.refused
    for connection in held:
        connection.close()


def test_all_connections_together_are_bounded(server: RunningServer) -> None:
    held = [server.connect(f"127.0.0.{10 + place % 4}") for place in range(80)]
    time.sleep(0.1)
    assert server.guard.total <= 40
    assert status_of(server.ask(SEARCH, "127.0.0.3")) == 200
    for connection in held:
        connection.close()


def test_a_trusted_proxy_has_as_many_connections_as_there_are(server: RunningServer) -> None:
    held = [server.connect("127.0.0.9") for _ in range(35)]
    time.sleep(0.1)
    assert len(server.guard.by_client["127.0.0.9"]) == 35
    for connection in held:
        connection.close()


def test_many_requests_on_one_connection_are_bounded(server: RunningServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = server.ask(request * 2000)
    assert 1 <= answer.count(b"HTTP/1.1 200 OK") <= 18
    assert status_of(server.ask(request * 3 + SEARCH)) == 200


def test_requests_on_one_connection_are_answered_in_order(server: RunningServer) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = server.ask(first * 2 + SEARCH)
    assert answer.count(b'{"status":"ok"}') == 2
    assert answer.rindex(b'"results"') > answer.rindex(b'{"status":"ok"}')


def test_an_answer_that_nobody_reads_is_thrown_away(server: RunningServer) -> None:
    queries = {"queries": [{"text": "a", "k": 300, "target": "both", "explain": True}] * 20}
    body = json.dumps(queries).encode()
    head = HEAD.replace(b"/search ", b"/search/batch ")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(
        head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )  # fmt: skip
    for _ in range(400):
        if "answer_not_read" in server.refused:
            break
        time.sleep(0.05)
    connection.close()
    assert "answer_not_read" in server.refused


def test_a_body_of_very_many_tiny_chunks_is_refused(server: RunningServer) -> None:
    head = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"text": "a red circle"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert status_of(server.ask(head + chunks)) == 200
    assert error_of(server.ask(head + b"1\r\n \r\n" * 20_000)) == (400, "malformed_request")


def test_an_upgrade_is_not_made_and_the_connection_closes(server: RunningServer) -> None:
    answer = server.ask(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
        b"\x81\x05hello"
    )
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1


def test_a_refused_body_is_thrown_away_and_the_connection_closes(server: RunningServer) -> None:
    head = HEAD.replace(b"Connection: close\r\n", b"")
    with closing(server.connect()) as connection:
        connection.sendall(head + b"Content-Length: 99999999\r\n\r\n")
        assert b"413" in connection.recv(1 << 16)
        connection.settimeout(15)
        began = time.monotonic()
        assert read_all(connection) == b""
        assert time.monotonic() - began < 10
