"""Work of several requests done together, in a thread beside the event loop.

What waits is taken as soon as the thread is free. Where it is free already, the first to come waits
a little for others, but only while other requests are under way that could still join it; so nobody
waits in vain, and the more there is to do the more is done at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from modalhash.service.turns import Turns
from modalhash.service.work import current_work

__all__ = ["Batcher"]

Job = TypeVar("Job")
Result = TypeVar("Result")
CLOSING_PAUSE: Final = 0.01


@dataclass(frozen=True, eq=False)
class Waiting(Generic[Job, Result]):
    """A job that nobody has begun, and who waits for it."""

    job: Job
    done: "asyncio.Future[Result]"


class Batcher(Generic[Job, Result]):
    """Collects jobs and does several at once. Used from one event loop.

    Args:
        work: does some jobs, and returns the result of each, or the error it ended with.
        executor: the threads it runs in.
        most: jobs at once.
        wait: seconds the first job waits for others at most.
        under_way: how many requests could be waiting here, those that do included.
        at_once: batches done side by side.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Result | Exception]],
        executor: Executor,
        *,
        most: int,
        wait: float,
        under_way: Callable[[], int],
        at_once: int = 1,
    ) -> None:
        self._work, self._executor = work, executor
        self._most, self._wait, self._under_way = most, wait, under_way
        self._free = at_once
        self._queue: Turns[Waiting[Job, Result]] = Turns()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def do(self, job: Job) -> Result:
        """Do a job with others, and return its result or raise its error."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        work = current_work.get()
        self._queue.add("" if work is None else work.client, Waiting(job, done))
        self._consider()
        return await done

    def _consider(self) -> None:
        """Begin a batch, now or in a little while."""
        if not self._free or not len(self._queue):
            return
        waiting = len(self._queue)
        if not self._wait or waiting >= min(self._most, self._under_way()):
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._wait, self._begin)

    def _begin(self) -> None:
        """Begin a batch of what waits; those who went away are left out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch: list[Waiting[Job, Result]] = []
        while len(self._queue) and len(batch) < self._most:
            waiting = self._queue.take()
            if not waiting.done.done():
                batch.append(waiting)
        if batch:
            self._free -= 1
            task = asyncio.ensure_future(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[Waiting[Job, Result]]) -> None:
        """Do a batch and tell all who wait for it."""
        loop = asyncio.get_running_loop()
        results: Sequence[Result | Exception]
        try:
            results = await loop.run_in_executor(
                self._executor, self._work, [waiting.job for waiting in batch]
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, each of them must hear of it
            results = [error] * len(batch)
        finally:
            self._free += 1
        for waiting, result in zip(batch, results, strict=True):
            if waiting.done.done():
                continue
            if isinstance(result, Exception):
                waiting.done.set_exception(result)
            else:
                waiting.done.set_result(result)
        self._consider()

    async def finish(self) -> None:
        """Wait until everything that was accepted is done."""
        while len(self._queue) or self._running:
            await asyncio.sleep(CLOSING_PAUSE)
