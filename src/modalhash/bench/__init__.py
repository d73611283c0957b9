"""Results for people: reports of evaluations, sheets of answers, the demo and its page."""

from modalhash.bench.demo import DemoResult, run_demo
from modalhash.bench.report import PageSource, write_report
from modalhash.bench.runs import MeasuredRuns, evaluate_runs
from modalhash.bench.sheet import write_sheet

__all__ = [
    "DemoResult",
    "MeasuredRuns",
    "PageSource",
    "evaluate_runs",
    "run_demo",
    "write_report",
    "write_sheet",
]
