"""Run the application: listen, log, and stop in good order."""

import json
import logging
import math
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modalhash.extras import import_optional
from modalhash.service.settings import ServiceSettings

__all__ = ["JsonLines", "log_to_stderr", "serve"]

logger = logging.getLogger("modalhash.service")

STOPPING = (signal.SIGTERM, signal.SIGINT)


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
        OSError: if the address can't be listened on.
    """
    feature = "serving"
    for package in ("fastapi", "multipart", "prometheus_client"):
        import_optional(package, extra="serve", feature=feature)
    uvicorn = import_optional("uvicorn", extra="serve", feature=feature)
    from modalhash.service.app import create_app

    app = create_app(folders, settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        timeout_graceful_shutdown=math.ceil(settings.grace),
        timeout_keep_alive=75,
        ws="none",
    )
    bound = config.bind_socket()
    bound.listen(config.backlog)  # who comes from now on waits, and isn't turned away
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logger.info("listening on http://%s:%d", shown, port, extra={"service": {"port": port}})
    with stopped_quietly():
        uvicorn.Server(config).run(sockets=[bound])
    logger.info("stopped")


@contextmanager
def stopped_quietly() -> Iterator[None]:
    """Let a signal that stopped the server in good order not end the process a second time.

    uvicorn sends itself the signal again when it is done, for who would want to know.
    """
    try:
        before = {one: signal.signal(one, lambda *_: None) for one in STOPPING}
    except ValueError:  # only the main thread hears of signals
        yield
        return
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class JsonLines(logging.Formatter):
    """One JSON document a line: time, level, logger, message, and what a request was."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line."""
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
    """Write our log to stderr, as JSON lines or as text."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    root = logging.getLogger("modalhash")
    root.handlers = [handler]
