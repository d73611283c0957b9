"""Bodies of requests: read into bounded memory, parsed beside the event loop, in bounded time.

A JSON document of many values takes far more memory than its text, so values are counted before
anything is parsed: counting commas and brackets takes milliseconds and no memory.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Receive

from modalhash.service.admission import BodyMemory
from modalhash.service.problems import refuse_problems
from modalhash.service.refusals import RefusedError, beyond_limit, invalid

__all__ = [
    "ClientGoneError",
    "FormPart",
    "check_length",
    "load_json",
    "parse_document",
    "parse_form",
    "read_body",
    "read_files",
    "validate_document",
]

Document = TypeVar("Document", bound=BaseModel)
JSON_TYPE: Final = re.compile(r"application/(?:[\w.+-]+\+)?json")
SEPARATORS: Final = (b",", b"[", b"{", b":")
MOST_HEAD: Final = 4096
"""Bytes of the headers of one part of a form."""


class ClientGoneError(Exception):
    """The client went away before its request was answered."""


@dataclass(frozen=True)
class FormPart:
    """One part of a form.

    Attributes:
        name: of the field.
        is_file: whether it was sent as a file.
        content: its bytes.
    """

    name: str
    is_file: bool
    content: bytes


async def read_body(receive: Receive, memory: BodyMemory, most: int) -> bytes:
    """Read a body; memory is taken for what has come, not for what was announced.

    Raises:
        RefusedError: if it is too large, or too many bodies are in memory.
        ClientGoneError: if the client went away.
    """
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        if len(content) + len(part) > most:
            raise body_too_large(most)
        memory.grow(len(part))
        content += part
        if not message.get("more_body", False):
            return bytes(content)


def check_length(headers: Headers, most: int) -> None:
    """Refuse a body that says itself that it is too large, and one in a form that isn't read.

    Raises:
        RefusedError: if it is.
    """
    stated = headers.get("content-length")
    if stated is not None and not (stated.isascii() and stated.isdigit()):
        raise malformed("Content-Length isn't a number")
    if stated is not None and int(stated[:20]) > most:
        raise body_too_large(most)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "compressed bodies aren't read here: send it without Content-Encoding",
        )


def parse_document(
    body: bytes, content_type: str, model: type[Document], *, most_values: int
) -> Document:
    """Read a JSON document of some type.

    Raises:
        RefusedError: if it isn't one, or holds too many values.
    """
    if not JSON_TYPE.fullmatch(content_type.partition(";")[0].strip().lower()):
        raise malformed("the body isn't a JSON object of Content-Type application/json")
    if not body:
        raise invalid("the body is empty: send a JSON object")
    document = None
    if has_braces(body):
        with suppress(ValueError, RecursionError):
            document = load_json(body, most_values)
    if not isinstance(document, dict):
        raise malformed("the body isn't a JSON object of Content-Type application/json")
    return validate_document(document, model)


def has_braces(body: bytes) -> bool:
    """Check that a body begins and ends as a JSON object does, without parsing it."""
    text = body.removeprefix(BOM_UTF8).strip()
    return text.startswith(b"{") and text.endswith(b"}")


def load_json(text: bytes, most_values: int) -> Any:
    """Read JSON in UTF-8.

    Raises:
        RefusedError: if it holds too many values.
        ValueError: if it isn't JSON.
        RecursionError: if it is nested too deeply.
    """
    count = sum(text.count(separator) for separator in SEPARATORS)
    if count > most_values:
        raise beyond_limit(
            f"the body has {count} commas, colons and brackets, {most_values} are the most: send "
            "several requests"
        )
    return json.loads(text.decode("utf-8-sig"))


def validate_document(document: Any, model: type[Document], *, place: str = "") -> Document:
    """Check a document against a type.

    Args:
        document: JSON values.
        model: the type.
        place: of the document in the request, for messages.

    Raises:
        RefusedError: if it doesn't fit, naming the first field that is wrong.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise refuse_problems(problems, place=place) from None


def parse_form(body: bytes, content_type: str, *, most_parts: int) -> list[FormPart]:
    """Divide a form (`multipart/form-data`) into its parts.

    Raises:
        RefusedError: if it isn't one, is cut off, or has too many parts.
    """
    kind = Message()
    kind["content-type"] = content_type
    if kind.get_content_type() != "multipart/form-data":
        raise invalid("the body isn't a form: send the picture as multipart/form-data")
    boundary = kind.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= 200:
        raise malformed("the body can't be read: its Content-Type names no boundary")
    delimiter = b"\r\n--" + boundary.encode(errors="replace")
    first, *pieces = (b"\r\n" + body).split(delimiter, most_parts + 2)
    if len(pieces) > most_parts + 1:
        raise beyond_limit(f"the form has more than {most_parts} parts")
    if not pieces or not pieces[-1].startswith(b"--") or len(first) > MOST_HEAD:
        raise malformed("the body can't be read: it is no form, or it is cut off")
    return [read_form_part(piece) for piece in pieces[:-1]]


def read_form_part(piece: bytes) -> FormPart:
    """Read one part: its headers, and what follows them.

    Raises:
        RefusedError: if it names no field.
    """
    start = piece.find(b"\r\n")
    end = piece.find(b"\r\n\r\n", start, MOST_HEAD)
    if start < 0 or piece[:start].strip() or end < 0:
        raise malformed("the body can't be read: a part of the form has no headers")
    head = Message()
    for line in piece[start:end].decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            head["content-disposition"] = value.strip()
    field = head.get_param("name", header="content-disposition")
    if not isinstance(field, str):
        raise malformed("the body can't be read: a part of the form has no name")
    is_file = head.get_param("filename", header="content-disposition") is not None
    is_file |= head.get_param("filename*", header="content-disposition") is not None
    return FormPart(field, is_file, piece[end + 4 :])


def read_files(parts: Sequence[FormPart], name: str) -> list[bytes]:
    """Read the files of one field of a form.

    Raises:
        RefusedError: if there is none, or one isn't a file.
    """
    fields = [part for part in parts if part.name == name]
    if not fields:
        raise invalid(f"{name}: this field is needed")
    if not all(part.is_file for part in fields):
        raise invalid(f"{name}: expected a file, a text came")
    return [part.content for part in fields]


def malformed(message: str) -> RefusedError:
    """Describe the refusal of a body that can't be read."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "malformed_request", message)


def body_too_large(most: int) -> RefusedError:
    """Describe the refusal of a body that is too large."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"the body has more than {most} bytes",
    )
