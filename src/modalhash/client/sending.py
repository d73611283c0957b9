"""What both clients do around sending a request."""

from typing import TYPE_CHECKING, Any, TypeVar

from modalhash.client.calls import Call, read_refusal
from modalhash.errors import InputError, ServiceUnreachableError

if TYPE_CHECKING:
    from httpx2 import URL, Response, TransportError

__all__ = ["describe_lost_connection", "make_http_options", "read_outcome"]

Result = TypeVar("Result")


def make_http_options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Collect the options that httpx's clients are made with.

    Raises:
        InputError: if the url isn't one of HTTP.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"url is {url!r}, expected http://HOST:PORT or https://HOST")
    headers = {"User-Agent": "modalhash", "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": url, "headers": headers, "timeout": timeout, "follow_redirects": False}


def read_outcome(call: Call[Result], response: "Response") -> Result:
    """Read the result of an answer.

    Raises:
        ServiceError: if the server refused, or answered something else.
    """
    if not response.is_success:
        raise read_refusal(response)
    return call.read(response)


def describe_lost_connection(error: "TransportError", url: "URL") -> ServiceUnreachableError:
    """Describe, as an error, a request that failed on the way."""
    import httpx2

    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ServiceUnreachableError(
            f"the server at {url} can't be reached: {error or type(error).__name__}; is "
            "`modalhash serve` running there?",
            code="no_connection",
        )
    if isinstance(error, httpx2.TimeoutException):
        return ServiceUnreachableError(
            f"the server at {url} didn't answer in time: raise the client's timeout, or look at "
            "the server's load",
            code="no_answer",
        )
    return ServiceUnreachableError(
        f"the connection to {url} broke: {error or type(error).__name__}", code="connection_lost"
    )
