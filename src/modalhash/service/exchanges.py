"""One request and its answer: what is logged and counted of them."""

import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from modalhash.service.clients import identify_client
from modalhash.service.engine import Stages
from modalhash.service.metrics import Metrics

__all__ = ["Exchange", "add_safe_headers", "begin_exchange", "record_exchange"]

access = logging.getLogger("modalhash.service.access")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
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
        address: of the client.
        key: name of the key, or "".
        stages: where the time went.
        status: of the answer; 0 until it begins.
        code: of the error, or "".
    """

    request_id: str
    method: str
    path: str
    address: str
    key: str = ""
    stages: Stages = field(default_factory=Stages)
    status: int = 0
    code: str = ""

    @property
    def known_method(self) -> str:
        """The method, if it is one of HTTP's: a client can't make up labels of metrics."""
        return self.method if self.method in METHODS else "other"

    @property
    def client(self) -> str:
        """Whose limits count: those of the key, or of the address where there is none."""
        return f"key {self.key}" if self.key else identify_client(self.address)


def begin_exchange(scope: Scope) -> Exchange:
    """Begin the exchange of a request that has just come."""
    stated = Headers(scope=scope).get("x-request-id", "")
    return Exchange(
        stated if REQUEST_ID.fullmatch(stated) else secrets.token_hex(16),
        scope["method"],
        scope["path"],
        (scope.get("client") or ("",))[0],
    )


def add_safe_headers(headers: MutableHeaders, exchange: Exchange) -> None:
    """Add what every answer has."""
    headers["X-Request-ID"] = exchange.request_id
    for name, value in SAFE_HEADERS.items():
        headers[name] = value
    headers.setdefault("Content-Security-Policy", ANSWER_POLICY)
    headers.setdefault("Cache-Control", "no-store")


def record_exchange(exchange: Exchange, route: str, metrics: Metrics) -> None:
    """Count a request, and write its line in the log."""
    seconds = time.perf_counter() - exchange.stages.began
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
                "client": exchange.address,
                "key": exchange.key or None,
                "milliseconds": round(1000 * seconds, 3),
                "stages": exchange.stages.milliseconds(),
            }
        },
    )
