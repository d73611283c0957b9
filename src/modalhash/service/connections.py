"""Connections with the limits that uvicorn lacks.

uvicorn parses HTTP with httptools and bounds neither the head of a request (its size, its fields,
the time to send it) nor the number of connections, and it keeps the answer of a client that doesn't
read. `GuardedConnection` is uvicorn's own protocol with these limits; the parsing stays httptools'.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modalhash.service.clients import identify_client, is_listed
from modalhash.service.refusals import RefusedError

__all__ = ["ConnectionGuard", "ConnectionLimits", "GuardedConnection"]

logger = logging.getLogger("modalhash.service")

PIPELINED: Final = 16
"""Requests of one connection that may wait for the answers of earlier ones."""
TINY_PART: Final = 64
MOST_TINY_PARTS: Final = 4096
"""Chunks of a body with fewer than `TINY_PART` bytes: parsing takes longer than sending them."""
MOST_DISCARDED: Final = 32 << 20
LINGER_SECONDS: Final = 2.0
SLOWEST_READER: Final = 64 << 10
"""Bytes a second at which an answer must be read, beyond the time that every client has."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection, one client and all clients may take.

    Attributes:
        head_bytes: bytes of a request's line and headers.
        head_fields: headers of a request.
        head_seconds: seconds until a request's head must have come.
        read_seconds: seconds in which a client must begin to read an answer.
        connections: open at once.
        client_connections: of one client open at once.
        unread_bytes: of answers that their clients haven't read, together.
    """

    head_bytes: int = 32 << 10
    head_fields: int = 100
    head_seconds: float = 10.0
    read_seconds: float = 30.0
    connections: int = 1024
    client_connections: int = 128
    unread_bytes: int = 256 << 20


class ConnectionGuard:
    """Knows all connections of a server, and closes some where there are too many.

    Args:
        limits: of connections.
        trusted: addresses and networks of proxies: they connect for many clients, so only the
            limit of all connections holds for them.
        count_refusal: is told the code of each refusal.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        trusted: Sequence[str] = (),
        count_refusal: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.limits, self.trusted, self.count_refusal = limits, trusted, count_refusal
        self.by_client: dict[str, dict[GuardedConnection, None]] = {}
        self.total = 0
        self.unread: dict[GuardedConnection, int] = {}

    def admit(self, connection: "GuardedConnection") -> None:
        """Take in a connection; where there are too many, another one is closed.

        The connection itself is closed where all others are being answered.
        """
        siblings = self.by_client.setdefault(connection.owner, {})
        siblings[connection] = None
        self.total += 1
        if not is_listed(connection.address, self.trusted):
            self._make_room(siblings, len(siblings) > self.limits.client_connections, connection)
        largest = max(self.by_client.values(), key=len)
        self._make_room(largest, self.total > self.limits.connections, connection)

    def _make_room(
        self,
        connections: "dict[GuardedConnection, None]",
        is_needed: bool,
        newest: "GuardedConnection",
    ) -> None:
        """Close one connection if one must go.

        The first that waits for a request, else the first whose request hasn't come wholly.
        """
        if not is_needed:
            return
        others = [connection for connection in connections if connection is not newest]
        waiting = (connection for connection in others if connection.is_waiting())
        receiving = (connection for connection in others if connection.is_receiving())
        next(chain(waiting, receiving), newest).drop("too_many_connections")

    def hold_unread(self, connection: "GuardedConnection", size: int) -> None:
        """Take note of an answer that isn't read yet; where there are too many, one is dropped.

        It is the oldest of the client that has most bytes unread.
        """
        self.unread[connection] = size
        while sum(self.unread.values()) > self.limits.unread_bytes:
            sizes: Counter[str] = Counter()
            for waiting, unread in self.unread.items():
                sizes[waiting.owner] += unread
            heaviest = sizes.most_common(1)[0][0]
            oldest = next(waiting for waiting in self.unread if waiting.owner == heaviest)
            del self.unread[oldest]
            oldest.drop("answer_not_read")

    def forget(self, connection: "GuardedConnection") -> None:
        """Take note that a connection is gone."""
        self.unread.pop(connection, None)
        siblings = self.by_client.get(connection.owner, {})
        if connection in siblings:
            del siblings[connection]
            self.total -= 1
            if not siblings:
                del self.by_client[connection.owner]


class GuardedConnection(HttpToolsProtocol):
    """One connection, with limits.

    Args:
        guard: of all connections.
        arguments: of uvicorn's protocol.
    """

    def __init__(self, *arguments: Any, guard: ConnectionGuard, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.guard, self.limits = guard, guard.limits
        self.address = self.owner = ""
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._bytes_without_progress = self._fields = self._tiny_parts = self._discarded = 0
        self._is_in_body = self._is_refused = False

    # What uvicorn's event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the head of the first request must come soon."""
        super().connection_made(transport)
        self.address = (self.client or ("",))[0]
        self.owner = identify_client(self.address)
        self._await_head()
        self.guard.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.guard.forget(self)
        self._stop_timer()
        self._stop_reading_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is beyond a limit."""
        if self._is_refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._bytes_without_progress += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self.cycle is not None:
                self.cycle.keep_alive = False  # what follows is no HTTP: this answer is the last
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self._refuse(refusal if isinstance(refusal, RefusedError) else INVALID)
            return
        if self._bytes_without_progress > self.limits.head_bytes:
            self._refuse(head_too_large(f"more than {self.limits.head_bytes} bytes"))
        elif self._timer is None and not self._is_in_body and self._has_answered():
            self._await_head()

    def pause_writing(self) -> None:
        """Give the client some time to read what waits for it."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Take note that the client reads."""
        self._stop_reading_timer()
        super().resume_writing()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request; few may wait for the answers of earlier ones."""
        if len(self.pipeline) >= PIPELINED:
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", "too many requests on one connection"
            )
        self._fields = self._tiny_parts = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, or a trailer of a body in chunks, which nobody reads."""
        self._fields += 1
        if self._fields > self.limits.head_fields:
            raise head_too_large(f"more than {self.limits.head_fields} headers")
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.head_bytes:
            raise head_too_large(f"more than {self.limits.head_bytes} bytes")
        self._stop_timer()
        self._bytes_without_progress = 0
        self._is_in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take in a part of a body; tiny parts cost more than they bring."""
        self._bytes_without_progress = 0
        self._tiny_parts += len(body) < TINY_PART
        if self._tiny_parts > MOST_TINY_PARTS:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "malformed_request",
                "the body comes in too many tiny chunks",
            )
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._bytes_without_progress = 0
        self._is_in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer; a connection that closes doesn't wait for ever until it is read."""
        super().on_response_complete()
        if self._is_in_body and not self.transport.is_closing():
            self._linger()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._await_reader()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long, or whose last answer wasn't read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    # What the guard calls.

    def is_waiting(self) -> bool:
        """Tell whether no answer is under way."""
        return self._has_answered() or self._is_refused

    def is_receiving(self) -> bool:
        """Tell whether a request hasn't come wholly, so that nobody works on it yet."""
        return self._is_in_body and not self.cycle.response_started

    def drop(self, code: str) -> None:
        """Close the connection without an answer."""
        self._is_refused = True
        self.guard.count_refusal(code)
        self.transport.abort()

    def _discard(self, size: int) -> None:
        """Throw away what comes after a refusal; much of it isn't even read."""
        self._discarded += size
        if self._discarded > MOST_DISCARDED:
            self.flow.pause_reading()

    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.limits.head_seconds, self._refuse_late_head)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_late_head(self) -> None:
        self._timer = None
        self._refuse(
            RefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                "timed_out",
                f"the request didn't come within {self.limits.head_seconds:g} seconds",
            )
        )

    def _await_reader(self) -> None:
        self._stop_reading_timer()
        size = self.transport.get_write_buffer_size()
        seconds = self.limits.read_seconds + size / SLOWEST_READER
        self._reading = self.loop.call_later(seconds, self.drop, "answer_not_read")
        self.guard.hold_unread(self, size)

    def _stop_reading_timer(self) -> None:
        self.guard.unread.pop(self, None)
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _linger(self) -> None:
        """Throw away what still comes, for a while, so that the client reads the answer."""
        self._is_refused = True
        self._stop_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _refuse(self, refusal: RefusedError) -> None:
        """Refuse what comes on this connection: answer if no answer is under way, then close."""
        self._is_refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        self.guard.count_refusal(refusal.code)
        logger.info(
            "%s", refusal.message,
            extra={
                "service": {
                    "status": int(refusal.status), "code": refusal.code, "client": self.address
                }
            },
        )  # fmt: skip
        if self.pipeline or not (self._has_answered() or self._is_in_body):
            self.cycle.keep_alive = False  # earlier requests are answered, then it closes
            return
        if not self._has_answered():
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(write_refusal(refusal))
        self._linger()


INVALID: Final = RefusedError(
    HTTPStatus.BAD_REQUEST, "malformed_request", "Invalid HTTP request: it can't be parsed"
)


def head_too_large(problem: str) -> RefusedError:
    """Describe the refusal of a head beyond a limit."""
    return RefusedError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        f"the request's address and headers have {problem}",
    )


def write_refusal(refusal: RefusedError) -> bytes:
    """Write the whole answer of a refusal, as it goes over the wire; the connection closes."""
    body = json.dumps(refusal.document("")).encode()
    status = HTTPStatus(refusal.status)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
