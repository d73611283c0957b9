"""Threads that run towers: on a CPU one batch a core, anywhere else one batch after another.

A CPU could also spread each operation of one batch over its cores, as torch does by default. But
then all cores wait for the slowest one some hundred times a batch: where other work keeps a core
busy, decoding pictures for instance, measured rates fall to a fifth. Whole batches side by side
wait for nothing; and their features don't depend on the number of cores.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

__all__ = ["encoding_lanes", "encoding_pool"]


def encoding_lanes(device: str) -> int:
    """Choose how many batches are encoded side by side on a device.

    On a CPU it is the number of threads torch would use, so `OMP_NUM_THREADS` and
    `torch.set_num_threads` are respected; without torch one.
    """
    torch = sys.modules.get("torch")
    return 1 if device != "cpu" or torch is None else int(torch.get_num_threads())


@contextmanager
def encoding_pool(device: str) -> Iterator[ThreadPoolExecutor]:
    """Give a pool with a thread for each lane of a device; waiting work is cancelled at the end.

    On a CPU, torch computes on one core in each of them. The caller's own setting stays.
    """
    lanes = encoding_lanes(device)
    uses_torch = device == "cpu" and sys.modules.get("torch") is not None
    pool = ThreadPoolExecutor(
        lanes, "modalhash-encode", initializer=compute_on_one_core if uses_torch else None
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if uses_torch:
            sys.modules["torch"].set_num_threads(lanes)  # the default of threads to come


def compute_on_one_core() -> None:
    """Let torch use one core in this thread."""
    sys.modules["torch"].set_num_threads(1)
