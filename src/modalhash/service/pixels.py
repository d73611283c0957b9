"""Memory for opened pictures: pixels of all requests together are bounded.

A picture of few bytes can have many pixels, and each takes some bytes of memory once the picture is
opened. A request holds the pixels of its pictures from before they are opened until they are done
with; where too few are left, it waits for its turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from modalhash.service.admission import overloaded
from modalhash.service.refusals import beyond_limit
from modalhash.service.turns import Turns
from modalhash.service.work import current_work

__all__ = ["PixelBudget"]

WAITING: Final = 8
"""How many times the budget may wait in line; more is refused."""


@dataclass(eq=False)
class Waiter:
    """A request that waits for pixels.

    Attributes:
        pixels: that it needs.
        turn: is done when it has them.
    """

    pixels: int
    turn: "asyncio.Future[None]"


class PixelBudget:
    """Pixels that may be in memory at once. Used from one event loop.

    Args:
        most: of all requests together, and of one request.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used, self.waiting = most, 0, 0
        self._line: Turns[Waiter] = Turns()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Hold pixels; wait until there are enough of them.

        Raises:
            RefusedError: if one request wants more than there are, or too many wait.
        """
        if pixels > self.most:
            raise beyond_limit(
                f"the pictures have {pixels} pixels together, {self.most} are the most: send them "
                "in several requests"
            )
        if len(self._line) or self.used + pixels > self.most:
            await self._wait(pixels)
        else:
            self.used += pixels
        try:
            yield
        finally:
            self.used -= pixels
            self._let_in()

    async def _wait(self, pixels: int) -> None:
        """Wait for a turn; the pixels are taken when this returns."""
        if self.waiting + pixels > WAITING * self.most:
            raise overloaded("too many pictures are under way")
        waiter = Waiter(pixels, asyncio.get_running_loop().create_future())
        work = current_work.get()
        self._line.add("" if work is None else work.client, waiter)
        self.waiting += pixels
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.used -= pixels  # they were given just now
                self._let_in()
            raise

    def _let_in(self) -> None:
        """Give pixels to those whose turn it is."""
        while len(self._line):
            waiter = self._line.next()
            is_gone = waiter.turn.done()
            if not is_gone and self.used + waiter.pixels > self.most:
                return
            self._line.take()
            self.waiting -= waiter.pixels
            if not is_gone:
                self.used += waiter.pixels
                waiter.turn.set_result(None)
