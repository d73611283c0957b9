"""How answers are written."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from modalhash.codes import Codes
from modalhash.service.schemas import ErrorBody

__all__ = ["ERRORS", "code_text", "json_answer", "json_bytes", "json_response"]

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request can't be answered; see `code`."},
    "5XX": {"model": ErrorBody, "description": "The server can't answer now; see `code`."},
}
"""What the OpenAPI document says of errors."""


def json_answer(document: Mapping[str, Any]) -> Response:
    """Return a document as an answer in JSON."""
    return json_response(json_bytes(document))


def json_response(content: bytes, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return written JSON as an answer."""
    return Response(content, media_type="application/json", headers=dict(headers or {}))


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Write a document as JSON in UTF-8."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=json_safe)
    return text.encode(errors="replace")


def json_safe(value: object) -> Any:
    """Return a number of NumPy's as a plain one.

    Raises:
        TypeError: if it is something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def code_text(code: Codes, form: str = "hex") -> str:
    """Return one code, (1, p) uint8, as text.

    Example:
        >>> code = np.array([[1, 255]], np.uint8)
        >>> code_text(code), code_text(code, "base64")
        ('01ff', 'Af8=')
    """
    content = code.tobytes()
    return content.hex() if form == "hex" else base64.b64encode(content).decode()
