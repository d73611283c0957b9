"""What every request goes through before it is answered, and what every answer gets.

In this order: a request id, the Host header, the key, the rate, the number of requests under way,
the size of the body. What is refused costs next to nothing. Then the request has a time limit; any
error becomes an answer with a code, a sentence and the request's id, and one line in the log.
"""

import asyncio
import json
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modalhash.errors import ModalhashError
from modalhash.service.engine import Stages
from modalhash.service.keys import Role
from modalhash.service.refusals import RefusedError, refusal_of
from modalhash.service.state import Service

__all__ = ["PAGE_POLICY", "RequestGate"]

access = logging.getLogger("modalhash.service.access")
logger = logging.getLogger("modalhash.service")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
OPEN_PATHS: Final = frozenset({"/", "/v1", "/healthz", "/readyz", "/v1/openapi.json"})
UNLIMITED_PATHS: Final = OPEN_PATHS | {"/metrics"}
PAGE_FOLDER: Final = "/page/"
BODIES: Final = 16
"""Bodies of the largest size that may be in memory at once."""
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
ANSWER_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
LEVELS: Final = {4: logging.INFO, 5: logging.WARNING}


@dataclass
class Exchange:
    """One request and its answer.

    Attributes:
        request_id: in headers, errors and the log.
        method: of HTTP.
        path: as it was asked for.
        client: address.
        key: name of the key, or "".
        stages: where the time went.
        status: of the answer; 0 until it begins.
        code: of the error, or "".
    """

    request_id: str
    method: str
    path: str
    client: str
    key: str = ""
    stages: Stages = field(default_factory=Stages)
    status: int = 0
    code: str = ""

    @property
    def known_method(self) -> str:
        """The method, if it is one of HTTP's: a client can't make up labels of metrics."""
        return self.method if self.method in METHODS else "other"


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
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = Exchange(
            given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16),
            scope["method"],
            scope["path"],
            (scope.get("client") or ("",))[0],
        )
        scope["modalhash_stages"] = exchange.stages

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                self.add_headers(MutableHeaders(scope=message), exchange)
            await send(message)

        try:
            await self.answered(scope, headers, receive, answer, exchange)
        except ClientGoneError:
            exchange.status, exchange.code = 499, "client_went_away"
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            await self.refuse(error, exchange, answer)
        finally:
            self.note(scope, exchange)

    async def answered(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send, exchange: Exchange
    ) -> None:
        """Check a request and pass it on."""
        path = exchange.path
        self.check_host(headers)
        is_open = path in OPEN_PATHS or path.startswith(PAGE_FOLDER)
        scope["modalhash_role"] = self.role_of(headers, exchange, is_needed=not is_open)
        if path in UNLIMITED_PATHS or path.startswith(PAGE_FOLDER):
            await self.app(scope, receive, send)
            return
        if self.service.is_stopping:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "shutting_down", "the server is shutting down", 5
            )
        if seconds := self.service.rates.wait(exchange.key or exchange.client):
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate_limited",
                f"more than {self.settings.rate:g} requests a second",
                seconds,
            )
        if self.service.under_way >= self.settings.concurrent:
            raise overloaded()
        self.service.under_way += 1
        reserved = 0
        try:
            reserved = self.reserve(headers)
            async with asyncio.timeout(self.settings.timeout):
                body = await self.read(receive)
                await self.app(scope, replay_body(body, receive), send)
        finally:
            self.service.under_way -= 1
            self.service.body_bytes -= reserved

    def check_host(self, headers: Headers) -> None:
        """Refuse a request for a name that isn't ours: a page elsewhere may have had it resolved.

        Raises:
            RefusedError: if it is.
        """
        known = self.settings.known_hosts
        host = headers.get("host", "")
        name = host[: host.rfind("]") + 1].strip("[]") if "]" in host else host.partition(":")[0]
        if known and name.lower() not in known:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                "malformed_request",
                "the Host header names another server; --hosts says by which names this one goes",
            )

    def role_of(self, headers: Headers, exchange: Exchange, *, is_needed: bool) -> Role:
        """Return what the request's key allows.

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

    def reserve(self, headers: Headers) -> int:
        """Reserve memory for a body, and return how much.

        Raises:
            RefusedError: if the body is too large, or there is too little left.
        """
        most = self.settings.body_bytes
        stated = headers.get("content-length")
        wanted = most if "transfer-encoding" in headers else 0
        if stated is not None:
            if not (stated.isascii() and stated.isdigit()):
                raise RefusedError(
                    HTTPStatus.BAD_REQUEST, "malformed_request", "Content-Length isn't a number"
                )
            wanted = int(stated)
        if wanted > most:
            raise too_large(most)
        if self.service.body_bytes + wanted > BODIES * most:
            raise overloaded()
        self.service.body_bytes += wanted
        return wanted

    async def read(self, receive: Receive) -> bytes:
        """Return a body.

        Raises:
            RefusedError: if it is too large.
            ClientGoneError: if the client went away.
        """
        parts, length = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            parts.append(part)
            length += len(part)
            if length > self.settings.body_bytes:
                raise too_large(self.settings.body_bytes)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def refuse(self, error: Exception, exchange: Exchange, send: Send) -> None:
        """Answer with an error, unless the answer has begun."""
        refusal = refusal_of(error)
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
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if refusal.retry_after is not None:
            headers.append((b"retry-after", str(refusal.retry_after).encode()))
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        await send(
            {"type": "http.response.start", "status": int(refusal.status), "headers": headers}
        )
        await send({"type": "http.response.body", "body": body})

    def add_headers(self, headers: MutableHeaders, exchange: Exchange) -> None:
        """Add what every answer has."""
        headers["X-Request-ID"] = exchange.request_id
        for name, value in SAFE_HEADERS.items():
            headers[name] = value
        headers.setdefault("Content-Security-Policy", ANSWER_POLICY)
        headers.setdefault("Cache-Control", "no-store")

    def note(self, scope: Scope, exchange: Exchange) -> None:
        """Count a request, and write its line in the log."""
        seconds = time.perf_counter() - exchange.stages.began
        route = getattr(scope.get("route"), "path", "other")
        metrics = self.service.metrics
        metrics.requests.labels(exchange.known_method, route, str(exchange.status)).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        if exchange.code:
            metrics.refused.labels(exchange.code).inc()
        access.log(
            LEVELS.get(exchange.status // 100, logging.INFO),
            "%s %s %d",
            exchange.method,
            quote(exchange.path),
            exchange.status,
            extra={
                "request": {
                    "request_id": exchange.request_id,
                    "method": exchange.method,
                    "path": exchange.path,
                    "status": exchange.status,
                    "code": exchange.code or None,
                    "client": exchange.client,
                    "key": exchange.key or None,
                    "milliseconds": round(1000 * seconds, 3),
                    "stages": exchange.stages.milliseconds(),
                }
            },
        )


class ClientGoneError(Exception):
    """The client went away before its request was read."""


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes after it."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def overloaded() -> RefusedError:
    """Return the refusal of one request too many."""
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "too many requests are under way", 1
    )


def too_large(most: int) -> RefusedError:
    """Return the refusal of a body that is too large."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"the body has more than {most} bytes",
    )
