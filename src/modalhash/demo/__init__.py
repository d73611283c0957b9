"""The demo: train, measure, index and search on built-in pictures, and a page that shows it all."""

from modalhash.demo.running import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
