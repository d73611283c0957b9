"""Keys, limits, and everything that is sent to do harm."""

import asyncio
import io
import json
import logging
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from modalhash.errors import InputError
from modalhash.service.keys import KeyFile, Role
from tests.service.conftest import Serve

SEARCH = "/v1/indexes/scenes/search"
THUMBNAIL = "/v1/indexes/scenes/thumbnail"
PICTURE_PATH = "/v1/indexes/scenes/picture"
QUERY = {"text": "a red circle"}


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def upload(client: TestClient, content: bytes, name: str = "x.png") -> Any:
    return client.post(f"{SEARCH}/picture", files={"image": (name, content)})


# --- keys -----------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A file of keys; name to token, and `file` to where it is."""
    file = KeyFile(tmp_path / "keys.json")
    tokens = {"file": str(file.path)}
    for role in Role:
        file, tokens[role] = file.add_key(f"the {role} key", role)
    file.write()
    return tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_a_key_only_the_open_addresses_answer(serve: Serve, keys: dict[str, str]) -> None:
    client = serve(keys=keys["file"])
    for path in ("/v1", "/healthz", "/readyz", "/", "/v1/openapi.json"):
        assert client.get(path).status_code == 200, path
    assert client.get("/v1").json()["auth"] == "key"
    for path in ("/v1/indexes", "/v1/models", "/metrics", THUMBNAIL, "/nothing", "/V1"):
        answer = client.get(path)
        assert refusal(answer) == (401, "unauthorized"), path
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("", "mh_" + "A" * 43, keys["read"] + "x", keys["read"][:-1], "é" * 46):
        answer = client.post(
            SEARCH, json=QUERY, headers=[(b"Authorization", f"Bearer {wrong}".encode())]
        )
        assert refusal(answer) == (401, "unauthorized")


def test_a_key_allows_what_its_role_says(
    serve: Serve, keys: dict[str, str], own_index: Path
) -> None:
    client = serve({"scenes": own_index}, keys=keys["file"], writable=True)
    read, write = bearer(keys["read"]), {"X-API-Key": keys["write"]}
    delete = "/v1/indexes/scenes/items/delete"
    assert client.post(SEARCH, json=QUERY, headers=read).status_code == 200
    wanted = {"filter": 'largest == "nothing"'}
    assert refusal(client.post(delete, json=wanted, headers=read)) == (403, "forbidden")
    assert refusal(client.post("/v1/indexes/scenes/reload", headers=read)) == (403, "forbidden")
    assert client.post(delete, json=wanted, headers=write).status_code == 200
    assert client.get("/metrics", headers=read).status_code == 200


def test_a_revoked_key_is_refused_soon(serve: Serve, keys: dict[str, str]) -> None:
    client = serve(keys=keys["file"], watch=0.05)
    headers = bearer(keys["read"])
    assert client.get("/v1/indexes", headers=headers).status_code == 200
    KeyFile.read(keys["file"]).remove_key("the read key").write()
    for _ in range(100):
        if client.get("/v1/indexes", headers=headers).status_code == 401:
            break
        time.sleep(0.05)
    assert client.get("/v1/indexes", headers=headers).status_code == 401
    assert client.get("/v1/indexes", headers=bearer(keys["write"])).status_code == 200


def test_a_damaged_file_of_keys_changes_nothing(serve: Serve, keys: dict[str, str]) -> None:
    client = serve(keys=keys["file"])
    Path(keys["file"]).write_text("{}")
    client.app.state.service.read_keys()  # type: ignore[attr-defined]
    assert client.get("/v1/indexes", headers=bearer(keys["read"])).status_code == 200


def test_a_server_without_its_file_of_keys_does_not_begin(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file of keys"):
        serve(keys=str(tmp_path / "none.json"))


def test_tokens_are_in_no_log(
    serve: Serve, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "modalhash")
    client = serve(keys=keys["file"])
    client.post(SEARCH, json={"text": "a secret wish"}, headers=bearer(keys["read"]))
    client.post(SEARCH, json=QUERY, headers=bearer("mh_" + "A" * 43))
    told = " ".join(str(record.__dict__) for record in caplog.records)
    assert "the read key" in told
    assert keys["read"] not in told
    assert "secret wish" not in told


# --- limits ---------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_not_read(serve: Serve) -> None:
    client = serve(body_bytes=1000)
    body = json.dumps({"text": "a", "filter": " " * 1000}).encode()
    headers = {"Content-Type": "application/json"}
    answer = client.post(SEARCH, content=body, headers=headers)
    assert refusal(answer) == (413, "body_too_large")
    chunked = client.post(SEARCH, content=iter([body[:500], body[500:]]), headers=headers)
    assert refusal(chunked) == (413, "body_too_large")
    wrong = client.post(SEARCH, content=b"{}", headers={**headers, "Content-Length": "-1"})
    assert refusal(wrong) == (400, "malformed_request")
    assert client.post(SEARCH, json=QUERY).status_code == 200
    assert client.app.state.service.admission.bytes.used == 0  # type: ignore[attr-defined]
    assert client.app.state.service.admission.requests.used == 0  # type: ignore[attr-defined]


def test_bodies_together_stay_within_memory(serve: Serve) -> None:
    client = serve(body_bytes=1000)
    service = client.app.state.service  # type: ignore[attr-defined]
    service.admission.bytes.used = 16 * 1000
    answer = client.post(SEARCH, json=QUERY)
    assert refusal(answer) == (503, "overloaded")
    assert answer.headers["Retry-After"] == "1"
    service.admission.bytes.used = 0
    assert client.post(SEARCH, json=QUERY).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(serve: Serve) -> None:
    client = serve(rate=0.5, burst=3)
    answers = [client.post(SEARCH, json=QUERY) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert refusal(answers[-1]) == (429, "rate_limited")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
    assert client.get("/healthz").status_code == 200


def slow_texts(client: TestClient, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let encoding take some time."""
    from tests.oracles.tiny_encoder import TinyTextTower

    plain = TinyTextTower.encode

    def slowly(self: TinyTextTower, texts: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return plain(self, texts, **options)

    monkeypatch.setattr(TinyTextTower, "encode", slowly)


def test_too_many_requests_at_once_are_refused_and_the_server_recovers(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(concurrent=4, client_share=1.0, batch_texts=1)
    slow_texts(client, monkeypatch, 0.05)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.post(SEARCH, json=QUERY), range(12)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) >= 4
    assert set(statuses) == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refusal(refused) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    assert client.post(SEARCH, json=QUERY).status_code == 200


def test_what_takes_too_long_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(timeout=0.1)
    slow_texts(client, monkeypatch, 0.5)
    assert refusal(client.post(SEARCH, json=QUERY)) == (504, "timed_out")
    monkeypatch.undo()


def test_a_shutting_down_server_says_so(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    service.is_stopping = True
    assert refusal(client.post(SEARCH, json=QUERY)) == (503, "shutting_down")
    assert refusal(client.get("/readyz")) == (503, "shutting_down")
    assert client.get("/healthz").status_code == 200


# --- pictures -------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG whose header promises a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("size", [(7072, 7072), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(
    client: TestClient, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("modalhash.service.uploads.read_picture", decoded)
    answer = upload(client, bomb(*size))
    if size[0] < 30_000:
        assert refusal(answer) == (413, "picture_too_large")
    else:
        assert answer.status_code in (413, 422)


def test_the_limit_of_pixels_is_the_servers(serve: Serve) -> None:
    client = serve(pixels=100)
    assert upload(client, png(Image.new("RGB", (10, 10)))).status_code == 200
    assert refusal(upload(client, png(Image.new("RGB", (10, 11))))) == (413, "picture_too_large")


PICTURE = Image.linear_gradient("L").convert("RGB").resize((32, 24))


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_no_damage_to_a_picture_is_a_server_error(client: TestClient, form: str) -> None:
    content = encoded(form)
    step = max(1, len(content) // 25)
    damaged = [content[:end] for end in range(0, len(content), step)]
    for place in range(0, len(content), step):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        damaged.append(bytes(changed))
    for one in damaged:
        answer = upload(client, one)
        assert answer.status_code in (200, 422, 413), answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]["code"] in {
                "unreadable_picture", "picture_too_large", "invalid_request",
            }  # fmt: skip


@pytest.mark.parametrize("form", ["GIF", "TIFF", "BMP", "PPM", "ICO", "EPS"])
def test_other_formats_are_no_pictures_here(client: TestClient, form: str) -> None:
    assert refusal(upload(client, encoded(form), "x.png")) == (422, "unreadable_picture")


def test_a_polyglot_counts_by_what_it_holds_and_is_never_sent_back(
    serve: Serve, own_index: Path
) -> None:
    import base64

    payload = b"<script>alert(1)</script>"
    polyglot = encoded("JPEG") + payload
    client = serve({"scenes": own_index}, writable=True)
    assert upload(client, polyglot, "page.html").status_code == 200
    assert refusal(upload(client, payload, "x.jpg")) == (422, "unreadable_picture")
    item = {"id": "<script>", "image": base64.b64encode(polyglot).decode()}
    assert client.post("/v1/indexes/scenes/items", json={"items": [item]}).status_code == 200
    kept = [file.read_bytes() for file in (own_index / "pictures").iterdir()]
    assert not any(payload in content for content in kept)
    shown = client.get(THUMBNAIL, params={"id": "<script>"})
    assert payload not in shown.content
    assert shown.headers["Content-Type"] == "image/webp"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"


def test_an_upload_without_its_parts_is_refused(client: TestClient) -> None:
    path = f"{SEARCH}/picture"
    assert refusal(client.post(path)) == (422, "invalid_request")
    assert refusal(client.post(path, data={"image": "text"})) == (422, "invalid_request")
    assert refusal(
        client.post(path, content=b"--x", headers={"Content-Type": "multipart/form-data"})
    ) == (400, "malformed_request")  # fmt: skip
    broken = client.post(
        path, content=b"no form", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code in (400, 422)
    files = {"image": ("x.png", encoded("PNG"))}
    wrong = client.post(path, files=files, data={"query": '{"k": "x"}'})
    assert refusal(wrong) == (422, "invalid_request")
    assert wrong.json()["error"]["message"].startswith("query: k: ")
    assert refusal(client.post(path, files=files, data={"query": "{"})) == (422, "invalid_request")


# --- thumbnails -----------------------------------------------------------------------------------


def test_a_thumbnail_is_small_and_kept(client: TestClient, scene_index: Path) -> None:
    hit = client.post(SEARCH, json=QUERY).json()["results"][0]["hits"][0]
    where = hit["picture"]["thumbnail"]
    small = f"{where}&size=64"
    answer = client.get(small)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert (shown.format, max(shown.size)) == ("WEBP", 64)
    again = client.get(small, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(THUMBNAIL, params={"id": hit["id"]}).headers["Cache-Control"] == (
        "public, max-age=60"
    )
    assert refusal(client.get(f"{where}&size=63")) == (422, "invalid_request")


def test_a_whole_picture_is_written_anew(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index})
    hit = client.post(SEARCH, json=QUERY).json()["results"][0]["hits"][0]
    where = hit["picture"]["thumbnail"].replace("/thumbnail?", "/picture?")
    file = own_index / "pictures" / hit["picture"]["file_name"]
    answer = client.get(where)
    with Image.open(file) as kept, Image.open(io.BytesIO(answer.content)) as shown:
        assert (shown.format, shown.size) == ("PNG", kept.size)
        assert shown.convert("RGB").tobytes() == kept.convert("RGB").tobytes()
    assert answer.headers["Content-Type"] == "image/png"
    assert "immutable" in answer.headers["Cache-Control"]
    again = client.get(where, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    secret = b"where it was taken"
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    PICTURE.save(file, "JPEG", exif=exif)
    jpeg = client.get(PICTURE_PATH, params={"id": hit["id"]})
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    assert secret in file.read_bytes()
    assert secret not in jpeg.content


def test_only_pictures_of_items_are_shown(client: TestClient) -> None:
    for identity in (
        "../manifest.json", "/etc/passwd", "pictures/0000003.png", "..%2fmanifest.json", "\0",
        "scene-0-0000003\n", "%00", "a" * 1024,
    ):  # fmt: skip
        answer = client.get(THUMBNAIL, params={"id": identity})
        assert refusal(answer) == (404, "unknown_item"), identity
    for path in (
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/keys.py",
        "/page//etc/passwd",
    ):
        assert client.get(path).status_code == 404, path


@pytest.fixture
def planted(own_index: Path, tiny_encoder: None) -> Path:
    """An index whose items name files that they shouldn't."""
    import modalhash as mh
    from modalhash.search import Side, SideContent

    secret = own_index.parent / "secret.png"
    secret.write_bytes(encoded("PNG"))
    (own_index / "pictures" / "link.png").symlink_to(secret)
    (own_index.parent / "linked").symlink_to(own_index / "pictures")
    names = {
        "up": "pictures/../../secret.png",
        "out": "../secret.png",
        "link": "pictures/link.png",
        "folder link": str(own_index.parent / "linked" / "0000003.png"),
        "no picture": "/etc/passwd",
        "gone": "pictures/gone.png",
        "device": "/dev/zero",
        "folder": "pictures",
        "null": "pictures/\0.png",
    }
    with mh.open_index(own_index) as index:
        codes = index.model.encode_texts(list(names))
        documents = [{"image": name} for name in names.values()]
        index.add({Side.IMAGES: SideContent(list(names), codes, documents)})
    return own_index


def test_links_and_paths_that_lead_elsewhere_are_not_followed(serve: Serve, planted: Path) -> None:
    client = serve({"scenes": planted})
    for identity in (
        "up", "out", "link", "folder link", "no picture", "gone", "device", "folder", "null",
    ):  # fmt: skip
        for address in (THUMBNAIL, PICTURE_PATH):
            answer = client.get(address, params={"id": identity})
            assert refusal(answer) == (404, "no_picture"), identity
        item = client.get("/v1/indexes/scenes/items", params={"id": identity})
        assert item.status_code == 200
        assert "secret" not in item.json()["metadata"]
    assert client.get(THUMBNAIL, params={"id": "scene-0-0000003"}).status_code == 200


def test_a_picture_that_was_exchanged_for_something_else_is_not_shown(
    serve: Serve, own_index: Path
) -> None:
    client = serve({"scenes": own_index})
    hit = client.post(SEARCH, json=QUERY).json()["results"][0]["hits"][0]
    file = own_index / "pictures" / hit["picture"]["file_name"]
    file.write_bytes(bomb(20_000, 20_000))
    assert refusal(client.get(THUMBNAIL, params={"id": hit["id"]})) == (404, "no_picture")
    file.write_text("<svg/>")
    assert refusal(client.get(THUMBNAIL, params={"id": hit["id"]})) == (404, "no_picture")


def test_answers_say_nothing_of_where_files_lie(
    serve: Serve, own_index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve({"scenes": own_index}, writable=True)
    shutil.rmtree(own_index / "pictures")
    answers = [
        client.get("/v1"), client.get("/v1/indexes"), client.get("/v1/models"),
        client.post(SEARCH, json=QUERY | {"target": "both", "explain": True}),
        client.get("/v1/indexes/scenes/items", params={"id": "scene-0-0000003"}),
    ]  # fmt: skip
    (own_index / "manifest.json").write_text("{")
    answers.append(client.post("/v1/indexes/scenes/reload"))
    assert answers[-1].status_code == 503
    for answer in answers:
        assert str(own_index.parent) not in answer.text


# --- headers, hosts, origins ----------------------------------------------------------------------


def test_a_request_id_comes_back_if_it_is_well_formed(client: TestClient) -> None:
    assert client.get("/v1", headers={"X-Request-ID": "a.B-9_"}).headers["X-Request-ID"] == "a.B-9_"
    for wrong in (b"a b", b"x" * 129, "é".encode(), b"a\tb", b"<script>"):
        answer = client.get("/nothing", headers=[(b"X-Request-ID", wrong)])
        made = answer.headers["X-Request-ID"]
        assert len(made) == 32
        assert answer.json()["error"]["request_id"] == made


async def raw(app: Any, headers: list[tuple[bytes, bytes]], path: str = "/v1") -> list[Any]:
    """Send a request that no client would send."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": b"",
        "query_string": b"", "headers": headers, "client": ("1.2.3.4", 5), "scheme": "http",
        "server": ("testserver", 80), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def test_no_header_can_be_smuggled_into_an_answer(client: TestClient) -> None:
    evil = b"x\r\nSet-Cookie: a=b"
    headers = [(b"host", b"testserver"), (b"x-request-id", evil), (b"if-none-match", evil)]
    for path in ("/v1", "/", "/nothing\r\nSet-Cookie: a=b", "/page/\r\n"):
        start, *_ = asyncio.run(raw(client.app, headers, path))
        for name, value in start["headers"]:
            assert b"\n" not in name + value
            assert b"Set-Cookie" not in name + value


def test_the_log_is_one_line_a_request_whatever_the_path(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    from modalhash.service.server import JsonLines

    caplog.set_level(logging.INFO, "modalhash.service.access")
    asyncio.run(raw(client.app, [(b"host", b"testserver")], '/a\n{"level": "forged"}\r\x1b[2J'))
    record = caplog.records[-1]
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    document = json.loads(line)
    assert document["path"] == '/a\n{"level": "forged"}\r\x1b[2J'
    assert (document["status"], document["client"], document["code"]) == (
        404, "1.2.3.4", "not_found",
    )  # fmt: skip
    assert "\n" not in record.getMessage()


def test_names_of_other_hosts_are_refused(serve: Serve) -> None:
    client = serve(hosts=())
    for host in ("evil.example", "", "127.0.0.1.evil.example", "localhost@evil.example"):
        answer = client.get("/v1", headers={"Host": host})
        assert refusal(answer) == (400, "malformed_request"), host
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert client.get("/v1", headers={"Host": host}).status_code == 200, host


def test_other_sites_read_nothing_unless_they_are_named(serve: Serve) -> None:
    plain = serve()
    ask = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in plain.get("/v1", headers=ask).headers
    assert refusal(plain.options(SEARCH, headers=ask)) == (405, "method_not_allowed")
    named = serve(origins=("https://page.example",))
    allowed = named.options(SEARCH, headers=ask)
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    other = named.get("/v1", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_every_answer_has_the_headers_that_make_it_safe(client: TestClient) -> None:
    for path in ("/", "/v1", "/nothing", "/healthz"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
    assert "script-src 'self'" in client.get("/").headers["Content-Security-Policy"]
    assert client.get("/v1").headers["Cache-Control"] == "no-store"


# --- what is no search ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "1 == 1; drop table items", "background == 'white' --", "background == 'white' or 1=1",
        "'; attach database 'x' as x", "load_extension('x')", "background == (select 1)",
        "`background\" or \"1\"=\"1` == 1", "\0", "background == 'a' union select 1", "(" * 2000,
        "not " * 1000 + "x is null", "`a\\` == 1",
    ],
)  # fmt: skip
def test_a_filter_is_never_more_than_a_filter(client: TestClient, where: str) -> None:
    answer = client.post(SEARCH, json={**QUERY, "filter": where})
    assert refusal(answer) == (422, "invalid_filter")


def test_values_of_a_filter_are_values(client: TestClient) -> None:
    for value in ("' or '1'='1", '\\" or 1=1', "%", "\\", "white' --"):
        quoted = json.dumps(value)
        answer = client.post(SEARCH, json={**QUERY, "filter": f"background == {quoted}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["hits"] == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "application/json", 422, None),
        (b"{", "application/json", 400, "malformed_request"),
        (b"[1]", "application/json", 400, "malformed_request"),
        (b"\xff\xfe", "application/json", 400, "malformed_request"),
        (b'{"text": "a"}', "text/plain", 400, "malformed_request"),
        (b'{"text": "\\ud800"}', "application/json", 422, "invalid_request"),
        (b'{"text": "a", "min_relevance": NaN}', "application/json", None, None),
        (b'{"text": "a", "radius": 1e400}', "application/json", None, None),
        (b'{"text": "a", "k": 99999999999999999999999}', "application/json", 422, None),
        (b'{"id": 99999999999999999999999}', "application/json", 422, "invalid_request"),
        (b'{"id": true}', "application/json", 422, "invalid_request"),
        (b"[" * 100_000, "application/json", 400, "malformed_request"),
        (b'{"a":' * 100_000, "application/json", 400, "malformed_request"),
        (b'{"text": ' + b"9" * 5000 + b"}", "application/json", None, None),
    ],
)  # fmt: skip
def test_no_body_is_a_server_error(
    client: TestClient, body: bytes, kind: str, status: int | None, code: str | None
) -> None:
    answer = client.post(SEARCH, content=body, headers={"Content-Type": kind})
    assert 400 <= answer.status_code < 500, answer.text
    assert status in (None, answer.status_code)
    assert code in (None, answer.json()["error"]["code"])


def test_unknown_addresses_and_methods_are_refused_in_our_form(client: TestClient) -> None:
    assert refusal(client.get("/v2")) == (404, "not_found")
    assert refusal(client.get("/v1/")) == (404, "not_found")
    assert refusal(client.delete("/v1")) == (405, "method_not_allowed")
    assert refusal(client.get(SEARCH)) == (405, "method_not_allowed")
    assert refusal(client.request("BREW", "/v1")) == (405, "method_not_allowed")


def test_a_bug_is_told_to_the_log_and_not_to_the_client(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("the innermost secret")

    monkeypatch.setattr("modalhash.service.engine.find_nearest_of_all", broken)
    answer = client.post(SEARCH, json=QUERY)
    assert refusal(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    found = [record for record in caplog.records if record.exc_info]
    assert answer.headers["X-Request-ID"] in found[0].getMessage()
    monkeypatch.undo()
    assert client.post(SEARCH, json=QUERY).status_code == 200


def test_metrics_tell_stages_and_refusals(client: TestClient) -> None:
    client.post(SEARCH, json=QUERY)
    client.post(SEARCH, json={})
    client.get("/made-up-1")
    client.get("/made-up-2")
    text = client.get("/metrics").text
    assert 'modalhash_stage_seconds_count{stage="encode"} 1.0' in text
    assert 'modalhash_stage_seconds_count{stage="search"} 1.0' in text
    assert 'modalhash_refused_total{code="invalid_request"} 1.0' in text
    assert 'modalhash_index_codes{index="scenes",side="texts"} 300.0' in text
    route = "/v1/indexes/{name}/search"
    assert f'modalhash_requests_total{{method="POST",route="{route}",status="200"}} 1.0' in text
    assert "made-up" not in text


def test_the_page_is_served_with_tags(client: TestClient) -> None:
    start = client.get("/")
    assert start.headers["Content-Type"] == "text/html; charset=utf-8"
    again = client.get("/", headers={"If-None-Match": start.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head("/").headers["Content-Length"] == str(len(start.content))
    assert refusal(client.get("/page/nothing.js")) == (404, "not_found")


def test_a_server_may_have_no_page(serve: Serve) -> None:
    assert refusal(serve(page=False).get("/")) == (404, "not_found")


def test_key_files_are_for_their_owner(tmp_path: Path) -> None:
    file, token = KeyFile(tmp_path / "keys.json").add_key("a", "read")
    file.write()
    assert file.path.stat().st_mode & 0o077 == 0
    assert token not in file.path.read_text()


# --- other sites, methods -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://TESTSERVER"}, True),
        ({"Origin": "http://testserver:81"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://testserver.evil.example"}, False),
        ({"Origin": "https://page.example"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://page.example"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
    ],
)  # fmt: skip
def test_pages_of_other_sites_change_nothing(
    serve: Serve, own_index: Path, headers: dict[str, str], is_ours: bool
) -> None:
    client = serve({"scenes": own_index}, writable=True, origins=("https://page.example",))
    everything = b'{"filter": "caption is null or caption is not null"}'
    plain = {"Content-Type": "application/json", **headers}
    for method, path, body in (
        ("POST", "/v1/indexes/scenes/reload", b""),
        ("PUT", "/v1/indexes/scenes/items",
         b'{"items": [{"id": "a", "image_code": {"hex": "0000"}, "texts": [{"text": "a"}]}]}'),
        ("POST", "/v1/indexes/scenes/items/delete", everything),
    ):  # fmt: skip
        answer = client.request(method, path, content=body, headers=plain)
        if is_ours:
            assert answer.status_code == 200, answer.text
        else:
            assert refusal(answer) == (403, "forbidden"), path
    left = client.get("/readyz", headers=headers).json()["indexes"]["scenes"]
    assert (left == 0) is is_ours


def test_a_body_without_its_type_changes_nothing(serve: Serve, own_index: Path) -> None:
    client = serve({"scenes": own_index}, writable=True)
    path = "/v1/indexes/scenes/items/delete"
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        headers = {} if kind is None else {"Content-Type": kind}
        answer = client.post(
            path, content=b'{"filter": "caption is null or caption is not null"}', headers=headers
        )
        assert refusal(answer) == (400, "malformed_request"), kind
    assert client.get("/readyz").json()["indexes"]["scenes"] == 360


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1", "GET, HEAD"), ("POST", "/healthz", "GET, HEAD"),
        ("GET", SEARCH, "POST"), ("HEAD", SEARCH, "POST"),
        ("DELETE", "/v1/indexes/scenes/items", "GET, HEAD, POST, PUT"),
        ("OPTIONS", "/v1/indexes/scenes/reload", "POST"), ("PATCH", "/", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ],
)  # fmt: skip
def test_a_method_that_is_not_taken_is_told_which_are(
    client: TestClient, method: str, path: str, allow: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)


def test_head_works_where_get_does(client: TestClient) -> None:
    hit = client.post(SEARCH, json=QUERY).json()["results"][0]["hits"][0]
    for path in (
        "/", "/page/page.js", "/v1", "/v1/indexes", "/v1/indexes/scenes", "/v1/models", "/healthz",
        "/readyz", "/metrics", "/v1/openapi.json", f"/v1/indexes/scenes/items?id={hit['id']}",
        hit["picture"]["thumbnail"], "/nothing",
    ):  # fmt: skip
        full, head = client.get(path), client.head(path)
        assert head.status_code == full.status_code, path
        assert head.content == b""
        assert head.headers["Content-Type"] == full.headers["Content-Type"]
        if path != "/metrics":
            assert head.headers["Content-Length"] == str(len(full.content)), path


def test_ids_that_are_no_numbers_are_unknown_where_ids_are_numbers(
    serve: Serve, own_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modalhash.service import info_routes

    for text in ("--5", "-", "٣", "1" * 30, "1.0"):
        assert info_routes.INTEGER.fullmatch(text) is None
    assert info_routes.INTEGER.fullmatch("-5") is not None
