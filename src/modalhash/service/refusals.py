"""What a client is told when a request can't be answered: a status, a stable code, a sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from modalhash.errors import (
    ArtifactError,
    FeatureError,
    FilterError,
    IndexLockedError,
    InputError,
    ModalhashError,
    SearchStoppedError,
    StorageError,
    UnavailableError,
    UnknownItemError,
)

__all__ = [
    "RefusedError",
    "beyond_limit",
    "invalid",
    "make_refusal",
    "not_available",
]


@dataclass
class RefusedError(ModalhashError):
    """A request that isn't answered.

    Attributes:
        status: of HTTP.
        code: stable, for programs.
        message: a describe_problems, for people; no trace and no path of the server's.
        retry_after: seconds after which another try makes sense.
        allow: methods that the address takes, where it didn't take this one.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None
    allow: str | None = None

    def __str__(self) -> str:
        return self.message

    def headers(self) -> dict[str, str]:
        """Collect the headers of the answer."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.allow is not None:
            headers["allow"] = self.allow
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return headers

    def document(self, request_id: str) -> dict[str, dict[str, str]]:
        """Build the body of the answer."""
        return {"error": {"code": self.code, "message": self.message, "request_id": request_id}}


def invalid(message: str) -> RefusedError:
    """Describe the refusal of a request with a wrong value."""
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", message)


def beyond_limit(message: str) -> RefusedError:
    """Describe the refusal of a request that is too large in some way."""
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "limit_exceeded", message)


def not_available(message: str) -> RefusedError:
    """Describe the refusal of what this index can't do."""
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "not_available", message)


def item_missing(error: BaseException) -> RefusedError:
    """Describe the refusal of an id that isn't there."""
    return RefusedError(HTTPStatus.NOT_FOUND, "unknown_item", str(error))


def make_refusal(error: BaseException) -> RefusedError:
    """Describe an error to a client; what isn't ours is a bug and is not described."""
    if isinstance(error, RefusedError):
        return error
    for kind, describe in REFUSALS:
        if isinstance(error, kind):
            return describe(error)
    return RefusedError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "something went wrong that shouldn't; the server's log has it under this request's id",
    )


def invalid_filter(error: BaseException) -> RefusedError:
    """Describe the refusal of a filter, with the place that isn't understood."""
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_filter", str(error))


def index_busy(_: BaseException) -> RefusedError:
    """Describe the refusal of a change while somebody else makes one."""
    return RefusedError(HTTPStatus.CONFLICT, "index_busy", "somebody else is changing the index", 2)


def storage_failed(_: BaseException) -> RefusedError:
    """Describe the refusal of what the disk or the index server doesn't do."""
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "storage_failed",
        "the index can't be read or written now; the server's log says why",
        5,
    )


def timed_out(_: BaseException) -> RefusedError:
    """Describe the refusal of a request that took too long."""
    return RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "timed_out", "the request took too long")


def search_stopped(error: BaseException) -> RefusedError:
    """Describe the refusal of a search whose filter took too long."""
    return RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "timed_out", str(error))


REFUSALS: Final[tuple[tuple[type[BaseException], Callable[[BaseException], RefusedError]], ...]] = (
    (FilterError, invalid_filter),
    (IndexLockedError, index_busy),
    (FeatureError, lambda error: not_available(str(error))),
    (UnavailableError, lambda error: not_available(str(error))),
    (UnknownItemError, item_missing),
    (InputError, lambda error: invalid(str(error))),
    (StorageError, storage_failed),
    (ArtifactError, storage_failed),
    (SearchStoppedError, search_stopped),
    (TimeoutError, timed_out),
)
"""What a client learns of an error: the first that fits."""
