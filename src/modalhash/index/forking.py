"""What becomes of open indexes in a process that was forked from theirs.

A forked child has its parent's memory but not its threads. Locks that another thread held stay
held, OpenMP waits for threads that are gone, SQLite's connections must not be used on both sides,
and the writer's lock would stay taken as long as the child lives. So whatever can't be shared is
registered here, and renewed in the child.
"""

import os
import sys
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forkable", "renew_in_children"]


class Forkable(Protocol):
    """Something that can't be shared with a forked child."""

    def after_fork(self) -> None:
        """Let go in the child of what belongs to the parent; quick, and without waiting."""


registered: "WeakSet[Forkable]" = WeakSet()


def renew_in_children(thing: Forkable) -> None:
    """Call `after_fork` of something in every process that is forked from this one."""
    registered.add(thing)


def renew() -> None:
    """Make the index room usable in a forked child; Python calls it there."""
    faiss = sys.modules.get("faiss")
    if faiss is not None:
        faiss.omp_set_num_threads(1)  # its team of threads stayed in the parent
    for thing in list(registered):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew)
