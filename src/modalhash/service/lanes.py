"""Threads for one sort of work, which clients enter in turns."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from modalhash.service.turns import Turns
from modalhash.service.work import current_work

__all__ = ["Lane"]

Result = TypeVar("Result")
SHORTEST_REST: Final = 0.01
LONGEST_REST: Final = 0.25


class Lane:
    """Some threads, and the line before them. Used from one event loop.

    Args:
        name: of the threads.
        n_threads: that work side by side.
        rests: whether a thread rests after each piece of work as long as it took, so that it never
            takes more than half of a core from searches and the event loop.
    """

    def __init__(self, name: str, n_threads: int = 1, *, rests: bool = False) -> None:
        self.executor = ThreadPoolExecutor(n_threads, name)
        self._free, self._rests = n_threads, rests
        self._line: Turns[asyncio.Future[None]] = Turns()

    async def run(self, function: Callable[[], Result]) -> Result:
        """Run a function in a thread, when it is this client's turn; return its result."""
        await self._enter()
        began = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self.executor, function)
        # A thread works on when nobody waits for it any more, so the place is free only then.
        running.add_done_callback(partial(self._leave, began))
        return await asyncio.shield(running)

    async def _enter(self) -> None:
        """Wait until a thread is free, and take it."""
        if self._free:
            self._free -= 1
            return
        work = current_work.get()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.add("" if work is None else work.client, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _leave(self, began: float, running: "asyncio.Future[Any]") -> None:
        """Take note that a thread is free, now or after its rest."""
        if not running.cancelled():
            running.exception()  # it may be that nobody waits for it
        seconds = min(time.monotonic() - began, LONGEST_REST)
        if self._rests and seconds > SHORTEST_REST:
            asyncio.get_running_loop().call_later(seconds, self._pass_on)
        else:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give a free thread to the next in line."""
        while len(self._line):
            turn = self._line.take()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Wait for what runs, and let the threads go."""
        self.executor.shutdown(wait=True)
