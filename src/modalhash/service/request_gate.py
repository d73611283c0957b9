"""What every request goes through before it is answered.

In this order: a request id, the Host header, the origin, the key, the rate, the number of requests
under way, the body, a place among those that are worked on. What is refused costs next to nothing.
Then the request has a time limit, and its work stops when the client leaves. Any error becomes an
answer with a code, a sentence and the request's id, and one line in the log.
"""

import asyncio
import json
import logging
import time
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modalhash.errors import ModalhashError
from modalhash.service.admission import BodyMemory
from modalhash.service.bodies import ClientGoneError, check_length, read_body
from modalhash.service.exchanges import (
    Exchange,
    add_safe_headers,
    begin_exchange,
    record_exchange,
)
from modalhash.service.keys import Role
from modalhash.service.origins import check_host, check_origin
from modalhash.service.refusals import RefusedError, make_refusal
from modalhash.service.state import Service
from modalhash.service.work import Work, current_work

__all__ = ["PAGE_POLICY", "RequestGate"]

logger = logging.getLogger("modalhash.service")

OPEN_PATHS: Final = frozenset({"/", "/v1", "/healthz", "/readyz", "/v1/openapi.json"})
UNLIMITED_PATHS: Final = OPEN_PATHS | {"/metrics"}
PAGE_FOLDER: Final = "/page/"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class RequestGate:
    """The middleware around the application.

    Args:
        app: the application.
        service: of the server.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service, self.settings = app, service, service.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = begin_exchange(scope)
        is_head = exchange.method == "HEAD"
        # A HEAD request is answered as its GET, without the body.
        scope = {**scope, "method": "GET" if is_head else exchange.method}
        scope["modalhash_stages"] = exchange.stages

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                add_safe_headers(MutableHeaders(scope=message), exchange)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.check_and_forward(scope, receive, answer, exchange)
        except ClientGoneError:
            exchange.status, exchange.code = 499, "client_went_away"
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            await self.refuse(error, exchange, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            record_exchange(exchange, route, self.service.metrics)

    async def check_and_forward(
        self, scope: Scope, receive: Receive, send: Send, exchange: Exchange
    ) -> None:
        """Check a request and pass it on."""
        headers, path = Headers(scope=scope), exchange.path
        check_host(headers, self.settings)
        check_origin(exchange.method, headers, self.settings)
        is_page = path.startswith(PAGE_FOLDER)
        is_open = path in OPEN_PATHS or is_page
        scope["modalhash_role"] = self.find_role(headers, exchange, is_needed=not is_open)
        if path in UNLIMITED_PATHS or is_page:
            await self.app(scope, receive, send)
            return
        self.check_load(exchange.client)
        check_length(headers, self.settings.body_bytes)
        with self.service.admission.hold_body(exchange.client) as memory:
            body = await self.read(receive, memory)
            with self.service.admission.hold_request(exchange.client):
                work = Work(exchange.client, time.monotonic() + self.settings.timeout)
                await self.forward(scope, body, receive, send, work)

    async def read(self, receive: Receive, memory: BodyMemory) -> bytes:
        """Read a body that must come within some time.

        Raises:
            RefusedError: if it doesn't, is too large, or too many bodies are in memory.
            ClientGoneError: if the client left.
        """
        seconds = self.settings.body_timeout
        try:
            async with asyncio.timeout(seconds):
                return await read_body(receive, memory, self.settings.body_bytes)
        except TimeoutError:
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                "timed_out",
                f"the body didn't come within {seconds:g} seconds",
            ) from None

    def check_load(self, client: str) -> None:
        """Refuse a request that there is no room for, before its body is read.

        Raises:
            RefusedError: if the server is stopping, the client asks too often, or too many requests
                are under way.
        """
        if self.service.is_stopping:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "shutting_down", "the server is shutting down", 5
            )
        if seconds := self.service.rates.wait(client):
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate_limited",
                f"more than {self.settings.rate:g} requests a second",
                seconds,
            )
        self.service.admission.requests.check(client, 1)

    def find_role(self, headers: Headers, exchange: Exchange, *, is_needed: bool) -> Role:
        """Find what the request's key allows.

        Raises:
            RefusedError: if there is no key, or an unknown one, where one is needed.
        """
        if self.service.keys is None:
            return Role.WRITE
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = headers.get("x-api-key", "")
        key = self.service.keys.find(token.strip())
        if key is not None:
            exchange.key = key.name
            return key.role
        if is_needed:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "this server needs a key: send it as 'Authorization: Bearer KEY'",
            )
        return Role.READ

    async def forward(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, work: Work
    ) -> None:
        """Have a request answered, until its time is over or its client leaves.

        Raises:
            TimeoutError: if its time is over.
            ClientGoneError: if the client left.
        """
        current_work.set(work)
        leaving = asyncio.ensure_future(receive())
        answering = asyncio.ensure_future(self.app(scope, replay_body(body, leaving), send))
        try:
            async with asyncio.timeout(self.settings.timeout):
                await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done() and leaving.result()["type"] == "http.disconnect":
                    raise ClientGoneError
                await answering
        finally:
            work.is_abandoned = True
            for task in (leaving, answering):
                task.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)

    async def refuse(self, error: Exception, exchange: Exchange, send: Send) -> None:
        """Answer with an error, unless the answer has begun."""
        refusal = make_refusal(error)
        exchange.code = refusal.code
        is_noteworthy = refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if is_noteworthy and not isinstance(error, RefusedError | TimeoutError):
            is_ours = isinstance(error, ModalhashError)
            logger.error(
                "request %s failed: %s",
                exchange.request_id,
                error,
                exc_info=None if is_ours else error,
            )
        if exchange.status:
            return
        body = json.dumps(refusal.document(exchange.request_id)).encode()
        await send(
            {
                "type": "http.response.start",
                "status": int(refusal.status),
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    *((name.encode(), value.encode()) for name, value in refusal.headers().items()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": False})


def replay_body(body: bytes, leaving: "asyncio.Future[Message]") -> Receive:
    """Make a function that gives a body that was read already, then waits until the client left.

    Args:
        body: all of it.
        leaving: what comes after the body.
    """
    is_given = False

    async def receive() -> Message:
        nonlocal is_given
        if is_given:
            return await asyncio.shield(leaving)
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
