"""The largest memory of this process since a moment."""

import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["forget_peak", "peak_mib"]

PROC = Path("/proc/self")


def forget_peak() -> None:
    """Let the peak begin anew, where the system can (Linux); elsewhere it stays the process's."""
    with suppress(OSError):
        (PROC / "clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """Return the largest resident memory since `forget_peak`, in MiB; 0 where it isn't known."""
    with suppress(OSError):
        for line in (PROC / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
