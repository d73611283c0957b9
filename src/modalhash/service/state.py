"""What all requests of one server share."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request

from modalhash.errors import ModalhashError
from modalhash.service.engine import Engine
from modalhash.service.hosting import Host, IndexHandle
from modalhash.service.keys import KeyFile, Role
from modalhash.service.metrics import Metrics
from modalhash.service.rates import Rates
from modalhash.service.refusals import RefusedError
from modalhash.service.settings import ServiceSettings
from modalhash.service.thumbnails import Thumbnails

__all__ = ["Service"]

logger = logging.getLogger("modalhash.service")


class Service:
    """Indexes, threads, keys and counters of one server.

    Args:
        host: the indexes.
        settings: of the server.

    Raises:
        InputError: if the file of keys isn't there.
        DamagedArtifactError: if it isn't one.
    """

    def __init__(self, host: Host, settings: ServiceSettings) -> None:
        self.host, self.settings = host, settings
        self.metrics = Metrics(host.sizes)
        self.under_way = self.body_bytes = 0
        self.is_stopping = False
        self.engine = Engine(settings, self.metrics, lambda: self.under_way)
        self.rates = Rates(settings.rate, settings.burst or 2 * settings.rate)
        self.thumbnails = Thumbnails(settings.pixels)
        self.keys = KeyFile.read(settings.keys) if settings.keys else None
        self._keys_stamp = stamp_of(settings.keys)

    @contextmanager
    def held(self, name: str) -> Iterator[IndexHandle]:
        """Yield an index by its name.

        Raises:
            RefusedError: if there is none.
        """
        hosted = self.host.hosted.get(name)
        if hosted is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND,
                "unknown_index",
                f"there is no index {name!r}; those there are: {', '.join(self.host.hosted)}",
            )
        with hosted.held() as handle:
            yield handle

    def require(self, request: Request, wanted: Role) -> None:
        """Refuse a request whose key allows too little.

        Raises:
            RefusedError: if it does.
        """
        role: Role = request.scope["modalhash_role"]
        if not role.allows(wanted):
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"this takes a key with the role {wanted.value}, yours has {role.value}",
            )

    def require_writable(self, request: Request) -> None:
        """Refuse a change that isn't allowed.

        Raises:
            RefusedError: if the server isn't writable, or the key allows too little.
        """
        self.require(request, Role.WRITE)
        if not self.settings.writable:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "not_writable",
                "this server changes no index: it runs without --writable",
            )

    async def reload(self, name: str) -> None:
        """Open an index anew, and let new requests have it.

        Raises:
            ModalhashError: if it can't be opened; the old opening stays.
        """
        handle = await self.engine.write(self.host.open, name)
        self.host.hosted[name].change_to(handle)
        self.host.forget_unused_models()
        logger.info("opened anew: %s", name)

    async def reload_all(self) -> None:
        """Open all indexes anew, and read the keys; what can't be opened stays as it was."""
        self.read_keys()
        for name in self.host.hosted:
            await self._try_to_reload(name)

    async def watch(self) -> None:
        """Look again and again whether a folder was built anew, or the keys changed."""
        while True:
            await asyncio.sleep(self.settings.watch)
            if stamp_of(self.settings.keys) != self._keys_stamp:
                self.read_keys()
            for name in self.host.replaced():
                await self._try_to_reload(name)

    async def _try_to_reload(self, name: str) -> None:
        try:
            await self.reload(name)
        except (ModalhashError, OSError) as error:
            logger.warning("%s can't be opened anew, and stays as it was: %s", name, error)

    def read_keys(self) -> None:
        """Read the file of keys again; one that can't be read changes nothing."""
        if not self.settings.keys:
            return
        try:
            stamp = stamp_of(self.settings.keys)
            self.keys = KeyFile.read(self.settings.keys)
            self._keys_stamp = stamp
        except (ModalhashError, OSError) as error:
            logger.warning("the keys stay as they were: %s", error)


def stamp_of(file: str) -> tuple[int, int] | None:
    """Return what changes when a file does; None without one."""
    try:
        status = Path(file).stat() if file else None
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_mtime_ns)
