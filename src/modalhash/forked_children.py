"""What becomes of torch in a process that was forked from one that computed.

A forked child has none of its parent's threads. A library that waits for its team of threads, as
OpenMP does in torch's kernels, would wait for ever; so torch computes on one core there. Results
are the same: codes don't depend on the number of threads.
"""

import os
import sys

__all__ = ["compute_on_one_core"]


def compute_on_one_core() -> None:
    """Let torch compute on one core, if it is loaded; Python calls it in each forked child."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=compute_on_one_core)
