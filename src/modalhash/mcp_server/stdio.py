"""A client on standard input and output: the program that started this process.

Messages go line by line. The SDK moves standard output away from what libraries print, so that it
carries messages only. Its own reader of standard input can't be stopped while it waits for a line,
so a thread reads here, which the process may leave behind.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from mcp.server.context import CallNext, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

__all__ = ["StandardInput", "run_on_stdio"]

PIECE: Final = 1 << 16
STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
SETTLING: Final = 0.05
"""Seconds without a request under way after which no answer is due any more."""


class Progress:
    """Counts the requests under way, so that the answers to the last ones aren't lost."""

    def __init__(self) -> None:
        self.under_way = 0

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> Any:
        """Count one message while it is answered."""
        self.under_way += 1
        try:
            return await call_next(ctx)
        finally:
            self.under_way -= 1

    async def settle(self, seconds: float) -> None:
        """Wait until no request is under way, for some seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(SETTLING)
                while self.under_way:
                    await asyncio.sleep(SETTLING)


class StandardInput:
    """The lines of standard input, read in a thread; iterating it can be cancelled.

    Args:
        progress: of the requests; after the last line their answers are waited for.
        grace: seconds that this may take.
    """

    def __init__(self, progress: Progress, grace: float) -> None:
        self._progress, self._grace = progress, grace
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, name="stdin", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        """Read until the end; runs in a thread of its own, which nobody waits for."""
        descriptor, rest = sys.stdin.fileno(), b""
        while True:
            try:
                piece = os.read(descriptor, PIECE)
            except OSError:
                piece = b""
            *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
            try:
                for line in lines:
                    self._put(line.decode(errors="replace"))
                if not piece:
                    if rest:
                        self._put(rest.decode(errors="replace"))
                    self._put(None)
                    return
            except RuntimeError:  # the loop has ended
                return

    def _put(self, line: str | None) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the lines that aren't empty; at the end, wait for the last answers."""
        while (line := await self._lines.get()) is not None:
            if line.strip():
                yield line
        await self._progress.settle(self._grace)


async def run_on_stdio(server: Server[Any], *, grace: float) -> None:
    """Answer the client on standard input until it closes it, or a signal says to stop.

    Args:
        server: of the SDK.
        grace: seconds that the end may wait for answers.
    """
    progress = Progress()
    server.middleware.append(progress)
    task = asyncio.ensure_future(exchange_messages(server, progress, grace))
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)  # only in the main thread, on Unix
    with suppress(asyncio.CancelledError):
        await task


async def exchange_messages(server: Server[Any], progress: Progress, grace: float) -> None:
    """Exchange messages until the client leaves."""
    lines: Any = StandardInput(progress, grace)
    try:
        async with stdio_server(stdin=lines) as (received, sent):
            await server.run(received, sent, server.create_initialization_options())
    except* BrokenPipeError:  # the client is gone
        discard_output()


def discard_output() -> None:
    """Let what was still to be written go to nothing, so that Python's end doesn't fail on it."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
