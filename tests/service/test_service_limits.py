"""Limits of what a request, a client and all of them may take, and work that stops."""

import asyncio
import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from modalhash.errors import SearchStoppedError, SettingError
from modalhash.service.admission import Admission, Budget
from modalhash.service.bodies import parse_form
from modalhash.service.clients import identify_client
from modalhash.service.engine import Engine
from modalhash.service.lanes import Lane
from modalhash.service.pixels import PixelBudget
from modalhash.service.refusals import RefusedError
from modalhash.service.settings import ServiceSettings
from modalhash.service.turns import Turns
from modalhash.service.work import Work, current_work
from tests.service.conftest import Serve
from tests.service.test_service_safety import bomb, encoded, refusal, slow_texts, upload

INDEX = "/v1/indexes/scenes"
SEARCH = f"{INDEX}/search"
QUERY = {"text": "a red circle"}
JSON = {"Content-Type": "application/json"}
LISTS = {
    f"{INDEX}/search/batch": '{"queries":[%s]}',
    f"{INDEX}/explain": '{"text":"a","ids":[%s]}',
    f"{INDEX}/encode": '{"texts":[%s]}',
    f"{INDEX}/items": '{"items":[%s]}',
    f"{INDEX}/items/delete": '{"ids":[%s]}',
}


# --- bodies ---------------------------------------------------------------------------------------


def arrays_of(schema: Any) -> list[dict[str, Any]]:
    """Return every array in a JSON schema."""
    if isinstance(schema, list):
        return [found for part in schema for found in arrays_of(part)]
    if not isinstance(schema, dict):
        return []
    found = [schema] if schema.get("type") == "array" else []
    return found + [one for part in schema.values() for one in arrays_of(part)]


def test_every_list_of_a_request_has_a_maximum(client: TestClient) -> None:
    schemas = client.get("/v1/openapi.json").json()["components"]["schemas"]
    names = ["BatchSearch", "ExplainQuery", "EncodeTexts", "AddItems", "NewItem", "DeleteItems"]
    arrays = arrays_of([schemas[name] for name in names])
    assert len(arrays) == 6
    assert {array.get("maxItems") for array in arrays} == {10_000}


@pytest.mark.parametrize("path", LISTS)
def test_the_first_wrong_entry_ends_the_check(serve: Serve, own_index: Path, path: str) -> None:
    client = serve({"scenes": own_index}, writable=True)
    entry = "1.5" if "ids" in LISTS[path] else "0"
    body = LISTS[path] % ",".join([entry] * 9000)
    answer = client.post(path, content=body, headers=JSON)
    assert refusal(answer) == (422, "invalid_request")
    assert "[0]" in answer.json()["error"]["message"]
    assert "more)" not in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", LISTS)
def test_too_many_entries_are_refused_before_they_are_checked(
    serve: Serve, own_index: Path, path: str
) -> None:
    client = serve({"scenes": own_index}, writable=True)
    for count in (10_001, 1_000_000):
        body = LISTS[path] % ",".join(["0"] * count)
        began = time.perf_counter()
        answer = client.post(path, content=body, headers=JSON)
        assert time.perf_counter() - began < 5
        is_valid = "ids" in LISTS[path]  # 0 is an id, but there are too many of them
        expected = "limit_exceeded" if is_valid or count > 100_000 else "invalid_request"
        assert refusal(answer) == (422, expected)


def test_a_large_body_is_parsed_beside_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalhash.service.bodies import parse_document

    threads = []

    def parse(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        return parse_document(*arguments, **named)

    monkeypatch.setattr("modalhash.service.state.parse_document", parse)
    client.post(SEARCH, json=QUERY)
    client.post(SEARCH, json={**QUERY, "filter": " " * 20_000})
    assert not threads[0].startswith("convert")
    assert threads[1].startswith("convert")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"id": True}, "id: an id is a text of 1 to 1024 characters or a 64-bit integer"),
        ({"id": ["a"]}, "id: an id is a text of 1 to 1024 characters or a 64-bit integer"),
        ({"id": 2**63}, "id: an id is a text of 1 to 1024 characters or a 64-bit integer"),
        ({**QUERY, "rerank": "some"}, 'rerank: expected a number from 0 on, "auto" or "all"'),
        ({**QUERY, "rerank": -1}, 'rerank: expected a number from 0 on, "auto" or "all"'),
        ({"code": 7}, "code: expected a JSON object"),
        ({**QUERY, "no such": 1}, "no such: there is no such field"),
        (
            {**QUERY, "where": "x == 1"},
            "where: there is no such field; a filter is called `filter` over HTTP",
        ),
    ],
)
def test_errors_name_fields_only(
    client: TestClient, document: dict[str, Any], message: str
) -> None:
    assert client.post(SEARCH, json=document).json()["error"]["message"] == message


def test_of_many_unknown_fields_one_is_named(client: TestClient) -> None:
    began = time.perf_counter()
    answer = client.post(SEARCH, json={f"f{place}": 0 for place in range(40_000)})
    assert time.perf_counter() - began < 5
    assert answer.json()["error"]["message"] == "f0: there is no such field"


def test_half_a_character_is_named_with_its_place(client: TestClient) -> None:
    body = b'{"text": "ab\\ud83dcd"}'
    answer = client.post(SEARCH, content=body, headers=JSON)
    assert answer.json()["error"]["message"] == (
        "text: character 3 is half of a surrogate pair (\\ud83d): write the whole character"
    )


def test_metadata_of_too_many_levels_is_refused(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True)
    for depth, status in ((90, 200), (150, 422), (900, 422)):
        metadata = '{"a":' * depth + "1" + "}" * depth
        body = f'{{"items":[{{"id":"deep","texts":[{{"text":"a"}}],"metadata":{metadata}}}]}}'
        answer = client.put(f"{INDEX}/items", content=body, headers=JSON)
        assert answer.status_code == status, answer.text
    assert client.post(SEARCH, json={**QUERY, "filter": "largest is not null"}).status_code == 200


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = client.post(SEARCH, content=b"\x1f\x8b", headers=headers)
    assert refusal(answer) == (415, "unsupported_media_type")


# --- forms ----------------------------------------------------------------------------------------


def form(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def test_a_form_is_divided_into_its_parts() -> None:
    content = bytes(range(256)) + b"\r\n--y\r\n--"
    body = b"preamble\r\n" + form(
        b'Content-Disposition: form-data; name="image"; filename="a \\"b\\".png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + content,
        b'content-disposition: form-data; name=query\r\n\r\n{"k": 3}',
        b"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''%e4\r\n\r\n",
    )
    parts = parse_form(body, 'multipart/form-data; boundary="x"', most_parts=3)
    assert [(part.name, part.is_file, part.content) for part in parts] == [
        ("image", True, content),
        ("query", False, b'{"k": 3}'),
        ("f", True, b""),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_request"), (b"--x", "malformed_request"),
        (form(b'Content-Disposition: form-data; name="a"\r\n\r\nb')[:-4], "malformed_request"),
        (form(b"no headers"), "malformed_request"), (form(b"X: y\r\n\r\nb"), "malformed_request"),
        (form(b'Content-Disposition: form-data; name="a"\r\n' + b"X: y\r\n" * 5000 + b"\r\nb"),
         "malformed_request"),
        (form(*[b'Content-Disposition: form-data; name="a"\r\n\r\nb'] * 4), "limit_exceeded"),
        (form(*[b""] * 100_000), "limit_exceeded"),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_form(body, "multipart/form-data; boundary=x", most_parts=3)
    assert caught.value.code == code


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_of_one_request_share_a_budget(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True, pixels=800, pixels_together=2000)
    picture = base64.b64encode(encoded("PNG")).decode()  # 32 x 24 = 768 pixels
    for count, status in ((2, 200), (3, 422)):
        items = [{"id": f"budget-{number}", "image": picture} for number in range(count)]
        answer = client.put(f"{INDEX}/items", json={"items": items})
        assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == "limit_exceeded"
    assert answer.json()["error"]["message"].startswith("the pictures have 2304 pixels together")


def test_a_bomb_among_items_is_refused_by_its_header(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True)
    item = {"id": "bomb", "image": base64.b64encode(bomb(20_000, 20_000)).decode()}
    answer = client.put(f"{INDEX}/items", json={"items": [item]})
    assert refusal(answer) == (413, "picture_too_large")


def test_pictures_are_opened_as_many_as_the_budget_allows(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(pixels=800, pixels_together=800)
    engine: Engine = client.app.state.service.engine  # type: ignore[attr-defined]
    seen: list[int] = []
    from modalhash.service.uploads import open_upload

    def open_slowly(*arguments: Any, **named: Any) -> Any:
        seen.append(engine.pixels.used)
        time.sleep(0.05)
        return open_upload(*arguments, **named)

    monkeypatch.setattr("modalhash.service.engine.open_upload", open_slowly)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: upload(client, encoded("PNG")), range(12)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}  # eight wait, the others are refused
    assert statuses.count(200) >= 9
    assert set(seen) == {768}
    assert engine.pixels.used == engine.pixels.waiting == 0


def test_pixels_are_given_in_turns_and_not_kept_by_who_left() -> None:
    async def go() -> list[str]:
        budget, order = PixelBudget(10), []

        async def want(client: str, pixels: int) -> None:
            current_work.set(Work(client))
            async with budget.hold(pixels):
                order.append(client)
                await asyncio.sleep(0)

        async with budget.hold(10):
            tasks = [asyncio.create_task(want("ann", 6)) for _ in range(3)]
            tasks.append(asyncio.create_task(want("bob", 6)))
            await asyncio.sleep(0)
            tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.used == budget.waiting == 0
        return order

    assert asyncio.run(go()) == ["ann", "bob", "ann"]


def test_too_many_pixels_in_line_are_refused() -> None:
    async def go() -> None:
        budget = PixelBudget(1)
        async with budget.hold(1):
            line = [asyncio.create_task(budget.hold(1).__aenter__()) for _ in range(8)]
            await asyncio.sleep(0)
            with pytest.raises(RefusedError, match="too many pictures"):
                await budget.hold(1).__aenter__()
            for task in line:
                task.cancel()
            await asyncio.gather(*line, return_exceptions=True)
        async with budget.hold(1):
            assert (budget.used, budget.waiting) == (1, 0)

    asyncio.run(go())


# --- clients --------------------------------------------------------------------------------------


def test_one_client_takes_its_share_only() -> None:
    budget = Budget(10, 0.5)
    budget.take("ann", 5)
    with pytest.raises(RefusedError, match="this client"):
        budget.take("ann", 1)
    budget.take("bob", 5)
    with pytest.raises(RefusedError, match="too many requests are under way"):
        budget.take("cleo", 1)
    budget.give_back("ann", 5)
    assert (budget.used, budget.by_client) == (5, {"bob": 5})


def test_memory_is_counted_as_a_body_comes() -> None:
    admission = Admission(ServiceSettings(body_bytes=100))
    with admission.hold_body("ann") as memory:
        assert admission.bytes.used == 0
        memory.grow(60)
        memory.grow(30)
        assert admission.bytes.used == 90
    assert (admission.bytes.used, admission.bytes.by_client) == (0, {})


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"), ("testclient", "testclient"), ("", ""),
    ],
)  # fmt: skip
def test_a_client_is_an_address_or_a_network(address: str, client: str) -> None:
    assert identify_client(address) == client


def test_clients_take_turns() -> None:
    turns: Turns[int] = Turns()
    for item in range(6):
        turns.add("ann", item)
    turns.add("bob", 100)
    turns.add("cleo", 200)
    assert turns.next() == 0
    assert [turns.take() for _ in range(4)] == [0, 100, 200, 1]
    turns.add("bob", 101)
    assert [turns.take() for _ in range(len(turns))] == [2, 101, 3, 4, 5]


def test_a_thread_that_rests_lets_others_go_on_after_each_piece_of_work() -> None:
    async def go() -> list[float]:
        lane, ends = Lane("test", rests=True), []

        async def work() -> None:
            await lane.run(lambda: time.sleep(0.05))
            ends.append(time.monotonic())

        await asyncio.gather(*(work() for _ in range(3)))
        await asyncio.sleep(0.3)
        lane.close()
        return ends

    first, second, third = asyncio.run(go())
    assert second - first > 0.09  # 50 ms of rest, 50 ms of work
    assert third - second > 0.09


# --- filters and answers --------------------------------------------------------------------------


def test_a_filter_of_too_many_conditions_is_refused(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True, filter_conditions=3)
    good, bad = (" or ".join(f"largest == '{place}'" for place in range(count)) for count in (3, 4))
    assert client.post(SEARCH, json={**QUERY, "filter": good}).status_code == 200
    for path, document in (
        (SEARCH, {**QUERY, "filter": bad}),
        (f"{SEARCH}/batch", {"queries": [{**QUERY, "filter": bad}]}),
        (f"{INDEX}/items/delete", {"filter": bad}),
    ):
        answer = client.post(path, json=document)
        assert refusal(answer) == (422, "limit_exceeded"), path
        assert answer.json()["error"]["message"].endswith("filter has 4 conditions, 3 are the most")


def block_filters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every filter go on until it is interrupted."""
    from modalhash.index.interruption import check_interruption
    from modalhash.index.items import ItemStore

    seen: list[str] = []

    def go_on(*_: Any) -> Any:
        seen.append("began")
        try:
            while True:
                check_interruption()
                time.sleep(0.01)
        except SearchStoppedError:
            seen.append("stopped")
            raise

    monkeypatch.setattr(ItemStore, "matching", go_on)
    return seen


def test_a_filter_that_takes_too_long_ends_and_others_do_not_wait(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(filter_timeout=1.0, search_threads=1)
    block_filters(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        attack = pool.submit(client.post, SEARCH, json={**QUERY, "filter": "largest == 1"})
        time.sleep(0.3)
        began = time.perf_counter()
        assert client.post(SEARCH, json=QUERY).status_code == 200
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
        assert not attack.done(), f"the filter ended after {time.perf_counter() - began} seconds"
        answer = attack.result()
    assert refusal(answer) == (504, "timed_out")
    assert "filter" in answer.json()["error"]["message"]


def test_a_delete_whose_filter_takes_too_long_changes_nothing(
    serve: Serve, own_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve({"scenes": own_index}, writable=True, filter_timeout=0.2)
    block_filters(monkeypatch)
    answer = client.post(f"{INDEX}/items/delete", json={"filter": "largest == 1"})
    assert refusal(answer) == (504, "timed_out")
    monkeypatch.undo()
    assert client.get("/readyz").json()["indexes"] == {"scenes": 360}


def test_work_stops_when_its_client_leaves(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(filter_timeout=60.0)
    seen = block_filters(monkeypatch)
    body = json.dumps({**QUERY, "filter": "largest == 1"}).encode()

    async def leave() -> list[Any]:
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            while "began" not in seen:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": SEARCH,
            "raw_path": SEARCH.encode(), "query_string": b"", "scheme": "http", "root_path": "",
            "headers": [(b"host", b"testserver"), (b"content-type", b"application/json")],
            "client": ("1.2.3.4", 5), "server": ("testserver", 80), "asgi": {"version": "3.0"},
        }  # fmt: skip
        await client.app(scope, receive, send)
        return sent

    assert client.portal is not None
    assert client.portal.call(leave) == []
    for _ in range(100):
        if "stopped" in seen:
            break
        time.sleep(0.02)
    assert seen == ["began", "stopped"]
    assert client.app.state.service.admission.requests.used == 0  # type: ignore[attr-defined]


def test_hits_of_one_request_are_bounded(serve: Serve) -> None:
    client = serve(hits=100)
    good = {"queries": [{**QUERY, "k": 10}] * 10}
    assert client.post(f"{SEARCH}/batch", json=good).status_code == 200
    for queries in ([{**QUERY, "k": 10}] * 11, [{**QUERY, "k": 10, "target": "both"}] * 6,
                    [{**QUERY, "radius": 3}]):  # fmt: skip
        answer = client.post(f"{SEARCH}/batch", json={"queries": queries})
        assert refusal(answer) == (422, "limit_exceeded")


def test_a_batch_of_many_slices_answers_in_order(client: TestClient) -> None:
    texts = [f"a {'red' if place % 2 else 'blue'} circle {place}" for place in range(40)]
    answers = client.post(f"{SEARCH}/batch", json={"queries": [{"text": one} for one in texts]})
    assert [one["query"]["text"] for one in answers.json()["answers"]] == texts
    bad = [{"text": one} for one in texts]
    bad[37] = {"id": "nobody"}
    answer = client.post(f"{SEARCH}/batch", json={"queries": bad})
    assert answer.json()["error"]["message"].startswith("queries[37]: there is no item 'nobody'")


def test_how_the_server_is_waits_for_no_search(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(search_threads=1, batch_texts=1)
    slow_texts(client, monkeypatch, 0.3)
    engine: Engine = client.app.state.service.engine  # type: ignore[attr-defined]
    blocked = [engine._searching.submit(time.sleep, 1.0) for _ in range(2)]
    began = time.perf_counter()
    for path in ("/healthz", "/readyz", "/metrics", "/v1"):
        assert client.get(path).status_code == 200
    assert not blocked[0].done(), f"it took {time.perf_counter() - began} seconds"


def test_sizes_that_take_long_to_count_are_the_last_ones(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = client.app.state.service.host  # type: ignore[attr-defined]

    def count_slowly() -> dict[tuple[str, str], int]:
        time.sleep(1.0)
        return {}

    monkeypatch.setattr(host, "sizes", count_slowly)

    began = time.perf_counter()
    assert client.get("/readyz").json()["indexes"] == {"scenes": 360}
    assert time.perf_counter() - began < 0.9


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"client_share": 0.0}, "client_share is 0.0, expected 0.1 to 1"),
        ({"pixels_together": 5}, "pixels_together is 5, expected at least pixels (50000000), or 0"),
        ({"batch": 10_001}, "batch is 10001, expected at most 10000"),
        ({"filter_timeout": 0.0}, "filter_timeout is 0.0, expected more than 0 seconds"),
        ({"head_bytes": 10}, "head_bytes is 10, expected at least 1024"),
    ],
)
def test_limits_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        ServiceSettings(**settings)
    assert str(caught.value) == message
