"""What a client sends and how it reads answers: by hand, from the contract in docs/service.md."""

import asyncio
import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from modalhash.client import (
    AddedItems,
    AsyncClient,
    Client,
    NewItem,
    NewText,
    Query,
    Retries,
    SearchAnswer,
    ServedHit,
)
from modalhash.errors import InputError, ServiceError, StorageError

Handler = Callable[[httpx2.Request], httpx2.Response]

HIT = {
    "id": "mug-hot",
    "item": None,
    "distance": 9,
    "score": 0.859375,
    "relevance": 0.713,
    "caption": "Mug Hot, coffee, tea",
    "picture": {"file_name": "1.png", "thumbnail": "/v1/indexes/icons/thumbnail?side=images&id=1"},
    "metadata": {"category": "food"},
    "explanation": None,
}
ANSWER = {
    "index": "icons",
    "query": {"text": "a cup of coffee"},
    "code": "8f02a4417cc1903e",
    "n_bits": 64,
    "results": [
        {
            "target": "images",
            "relevance_rule": "shared_label",
            "reranked_by": None,
            "hits": [HIT],
            "explanation": None,
        }
    ],
    "timings": {"decode": 0.0, "encode": 8, "search": 0.4, "rerank": 0.0, "total": 9.0},
}


def client_of(handler: Handler, **options: Any) -> Client:
    return Client(
        "http://server", index="icons", transport=httpx2.MockTransport(handler), **options
    )


def sent_by(ask: Callable[[Client], object], answer: Any) -> httpx2.Request:
    """Return the request that a call sends, answered with a document."""
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=answer)

    with client_of(handler) as client:
        ask(client)
    (request,) = seen
    return request


def body(request: httpx2.Request) -> Any:
    return json.loads(request.content)


def test_a_search_by_text_says_only_what_was_said() -> None:
    request = sent_by(lambda client: client.search("a cup of coffee", k=1), ANSWER)
    assert (request.method, request.url.path) == ("POST", "/v1/indexes/icons/search")
    assert body(request) == {"text": "a cup of coffee", "k": 1}
    assert "Authorization" not in request.headers


def test_a_search_with_everything_says_all_of_it() -> None:
    request = sent_by(
        lambda client: client.search(
            "a", id=7, code=b"\x8f\x02", minus_text="b", modality="text", id_side="texts",
            weights={"text": 2}, target="both", k=3, where="year > 1", radius=4,
            min_relevance=0.5, rerank="auto", rerank_by="fine", explain=True, index="other",
        ),
        ANSWER,
    )  # fmt: skip
    assert request.url.path == "/v1/indexes/other/search"
    assert body(request) == {
        "text": "a",
        "id": 7,
        "code": {"hex": "8f02", "modality": "text"},
        "minus_text": "b",
        "id_side": "texts",
        "weights": {"text": 2},
        "target": "both",
        "k": 3,
        "filter": "year > 1",
        "radius": 4,
        "min_relevance": 0.5,
        "rerank": "auto",
        "rerank_by": "fine",
        "explain": True,
    }


def test_an_answer_becomes_typed() -> None:
    with client_of(lambda request: httpx2.Response(200, json=ANSWER)) as client:
        answer = client.search("a cup of coffee")
    assert isinstance(answer, SearchAnswer)
    (hit,) = answer.hits
    assert isinstance(hit, ServedHit)
    assert (hit.id, hit.distance, hit.relevance) == ("mug-hot", 9, 0.713)
    assert hit.picture is not None
    assert hit.picture.file_name == "1.png"
    assert hit.metadata == {"category": "food"}
    assert answer.timings["encode"] == 8.0


def test_fields_of_a_newer_server_are_passed_over() -> None:
    with client_of(lambda request: httpx2.Response(200, json=ANSWER | {"new": 1})) as client:
        assert client.search("a").n_bits == 64


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"index": "icons"}, "the server answered something else: the answer has no query"),
        (
            ANSWER | {"n_bits": "64"},
            "the server answered something else: the answer.n_bits is '64'",
        ),
        (
            ANSWER | {"results": [ANSWER["results"][0] | {"hits": [HIT | {"distance": None}]}]},  # type: ignore[index]
            "the server answered something else: the answer.results[0].hits[0].distance is None",
        ),
        ([], "the server answered something else: the answer is []"),
    ],
)
def test_an_answer_of_another_form_is_named(answer: Any, says: str) -> None:
    with (
        client_of(lambda request: httpx2.Response(200, json=answer)) as client,
        pytest.raises(ServiceError, match=f"^{re.escape(says)}$") as caught,
    ):
        client.search("a")
    assert caught.value.code == "bad_answer"


def test_what_is_no_modalhash_server_is_said() -> None:
    with (
        client_of(lambda request: httpx2.Response(200, text="<html>")) as client,
        pytest.raises(
            ServiceError,
            match=re.escape(
                "http://server/v1 answered something else: is a modalhash server there?"
            ),
        ),
    ):
        client.service()


def test_a_picture_is_uploaded_with_the_query(tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (2, 2), "red").save(file)
    for picture in (file, str(file), file.read_bytes()):
        request = sent_by(
            lambda client, picture=picture: client.search(image=picture, k=2),  # type: ignore[misc]
            ANSWER,
        )
        assert request.url.path == "/v1/indexes/icons/search/picture"
        assert request.headers["Content-Type"].startswith("multipart/form-data")
        assert file.read_bytes() in request.content
        assert b'{"k": 2}' in request.content


def test_an_open_picture_is_sent_as_a_file() -> None:
    picture = Image.new("RGB", (3, 2), "blue")
    request = sent_by(lambda client: client.search(image=picture), ANSWER)
    start = request.content.index(b"\x89PNG")
    with Image.open(io.BytesIO(request.content[start:])) as sent:
        assert sent.size == (3, 2)


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.png"
    with (
        client_of(lambda request: httpx2.Response(200)) as client,
        pytest.raises(
            StorageError, match=re.escape(f"can't read {missing}: No such file or directory")
        ),
    ):
        client.search(image=missing)


def test_a_batch_takes_words_and_queries() -> None:
    request = sent_by(
        lambda client: client.search_batch(["a", Query(id="b", target="texts")]),
        {"answers": [ANSWER, ANSWER]},
    )
    assert body(request) == {"queries": [{"text": "a"}, {"id": "b", "target": "texts"}]}


def test_codes_come_as_packed_rows_and_go_back_as_they_came() -> None:
    documents: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        documents.append(body(request))
        if request.url.path.endswith("/encode"):
            return httpx2.Response(200, json={"codes": ["8f02", "00ff"], "form": "hex"})
        return httpx2.Response(200, json=ANSWER)

    with client_of(handler) as client:
        codes = client.encode_texts(["a", "b"])
        np.testing.assert_array_equal(codes, np.array([[143, 2], [0, 255]], np.uint8))
        client.search(code=codes[:1])
        client.search(code=codes[1])
    assert documents[0] == {"texts": ["a", "b"], "form": "hex"}
    assert [one["code"]["hex"] for one in documents[1:]] == ["8f02", "00ff"]


@pytest.mark.parametrize(
    ("code", "came"),
    [
        (np.zeros((2, 8), np.uint8), "uint8 of shape (2, 8)"),
        (np.zeros(8, np.int64), "int64 of shape (8,)"),
    ],
)
def test_what_is_not_one_code_is_refused(code: Any, came: str) -> None:
    says = f"code is {came}, expected one packed code: uint8 of shape (p,) or (1, p), as the"
    with pytest.raises(InputError, match=f"^{re.escape(says)}"):
        Query(code=code).to_json()


def test_items_are_added_with_pictures_codes_and_texts(tmp_path: Path) -> None:
    request = sent_by(
        lambda client: client.add(
            [
                NewItem("a", image=b"bytes", texts=["two dogs"], metadata={"year": 2026}),
                NewItem(7, image_code=b"\x01", texts=[NewText("t", 8, b"\x02")]),
            ]
        ),
        {"images": 2, "texts": 2},
    )
    assert request.method == "POST"
    assert body(request)["items"] == [
        {
            "id": "a",
            "metadata": {"year": 2026},
            "image": base64.b64encode(b"bytes").decode(),
            "texts": [{"text": "two dogs"}],
        },
        {
            "id": 7,
            "metadata": {},
            "image_code": {"hex": "01"},
            "texts": [{"text": "t", "id": 8, "code": {"hex": "02"}}],
        },
    ]


def test_upsert_and_delete() -> None:
    with client_of(lambda request: httpx2.Response(200, json={"images": 1, "texts": 0})) as client:
        assert client.upsert([NewItem("a", image=b"x")]) == AddedItems(1, 0)
    request = sent_by(lambda client: client.upsert([NewItem("a")]), {"images": 0, "texts": 0})
    assert request.method == "PUT"
    request = sent_by(lambda client: client.delete(["a"], missing="ignore"), {"removed": 2})
    assert body(request) == {"ids": ["a"], "missing": "ignore"}
    request = sent_by(lambda client: client.delete(where="year < 2000"), {"removed": 2})
    assert body(request) == {"filter": "year < 2000"}
    with (
        client_of(lambda request: httpx2.Response(200)) as client,
        pytest.raises(InputError, match=re.escape("give either ids or a filter (where)")),
    ):
        client.delete()


def test_names_and_ids_are_quoted() -> None:
    answer: dict[str, Any] = {
        "id": "a/b&c", "side": "images", "item": None, "code": "00", "caption": "",
        "picture": None, "metadata": {},
    }  # fmt: skip
    request = sent_by(lambda client: client.item("a/b&c", index="x/../y"), answer)
    assert request.url.raw_path.startswith(b"/v1/indexes/x%2F..%2Fy/items?")
    assert request.url.params["id"] == "a/b&c"


def test_a_thumbnail_is_found_below_the_servers_address() -> None:
    paths: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        paths.append(str(request.url))
        if "thumbnail" in request.url.path:
            return httpx2.Response(200, content=b"RIFF")
        return httpx2.Response(200, json=ANSWER)

    with Client(
        "http://server/below/", index="icons", transport=httpx2.MockTransport(handler)
    ) as client:
        (hit,) = client.search("a").hits
        assert client.thumbnail(hit, size=64) == b"RIFF"
    assert paths == [
        "http://server/below/v1/indexes/icons/search",
        "http://server/below/v1/indexes/icons/thumbnail?side=images&id=1&size=64",
    ]
    with (
        client_of(handler) as client,
        pytest.raises(InputError, match=re.escape("this item has no picture")),
    ):
        client.thumbnail(replace(hit, picture=None))


FACTS = {
    "name": "icons", "collection": "icons", "split": "all", "model": "5f", "n_bits": 64,
    "sides": {"images": {"count": 2, "kind": "flat", "search": "all", "id_kind": "text"}},
    "fields": [
        {"name": "year", "types": ["number"], "sides": ["images"], "count": 2, "values": [],
         "minimum": 2004, "maximum": 2021.5},
        {"name": "is_new", "types": ["truth"], "sides": ["images"], "count": 2,
         "values": [True, False], "minimum": None, "maximum": None},
    ],
    "queries": {"text": True, "picture": True}, "captions": True, "pictures": True,
    "relevance": {"text_to_image": "shared_label"}, "rerank": {"text_to_image": ["relaxed"]},
    "writable": False, "opened_at": "2026-01-31T12:00:00Z",
}  # fmt: skip


def test_the_only_index_needs_no_name() -> None:
    asked: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        if request.url.path == "/v1/indexes":
            return httpx2.Response(200, json={"indexes": [FACTS]})
        return httpx2.Response(200, json=ANSWER)

    with Client("http://server", transport=httpx2.MockTransport(handler)) as client:
        client.search("a")
        client.search("b")
        (facts,) = client.indexes()
    assert asked == ["/v1/indexes", *["/v1/indexes/icons/search"] * 2, "/v1/indexes"]
    assert facts.sides["images"].count == 2
    assert facts.fields[0].maximum == 2021.5
    assert facts.fields[1].values == (True, False)
    assert facts.rerank == {"text_to_image": ("relaxed",)}


def test_one_of_several_indexes_must_be_named() -> None:
    two = {"indexes": [FACTS, FACTS | {"name": "photos"}]}
    with (
        Client(
            "http://server",
            transport=httpx2.MockTransport(lambda request: httpx2.Response(200, json=two)),
        ) as client,
        pytest.raises(
            InputError,
            match=re.escape("the server has these indexes: icons, photos; say which with index="),
        ),
    ):
        client.search("a")


def test_a_key_goes_into_the_header_only() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer mh_secret"
        assert "secret" not in str(request.url)
        return httpx2.Response(200, json=ANSWER)

    with client_of(handler, key="mh_secret") as client:
        client.search("a")
        assert "secret" not in repr(client)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=re.escape("url is 'localhost:8000', expected http://HOST:PORT or https://HOST"),
    ):
        Client("localhost:8000")


def test_the_asynchronous_client_asks_the_same() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/indexes":
            return httpx2.Response(200, json={"indexes": [FACTS]})
        if request.url.path == "/readyz":
            return httpx2.Response(503, json={})
        if request.url.path.endswith("items/delete"):
            return httpx2.Response(200, json={"removed": 3})
        assert body(request) == {"text": "a", "k": 2}
        return httpx2.Response(200, json=ANSWER)

    async def ask() -> None:
        transport = httpx2.MockTransport(handler)
        async with AsyncClient(
            "http://server", transport=transport, retries=Retries(tries=1)
        ) as client:
            both = await asyncio.gather(client.search("a", k=2), client.search("a", k=2))
            assert [one.hits[0].id for one in both] == ["mug-hot", "mug-hot"]
            assert await client.delete(["a"]) == 3
            assert not await client.is_ready()

    asyncio.run(ask())


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
