"""The search over the settings of a method, judged on a validation part of the training items."""

from modalhash.tuning.search import OBJECTIVES, Trial, TuningResult, trials_table, tune

__all__ = ["OBJECTIVES", "Trial", "TuningResult", "trials_table", "tune"]
