"""Which names and which pages a request may come through.

A page of another site can make a visitor's browser send requests to a server that only the visitor
reaches. It can't read the answers, but it can try to change something. Two checks stand against
that: of the Host header, so that no name of the page's own leads here, and of the origin.

Starlette's `TrustedHostMiddleware` isn't used: in the lowest version that FastAPI 0.115 takes it
reads "[::1]:8000" as the host "[", and it answers in plain text.
"""

from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers

from modalhash.service.refusals import RefusedError
from modalhash.service.settings import ServiceSettings

__all__ = ["check_host", "check_origin"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Of HTTP: they change nothing."""
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""What browsers say of requests by pages of this very server, and by the visitor."""


def check_host(headers: Headers, settings: ServiceSettings) -> None:
    """Refuse a request for a name that isn't ours: a page elsewhere may have had it resolved.

    Raises:
        RefusedError: if it is.
    """
    known = settings.known_hosts
    host = headers.get("host", "")
    name = host[: host.rfind("]") + 1].strip("[]") if "]" in host else host.partition(":")[0]
    if known and name.lower() not in known:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "malformed_request",
            "the Host header names another server; --hosts says by which names this one goes",
        )


def check_origin(method: str, headers: Headers, settings: ServiceSettings) -> None:
    """Refuse what a page of another site sends, unless it only reads.

    Browsers say where a request comes from in `Sec-Fetch-Site` and `Origin`, which no page can
    change; other programs send neither.

    Raises:
        RefusedError: if it comes from a page whose origin is neither ours nor a named one.
    """
    origin = headers.get("origin")
    if method in SAFE_METHODS or origin in settings.origins:
        return
    site = headers.get("sec-fetch-site")
    is_own = site in OWN_SITES if site is not None else is_same_host(origin, headers.get("host"))
    if not is_own:
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            "the request comes from a page of another site; --origins names those that may",
        )


def is_same_host(origin: str | None, host: str | None) -> bool:
    """Tell whether an origin is that of the asked host; without an origin no page asks.

    The scheme isn't compared: a proxy before the server may speak HTTPS with the browser.

    Example:
        >>> is_same_host("https://a.example", "a.example"), is_same_host("null", "a.example")
        (True, False)
    """
    if origin is None:
        return True
    return host is not None and origin.partition("://")[2].lower() == host.lower()
