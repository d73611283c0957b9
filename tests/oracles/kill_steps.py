"""Kill this process before or after one of its calls that change files."""

import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

__all__ = ["kill_at"]


def kill_at(step: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make what wraps the calls that count: each has a step before it and one after it.

    Args:
        step: from 0, at which the process is killed.
    """
    steps = count()

    def pass_step() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            pass_step()
            result = call(*arguments, **named)
            pass_step()
            return result

        return run

    return watch
