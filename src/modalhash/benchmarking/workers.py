"""Tasks in worker processes, as many at once as cores and memory allow; a worker may be killed."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Generic, TypeVar

__all__ = ["Budget", "Killed", "Workers"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Budget:
    """What all workers may use together.

    Attributes:
        workers: processes at once, each computing on one thread.
        memory_mib: of all of them; None doesn't count. A task begins when what the running ones
            need leaves room for it; the first task of its kind is taken to need an equal share. One
            task always runs, whatever it needs.
    """

    workers: int
    memory_mib: float | None = None


@dataclass(frozen=True)
class Killed:
    """What a task gave whose process ended without an answer, also when it ran alone."""

    reason: str = (
        "its process was killed; the usual reason is that memory ran out: fewer workers, or a "
        "smaller batch"
    )


class Workers(Generic[Task, Answer]):
    """Processes that work on tasks.

    Args:
        work: importable; gets a task that can be pickled.
        budget: cores and memory.
        kind_of: tasks of one kind need about the same memory.
        peak_of: the largest memory of the process that gave an answer, in MiB; 0 if unknown.
        prepare: called once in each process.
    """

    def __init__(
        self,
        work: Callable[[Task], Answer],
        budget: Budget,
        *,
        kind_of: Callable[[Task], str],
        peak_of: Callable[[Answer], float],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.work, self.budget, self.prepare = work, budget, prepare
        self.kind_of, self.peak_of = kind_of, peak_of
        self.peaks: dict[str, float] = {}

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer | Killed]]:
        """Run tasks in their order and yield them with their answers, as they end.

        When a worker is killed, the tasks that ran at the time run again, each alone; one whose
        process is killed again gives `Killed`, and the others go on.
        """
        waiting = deque(tasks)
        while waiting:
            lost = yield from self._run_until_killed(waiting)
            for task in lost:
                yield task, self._answer_alone(task)

    def _run_until_killed(
        self, waiting: deque[Task]
    ) -> Generator[tuple[Task, Answer], None, list[Task]]:
        """Run waiting tasks; return those that ran when a worker was killed, none if all ended."""
        running: dict[Future[Answer], Task] = {}
        with self._processes(self.budget.workers) as pool:
            try:
                while waiting or running:
                    while waiting and self._is_room(waiting[0], list(running.values())):
                        running[pool.submit(self.work, waiting[0])] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        answer = future.result()
                        task = running.pop(future)
                        kind = self.kind_of(task)
                        self.peaks[kind] = max(self.peaks.get(kind, 0.0), self.peak_of(answer))
                        yield task, answer
            except BrokenProcessPool:
                return list(running.values())
        return []

    def _answer_alone(self, task: Task) -> Answer | Killed:
        """Run one task in a process of its own."""
        with self._processes(1) as pool:
            try:
                return pool.submit(self.work, task).result()
            except BrokenProcessPool:
                return Killed()

    def _processes(self, count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, get_context("spawn"), begin, (self.prepare,))

    def _is_room(self, task: Task, running: Sequence[Task]) -> bool:
        """Tell whether a task may begin beside others."""
        if not running or self.budget.memory_mib is None:
            return len(running) < self.budget.workers
        share = self.budget.memory_mib / self.budget.workers
        needed = sum(self.peaks.get(self.kind_of(other), share) for other in (*running, task))
        return len(running) < self.budget.workers and needed <= self.budget.memory_mib


def begin(prepare: Callable[[], None] | None) -> None:
    """Prepare a process that works on tasks, and let it end when the one that began it does.

    Killed, that one tells its workers nothing: they would wait for tasks, and hold memory, forever.
    """
    Thread(target=end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def end_with_parent() -> None:
    """Wait until the process that began this one has ended, then end this one."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
