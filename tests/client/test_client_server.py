"""The asynchronous client against the real application, without a network."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.errors import ServiceError

pytest.importorskip("fastapi")

Ask = Callable[[mh.AsyncClient], Awaitable[None]]


@pytest.fixture
def run(tiny_encoder: None, scene_index: Path, tmp_path: Path) -> Callable[[Ask], None]:
    """Run something with a client of a server of 60 scenes that may be changed."""
    from modalhash.service.app import create_app
    from modalhash.service.settings import ServiceSettings

    folder = tmp_path / "own.index"
    shutil.copytree(scene_index, folder)
    settings = ServiceSettings(hosts=("server",), watch=0.0, writable=True)

    def running(ask: Ask) -> None:
        app = create_app({"scenes": folder}, settings)

        async def main() -> None:
            async with (
                app.router.lifespan_context(app),
                mh.AsyncClient("http://server", transport=httpx2.ASGITransport(app)) as client,
            ):
                await ask(client)

        asyncio.run(main())

    return running


def test_every_way_of_searching(run: Callable[[Ask], None], scene_index: Path) -> None:
    async def ask(client: mh.AsyncClient) -> None:
        with mh.open_index(scene_index) as index:
            expected = index.search(text="a red ring", k=3)
        answer = await client.search("a red ring", k=3)
        assert [hit.id for hit in answer.hits] == [hit.id for hit in expected.hits]
        assert [hit.distance for hit in answer.hits] == [hit.distance for hit in expected.hits]
        assert [hit.score for hit in answer.hits] == [hit.score for hit in expected.hits]
        assert answer.results[0].scoring == "asymmetric"
        plain = await client.search("a red ring", k=3, scoring="hamming")
        by_code = await client.search(code=plain.code, k=3, scoring="hamming")
        assert [hit.id for hit in by_code.hits] == [hit.id for hit in plain.hits]
        assert by_code.results[0].scoring == "hamming"
        near = await client.search("a red ring", min_score=answer.hits[1].score - 1e-6)
        assert [hit.id for hit in near.hits][:2] == [hit.id for hit in answer.hits[:2]]
        like = await client.search(id=answer.hits[0].id, k=3)
        assert answer.hits[0].id not in [hit.id for hit in like.hits]
        red = Image.new("RGB", (32, 32), "red")
        both = await client.search(image=red, target="both", k=2)
        assert [result.target for result in both.results] == ["images", "texts"]
        combined = await client.search("a red ring", red, minus_text="blue", k=2)
        assert len(combined.hits) == 2
        batch = await client.search_batch(["a red ring", mh.Query(id=answer.hits[0].id, k=2)])
        assert [len(one.hits) for one in batch] == [10, 2]
        assert batch[0].hits[:3] == answer.hits

    run(ask)


def test_codes_items_reasons_and_facts(run: Callable[[Ask], None]) -> None:
    async def ask(client: mh.AsyncClient) -> None:
        (facts,) = await client.indexes()
        assert facts == await client.index()
        assert (facts.name, facts.n_bits, facts.sides["images"].count) == ("scenes", 12, 60)
        (model,) = await client.models()
        assert model.fingerprint == facts.model
        assert (await client.service()).writable
        assert await client.is_ready()
        codes = await client.encode_texts(["a red ring", "a blue square"])
        assert codes.shape == (2, 2)
        answer = await client.search("a red ring", k=1, explain=True)
        assert codes[0].tobytes().hex() == answer.code
        big = await client.encode_texts(["a red ring"], bit_order="big")
        np.testing.assert_array_equal(
            np.unpackbits(big, axis=1), np.unpackbits(codes[:1], axis=1, bitorder="little")
        )
        nearest = await client.search(code=big, bit_order="big", k=3)
        alike = await client.search(code=codes[:1], k=3)
        assert [hit.id for hit in nearest.hits] == [hit.id for hit in alike.hits]
        hit = answer.hits[0]
        why = await client.explain([hit.id], mh.Query("a red ring", target="images"))
        assert hit.explanation is not None
        assert why.items[0].differing_bits == hit.explanation.differing_bits
        assert len(why.items[0].differing_bits) == hit.distance
        assert sum(why.explanation.distances) == 60
        counted = await client.facets(where='background == "white"')
        whites = [value.count for facet in counted.facets if facet.name == "background"
                  for value in facet.values]  # fmt: skip
        assert (counted.of, counted.counted, whites) == (25, 25, [25])
        item = await client.item(hit.id)
        assert (item.caption, item.picture) == (hit.caption, hit.picture)
        assert (await client.thumbnail(hit, size=64))[8:12] == b"WEBP"
        again = await client.encode_images([Image.new("RGB", (8, 8), "red")] * 2)
        np.testing.assert_array_equal(again[0], again[1])

    run(ask)


def test_items_are_added_replaced_and_deleted(run: Callable[[Ask], None]) -> None:
    async def ask(client: mh.AsyncClient) -> None:
        red = Image.new("RGB", (32, 32), "red")
        item = mh.NewItem("new", image=red, texts=["a red wall"], metadata={"year": 2026})
        assert await client.add([item]) == await client.upsert([item])
        with pytest.raises(ServiceError) as caught:
            await client.add([item])
        assert (caught.value.code, caught.value.status) == ("already_there", 409)
        assert caught.value.request_id
        found = await client.search(image=red, target="images", k=50, where="year == 2026")
        assert [hit.id for hit in found.hits] == ["new"]
        assert await client.delete(where="year == 2026") == 2
        assert await client.delete(["new"], missing="ignore") == 0
        with pytest.raises(ServiceError) as caught:
            await client.delete(["new"])
        assert caught.value.code == "unknown_item"
        assert (await client.reload()).sides["images"].count == 60

    run(ask)


def test_a_refusal_carries_its_code_and_sentence(run: Callable[[Ask], None]) -> None:
    async def ask(client: mh.AsyncClient) -> None:
        with pytest.raises(ServiceError, match="at character 7: expected a value") as caught:
            await client.search("a", where="year >> 1")
        assert caught.value.code == "invalid_filter"
        with pytest.raises(ServiceError) as caught:
            await client.search("a", index="none")
        assert (caught.value.code, caught.value.status) == ("unknown_index", 404)

    run(ask)
