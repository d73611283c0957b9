"""The search over the settings of a method, judged on a validation part of the training items."""

from modalhash.tuning.search import tune
from modalhash.tuning.tables import trials_table
from modalhash.tuning.trials import Trial, TuningResult

__all__ = ["Trial", "TuningResult", "trials_table", "tune"]
