"""The file that a benchmark leaves: what was run, its settings, the machine, and the figures."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def write_result(
    path: Path, benchmark: str, settings: Mapping[str, object], results: object
) -> None:
    """Write the figures of a run as JSON, with all that is needed to run it again.

    Args:
        path: The file; its folder is made where it is missing.
        benchmark: The module's name without `benchmarks.`, for instance "index.flat".
        settings: Options of the run by name, for instance `vars` of parsed arguments. `output` is
            left out, and of a path only its last part is kept: folders differ between machines.
            Where there is a `seed`, it is that of all that was drawn; else 0.
        results: Figures that JSON can hold.
    """
    document: dict[str, Any] = {
        "benchmark": benchmark,
        "settings": {
            name: value.name if isinstance(value, Path) else value
            for name, value in settings.items()
            if name != "output"
        },
        "seed": settings.get("seed", 0),
        "version": version("modalhash"),
        "machine": describe_machine(),
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")
