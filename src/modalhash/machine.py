"""Describe the machine a benchmark ran on, and what this process takes of it.

Benchmarks write this description into their result files. No network, no import of the libraries it
names: their versions come from the installed packages' metadata.

Run it to see the description: `python -m modalhash.machine`.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "cpu_model",
    "describe_machine",
    "forget_peak",
    "installed_version",
    "memory_gib",
    "peak_mib",
    "usable_cores",
    "user_cache_folder",
]

PROC = Path("/proc/self")

PACKAGES = ("modalhash", "numpy", "torch", "faiss-cpu")


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know to place a measured time.

    Attributes:
        cpu: the processor's model name, as the system gives it.
        cores: logical processors that this process may use.
        memory_gib: installed memory in GiB; None where the system doesn't say.
        system: operating system and architecture.
        python: version of the running interpreter.
        packages: installed version by package name; None if it is not installed.
    """

    cpu: str
    cores: int
    memory_gib: float | None
    system: str
    python: str
    packages: Mapping[str, str | None]


def describe_machine() -> dict[str, object]:
    """Describe this machine as a JSON-ready dictionary.

    Returns:
        The fields of `Machine` by name.

    Example:
        >>> sorted(describe_machine())
        ['cores', 'cpu', 'memory_gib', 'packages', 'python', 'system']
    """
    machine = Machine(
        cpu=cpu_model(),
        cores=usable_cores(),
        memory_gib=memory_gib(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: installed_version(name) for name in PACKAGES},
    )
    return asdict(machine)


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Read the processor's model name; where there is none, its architecture."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Count the logical processors this process may use, not those the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """Compute the installed memory in GiB, to one decimal; None where it isn't known."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def user_cache_folder() -> Path:
    """Find the folder of everything that is kept for the next time.

    `MODALHASH_CACHE` if set, else `modalhash` in the user's cache folder as the platform has it.
    """
    stated = os.environ.get("MODALHASH_CACHE")
    if stated:
        return Path(stated).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "modalhash"


def installed_version(package: str) -> str | None:
    """Look up a package's installed version without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def forget_peak() -> None:
    """Let the peak begin anew, where the system can (Linux); elsewhere it stays the process's."""
    with suppress(OSError):
        (PROC / "clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """Measure the largest resident memory since `forget_peak`, in MiB; 0 where it isn't known."""
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe_machine(), indent=2) + "\n")
