"""Run the application: listen, log, and stop in good order."""

import errno
import gc
import json
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modalhash.errors import StorageError
from modalhash.extras import import_optional
from modalhash.service.settings import ServiceSettings

if TYPE_CHECKING:
    from modalhash.service.connections import ConnectionGuard
    from modalhash.service.state import Service

__all__ = ["JsonLines", "log_to_stderr", "require_packages", "serve", "serve_app"]

logger = logging.getLogger("modalhash.service")

STOPPING = (signal.SIGTERM, signal.SIGINT)
SWITCH_SECONDS: Final = 0.001
"""A thread lets others go on after this time, so that the event loop answers soon."""
OTHER_FILES: Final = 256
"""Files that a server has open besides connections, at least as many as it needs."""


def serve(folders: Mapping[str, Path], settings: ServiceSettings) -> None:
    """Serve indexes until a signal says to stop (SIGTERM, or SIGINT from the keyboard).

    Requests that are under way are finished then, for `settings.grace` seconds at most. SIGHUP
    opens all indexes anew.

    Args:
        folders: of the indexes, by name.
        settings: of the server.

    Raises:
        InputError: if there is no index, or no file of keys.
        MissingExtraError: if the extra `serve` isn't installed.
        ModalhashError: if an index can't be opened.
        StorageError: if the address can't be listened on.
    """
    require_packages()
    from modalhash.service.app import create_app

    serve_app(lambda: create_app(folders, settings), settings)


def require_packages() -> None:
    """Check that the packages of the extra `serve` are there.

    Raises:
        MissingExtraError: if one isn't.
    """
    for package in ("fastapi", "httptools", "prometheus_client", "uvicorn"):
        import_optional(package, extra="serve", feature="serving")


def serve_app(make_app: Callable[[], Any], settings: ServiceSettings, *, path: str = "") -> None:
    """Serve an application until a signal says to stop; see `serve`.

    Args:
        make_app: creates the application, whose `state.service` is a `Service`.
        settings: of the server.
        path: where clients find it, for the log.

    Raises:
        StorageError: if the address can't be listened on.
    """
    uvicorn = import_optional("uvicorn", extra="serve", feature="serving")
    sys.setswitchinterval(SWITCH_SECONDS)
    with listen(settings.host, settings.port) as bound:
        app = make_app()
        # What was made until now stays: garbage collections needn't look through it each time,
        # which would hold up every request while a large body is parsed.
        gc.collect()
        gc.freeze()
        run(uvicorn, app, settings, bound, path=path)
    logger.info("stopped")


def run(
    uvicorn: Any, app: Any, settings: ServiceSettings, bound: socket.socket, *, path: str
) -> None:
    """Run the application on a socket that is bound already, until a signal says to stop."""
    from modalhash.service.connections import GuardedConnection

    config = uvicorn.Config(
        app,
        http=partial(GuardedConnection, guard=make_guard(app.state.service, settings)),
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=math.ceil(settings.grace),
        timeout_keep_alive=75,
        ws="none",
    )
    bound.listen(config.backlog)  # who comes from now on waits, and isn't turned away
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    warn_of_missing_keys(settings)
    logger.info("listening on http://%s:%d%s", shown, port, path, extra={"service": {"port": port}})
    with stopped_quietly():
        uvicorn.Server(config).run(sockets=[bound])


def warn_of_missing_keys(settings: ServiceSettings) -> None:
    """Warn where others than this machine may reach a server that asks for no key."""
    if settings.is_public and not settings.keys:
        logger.warning(
            "anybody who reaches %s can search%s: make keys with `modalhash key new NAME`, and "
            "name their file with --keys",
            settings.host,
            " and change the indexes" if settings.writable else "",
        )


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket to an address.

    Raises:
        StorageError: if the address can't be used, saying why and what else could.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = addresses[0]
    except (OSError, UnicodeError) as error:
        raise StorageError(f"host is {host!r}, which is no address of this machine") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise StorageError(describe_refusal(host, port, error)) from error
    bound.set_inheritable(True)
    return bound


def describe_refusal(host: str, port: int, error: OSError) -> str:
    """Say why an address can't be listened on, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use, perhaps by another modalhash: name another with "
            "--port, or let the system choose a free one with --port 0"
        )
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this account: name one from 1024 on with --port"
    return f"{host} port {port} can't be listened on: {error.strerror or error}"


def make_guard(service: "Service", settings: ServiceSettings) -> "ConnectionGuard":
    """Make the guard of a server's connections."""
    from modalhash.service.connections import ConnectionGuard, ConnectionLimits

    limits = ConnectionLimits(
        head_bytes=settings.head_bytes,
        head_seconds=settings.head_timeout,
        read_seconds=settings.timeout,
        connections=min(settings.connections, count_free_files()),
        client_connections=settings.client_connections,
    )
    return ConnectionGuard(
        limits,
        trusted=settings.proxies,
        count_refusal=lambda code: service.metrics.refused.labels(code).inc(),
    )


def count_free_files() -> int:
    """Count the connections that this process may open, beside the files that it needs."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(16, soft - OTHER_FILES)


@contextmanager
def stopped_quietly() -> Iterator[None]:
    """Let a signal that stopped the server in good order not end the process a second time.

    uvicorn sends itself the signal again when it is done, for who would want to know.
    """
    try:
        before = {number: signal.signal(number, lambda *_: None) for number in STOPPING}
    except ValueError:  # only the main thread hears of signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class JsonLines(logging.Formatter):
    """One JSON document a line: time, level, logger, message, and what a request was."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as a line."""
        at = datetime.fromtimestamp(record.created, UTC)
        document: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request", "service"):
            if name in record.__dict__:
                document |= record.__dict__[name]
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=True, default=str)


def log_to_stderr(form: str) -> None:
    """Write our log to stderr, as JSON lines or as text; "auto" is text in a terminal only."""
    if form == "auto":
        form = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    for name in ("modalhash", "uvicorn", "asyncio"):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = name == "modalhash"
