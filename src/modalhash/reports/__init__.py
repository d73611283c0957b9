"""Evaluations and answers for people: HTML reports, plots, sheets of pictures, runs compared."""

from modalhash.reports.report import PageSource, write_report
from modalhash.reports.runs import MeasuredRuns, evaluate_runs
from modalhash.reports.sheet import write_sheet

__all__ = [
    "MeasuredRuns",
    "PageSource",
    "evaluate_runs",
    "write_report",
    "write_sheet",
]
