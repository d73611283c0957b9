"""What all requests of one server share."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from modalhash.errors import ModalhashError
from modalhash.service.admission import Admission
from modalhash.service.bodies import FormPart, parse_document, parse_form
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

Document = TypeVar("Document", bound=BaseModel)
PARSED_AT_ONCE: Final = 16 << 10
"""Bytes of a body that is parsed in the event loop: it takes less than going to a thread."""
COUNTING_SECONDS: Final = 0.05


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
        # Files are found again after the process went to another folder.
        keys = str(Path(settings.keys).absolute()) if settings.keys else ""
        settings = replace(settings, keys=keys)
        self.host, self.settings = host, settings
        self.sizes = host.sizes()
        self.metrics = Metrics(lambda: self.sizes)
        self.admission = Admission(settings)
        self.is_stopping = False
        self.engine = Engine(settings, self.metrics, lambda: self.admission.requests.used)
        self.rates = Rates(settings.rate, settings.burst or 2 * settings.rate)
        self.thumbnails = Thumbnails(settings.pixels)
        self.keys = KeyFile.read(settings.keys) if settings.keys else None
        self._keys_stamp = read_stamp(settings.keys)
        self._counting: asyncio.Task[None] | None = None

    async def count_codes(self) -> dict[tuple[str, str], int]:
        """Count the codes by index and side.

        Returns:
            The numbers; where counting takes long (a busy disk, an index server), the last ones.
        """
        if self._counting is None or self._counting.done():
            self._counting = asyncio.ensure_future(self._count_codes())
        await asyncio.wait({self._counting}, timeout=COUNTING_SECONDS)
        return self.sizes

    async def _count_codes(self) -> None:
        try:
            self.sizes = await self.engine.count(self.host.sizes)
        except (ModalhashError, OSError) as error:
            logger.warning("the codes can't be counted: %s", error)

    async def read_document(self, request: Request, model: type[Document]) -> Document:
        """Read the JSON document of a request; a large one beside the event loop.

        Raises:
            RefusedError: if it isn't one of that type.
        """
        body, kind = await request.body(), request.headers.get("content-type", "")
        read = partial(parse_document, body, kind, model, most_values=self.settings.values)
        return read() if len(body) <= PARSED_AT_ONCE else await self.engine.convert(read)

    async def read_form(self, request: Request, *, most_parts: int) -> list[FormPart]:
        """Read the form of a request; a large one beside the event loop.

        Raises:
            RefusedError: if it isn't one.
        """
        body, kind = await request.body(), request.headers.get("content-type", "")
        read = partial(parse_form, body, kind, most_parts=most_parts)
        return read() if len(body) <= PARSED_AT_ONCE else await self.engine.convert(read)

    @contextmanager
    def hold_index(self, name: str) -> Iterator[IndexHandle]:
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
        with hosted.hold() as handle:
            yield handle

    def require(self, request: Request, needed: Role) -> None:
        """Refuse a request whose key allows too little.

        Raises:
            RefusedError: if it does.
        """
        role: Role = request.scope["modalhash_role"]
        if not role.allows(needed):
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"this takes a key with the role {needed.value}, yours has {role.value}",
            )

    def may_change(self, request: Request) -> bool:
        """Tell whether the client of a request may add and delete items."""
        role: Role = request.scope["modalhash_role"]
        return self.settings.writable and role.allows(Role.WRITE)

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
            if read_stamp(self.settings.keys) != self._keys_stamp:
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
            stamp = read_stamp(self.settings.keys)
            self.keys = KeyFile.read(self.settings.keys)
            self._keys_stamp = stamp
        except (ModalhashError, OSError) as error:
            logger.warning("the keys stay as they were: %s", error)


def read_stamp(file: str) -> tuple[int, int] | None:
    """Read what changes when a file does; None without one."""
    try:
        status = Path(file).stat() if file else None
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_mtime_ns)
