"""Resources: what an index says of itself, items and their pictures, by addresses of their own."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from modalhash.errors import InputError
from modalhash.mcp_server.arguments import DescribeIndex, GetItem, GetPicture
from modalhash.mcp_server.calls import ToolCalls

__all__ = ["TEMPLATES", "ResourceTemplate", "index_address", "read_resource"]

SCHEME: Final = "modalhash://"
ADDRESS: Final = re.compile(
    r"modalhash://(?P<index>[^/]+)(?:/(?P<side>images|texts)/(?P<id>[^/]+)(?P<picture>/picture)?)?"
)


@dataclass(frozen=True)
class ResourceTemplate:
    """A family of resources.

    Attributes:
        name: of the family.
        address: with its variables in braces.
        description: for assistants.
        media_type: of the contents.
    """

    name: str
    address: str
    description: str
    media_type: str


TEMPLATES: Final = (
    ResourceTemplate(
        "item",
        f"{SCHEME}{{index}}/{{side}}/{{id}}",
        "An item of an index: its caption, file and metadata. side is images or texts.",
        "application/json",
    ),
    ResourceTemplate(
        "picture",
        f"{SCHEME}{{index}}/{{side}}/{{id}}/picture",
        "The picture of an item, made small.",
        "image/webp",
    ),
)


def index_address(name: str) -> str:
    """Make the address of an index.

    Example:
        >>> index_address("photos")
        'modalhash://photos'
    """
    return f"{SCHEME}{quote(name, safe='')}"


async def read_resource(calls: ToolCalls, address: str) -> str | bytes:
    """Read a resource: JSON, or a picture.

    Args:
        calls: the tools.
        address: as `index_address` makes it, or of one of `TEMPLATES`.

    Raises:
        InputError: if it is no address of a resource.
        RefusedError: if there is no such index, or the item has no picture here.
        UnknownItemError: if there is no such item.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        expected = ", ".join([f"{SCHEME}{{index}}", *(entry.address for entry in TEMPLATES)])
        raise InputError(f"there is no resource {address}: expected {expected}")
    index = unquote(match["index"])
    if match["id"] is None:
        return await calls.describe_index(DescribeIndex(index=index))
    # `model_validate` checks the id, which comes from outside.
    names = {"index": index, "side": match["side"], "id": unquote(match["id"])}
    if match["picture"]:
        return await calls.get_picture(GetPicture.model_validate(names))
    return await calls.get_item(GetItem.model_validate(names))
