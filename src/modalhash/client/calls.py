"""Every request as data: both clients send the same."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from modalhash.choices import BitOrder, read_choice
from modalhash.client.answers import (
    AddedItems,
    ExplanationAnswer,
    FacetList,
    IndexFacts,
    ItemFacts,
    ModelFacts,
    PictureLink,
    SearchAnswer,
    ServedHit,
    ServiceFacts,
    decode_answer,
)
from modalhash.client.queries import NewItem, picture_bytes
from modalhash.client.retrying import read_retry_after
from modalhash.errors import InputError, ServiceError
from modalhash.picture_arrays import PictureInput
from modalhash.search_request import SearchRequest

if TYPE_CHECKING:
    from httpx2 import Response

__all__ = ["Call", "choose_only_index", "read_refusal"]

Result = TypeVar("Result")
GATEWAY = {502: "bad_gateway", 503: "overloaded", 504: "timed_out", 429: "rate_limited"}
"""What a proxy's answer means, which has no code of ours."""


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request.

    Attributes:
        method: of HTTP.
        path: below the server's address.
        read: makes the result of the answer.
        parameters: of the address.
        document: of the body, as JSON.
        files: of the body, as an upload: names and bytes.
        form: other parts of an upload.
        can_repeat: whether it may be done twice.
    """

    method: str
    path: str
    read: Callable[["Response"], Result]
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    document: Any = None
    files: Sequence[tuple[str, bytes]] = ()
    form: Mapping[str, str] = field(default_factory=dict)
    can_repeat: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """What httpx's `request` takes beside method and path."""
        options: dict[str, Any] = {}
        if self.parameters:
            options["params"] = dict(self.parameters)
        if self.document is not None:
            options["json"] = self.document
        if self.files:
            options["files"] = [(name, (name, content)) for name, content in self.files]
            options["data"] = dict(self.form)
        return options


def make_index_path(index: str, rest: str = "") -> str:
    """Build the path of an index."""
    return f"v1/indexes/{quote(index, safe='')}{rest}"


def read_as(kind: type[Result], name: str | None = None) -> Callable[["Response"], Result]:
    """Make the function that reads an answer, or one entry of it, as a dataclass."""
    return lambda response: decode_answer(kind, read_entry(response, name))


def read_list(kind: type[Result], name: str) -> Callable[["Response"], tuple[Result, ...]]:
    """Make the function that reads an answer's list of dataclasses."""

    def read(response: "Response") -> tuple[Result, ...]:
        return tuple(decode_answer(kind, entry) for entry in read_entry(response, name))

    return read


def read_entry(response: "Response", name: str | None) -> Any:
    """Read an answer's JSON, or one entry of it.

    Raises:
        ServiceError: if it is something else.
    """
    try:
        document = response.json()
        return document if name is None else document[name]
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceError(
            f"{response.request.url} answered something else: is a modalhash server there?",
            code="bad_answer",
            status=response.status_code,
        ) from error


def read_refusal(response: "Response") -> ServiceError:
    """Convert an answer that refuses to the error it stands for."""
    status = response.status_code
    waits = read_retry_after(response.headers)
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
        request_id = str(error["request_id"])
    except (ValueError, KeyError, TypeError):
        code = GATEWAY.get(status, "bad_answer")
        message = f"{response.request.url} answered with status {status}"
        request_id = response.headers.get("X-Request-ID", "")
    return ServiceError(message, code=code, status=status, request_id=request_id, retry_after=waits)


def make_service_call() -> Call[ServiceFacts]:
    """Ask what the server is."""
    return Call("GET", "v1", read_as(ServiceFacts))


def make_indexes_call() -> Call[tuple[IndexFacts, ...]]:
    """Ask for all indexes."""
    return Call("GET", "v1/indexes", read_list(IndexFacts, "indexes"))


def make_index_call(name: str) -> Call[IndexFacts]:
    """Ask for one index."""
    return Call("GET", make_index_path(name), read_as(IndexFacts))


def make_models_call() -> Call[tuple[ModelFacts, ...]]:
    """Ask for all models."""
    return Call("GET", "v1/models", read_list(ModelFacts, "models"))


def make_search_call(name: str, request: SearchRequest) -> Call[SearchAnswer]:
    """Search, with a picture as an upload."""
    document = request.to_json()
    read = read_as(SearchAnswer)
    if request.image is None:
        return Call("POST", make_index_path(name, "/search"), read, document=document)
    return Call(
        "POST",
        make_index_path(name, "/search/picture"),
        read,
        files=[("image", picture_bytes(request.image))],
        form={"query": json.dumps(document)},
    )


def make_search_batch_call(
    name: str, queries: Iterable[SearchRequest | str]
) -> Call[tuple[SearchAnswer, ...]]:
    """Search for many at once."""
    requests = [SearchRequest(query) if isinstance(query, str) else query for query in queries]
    return Call(
        "POST",
        make_index_path(name, "/search/batch"),
        read_list(SearchAnswer, "answers"),
        document={"queries": [document_without_picture(query) for query in requests]},
    )


def document_without_picture(request: SearchRequest) -> dict[str, Any]:
    """Build the document of a request that can't carry a picture.

    Raises:
        InputError: if it has one.
    """
    if request.image is not None:
        raise InputError(
            "a batch or an explanation takes no picture: search for it with `search`, or give the "
            "`code` of that answer"
        )
    return request.to_json()


def make_explain_call(
    name: str, ids: Sequence[str | int], query: SearchRequest
) -> Call[ExplanationAnswer]:
    """Ask why items are where they are."""
    return Call(
        "POST",
        make_index_path(name, "/explain"),
        read_as(ExplanationAnswer),
        document={**document_without_picture(query), "ids": list(ids)},
    )


def read_codes(response: "Response") -> NDArray[np.uint8]:
    """Read an answer's codes, (n, p) uint8."""
    try:
        rows = [bytes.fromhex(text) for text in read_entry(response, "codes")]
        return np.array([list(row) for row in rows], np.uint8)
    except (TypeError, ValueError) as error:
        raise ServiceError(f"the codes can't be read: {error}", code="bad_answer") from error


def make_encode_texts_call(
    name: str, texts: Sequence[str], bit_order: str
) -> Call[NDArray[np.uint8]]:
    """Ask for the codes of texts."""
    document = {"texts": list(texts), "form": "hex", **state_bit_order(bit_order)}
    return Call("POST", make_index_path(name, "/encode"), read_codes, document=document)


def make_encode_images_call(
    name: str, pictures: "Sequence[PictureInput]", bit_order: str
) -> Call[NDArray[np.uint8]]:
    """Ask for the codes of pictures."""
    files = [("images", picture_bytes(picture)) for picture in pictures]
    if not files:
        raise InputError("images is empty: give at least one picture")
    return Call(
        "POST",
        make_index_path(name, "/encode/pictures"),
        read_codes,
        files=files,
        form={"form": "hex", **state_bit_order(bit_order)},
    )


def state_bit_order(bit_order: str) -> dict[str, str]:
    """State a bit order that isn't the server's own, which older servers don't know.

    Raises:
        UnknownNameError: if there is no such order.
    """
    order = read_choice("bit order", BitOrder, bit_order)
    return {} if order is BitOrder.LITTLE else {"bit_order": order.value}


def make_facets_call(name: str, side: str, where: str | None) -> Call[FacetList]:
    """Ask for the values of fields, with how many items have each."""
    parameters = {"side": side} | ({} if where is None else {"filter": where})
    return Call("GET", make_index_path(name, "/facets"), read_as(FacetList), parameters=parameters)


def make_item_call(name: str, identity: str | int, side: str) -> Call[ItemFacts]:
    """Ask for one item."""
    parameters = {"side": side, "id": identity}
    return Call("GET", make_index_path(name, "/items"), read_as(ItemFacts), parameters=parameters)


def make_thumbnail_call(of: ServedHit | ItemFacts | PictureLink, size: int) -> Call[bytes]:
    """Ask for a small picture.

    Raises:
        InputError: if the item has no picture.
    """
    link = of if isinstance(of, PictureLink) else of.picture
    if link is None:
        raise InputError("this item has no picture: look at `picture` before")
    path = f"{link.thumbnail.lstrip('/')}&size={size}"
    return Call("GET", path, lambda response: bytes(response.content))


def make_add_call(name: str, items: Iterable[NewItem], *, upsert: bool) -> Call[AddedItems]:
    """Add items, or put them in the place of others."""
    return Call(
        "PUT" if upsert else "POST",
        make_index_path(name, "/items"),
        read_as(AddedItems),
        document={"items": [item.to_json() for item in items]},
        can_repeat=upsert,
    )


def make_delete_call(
    name: str, ids: Sequence[str | int] | None, where: str | None, missing: str
) -> Call[int]:
    """Remove items.

    Raises:
        InputError: unless exactly one of ids and where is given.
    """
    if (ids is None) == (where is None):
        raise InputError("give either ids or a filter (where) of what to delete")
    document = {"filter": where} if ids is None else {"ids": list(ids), "missing": missing}
    return Call(
        "POST",
        make_index_path(name, "/items/delete"),
        lambda response: int(read_entry(response, "removed")),
        document=document,
        can_repeat=ids is None or missing == "ignore",
    )


def make_reload_call(name: str) -> Call[IndexFacts]:
    """Have an index opened anew."""
    return Call("POST", make_index_path(name, "/reload"), read_as(IndexFacts))


def make_ready_call() -> Call[bool]:
    """Ask whether the server answers searches."""
    return Call("GET", "readyz", lambda response: response.status_code == 200)


def choose_only_index(indexes: tuple[IndexFacts, ...]) -> str:
    """Choose the only index; refuse where there are several.

    Raises:
        InputError: if there are several, naming them, or none.
    """
    if len(indexes) != 1:
        names = ", ".join(index.name for index in indexes) or "none"
        raise InputError(f"the server has these indexes: {names}; say which with index=")
    return indexes[0].name
