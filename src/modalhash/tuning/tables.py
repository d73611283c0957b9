"""The trials of a search as a table for people."""

import operator

import numpy as np

from modalhash.benchmarking.grid_table import markdown
from modalhash.tuning.search_spaces import format_value
from modalhash.tuning.trials import Trial, TuningResult

__all__ = ["trials_table"]


def row_of(trial: Trial, result: TuningResult) -> list[str]:
    """Write the cells of one trial: number, value or error, settings, CPU seconds."""
    value = trial.error
    if trial.value is not None:
        value = f"{trial.value:.4f} ± {np.std(trial.values):.4f}"
    settings = {**result.usual, **trial.settings}
    return [
        str(trial.number) if trial.number else "as it is",
        value,
        *(format_value(settings[name]) for name in result.space),
        f"{trial.cpu_seconds:.1f}",
    ]


def trials_table(result: TuningResult) -> str:
    """Write all trials as a Markdown table, the best first, and the space that was searched."""
    ordered = sorted(
        result.trials,
        key=lambda trial: (trial.value is None, -(trial.value or 0.0), trial.number),
    )
    rows = [row_of(trial, result) for trial in ordered]
    heads = ["trial", result.objective, *result.space, "CPU s"]
    searched = "\n".join(f"- `{name}`: {values}" for name, values in result.space.items())
    about = result.settings.about
    n_better = sum(map(operator.gt, result.best.values, result.trials[0].values))
    note = (
        f"{result.settings.method}, {about['bits']} bits, {about['collection']}, "
        f"{about['validation']}; mean of both directions and of all divisions, with the deviation "
        f"over divisions. The best is above the method as it is in {n_better} of "
        f"{len(result.best.values)} divisions."
    )
    return f"{markdown(heads, rows)}\n{note} Searched:\n\n{searched}\n"
