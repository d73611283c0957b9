"""When a client tries again: never after what may have been done and mustn't be done twice."""

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from modalhash.client import AsyncClient, Client, NewItem, Retries
from modalhash.client.retrying import read_retry_after
from modalhash.errors import ServiceError, ServiceUnreachableError, SettingError

Answer = httpx2.Response | Exception
ADDED = {"images": 1, "texts": 0}
REMOVED = {"removed": 1}


def refused(
    status: int, code: str, *, after: str | None = None, message: str = "busy"
) -> httpx2.Response:
    headers = {} if after is None else {"Retry-After": after}
    error = {"code": code, "message": message, "request_id": "r1"}
    return httpx2.Response(status, json={"error": error}, headers=headers)


class Waits:
    """Stands for the clock: keeps how long was waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def later(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr("modalhash.client.synchronous.time.sleep", waits)
    monkeypatch.setattr("modalhash.client.asynchronous.asyncio.sleep", waits.later)
    return waits


class Failing:
    """Gives answers in turn, and counts the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: Iterator[Answer] = iter(answers)
        self.count = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.count += 1
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def make_client(failing: Failing, retries: Retries | None = None) -> Client:
    transport = httpx2.MockTransport(failing)
    return Client("http://server", index="icons", transport=transport, retries=retries)


def delete(client: Client) -> object:
    return client.delete(["a"], missing="ignore")


def add(client: Client) -> object:
    return client.add([NewItem("a", image=b"x")])


def test_a_busy_server_is_asked_again_when_it_says(waits: Waits) -> None:
    failing = Failing(
        refused(503, "overloaded", after="3"),
        refused(429, "rate_limited", after="1"),
        httpx2.Response(200, json=REMOVED),
    )
    assert delete(make_client(failing)) == 1
    assert waits.seconds == [3.0, 1.0]


def test_without_a_word_the_wait_doubles_and_is_partly_random(waits: Waits) -> None:
    failing = Failing(*[refused(503, "overloaded")] * 4, httpx2.Response(200, json=REMOVED))
    assert delete(make_client(failing, Retries(tries=5, first_wait=0.4, longest_wait=1.0))) == 1
    for seconds, longest in zip(waits.seconds, [0.4, 0.8, 1.0, 1.0], strict=True):
        assert longest / 2 <= seconds <= longest


def test_a_server_that_stays_busy_is_an_error_after_the_last_try(waits: Waits) -> None:
    failing = Failing(*[refused(503, "overloaded", after="1")] * 4)
    with pytest.raises(ServiceError, match=r"^busy$") as caught:
        delete(make_client(failing))
    error = caught.value
    assert (error.code, error.status, error.request_id) == ("overloaded", 503, "r1")
    assert error.retry_after == 1.0
    assert failing.count == 4
    assert len(waits.seconds) == 3


def test_who_is_told_to_wait_for_long_is_told_so_at_once(waits: Waits) -> None:
    failing = Failing(refused(503, "overloaded", after="3600"))
    with pytest.raises(ServiceError):
        delete(make_client(failing))
    assert waits.seconds == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(422, "invalid_filter"), (401, "unauthorized"), (404, "unknown_item"), (504, "timed_out")],
)
def test_what_would_go_the_same_way_is_not_tried_again(
    waits: Waits, status: int, code: str
) -> None:
    failing = Failing(refused(status, code, message="no"))
    with pytest.raises(ServiceError, match=r"^no$") as caught:
        delete(make_client(failing))
    assert caught.value.code == code
    assert failing.count == 1


LOST = httpx2.ReadError("reset by peer")
DOWN = httpx2.ConnectError("refused")


@pytest.mark.parametrize("ask", [delete, add])
@pytest.mark.parametrize("first", [DOWN, refused(503, "overloaded"), refused(409, "index_busy")])
def test_what_never_arrived_is_sent_again_whatever_it_is(
    waits: Waits, first: Answer, ask: Callable[[Client], object]
) -> None:
    failing = Failing(first, httpx2.Response(200, json=ADDED | REMOVED))
    ask(make_client(failing))
    assert failing.count == 2


@pytest.mark.parametrize("first", [LOST, refused(503, "storage_failed"), httpx2.Response(502)])
def test_what_may_have_arrived_is_sent_again_only_if_that_does_no_harm(
    waits: Waits, first: Answer
) -> None:
    failing = Failing(first, httpx2.Response(200, json=REMOVED))
    delete(make_client(failing))
    assert failing.count == 2
    again = Failing(first, httpx2.Response(200, json=ADDED))
    with pytest.raises(ServiceError):
        add(make_client(again))
    assert again.count == 1


def test_upsert_may_be_done_twice_and_a_strict_delete_may_not(waits: Waits) -> None:
    failing = Failing(LOST, httpx2.Response(200, json=ADDED))
    make_client(failing).upsert([NewItem("a", image=b"x")])
    assert failing.count == 2
    failing = Failing(LOST)
    with pytest.raises(ServiceUnreachableError):
        make_client(failing).delete(["a"])


LOST_ON_THE_WAY = {
    "no_connection": (
        DOWN,
        (
            "the server at http://server can't be reached: refused; is `modalhash serve` running "
            "there?"
        ),
    ),
    "connection_lost": (LOST, "the connection to http://server broke: reset by peer"),
    "no_answer": (
        httpx2.ReadTimeout("late"),
        (
            "the server at http://server didn't answer in time: raise the client's timeout, or "
            "look at the server's load"
        ),
    ),
}


@pytest.mark.parametrize("code", LOST_ON_THE_WAY)
def test_what_failed_on_the_way_is_told_apart(code: str) -> None:
    error, says = LOST_ON_THE_WAY[code]
    with pytest.raises(ServiceUnreachableError, match=f"^{re.escape(says)}$") as caught:
        delete(make_client(Failing(error), Retries(tries=1)))
    assert (caught.value.code, caught.value.status) == (code, 0)


def test_a_proxys_answer_gets_a_code(waits: Waits) -> None:
    failing = Failing(httpx2.Response(502, text="<html>", headers={"X-Request-ID": "p9"}))
    with pytest.raises(ServiceError, match=r"answered with status 502$") as caught:
        add(make_client(failing))
    assert (caught.value.code, caught.value.request_id) == ("bad_gateway", "p9")


def test_the_asynchronous_client_tries_again_too(waits: Waits) -> None:
    failing = Failing(DOWN, refused(503, "overloaded", after="2"), httpx2.Response(200, json=ADDED))

    async def ask() -> object:
        transport = httpx2.MockTransport(failing)
        async with AsyncClient("http://server", index="icons", transport=transport) as client:
            return await client.add([NewItem("a", image=b"x")])

    asyncio.run(ask())
    assert failing.count == 3
    assert waits.seconds[1] == 2.0


def test_whether_a_server_is_ready_is_asked_once(waits: Waits) -> None:
    failing = Failing(DOWN)
    assert not make_client(failing).is_ready()
    assert make_client(Failing(httpx2.Response(200, json={"status": "ready"}))).is_ready()
    assert waits.seconds == []


def test_a_wait_may_be_said_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    said = read_retry_after({"Retry-After": later})
    assert said is not None
    assert 50 < said <= 60
    assert read_retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert read_retry_after({"Retry-After": "soon"}) is None


@pytest.mark.parametrize(
    ("retries", "says"),
    [
        ({"tries": 0}, "tries is 0, expected at least 1"),
        ({"first_wait": -1.0}, "first_wait is -1.0, expected 0 to longest_wait (20.0)"),
    ],
)
def test_settings_have_ranges(retries: dict[str, int], says: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(says)}$"):
        Retries(**retries)
