"""What the OpenAPI document says of bodies, which this service reads by itself.

FastAPI would read a body and check it in the event loop, however large it is.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["FILE", "DescribedApp", "form_body", "json_body"]

FILE: Final = {
    "type": "string",
    "format": "binary",
    "description": "A JPEG, PNG or WebP file.",
}
COMPONENT: Final = "#/components/schemas/{model}"
described: dict[str, type[BaseModel]] = {}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body of JSON, for `openapi_extra` of a route."""
    described[model.__name__] = model
    schema = {"$ref": COMPONENT.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def form_body(fields: Mapping[str, Any], *, needed: str) -> dict[str, Any]:
    """Describe a body that is a form, for `openapi_extra` of a route.

    Args:
        fields: schemas by name.
        needed: the field that must be there.
    """
    schema = {"type": "object", "properties": dict(fields), "required": [needed]}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


class DescribedApp(FastAPI):
    """An application whose OpenAPI document holds the types of bodies that it reads by itself."""

    def openapi(self) -> dict[str, Any]:
        """Build the document."""
        document = super().openapi()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, model in described.items():
            schema = model.model_json_schema(ref_template=COMPONENT)
            schemas |= schema.pop("$defs", {}) | {name: schema}
        return document
