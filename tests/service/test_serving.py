"""What `modalhash serve` says before it listens, and what it finds again later."""

import io
import logging
import os
import re
import socket
from pathlib import Path

import pytest

from modalhash.errors import StorageError
from modalhash.service import server
from modalhash.service.keys import KeyFile
from modalhash.service.settings import ServiceSettings
from tests.service.conftest import Serve


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        expected = (
            f"port {port} of 127.0.0.1 is in use, perhaps by another modalhash: name another with "
            "--port, or let the system choose a free one with --port 0"
        )
        with pytest.raises(StorageError, match=re.escape(expected)):
            server.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "\ud800", "a" * 300])
def test_a_host_that_is_no_address_is_named(host: str) -> None:
    expected = f"host is {host!r}, which is no address of this machine"
    with pytest.raises(StorageError, match=re.escape(expected)):
        server.listen(host, 0)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StorageError, match=re.escape("192.0.2.1 port 0 can't be listened on")):
        server.listen("192.0.2.1", 0)


def test_a_socket_listens_where_it_should() -> None:
    with server.listen("127.0.0.1", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "is_public"),
    [
        ("127.0.0.1", False), ("::1", False), ("localhost", False), ("127.0.0.53", False),
        ("0.0.0.0", True), ("::", True), ("192.168.1.5", True), ("search.example.org", True),
    ],
)  # fmt: skip
def test_only_loopback_is_not_public(host: str, is_public: bool) -> None:
    assert ServiceSettings(host=host).is_public is is_public


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "anybody who reaches 0.0.0.0 can search:"),
        ({"writable": True}, "anybody who reaches 0.0.0.0 can search and change the indexes:"),
        ({"keys": "keys.json"}, None),
        ({"host": "127.0.0.1"}, None),
    ],
)
def test_a_public_address_without_keys_is_warned_about(
    settings: dict[str, object], expected: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    server.warn_of_missing_keys(ServiceSettings(**{"host": "0.0.0.0", **settings}))  # type: ignore[arg-type]
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == (expected is not None)
    assert expected is None or warnings[0].startswith(expected)
    assert expected is None or "modalhash key new" in warnings[0]


def test_files_are_found_again_after_the_process_went_elsewhere(
    serve: Serve, own_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, token = KeyFile(Path("keys.json")).add_key("a", "write")
    file.write()
    client = serve({"scenes": Path(own_index.name)}, keys="keys.json", writable=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.post("/v1/indexes/scenes/reload", headers=headers).status_code == 200
    changed, second = KeyFile.read(tmp_path / "keys.json").add_key("b", "read")
    changed.write()
    client.app.state.service.read_keys()  # type: ignore[attr-defined]
    headers = {"Authorization": f"Bearer {second}"}
    found = client.post("/v1/indexes/scenes/search", json={"text": "a red circle"}, headers=headers)
    assert found.status_code == 200
    hit = found.json()["results"][0]["hits"][0]
    assert client.get(hit["picture"]["thumbnail"], headers=headers).status_code == 200


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_log_is_text_in_a_terminal_and_json_elsewhere(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers = [logging.getLogger(name) for name in ("modalhash", "uvicorn", "asyncio")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    try:
        server.log_to_stderr("auto")
        logging.getLogger("asyncio").error("some trouble")
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
    assert stream.getvalue().startswith('{"time": ') is not is_terminal
    assert "some trouble" in stream.getvalue()


def test_every_logger_of_the_server_writes_our_form(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("modalhash", "uvicorn", "asyncio")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    errors = logging.getLogger("uvicorn.error")
    level = errors.level  # a server that another test started may have raised it
    try:
        errors.setLevel(logging.WARNING)
        server.log_to_stderr("json")
        logging.getLogger("uvicorn.error").warning("some trouble")
        logging.getLogger("asyncio").error("more trouble")
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        errors.setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith('{"time": ') for line in lines] == [True, True]
