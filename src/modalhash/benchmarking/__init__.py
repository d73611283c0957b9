"""Methods side by side: many trainings measured alike, public programs, protocols of papers."""

from modalhash.benchmarking.grid import Place, Task, Variant, run_grid
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.public_programs import (
    ExportedInputs,
    export_inputs,
    import_public_codes,
    score_public_codes,
)

__all__ = [
    "ExportedInputs",
    "Outcome",
    "Place",
    "Task",
    "Variant",
    "export_inputs",
    "import_public_codes",
    "run_grid",
    "score_public_codes",
]
