"""How answers are written."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from modalhash.codes import BitOrder, Codes, from_little
from modalhash.service.schemas import ErrorBody

__all__ = ["ERRORS", "answer_with_bytes", "answer_with_json", "write_code", "write_json_bytes"]

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request can't be answered; see `code`."},
    "5XX": {"model": ErrorBody, "description": "The server can't answer now; see `code`."},
}
"""What the OpenAPI document says of errors."""


def answer_with_json(document: Mapping[str, Any]) -> Response:
    """Answer with a document as JSON."""
    return answer_with_bytes(write_json_bytes(document))


def answer_with_bytes(content: bytes, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON that is written already."""
    return Response(content, media_type="application/json", headers=dict(headers or {}))


def write_json_bytes(document: Mapping[str, Any]) -> bytes:
    """Write a document as JSON in UTF-8."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=convert_number)
    return text.encode(errors="replace")


def convert_number(value: object) -> Any:
    """Convert a number of NumPy's to a plain one.

    Raises:
        TypeError: if it is something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def write_code(code: Codes, form: str = "hex", bit_order: str = BitOrder.LITTLE) -> str:
    """Write one code, (1, p) uint8, as text, in a bit order.

    Example:
        >>> code = np.array([[1, 255]], np.uint8)
        >>> write_code(code), write_code(code, "base64")
        ('01ff', 'Af8=')
    """
    content = from_little(code, bit_order).tobytes()
    return content.hex() if form == "hex" else base64.b64encode(content).decode()
