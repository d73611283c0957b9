"""What the tools take: the models that arguments are checked against, and their JSON schemas."""

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from modalhash.service.schemas import ItemId, Request, SideName, Text, Weights, search_field

__all__ = [
    "MOST_HITS",
    "USUAL_SIZE",
    "DescribeIndex",
    "GetItem",
    "GetPicture",
    "PictureSize",
    "Search",
    "make_input_schema",
]

MOST_HITS: Final = 50
"""Hits of one answer; more are on the next page."""
USUAL_SIZE: Final = 256
PictureSize = Literal[128, 256, 512]
"""Pixels of the longer side of a picture in an answer."""
FieldName = Annotated[Text, Field(min_length=1, max_length=200)]
AnyId = Annotated[ItemId, WithJsonSchema({"type": ["string", "integer"]})]
PartWeights = Annotated[
    Weights,
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                name: {"type": "number"} for name in ("text", "minus_text", "id", "image")
            },
        }
    ),
]
INDEX: Final = Field(None, description="Which index; needed only where there are several.")


class Search(Request):
    """Arguments of the tool `search`; they mean what the fields of a `SearchRequest` mean."""

    index: Text | None = INDEX
    text: Text | None = Field(
        None, description="Words that describe what is looked for, such as 'a dog in the snow'."
    )
    minus_text: Text | None = Field(
        None, description="Words to lead away from; beside text, id or a picture."
    )
    id: AnyId | None = Field(None, description="An item of the index: more like this one.")
    id_side: SideName | None = search_field("id_side")
    image: Text | None = Field(
        None, description="A picture to search for: a JPEG, PNG or WebP file in base 64."
    )
    image_file: Text | None = Field(
        None, description="A picture to search for: its path, in a folder that may be read."
    )
    weights: PartWeights | None = Field(
        None,
        description="How much each part counts where several are combined: above 0, 1 by default.",
    )
    where: Text | None = Field(
        None,
        alias="filter",
        description='Only items that pass, such as: year >= 2020 and "dog" in tags. The fields '
        "are those that describe_index lists.",
    )
    target: SideName | None = Field(
        None, description="What to find: images (default), or texts (default for a picture alone)."
    )
    k: int = Field(10, ge=1, le=MOST_HITS, description="Hits of a page.")
    offset: int = Field(0, ge=0, description="Hits to pass over: next_offset of the page before.")
    min_relevance: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Only hits that are relevant with this probability at least; needs a "
        "calibrated index.",
    )
    group_by: Literal["video"] | None = search_field("group_by")
    fields: list[FieldName] = Field(
        [], max_length=20, description="Metadata fields to give with each hit."
    )


class GetItem(Request):
    """Arguments of the tool `get_item`."""

    index: Text | None = INDEX
    id: AnyId = Field(description="The id of the item, as hits have it.")
    side: SideName = Field("images", description="The side that the item is on.")


class GetPicture(GetItem):
    """Arguments of the tool `get_picture`."""

    size: PictureSize = Field(USUAL_SIZE, description="Pixels of the longer side at most.")


class DescribeIndex(Request):
    """Arguments of the tool `describe_index`."""

    index: Text | None = INDEX


def make_input_schema(model: type[Request], left_out: Collection[str] = ()) -> dict[str, Any]:
    """Make the JSON schema of a tool's arguments, as short as it can be: assistants read it.

    Args:
        model: of the arguments.
        left_out: arguments that this server has no use for.

    Example:
        >>> make_input_schema(DescribeIndex, ["index"])
        {'type': 'object', 'properties': {}, 'additionalProperties': False}
    """
    schema = model.model_json_schema(by_alias=True)
    properties = {
        name: simplify_schema(entry, schema.get("$defs", {}))
        for name, entry in schema["properties"].items()
        if name not in left_out
    }
    document = {"type": "object", "properties": properties, "additionalProperties": False}
    if "required" in schema:
        document["required"] = schema["required"]
    return document


def simplify_schema(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put definitions in their places, and leave out titles, defaults that are null, and null."""
    if isinstance(schema, list):
        return [simplify_schema(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = target | {name: value for name, value in schema.items() if name != "$ref"}
    choices = [entry for entry in schema.get("anyOf", []) if entry != {"type": "null"}]
    if len(choices) == 1:
        schema = choices[0] | {name: value for name, value in schema.items() if name != "anyOf"}
    elif choices:
        schema = {**schema, "anyOf": choices}
    document: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("title", "examples") or (name == "default" and value in (None, [])):
            continue
        if name == "properties":
            document[name] = {
                key: simplify_schema(entry, definitions) for key, entry in value.items()
            }
        else:
            document[name] = simplify_schema(value, definitions)
    return document
