"""Routes that turn texts and pictures into codes."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import Response

from modalhash.search import EncodedQuery
from modalhash.service.answers import ERRORS, code_text, json_answer
from modalhash.service.hosting import IndexHandle
from modalhash.service.queries import check_batch, check_encodes, check_text, read_picture_upload
from modalhash.service.schemas import CodeList, EncodeTexts
from modalhash.service.state import Service

__all__ = ["encode_routes"]


def encode_routes(service: Service) -> APIRouter:
    """Return the routes of a server that encode."""
    routes = APIRouter(prefix="/v1/indexes/{name}/encode", responses=ERRORS, tags=["encode"])
    engine, settings = service.engine, service.settings

    @routes.post("", response_model=CodeList)
    async def encode(name: str, wanted: EncodeTexts) -> Response:
        """Encode texts."""
        check_batch(len(wanted.texts), settings, name="texts")
        for place, text in enumerate(wanted.texts):
            check_text(text, settings, name=f"texts[{place}]")
        with service.held(name) as handle:
            check_encodes(handle, "text")
            model = handle.index.model
            found = await asyncio.gather(*(engine.text_query(model, one) for one in wanted.texts))
            return json_answer(codes_document(handle, wanted.form, found))

    @routes.post("/pictures", response_model=CodeList)
    async def encode_pictures(
        name: str,
        request: Request,
        images: Annotated[list[UploadFile], File(description="JPEG, PNG or WebP files.")],
        form: Annotated[str, Form(pattern="^(hex|base64)$")] = "hex",
    ) -> Response:
        """Encode uploaded pictures."""
        check_batch(len(images), settings, name="images")
        stages = request.scope["modalhash_stages"]
        with service.held(name) as handle:
            check_encodes(handle, "picture")
            found = []
            for place, image in enumerate(images):
                picture = await read_picture_upload(image, f"images[{place}]", engine, stages)
                found.append(await engine.picture_query(handle.index.model, picture))
            return json_answer(codes_document(handle, form, found))

    return routes


def codes_document(
    handle: IndexHandle, form: str, queries: Sequence[EncodedQuery]
) -> dict[str, Any]:
    """Return the document of codes."""
    model = handle.index.model
    codes = [code_text(query.code, form) for query in queries]
    return {"n_bits": model.n_bits, "model": model.fingerprint, "form": form, "codes": codes}
