"""Results for people: sheets of answers, the demo and its page."""

from modalhash.bench.demo import DemoResult, run_demo
from modalhash.bench.sheet import write_sheet

__all__ = ["DemoResult", "run_demo", "write_sheet"]
