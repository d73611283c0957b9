"""What the fixture `modalhash` returns, for type hints."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["CommandLine", "Ended"]


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


CommandLine = Callable[..., Ended]
"""Takes the arguments of a command, runs it in this process."""
