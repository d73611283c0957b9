"""Work done together: each gets their own, nobody waits in vain, errors go where they belong."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from modalhash.service.batching import Batcher


class Doubler:
    """Doubles numbers, notes which came together, and can be held back."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, jobs: Sequence[int]) -> Sequence[int | Exception]:
        self.may_go.wait(10)
        self.batches.append(list(jobs))
        return [ValueError(f"no {job}") if job < 0 else 2 * job for job in jobs]


def run(jobs: Sequence[int], most: int = 4, wait: float = 0.0, under_way: int = 100,
        held_back: bool = False) -> tuple[list[int | BaseException], list[list[int]]]:  # fmt: skip
    work = Doubler()

    async def all_at_once() -> list[int | BaseException]:
        batcher: Batcher[int, int] = Batcher(
            work, pool, most=most, wait=wait, under_way=lambda: under_way
        )
        if held_back:
            work.may_go.clear()
            asyncio.get_running_loop().call_later(0.05, work.may_go.set)
        results = await asyncio.gather(*map(batcher.do, jobs), return_exceptions=True)
        await batcher.finish()
        return results

    with ThreadPoolExecutor(1) as pool:
        return asyncio.run(all_at_once()), work.batches


def test_each_gets_the_result_of_its_own_job() -> None:
    results, batches = run(range(10), held_back=True)
    assert results == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_the_first_waits_for_others_that_may_come() -> None:
    assert run(range(3), wait=0.02)[1] == [[0, 1, 2]]


def test_a_full_batch_and_all_there_are_do_not_wait() -> None:
    assert run(range(4), wait=60)[1] == [[0, 1, 2, 3]]
    assert run([7], wait=60, under_way=1)[1] == [[7]]


def test_an_error_is_for_its_own_job() -> None:
    results, _ = run([1, -1, 2], wait=0.02)
    assert (results[0], results[2]) == (2, 4)
    assert str(results[1]) == "no -1"


def test_an_error_of_the_work_itself_reaches_all() -> None:
    def broken(jobs: Sequence[int]) -> Sequence[int | Exception]:
        raise ZeroDivisionError(len(jobs))

    async def both() -> list[int | BaseException]:
        batcher: Batcher[int, int] = Batcher(broken, pool, most=4, wait=0.01, under_way=lambda: 9)
        return list(await asyncio.gather(batcher.do(1), batcher.do(2), return_exceptions=True))

    with ThreadPoolExecutor(1) as pool:
        assert [type(one) for one in asyncio.run(both())] == [ZeroDivisionError] * 2


def test_who_went_away_is_left_out() -> None:
    work = Doubler()

    async def some_leave() -> int:
        batcher: Batcher[int, int] = Batcher(work, pool, most=4, wait=0.0, under_way=lambda: 9)
        work.may_go.clear()
        first = asyncio.ensure_future(batcher.do(1))
        await asyncio.sleep(0.01)
        leaving, staying = (
            asyncio.ensure_future(batcher.do(2)),
            asyncio.ensure_future(batcher.do(3)),
        )
        await asyncio.sleep(0.01)
        leaving.cancel()
        work.may_go.set()
        await first
        return await staying

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(some_leave()) == 6
    assert work.batches == [[1], [3]]


def test_batches_run_side_by_side_where_they_may() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def together(jobs: Sequence[int]) -> Sequence[int | Exception]:
        meeting.wait()
        return list(jobs)

    async def both() -> list[int]:
        batcher: Batcher[int, int] = Batcher(
            together, pool, most=1, wait=0.0, under_way=lambda: 9, at_once=2
        )
        return list(await asyncio.gather(batcher.do(1), batcher.do(2)))

    with ThreadPoolExecutor(2) as pool:
        assert asyncio.run(both()) == [1, 2]


@pytest.mark.parametrize("most", [1, 3])
def test_finishing_waits_for_everything(most: int) -> None:
    work = Doubler()

    async def finished() -> int:
        batcher: Batcher[int, int] = Batcher(work, pool, most=most, wait=0.005, under_way=lambda: 9)
        tasks = [asyncio.ensure_future(batcher.do(job)) for job in range(7)]
        await asyncio.sleep(0)
        await batcher.finish()
        return sum(task.done() for task in tasks)

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(finished()) == 7
