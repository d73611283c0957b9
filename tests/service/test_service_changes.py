"""Items added and removed over HTTP, and indexes opened anew."""

import base64
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import modalhash as mh
from tests.service.conftest import Serve

ITEMS = "/v1/indexes/own/items"
SEARCH = "/v1/indexes/own/search"


@pytest.fixture
def client(serve: Serve, own_index: Path) -> TestClient:
    return serve({"own": own_index}, writable=True)


def in_base64(picture: Image.Image, form: str = "PNG") -> str:
    file = io.BytesIO()
    picture.save(file, form)
    return base64.b64encode(file.getvalue()).decode()


def red(identity: str = "new", **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "image": in_base64(Image.new("RGB", (40, 30), (255, 0, 0))),
        "texts": [{"text": "nothing but red"}, {"id": f"{identity}-b", "text": "a red sheet"}],
        "metadata": {"year": 2026},
    } | more


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_an_added_item_is_found_by_text_and_picture_and_shown(
    client: TestClient, own_index: Path
) -> None:
    answer = client.post(ITEMS, json={"items": [red()]})
    assert (answer.status_code, answer.json()) == (200, {"images": 1, "texts": 2})
    found = client.post(SEARCH, json={"id": "new", "target": "both", "k": 100, "radius": 0}).json()
    query = {"target": "both", "k": 100, "filter": "year == 2026", "text": "nothing but red"}
    found = client.post(SEARCH, json=query).json()
    assert [[hit["id"] for hit in side["hits"]] for side in found["results"]] == [
        ["new"], ["new#0", "new-b"],
    ]  # fmt: skip
    text_hits = found["results"][1]["hits"]
    assert text_hits[0]["distance"] == 0
    assert text_hits[0]["item"] == "new"
    picture = found["results"][0]["hits"][0]
    assert picture["caption"] == "nothing but red"
    assert picture["metadata"] == {"year": 2026}
    thumbnail = client.get(picture["picture"]["thumbnail"])
    with Image.open(io.BytesIO(thumbnail.content)) as shown:
        assert shown.size == (40, 30)
    item = client.get(ITEMS, params={"id": "new"}).json()
    with mh.open_index(own_index) as index:
        code = index.model.encode_images([Image.new("RGB", (40, 30), (255, 0, 0))])
    assert item["code"] == code.tobytes().hex()


def test_what_is_there_is_not_added_again_but_replaced(client: TestClient) -> None:
    client.post(ITEMS, json={"items": [red()]})
    assert refusal(client.post(ITEMS, json={"items": [red("other"), red()]})) == (
        409, "already_there",
        "there is an item 'new' among the images already: nothing was added; PUT takes its place",
    )  # fmt: skip
    assert client.get(ITEMS, params={"id": "other"}).status_code == 404
    newer = red(texts=[{"text": "still red"}], metadata={"year": 2027})
    assert client.put(ITEMS, json={"items": [newer]}).json() == {"images": 1, "texts": 1}
    assert client.get(ITEMS, params={"id": "new"}).json()["metadata"] == {"year": 2027}
    assert client.get(ITEMS, params={"id": "new-b", "side": "texts"}).status_code == 404


def test_items_may_come_as_codes_or_as_one_side(client: TestClient, own_index: Path) -> None:
    items = [
        {"id": "coded", "image_code": {"hex": "ff0f"}},
        {"id": "told", "texts": [{"text": "words", "code": {"base64": "AQI="}}]},
        {"id": "turned", "image_code": {"hex": "80f0", "bit_order": "big"}},
    ]
    assert client.post(ITEMS, json={"items": items}).json() == {"images": 2, "texts": 1}
    found = client.post(SEARCH, json={"code": {"hex": "ff0f"}, "k": 100, "radius": 0}).json()
    assert found["results"][0]["hits"][0] | {"score": 1.0} == {
        "id": "coded", "item": None, "distance": 0, "score": 1.0, "relevance": None,
        "strength": None, "caption": "", "picture": None, "metadata": {}, "explanation": None,
        "moment": None,
    }  # fmt: skip
    with mh.open_index(own_index) as index:
        assert index.sides[index.side("texts")].reconstruct(["told#0"]).tolist() == [[1, 2]]
        turned = index.sides[index.side("images")].reconstruct(["turned"])
        assert turned.tolist() == [[0b00000001, 0b00001111]]


def test_deleted_items_go_with_their_texts(client: TestClient) -> None:
    client.post(ITEMS, json={"items": [red("one"), red("two"), red("three")]})
    delete = f"{ITEMS}/delete"
    assert client.post(delete, json={"ids": ["one"]}).json() == {"removed": 3}
    assert client.get(ITEMS, params={"id": "one#0", "side": "texts"}).status_code == 404
    assert refusal(client.post(delete, json={"ids": ["two", "one"]})) == (
        404, "unknown_item", "there is no item 'one': nothing was deleted",
    )  # fmt: skip
    assert client.get(ITEMS, params={"id": "two"}).status_code == 200
    missing = {"ids": ["two", "one"], "missing": "ignore"}
    assert client.post(delete, json=missing).json() == {"removed": 3}
    assert client.post(delete, json={"filter": "year == 2026"}).json() == {"removed": 3}
    assert client.post(delete, json={"filter": "year == 2026"}).json() == {"removed": 0}


def test_a_server_that_is_not_writable_changes_nothing(serve: Serve, own_index: Path) -> None:
    client = serve({"own": own_index})
    for answer in (
        client.post(ITEMS, json={"items": [red()]}),
        client.put(ITEMS, json={"items": [red()]}),
        client.post(f"{ITEMS}/delete", json={"filter": "n_objects > 0"}),
    ):
        assert refusal(answer) == (
            403, "not_writable", "this server changes no index: it runs without --writable",
        )  # fmt: skip
    assert client.get("/readyz").json() == {"status": "ready", "indexes": {"own": 360}}


@pytest.mark.parametrize(
    ("item", "code", "message"),
    [
        (red(image="?"), "invalid_request", "items[0].image isn't base 64"),
        (red(image=base64.b64encode(b"GIF89a").decode()), "unreadable_picture",
         ("items[0].image can't be read: it isn't a JPEG, PNG or WebP picture, or it is cut off or "
         "damaged")),
        (red(image=None, texts=[]), "invalid_request",
         "items[0] has neither a picture nor texts: give one of them"),
        (red(image_code={"hex": "ff0f"}), "invalid_request",
         "items[0] has both an image and an image_code: give one of them"),
        (red(texts=[{"text": ""}]), "invalid_request",
         "items[0].texts[0].text is empty: give at least one word"),
        (red(metadata={"image": "/etc/passwd"}), "invalid_request",
         "items[0].metadata.image can't be set: the index keeps it"),
        (red(metadata={"_fine": "x"}), "invalid_request",
         "items[0].metadata._fine can't be set: the index keeps it"),
        (red(texts=[{"text": "a", "id": "b"}, {"text": "a", "id": "b"}]), "invalid_request",
         "ids holds 'b' more than once: nothing was added"),
        ({"id": 3, "texts": [{"text": "a"}]}, "invalid_request",
         "items[0].id is 3, ids of this index are texts"),
        (red(image="A" * 200), "unreadable_picture", None),
    ],
)  # fmt: skip
def test_a_bad_item_changes_nothing(
    client: TestClient, item: dict[str, Any], code: str, message: str | None
) -> None:
    for send in (client.post, client.put):
        status, came, told = refusal(send(ITEMS, json={"items": [item]}))
        assert (status, came) == (422, code)
        assert message is None or told == message
    assert client.get("/readyz").json()["indexes"] == {"own": 360}


def test_too_many_items_are_refused(serve: Serve, own_index: Path) -> None:
    client = serve({"own": own_index}, writable=True, batch=2)
    assert refusal(client.post(ITEMS, json={"items": [red("a"), red("b")]})) == (
        422, "limit_exceeded", "items holds 4 items or texts, 2 are the most",
    )  # fmt: skip
    assert refusal(client.post(f"{ITEMS}/delete", json={"ids": ["a", "b", "c"]})) == (
        422, "limit_exceeded", "ids has 3 entries, 2 are the most",
    )  # fmt: skip


def test_another_writer_makes_the_index_busy(client: TestClient, own_index: Path) -> None:
    with mh.open_index(own_index) as index, index.sides[index.side("images")].writing():
        answer = client.post(ITEMS, json={"items": [red()]})
        assert refusal(answer) == (409, "index_busy", "somebody else is changing the index")
        assert answer.headers["Retry-After"] == "2"
    assert client.post(ITEMS, json={"items": [red()]}).status_code == 200


def test_changes_of_another_process_are_seen(client: TestClient, own_index: Path) -> None:
    with mh.open_index(own_index) as index:
        index.delete_where("n_objects > 0")
        count = len(index)
    assert client.get("/readyz").json() == {"status": "ready", "indexes": {"own": count}}


def test_a_folder_built_anew_is_taken_in(
    client: TestClient, own_index: Path, scene_run: Path, own_cache: Path
) -> None:
    before = client.post(SEARCH, json={"text": "a red circle", "k": 1}).json()
    assert len(before["results"][0]["hits"]) == 1
    mh.build_index(scene_run, output=own_index, split="test", overwrite=True).close()
    answer = client.post("/v1/indexes/own/reload")
    assert answer.status_code == 200
    assert answer.json()["sides"]["images"]["count"] < 60
    assert answer.json()["split"] == "test"
    assert client.post(SEARCH, json={"text": "a red circle"}).status_code == 200


def test_a_folder_built_anew_is_noticed(
    serve: Serve, own_index: Path, scene_run: Path, own_cache: Path
) -> None:
    client = serve({"own": own_index}, watch=0.05)
    mh.build_index(scene_run, output=own_index, split="test", overwrite=True).close()
    for _ in range(200):
        if client.get("/v1/indexes/own").json()["split"] == "test":
            break
        time.sleep(0.05)
    assert client.get("/v1/indexes/own").json()["split"] == "test"


def test_an_index_that_cannot_be_opened_anew_stays(client: TestClient, own_index: Path) -> None:
    manifest = own_index / "manifest.json"
    content = manifest.read_text()
    manifest.write_text(content.replace('"scenes', '"scones'))
    status, code, message = refusal(client.post("/v1/indexes/own/reload"))
    assert (status, code) == (503, "storage_failed")
    assert str(own_index) not in message
    assert client.post(SEARCH, json={"text": "a red circle"}).status_code == 200


def test_reloading_while_searches_go_on_drops_none(client: TestClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(place: int) -> int:
        if place % 10 == 0:
            return client.post("/v1/indexes/own/reload").status_code
        return client.post(SEARCH, json={"text": f"{place} red circles"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(80))) == {200}


def test_several_indexes_share_one_model(serve: Serve, scene_index: Path, own_index: Path) -> None:
    client = serve({"first": scene_index, "second": own_index})
    service = client.app.state.service  # type: ignore[attr-defined]
    first, second = (service.host.hosted[name].current.index for name in ("first", "second"))
    assert first.model is second.model
    models = client.get("/v1/models").json()["models"]
    assert [model["indexes"] for model in models] == [["first", "second"]]
    assert [one["name"] for one in client.get("/v1/indexes").json()["indexes"]] == [
        "first", "second",
    ]  # fmt: skip


def test_an_encoder_is_in_memory_once_for_several_models(
    serve: Serve, scene_index: Path, tmp_path: Path, own_cache: Path, tiny_encoder: None
) -> None:
    model = mh.train(
        "scenes:60", output=tmp_path / "run", method="random", n_bits=16, encoder="tiny"
    )
    mh.build_index(model, output=tmp_path / "other.index", calibrate=False).close()
    client = serve({"first": scene_index, "other": tmp_path / "other.index"})
    service = client.app.state.service  # type: ignore[attr-defined]
    first, other = (service.host.hosted[name].current.index for name in ("first", "other"))
    assert first.model is not other.model
    assert first.model.encoder is other.model.encoder
    assert len(client.get("/v1/models").json()["models"]) == 2


def test_an_index_of_integers_takes_and_shows_integers(
    serve: Serve, scene_index: Path, tmp_path: Path, tiny_encoder: None
) -> None:
    from modalhash.search import Side, SideContent, build_search_index

    with mh.open_index(scene_index) as index:
        codes = index.model.encode_texts(["one", "two"])
        folder = tmp_path / "numbers.index"
        content = SideContent([7, -8], codes, [{"caption": "one"}, {"caption": "two"}])
        build_search_index(
            index.model, {Side.TEXTS: content}, folder, collection={"name": "numbers"}
        ).close()
    client = serve({"numbers": folder}, writable=True)
    search = "/v1/indexes/numbers/search"
    assert client.post(search, json={"text": "one"}).json()["results"][0]["hits"][0]["id"] == 7
    assert client.post(search, json={"id": 7, "k": 5}).json()["results"][0]["hits"][0]["id"] == -8
    items = "/v1/indexes/numbers/items"
    assert client.get(items, params={"id": "-8", "side": "texts"}).json()["id"] == -8
    for wrong in ("x", "9", "99999999999999999999", "1.5"):
        answer = client.get(items, params={"id": wrong, "side": "texts"})
        assert refusal(answer)[:2] == (404, "unknown_item")
    assert refusal(client.post(items, json={"items": [{"id": 9, "texts": [{"text": "a"}]}]}))[
        :2
    ] == (422, "invalid_request")
    new = {"id": 9, "texts": [{"text": "a", "id": 9}]}
    assert client.post(items, json={"items": [new]}).json() == {"images": 0, "texts": 1}
    assert refusal(client.post(search, json={"text": "a", "target": "images"})) == (
        422, "not_available", "the index numbers holds no images",
    )  # fmt: skip


def test_metadata_comes_back_as_it_was(client: TestClient) -> None:
    metadata = {"text": "é\u2028\u0000", "list": [1, 2.5, None, True], "nested": {"a": {"b": 1}}}
    assert client.post(ITEMS, json={"items": [red(metadata=metadata)]}).status_code == 200
    assert client.get(ITEMS, params={"id": "new"}).json()["metadata"] == metadata
    body = json.dumps({"items": [red("nan", metadata={"x": float("nan")})]})
    answer = client.post(ITEMS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


def test_copies_of_a_folder_keep_their_own_items(
    serve: Serve, own_index: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.index"
    shutil.copytree(own_index, other)
    client = serve({"own": own_index, "other": other}, writable=True)
    client.post(ITEMS, json={"items": [red()]})
    assert client.get("/v1/indexes/other/items", params={"id": "new"}).status_code == 404
