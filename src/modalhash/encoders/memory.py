"""How much memory there is for a batch, and what running out of it looks like."""

import sys
from contextlib import suppress
from pathlib import Path

from modalhash.encoders.base import ImageTower, Tower
from modalhash.encoders.encoding_threads import encoding_lanes

__all__ = ["free_bytes", "is_out_of_memory", "starting_batch_size"]

ASSUMED_FREE = 2 << 30
"""Taken where the platform doesn't say."""
SHARE = 0.25
"""Part of the free memory that batches may take."""


def free_bytes(device: str) -> int:
    """Estimate how much memory is free for computing on a device."""
    if device.startswith("cuda") and "torch" in sys.modules:
        free: int = sys.modules["torch"].cuda.mem_get_info(device)[0]
        return free
    free = ASSUMED_FREE
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        free = int(available.split()[1]) << 10
    with suppress(OSError, ValueError):  # what a container may still take
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        free = min(free, max(0, limit - used))
    return free


def starting_batch_size(tower: Tower) -> int:
    """Choose a power of two whose batches, one a lane, fit into a quarter of the free memory.

    It is at most 256, and at most 8 for pictures on a CPU: more no longer fit into its caches.
    """
    largest = 8 if isinstance(tower, ImageTower) and tower.device == "cpu" else 256
    share = free_bytes(tower.device) * SHARE / encoding_lanes(tower.device)
    fitting = max(1, min(int(share / tower.item_bytes), largest))
    return 1 << (fitting.bit_length() - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on any device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in phrases)
