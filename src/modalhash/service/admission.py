"""How many requests, and how many bytes of bodies, there are at once: of all and of one client.

Nothing is reserved by what a client says it will send. A request takes a place when its body has
come, and memory for the bytes that have come. One client never gets all of either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Final

from modalhash.service.refusals import RefusedError
from modalhash.service.settings import ServiceSettings

__all__ = ["Admission", "BodyMemory", "Budget"]

BODIES: Final = 16
"""Bodies of the largest size that may be in memory at once."""


@dataclass
class Budget:
    """An amount that clients share.

    Attributes:
        most: that all may have together.
        share: the part of it that one client may have, in (0, 1].
        used: what they have now.
        by_client: what each has now, if anything.
    """

    most: int
    share: float
    used: int = 0
    by_client: dict[str, int] = field(default_factory=dict)

    def check(self, client: str, amount: int) -> None:
        """Refuse an amount that isn't left.

        Raises:
            RefusedError: if it isn't, to this client or to anybody.
        """
        if self.used + amount > self.most:
            raise overloaded("too many requests are under way")
        if self.by_client.get(client, 0) + amount > max(1, ceil(self.share * self.most)):
            raise overloaded("too many requests of this client are under way")

    def take(self, client: str, amount: int) -> None:
        """Take an amount.

        Raises:
            RefusedError: if it isn't left; nothing is taken then.
        """
        self.check(client, amount)
        self.used += amount
        self.by_client[client] = self.by_client.get(client, 0) + amount

    def give_back(self, client: str, amount: int) -> None:
        """Give an amount back that was taken."""
        self.used -= amount
        left = self.by_client.pop(client, 0) - amount
        if left > 0:
            self.by_client[client] = left


class Admission:
    """Requests that are worked on or wait, and bodies in memory.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.requests = Budget(settings.concurrent, settings.client_share)
        self.bytes = Budget(BODIES * settings.body_bytes, settings.client_share)

    @contextmanager
    def hold_request(self, client: str) -> Iterator[None]:
        """Hold a place for one request.

        Raises:
            RefusedError: if there is none left.
        """
        self.requests.take(client, 1)
        try:
            yield
        finally:
            self.requests.give_back(client, 1)

    @contextmanager
    def hold_body(self, client: str) -> Iterator["BodyMemory"]:
        """Hold memory for a body, which is counted as it comes."""
        memory = BodyMemory(self.bytes, client)
        try:
            yield memory
        finally:
            self.bytes.give_back(client, memory.n_bytes)


@dataclass
class BodyMemory:
    """Memory of one body.

    Attributes:
        budget: of all bodies.
        client: whose body it is.
        n_bytes: bytes so far.
    """

    budget: Budget
    client: str
    n_bytes: int = 0

    def grow(self, amount: int) -> None:
        """Take memory for some more bytes.

        Raises:
            RefusedError: if there is too little left.
        """
        self.budget.take(self.client, amount)
        self.n_bytes += amount


def overloaded(problem: str) -> RefusedError:
    """Describe the refusal of a request that there is no room for now."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", problem, 1)
