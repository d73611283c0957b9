"""The tools for assistants, called by the client of the official SDK in the same process."""

import asyncio
import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents
from PIL import Image

import modalhash as mh
from modalhash.mcp_server.tool_list import TOOLS
from modalhash.modalities import Side
from modalhash.search.contents import SideContent
from tests.mcp_server.conftest import Connect

N_SCENES = 60
YEER = "the filter can't be understood at character 1: no item has a field 'yeer': known are "
NOT_GRADED = "How relevant these hits are isn't known: the index isn't calibrated."


async def call_text(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    (content,) = result.content
    assert content.type == "text"
    return content.text


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    return json.loads(await call_text(client, tool, **arguments))


async def read(client: Client, address: str) -> str | bytes:
    (contents,) = (await client.read_resource(address)).contents
    if isinstance(contents, TextResourceContents):
        return contents.text
    return base64.b64decode(contents.blob)


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert result.is_error
    assert content.type == "text"
    assert "\n" not in content.text
    return content.text


def write_base64(picture: Image.Image, form: str = "PNG") -> str:
    file = io.BytesIO()
    picture.save(file, form)
    return base64.b64encode(file.getvalue()).decode()


def test_tools_say_that_they_only_read(connect: Connect) -> None:
    async def run() -> None:
        async with connect() as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert (
                set(tools) == set(TOOLS) == {"search", "get_item", "get_picture", "describe_index"}
            )
            for tool in tools.values():
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint
                assert tool.input_schema["type"] == "object"
                assert "$ref" not in json.dumps(tool.input_schema)
            properties = tools["search"].input_schema["properties"]
            # What this server has no use for isn't offered: one index, and no folder to read.
            assert {"text", "image", "minus_text", "id", "filter", "offset"} <= set(properties)
            assert {"index", "image_file", "where", "code"}.isdisjoint(properties)

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_pages_hold_every_item_once(connect: Connect, mode: str) -> None:
    async def run() -> None:
        async with connect(mode=mode) as client:
            ids: list[str] = []
            offset: int | None = 0
            n_pages = 0
            while offset is not None:
                page = await call(client, "search", text="red circle", k=7, offset=offset)
                ids += [hit["id"] for hit in page["hits"]]
                offset = page.get("next_offset")
                n_pages += 1
            assert n_pages == -(-N_SCENES // 7)
            assert len(ids) == len(set(ids)) == N_SCENES
            whole = await call(client, "search", text="red circle", k=50)
            assert [hit["id"] for hit in whole["hits"]] == ids[:50]
            beyond = await call(client, "search", text="red circle", offset=500)
            assert beyond["verdict"] == "There are no more hits."

    asyncio.run(run())


def test_hits_are_those_of_the_library(connect: Connect, calibrated_index: Path) -> None:
    with mh.open_index(calibrated_index) as index:
        expected = index.search("blue star", minus_text="red circle", k=5)
        alone = index.search("blue star", k=5)

    async def run() -> None:
        async with connect({"scenes": calibrated_index}) as client:
            page = await call(client, "search", text="blue star", minus_text="red circle", k=5)
            assert [hit["id"] for hit in page["hits"]] == [hit.id for hit in expected.hits]
            graded = await call(client, "search", text="blue star", k=5)
            assert graded["relevance_means"] == "shared_label"
            for shown, hit in zip(graded["hits"], alone.hits, strict=True):
                assert hit.strength is not None
                assert hit.relevance is not None
                assert shown["strength"] == hit.strength.value
                assert shown["relevance"] == round(hit.relevance, 3)
                assert shown["caption"] == hit.caption

    asyncio.run(run())


def test_a_relevance_that_would_mislead_is_left_out(
    connect: Connect, scene_index: Path, tmp_path: Path, own_cache: Path
) -> None:
    folder = tmp_path / "pairs.index"
    shutil.copytree(scene_index, folder)
    mh.calibrate(folder, "scenes:90", split="all", relevance="pair", cache=own_cache)

    async def run() -> None:
        async with connect({"pairs": folder}) as client:
            page = await call(client, "search", text="red ring")
            assert page["hits"][0]["strength"] in ("strong", "fair", "weak")
            assert "relevance" not in page["hits"][0]
            assert "relevance_means" not in page
            least = await call(client, "search", text="red ring", min_relevance=0.0)
            assert least["relevance_means"] == "pair"
            assert 0 < least["hits"][0]["relevance"] < 1

    asyncio.run(run())


def test_an_index_without_calibration_says_so(connect: Connect) -> None:
    async def run() -> None:
        async with connect() as client:
            page = await call(client, "search", text="red circle")
            # Its codes have 12 bits, too few to tell chance from a find.
            assert page["verdict"] == NOT_GRADED
            assert "strength" not in page["hits"][0]

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_calls_at_the_same_time_get_their_own_answers(connect: Connect, mode: str) -> None:
    async def run() -> None:
        async with connect(mode=mode) as client:
            texts = [
                f"{colour} {shape}" for colour in ("red", "blue") for shape in ("ring", "star")
            ]
            alone = [await call(client, "search", text=text) for text in texts]
            together = await asyncio.gather(
                *(call(client, "search", text=text) for text in texts * 5)
            )
            assert together == alone * 5

    asyncio.run(run())


def test_an_answer_without_hits_says_why(connect: Connect) -> None:
    async def run() -> None:
        async with connect() as client:
            few = await call(client, "search", text="red ring", filter="n_objects == 99")
            assert few == {
                "index": "scenes", "target": "images",
                "verdict": "Nothing passes the filter and the other limits.", "hits": [],
            }  # fmt: skip
            lists = await call(client, "search", text="red ring", filter='labels == "red ring"')
            assert lists["verdict"].endswith(' labels holds lists: write "red ring" in labels')

    asyncio.run(run())


def test_ten_hits_take_two_kilobytes_at_most(
    connect: Connect, scene_index: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "long.index"
    shutil.copytree(scene_index, folder)
    long = ['A "quoted" caption\n' * 300, "漢字と絵文字 😀 " * 400, "x" * 5000, "short"]
    with mh.open_index(folder) as index:
        ids = np.array([f"long-{number:02d}" for number in range(40)])
        rows = [{"caption": long[number % 4], "year": 2000 + number} for number in range(40)]
        codes = np.zeros((40, 2), np.uint8)
        codes[:, 0] = np.arange(40)
        index.add({Side.IMAGES: SideContent(ids, codes, rows)})

    async def run() -> None:
        async with connect({"long": folder}) as client:
            text = await call_text(
                client, "search", text="red", filter="year >= 2000", fields=["year"]
            )
            assert len(text.encode()) <= 2000
            hits = json.loads(text)["hits"]
            assert len(hits) == 10
            assert all(hit["fields"]["year"] >= 2000 for hit in hits)
            assert {"short"} < {hit["caption"] for hit in hits}
            many = await call_text(client, "search", text="red", k=40)
            assert len(many.encode()) <= 8000
            assert len(json.loads(many)["hits"]) == 40
            item = await call_text(client, "get_item", id="long-01")
            assert len(item.encode()) <= 4000
            assert json.loads(item)["caption"].startswith("漢字と絵文字 😀 漢字")

    asyncio.run(run())


def test_bad_calls_are_answered_in_one_line(connect: Connect) -> None:
    async def run() -> None:
        async with connect() as client:
            for arguments, message in (
                ({}, "give a text, an id or a picture (image) to search for"),
                ({"minus_text": "a"}, "give a text, an id or a picture (image) to search for"),
                ({"text": "a", "k": 51}, "k: Input should be less than or equal to 50"),
                ({"text": "a", "words": 1}, "words: there is no such field"),
                ({"text": "a", "offset": 1000}, "offset is 1000, but only the first 1000 hits"),
                ({"text": "a", "filter": "year >> 2"}, "the filter can't be understood at"),
                ({"text": "a", "filter": "yeer > 2"}, YEER),
                ({"id": "nothing"}, "there is no item 'nothing' among the images"),
                ({"text": "a", "index": "other"}, "there is no index 'other'; those there are"),
                ({"image": "AAAA"}, "image can't be read: it isn't a JPEG, PNG or WebP picture"),
                ({"image": "%"}, "image isn't base 64"),
                ({"image_file": "a.png"}, "this server reads no files: send the picture"),
                ({"text": "a", "min_relevance": 0.5}, "the index scenes isn't calibrated"),
            ):  # fmt: skip
                assert (await refusal(client, "search", **arguments)).startswith(message)
            assert (await refusal(client, "get_item")) == "id: this field is needed"
            assert (await refusal(client, "get_picture", id="no")).startswith(
                "there is no item 'no'"
            )
            with pytest.raises(
                MCPError, match=re.escape("there is no tool 'delete', but: search,")
            ):
                await client.call_tool("delete", {"id": "a"})

    asyncio.run(run())


def test_pictures_are_searched_for_and_shown(
    connect: Connect, scene_index: Path, tmp_path: Path
) -> None:
    opened, secret = tmp_path / "open", tmp_path / "secret"
    opened.mkdir()
    secret.mkdir()
    Image.new("RGB", (40, 30), (255, 0, 0)).save(opened / "red.png")
    Image.new("RGB", (40, 30), (0, 0, 255)).save(secret / "blue.png")
    (opened / "link.png").symlink_to(secret / "blue.png")
    with mh.open_index(scene_index) as index:
        expected = [hit.id for hit in index.search(image=opened / "red.png", k=3).hits]

    async def run() -> None:
        async with connect(query_folders=(opened,)) as client:
            content = write_base64(Image.new("RGB", (40, 30), (255, 0, 0)))
            for arguments in (
                {"image": content},
                {"image": f"data:image/png;base64,{content}"},
                {"image_file": "red.png"},
                {"image_file": str(opened / "red.png")},
            ):
                page = await call(client, "search", k=3, **arguments)
                assert page["target"] == "texts"
                assert [hit["id"] for hit in page["hits"]] == expected
            for path in ("../secret/blue.png", str(secret / "blue.png"), "link.png", "/etc/passwd"):
                message = await refusal(client, "search", image_file=path)
                assert message.startswith("image_file lies in no folder that may be read")
            missing = await refusal(client, "search", image_file="green.png")
            assert missing.startswith("there is no picture green.png in ")
            both = await refusal(client, "search", image=content, image_file="red.png")
            assert both == "give either image or image_file"

            page = await call(client, "search", text="red circle", k=1)
            name = page["hits"][0]["id"]
            shown = (await client.call_tool("get_picture", {"id": name, "size": 128})).content[0]
            assert shown.type == "image"
            assert shown.mime_type == "image/webp"
            with Image.open(io.BytesIO(base64.b64decode(shown.data))) as opened_picture:
                assert max(opened_picture.size) == 128

    asyncio.run(run())


def test_items_and_indexes_are_resources(connect: Connect, scene_index: Path) -> None:
    async def run() -> None:
        async with connect({"one": scene_index, "two": scene_index}) as client:
            addresses = [str(entry.uri) for entry in (await client.list_resources()).resources]
            assert addresses == ["modalhash://one", "modalhash://two"]
            templates = (await client.list_resource_templates()).resource_templates
            assert [entry.uri_template for entry in templates] == [
                "modalhash://{index}/{side}/{id}",
                "modalhash://{index}/{side}/{id}/picture",
            ]
            listed = await call(client, "describe_index")
            assert listed == {
                "indexes": [
                    {"index": name, "images": N_SCENES, "texts": 5 * N_SCENES}
                    for name in ("one", "two")
                ]
            }
            assert (await refusal(client, "search", text="a")) == (
                "there are several indexes, name one of them as index: one, two"
            )
            page = await call(client, "search", text="a red circle", index="two", k=1)
            name = page["hits"][0]["id"]
            item = await read(client, f"modalhash://two/images/{name}")
            assert json.loads(item) == await call(client, "get_item", index="two", id=name)
            facts = json.loads(await read(client, "modalhash://two"))
            assert facts["items"] == {"images": N_SCENES, "texts": 5 * N_SCENES}
            picture = await read(client, f"modalhash://two/images/{name}/picture")
            assert isinstance(picture, bytes)
            with Image.open(io.BytesIO(picture)) as opened:
                assert opened.format == "WEBP"
            for address in (
                "modalhash://three",
                "modalhash://two/images/none",
                "file:///etc/passwd",
            ):
                with pytest.raises(MCPError, match="there is no"):
                    await client.read_resource(address)

    asyncio.run(run())


def test_changes_on_disk_are_seen(connect: Connect, scene_index: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "own.index", tmp_path / "other.index"
    shutil.copytree(scene_index, folder)
    shutil.copytree(scene_index, other)

    async def run() -> None:
        async with connect({"own": folder}, watch=0.05) as client:
            with mh.open_index(folder) as index:
                index.add(
                    {Side.IMAGES: SideContent(np.array(["new"]), np.zeros((1, 2), np.uint8), [{}])}
                )
            assert (await call(client, "get_item", id="new"))["id"] == "new"
            facts = await call(client, "describe_index")
            assert facts["items"]["images"] == N_SCENES + 1
            # Built anew: another folder takes its place.
            folder.rename(tmp_path / "old.index")
            other.rename(folder)
            for _ in range(200):
                facts = await call(client, "describe_index")
                if facts["items"]["images"] == N_SCENES:
                    break
                await asyncio.sleep(0.05)
            assert facts["items"]["images"] == N_SCENES

    asyncio.run(run())
