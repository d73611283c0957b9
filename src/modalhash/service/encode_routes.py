"""Routes that turn texts and pictures into codes."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from modalhash.codes import BitOrder
from modalhash.search import EncodedQuery
from modalhash.service.answers import ERRORS, answer_with_json, write_code
from modalhash.service.bodies import FormPart, read_files
from modalhash.service.hosting import IndexHandle
from modalhash.service.openapi import FILE, form_body, json_body
from modalhash.service.queries import check_batch, check_encodes, check_text
from modalhash.service.refusals import invalid
from modalhash.service.schemas import CodeList, EncodeTexts
from modalhash.service.state import Service

__all__ = ["make_encode_routes"]

FORMS: Final = ("hex", "base64")
EXTRA_PARTS: Final = 16
"""Parts of a form besides its pictures."""


def make_encode_routes(service: Service) -> APIRouter:
    """Make the routes of a server that encode."""
    routes = APIRouter(prefix="/v1/indexes/{name}/encode", responses=ERRORS, tags=["encode"])
    engine, settings = service.engine, service.settings

    @routes.post("", response_model=CodeList, openapi_extra=json_body(EncodeTexts))
    async def encode(name: str, request: Request) -> Response:
        """Encode texts."""
        with service.hold_index(name) as handle:
            document = await service.read_document(request, EncodeTexts)
            check_batch(len(document.texts), settings, name="texts")
            for place, text in enumerate(document.texts):
                check_text(text, settings, name=f"texts[{place}]")
            check_encodes(handle, "text")
            model = handle.index.model
            encoded = await asyncio.gather(
                *(engine.text_query(model, text) for text in document.texts)
            )
            spelling = (document.form, document.bit_order)
            return answer_with_json(describe_codes(handle, spelling, encoded))

    @routes.post(
        "/pictures",
        response_model=CodeList,
        openapi_extra=form_body(
            {
                "images": {"type": "array", "items": FILE},
                "form": {"enum": list(FORMS), "type": "string", "default": "hex"},
                "bit_order": {"enum": list(BitOrder), "type": "string", "default": "little"},
            },
            needed="images",
        ),
    )
    async def encode_pictures(name: str, request: Request) -> Response:
        """Encode uploaded pictures."""
        stages = request.scope["modalhash_stages"]
        with service.hold_index(name) as handle:
            check_encodes(handle, "picture")
            parts = await service.read_form(request, most_parts=settings.batch + EXTRA_PARTS)
            images = read_files(parts, "images")
            form = read_form_choice(parts, "form", FORMS)
            spelling = (form, read_form_choice(parts, "bit_order", tuple(BitOrder)))
            check_batch(len(images), settings, name="images")
            model, encoded = handle.index.model, []
            for place, image in enumerate(images):
                query = engine.picture_query(model, image, stages, name=f"images[{place}]")
                encoded.append(await query)
            return answer_with_json(describe_codes(handle, spelling, encoded))

    return routes


def read_form_choice(parts: Sequence[FormPart], name: str, known: Sequence[str]) -> str:
    """Read from a form how codes are to be written; by default the first that is known.

    Raises:
        RefusedError: if it is none that is known.
    """
    content = next((part.content for part in parts if part.name == name), known[0].encode())
    if content.decode(errors="replace") not in known:
        raise invalid(f"{name}: expected {' or '.join(known)}")
    return content.decode()


def describe_codes(
    handle: IndexHandle, spelling: tuple[str, str], queries: Sequence[EncodedQuery]
) -> dict[str, Any]:
    """Describe codes as a document, in a form and a bit order."""
    model, (form, bit_order) = handle.index.model, spelling
    return {
        "n_bits": model.n_bits,
        "model": model.fingerprint,
        "form": form,
        "bit_order": bit_order,
        "codes": [write_code(query.code, form, bit_order) for query in queries],
    }
