"""Reports as CSV: one row a number, with everything that it means in columns of its own."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from modalhash.metrics.report import Report

__all__ = ["COLUMNS", "csv_text"]

COLUMNS = (
    "method",
    "n_bits",
    "encoder",
    "collection",
    "split",
    "database",
    "seed",
    "model_fingerprint",
    "measure",
    "k",
    "direction",
    "relevance",
    "scoring",
    "convention",
    "ties",
    "value",
    "interval_low",
    "interval_high",
    "n_queries",
    "n_database",
)
"""Columns of the table; a number that isn't defined, and the cut-off "all", are empty."""


def csv_text(reports: Iterable[Report]) -> str:
    """Write reports as one CSV table with a header line.

    Example:
        >>> print(csv_text([])[:13])
        method,n_bits
    """
    content = io.StringIO()
    writer = csv.DictWriter(content, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for report in reports:
        writer.writerows(rows_of(report))
    return content.getvalue()


def rows_of(report: Report) -> Iterator[dict[str, Any]]:
    """Yield one row a number."""
    document = report.to_json()
    shared = {name: report.about.get(name, "") for name in COLUMNS if name in report.about}
    for measure in document["measures"]:
        low, high = measure.pop("interval") or (None, None)
        is_pair = measure["relevance"] == "pair"
        yield {
            **shared,
            "n_bits": report.n_bits,
            "split": report.split,
            # Pairs rank the split itself.
            "database": report.split if is_pair else report.database,
            **measure,
            "interval_low": low,
            "interval_high": high,
        }
