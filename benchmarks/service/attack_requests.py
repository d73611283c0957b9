"""What an attacker sends to a server: every attack is a function that goes on until its end.

Loopback only, from an address of the attacker's own (127.0.0.66), so that the server can tell it
from others. Each counts the answers that it gets.
"""

import base64
import gzip
import http.client
import json
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import count
from typing import Any, Final

__all__ = ["ATTACKS", "Target"]

ATTACKER: Final = ("127.0.0.66", 0)
JSON: Final = {"Content-Type": "application/json"}
WIDTH: Final = 7064
"""Of a picture with nearly as many pixels as a server takes by default."""


class Target:
    """A server that is attacked.

    Args:
        port: on loopback.
        index: name of an index.
        n_bits: of its codes.
        seconds: of an attack.
    """

    def __init__(self, port: int, index: str, n_bits: int, seconds: float) -> None:
        self.port, self.path, self.n_bits = port, f"/v1/indexes/{index}", n_bits
        self.end = time.monotonic() + seconds
        self.answers: Counter[str] = Counter()

    def is_over(self) -> bool:
        """Return whether the attack should end."""
        return time.monotonic() > self.end

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), 40, source_address=ATTACKER)

    def send(
        self, path: str, body: bytes, headers: Mapping[str, str] = JSON, method: str = "POST"
    ) -> str:
        """Send one request, and count its answer."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=40, source_address=ATTACKER
        )
        try:
            connection.request(method, self.path + path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
            code = "" if answer.status < 400 else json.loads(content)["error"]["code"]
            found = f"{answer.status} {code}".strip()
        except (OSError, http.client.HTTPException, ValueError) as error:
            found = type(error).__name__
        finally:
            connection.close()
        self.answers[found] += 1
        return found

    def repeat(self, attack: Callable[[], object], threads: int) -> None:
        """Do something in several threads, again and again, until the end."""

        def go_on() -> None:
            while not self.is_over():
                attack()

        workers = [threading.Thread(target=go_on) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def hold(self, head: bytes, drip: bytes, number: int) -> None:
        """Open connections, send `head` on each, then `drip` each second, until the end."""
        held: list[socket.socket] = []
        for _ in range(number):
            with suppress(OSError):
                connection = self.connect()
                held.append(connection)
                connection.sendall(head)
        while not self.is_over():
            time.sleep(1)
            for connection in list(held):
                try:
                    connection.sendall(drip)
                except OSError:
                    held.remove(connection)
        self.answers["open at the end"] += len(held)
        for connection in held:
            connection.close()

    def pour(self, head: bytes, part: bytes) -> None:
        """Send `head`, then `part` without end; count how the server stops it."""
        sent = 0
        try:
            with closing(self.connect()) as connection:
                connection.sendall(head)
                while not self.is_over():
                    connection.sendall(part)
                    sent += len(part)
                    if sent > 1 << 28:
                        break
            self.answers[f"took {sent >> 20} MB"] += 1
        except OSError:
            self.answers["cut off"] += 1


def make_picture() -> bytes:
    """Make a PNG of a few kilobytes and 50 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = (b"\0" * (1 + WIDTH // 8)) * WIDTH
    header = struct.pack(">IIBBBBB", WIDTH, WIDTH, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )  # fmt: skip


def head_of(target: Target, rest: str) -> bytes:
    """Return the head of a search, with more headers."""
    return (
        f"POST {target.path}/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\n{rest}"
    ).encode()


def form(parts: Iterator[bytes] | list[bytes]) -> tuple[bytes, dict[str, str]]:
    """Return a form, and its headers."""
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=x"}


def send_wrong_entries(target: Target) -> None:
    """Send megabytes of wrong entries, in each list that a request has."""
    entries = b"0," * 1_000_000 + b"0]}"
    bodies = [
        ("/search/batch", b'{"queries":[' + entries),
        ("/explain", b'{"text":"a","ids":[' + entries),
        ("/encode", b'{"texts":[' + entries), ("/items/delete", b'{"ids":[' + entries),
        ("/items", b'{"items":[' + entries), ("/items", b'{"items":[{"id":"a","texts":[' + entries),
    ]  # fmt: skip
    places = count()
    target.repeat(lambda: target.send(*bodies[next(places) % len(bodies)]), 4)


def send_allowed_entries(target: Target) -> None:
    """Send just as many wrong values as are taken."""
    bodies = [
        b'{"queries":[' + b"0," * 99_000 + b"0]}",
        b'{"queries":[' + b"[]," * 49_000 + b"0]}",
        b'{"queries":[{' + b",".join(b'"f%d":0' % number for number in range(45_000)) + b"}]}",
    ]
    places = count()
    target.repeat(lambda: target.send("/search/batch", bodies[next(places) % 3]), 4)


def send_heavy_json(target: Target) -> None:
    """Send JSON that takes long to read: many brackets, escapes, digits, levels."""
    bodies = [
        b'{"queries":[' + b"[]," * 5_000_000 + b"0]}",
        b'{"text":"' + b"\\u0041" * 2_700_000 + b'"}',
        b'{"k":' + b"9" * 16_000_000 + b"}", b'{"k":0.' + b"9" * 16_000_000 + b"}",
        b"[" * 16_000_000, b'{"text":"' + b"a" * 16_000_000 + b'"}',
    ]  # fmt: skip
    places = count()
    target.repeat(lambda: target.send("/search", bodies[next(places) % len(bodies)]), 4)


def send_pictures(target: Target) -> None:
    """Search by tiny files of huge pictures."""
    part = b'Content-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + make_picture()
    body, headers = form([part])
    target.repeat(lambda: target.send("/search/picture", body, headers), 40)


def send_pictures_to_encode(target: Target) -> None:
    """Encode many huge pictures of one form."""
    part = b'Content-Disposition: form-data; name="images"; filename="x"\r\n\r\n' + make_picture()
    body, headers = form([part] * 24)
    target.repeat(lambda: target.send("/encode/pictures", body, headers), 4)


def add_pictures(target: Target) -> None:
    """Add items with tiny files of huge pictures."""
    text = base64.b64encode(make_picture()).decode()
    items = [{"id": f"attack-{number}", "image": text} for number in range(24)]
    body = json.dumps({"items": items}).encode()
    target.repeat(lambda: target.send("/items", body, method="PUT"), 4)


def send_parts(target: Target) -> None:
    """Send forms of very many parts, and of one that looks like many."""
    small = b'Content-Disposition: form-data; name="f"\r\n\r\nx'
    bodies = [
        form([small] * 200_000), form([small + b"\r\n--" * 3_000_000]),
        form([b"X: y\r\n" * 1_000_000 + b"\r\nx"]),
    ]  # fmt: skip
    places = count()
    target.repeat(lambda: target.send("/search/picture", *bodies[next(places) % 3]), 4)


def hold_heads(target: Target) -> None:
    """Open many connections that send a request's head a byte at a time."""
    target.hold(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", b"a", 600)


def hold_nothing(target: Target) -> None:
    """Open many connections without a request."""
    target.hold(b"", b"", 1500)


def hold_bodies(target: Target) -> None:
    """Announce large bodies, and send a byte at a time."""
    target.hold(head_of(target, "Content-Length: 16777216\r\n\r\n{"), b" ", 200)


def hold_bodies_half(target: Target) -> None:
    """Send half of large bodies, then a byte at a time."""
    start = head_of(target, "Content-Length: 16777216\r\n\r\n") + b" " * (8 << 20)
    target.hold(start, b" ", 40)


def pour_header(target: Target) -> None:
    """Send a header without end."""
    target.repeat(lambda: target.pour(head_of(target, "X-A: "), b"a" * 1_000_000), 2)


def pour_headers(target: Target) -> None:
    """Send headers without end."""
    target.repeat(lambda: target.pour(head_of(target, ""), b"X: y\r\n" * 100_000), 2)


def pour_chunks(target: Target) -> None:
    """Send a body in chunks without end, in chunks of one byte, and trailers without end."""
    head = head_of(target, "Transfer-Encoding: chunked\r\n\r\n")
    large = b"%x\r\n" % 100_000 + b" " * 100_000 + b"\r\n"
    pours = [(head, large), (head, b"1\r\n \r\n" * 10_000), (head + b"0\r\n", b"X: y\r\n" * 10_000),
             (head + b"1;", b"a" * 100_000)]  # fmt: skip
    places = count()
    target.repeat(lambda: target.pour(*pours[next(places) % 4]), 4)


def send_pipeline(target: Target) -> None:
    """Send very many requests on one connection without reading."""
    request = b"GET /v1/indexes HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    target.repeat(lambda: target.pour(b"", request * 10_000), 4)


def send_filters(target: Target) -> None:
    """Send filters of as many conditions as are taken, which read everything, and of more."""
    numbers = count()

    def attack() -> None:
        number = next(numbers)
        n_conditions = 400 if number % 8 == 0 else 50
        where = " or ".join(f'note like "%{number}_{place}"' for place in range(n_conditions))
        query = {"code": {"hex": "00" * (target.n_bits // 8)}, "filter": where}
        target.send("/search", json.dumps(query).encode())

    target.repeat(attack, 8)


def leave_searches(target: Target) -> None:
    """Ask for what takes long, and leave before the answer."""
    numbers = count()

    def attack() -> None:
        where = " or ".join(f'note like "%l{next(numbers)}_{place}"' for place in range(50))
        query = {"code": {"hex": "00" * (target.n_bits // 8)}, "filter": where}
        body = json.dumps(query).encode()
        with suppress(OSError), closing(target.connect()) as connection:
            connection.sendall(head_of(target, f"Content-Length: {len(body)}\r\n\r\n") + body)
            time.sleep(0.02)
            target.answers["left"] += 1

    target.repeat(attack, 4)


def large_batch(target: Target, n_queries: int) -> bytes:
    """Return a batch whose answer is large."""
    queries = [
        {"code": {"hex": f"{number:0{target.n_bits // 4}x}"}, "k": 1000, "explain": True}
        for number in range(n_queries)
    ]
    return json.dumps({"queries": queries}).encode()


def send_batches(target: Target) -> None:
    """Ask for answers that are as large as allowed, and for larger ones."""
    bodies = [large_batch(target, 50), large_batch(target, 256)]
    places = count()
    target.repeat(lambda: target.send("/search/batch", bodies[next(places) % 2]), 4)


def read_nothing(target: Target) -> None:
    """Ask for large answers, and don't read them."""
    body = large_batch(target, 20)
    head = head_of(target, f"Content-Length: {len(body)}\r\n\r\n")
    head = head.replace(b"/search ", b"/search/batch ")
    held = []
    while not target.is_over():
        with suppress(OSError):
            connection = target.connect()
            connection.sendall(head + body)
            held.append(connection)
        time.sleep(0.2)
    target.answers["unread answers"] += len(held)
    for connection in held:
        connection.close()


def send_oddities(target: Target) -> None:
    """Send a gzip bomb, an upgrade to WebSocket, a huge address, and what isn't HTTP."""
    bomb = gzip.compress(b"[" * 50_000_000)
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    sends: list[tuple[Any, ...]] = [
        ("/search", bomb, {**JSON, "Content-Encoding": "gzip"}),
        ("/search", b"", upgrade, "GET"),
        ("/items?" + "id=a&" * 5_000, b"", {}, "GET"),
        ("/items?" + "id=a&" * 100_000, b"", {}, "GET"),
    ]
    places = count()
    target.repeat(lambda: target.send(*sends[next(places) % 4]), 2)
    target.pour(b"\x16\x03\x01\0\xff", b"\0" * 100_000)


ATTACKS: Final[Mapping[str, Callable[[Target], None]]] = {
    "wrong entries": send_wrong_entries,
    "as many wrong values as are taken": send_allowed_entries,
    "heavy JSON": send_heavy_json,
    "huge pictures": send_pictures,
    "huge pictures of one form": send_pictures_to_encode,
    "huge pictures to add": add_pictures,
    "forms of many parts": send_parts,
    "slow heads": hold_heads,
    "idle connections": hold_nothing,
    "slow bodies": hold_bodies,
    "half bodies": hold_bodies_half,
    "a header without end": pour_header,
    "headers without end": pour_headers,
    "chunks without end": pour_chunks,
    "pipelines": send_pipeline,
    "filters": send_filters,
    "clients that leave": leave_searches,
    "large answers": send_batches,
    "answers that nobody reads": read_nothing,
    "oddities": send_oddities,
}
