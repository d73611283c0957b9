"""The page of an evaluation: numbers with all that they mean, curves, examples, bits."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.api.measuring import select_evaluation_items, select_queries
from modalhash.api.opening import cache_folder
from modalhash.artifacts import CollectionCodes, HashModel
from modalhash.codes import code_width
from modalhash.data import Collection
from modalhash.metrics import (
    CodeStatistics,
    MeasureComparison,
    Report,
    code_statistics,
    csv_text,
)
from modalhash.progress import Progress, silent
from modalhash.reports.curves import (
    balance_plot,
    bits_plot,
    correlation_plot,
    precision_at_plot,
    precision_recall_plot,
    radius_plot,
    recall_at_plot,
)
from modalhash.reports.examples import Examples, Latency, query_latency
from modalhash.reports.pages import write_page
from modalhash.reports.report_tables import (
    GROUPS,
    list_meanings,
    make_comparison_view,
    make_overview,
    make_run_view,
    make_tiles,
    title,
)

__all__ = ["PageSource", "write_report"]


@dataclass(frozen=True)
class PageSource:
    """What a page takes its examples, times and bits from.

    Attributes:
        model: of the first report.
        collection: that was measured on.
        cache: where features are kept.
        seed: decides which example queries are drawn.
        progress: told of every stage.
    """

    model: HashModel
    collection: Collection
    cache: Path | str | None = None
    seed: int = 0
    progress: Progress = silent


def write_report(
    reports: Sequence[Report],
    path: Path,
    *,
    comparisons: Sequence[Sequence[MeasureComparison]] = (),
    source: PageSource | None = None,
) -> None:
    """Write one self-contained HTML page; it asks nothing of the network.

    Args:
        reports: the one the page is about, then those that it is compared with.
        path: where the page goes.
        comparisons: of the first report with each of the others.
        source: what made the first report's codes; without it there are no examples, no times and
            no plots of bits.

    Raises:
        MissingExtraError: if the extra `report` isn't installed.
        StorageError: if the file system refuses.
    """
    first = reports[0]
    insight = Insight.of(first, source)
    document = page_document(reports, comparisons, insight)
    values = {
        "version": version("modalhash"),
        "title": title(first),
        "lead": write_lead(first),
        "facts": list(
            list_facts(first, insight, "" if source is None else source.collection.split_note)
        ),
        "notes": first.notes,
        "n_timed": 0 if insight.latency is None else insight.latency.n_queries,
        "tiles": list(make_tiles(first)),
        "overview": make_overview(reports),
        "runs": [make_run_view(report) for report in reports],
        "comparisons": [
            make_comparison_view(first, other, compared)
            for other, compared in zip(reports[1:], comparisons, strict=True)
        ],
        "meanings": list_meanings(reports),
        "curve_rows": list(curve_rows(reports)),
        "examples": insight.examples,
        "statistics": insight.statistics_rows,
        "bit_plots": [
            plot
            for name, code_stats in insight.statistics.items()
            for plot in (
                (f"Share of +1 of each bit, {name}", balance_plot(code_stats, name)),
                (
                    f"Absolute correlation of bits, {name}",
                    correlation_plot(code_stats, name),
                ),
            )
        ],
        "json_link": make_data_link("application/json", json.dumps(document, indent=2)),
        "csv_link": make_data_link("text/csv", csv_text(reports)),
    }
    write_page("report.html", values, path)


@dataclass(frozen=True)
class Insight:
    """What a page shows that the numbers alone don't say.

    Attributes:
        statistics: of sets of codes, by name, with plots.
        statistics_rows: name, codes and four numbers each.
        latency: of single queries, or None.
        examples: views of example queries, one a direction.
    """

    statistics: Mapping[str, CodeStatistics]
    statistics_rows: Sequence[Mapping[str, Any]]
    latency: Latency | None
    examples: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, report: Report, source: PageSource | None) -> "Insight":
        """Look at the codes behind a report; without a source, at what the report says of them."""
        if source is None:
            rows = [
                {"name": f"{name} codes", "n_codes": n_codes, **report.about[f"{name}_statistics"]}
                for name, n_codes in (
                    ("query", report.counts["queries"]),
                    ("database", report.counts["database"]),
                )
                if f"{name}_statistics" in report.about
            ]
            return cls({}, rows, None, [])
        collection, model = source.collection, source.model
        codes = CollectionCodes(
            model,
            collection,
            captions=report.about["captions"],
            cache_folder=cache_folder(source.cache),
            progress=source.progress,
        )
        assert report.split is not None
        if report.database is None:
            queries = ranked = select_queries(collection, report.split)
        else:
            queries, ranked = select_evaluation_items(collection, report.split, report.database)
        where = report.database or report.split
        sets = {
            f"pictures of {where}": codes.image(ranked),
            f"texts of {where}": codes.text(codes.texts_of(ranked)),
        }
        statistics = {name: code_statistics(entry, model.n_bits) for name, entry in sets.items()}
        rows = [
            {
                "name": name,
                "n_codes": len(sets[name]),
                "mean_entropy": entry.mean_entropy,
                "mean_correlation": entry.mean_correlation,
                "n_constant_bits": entry.n_constant_bits,
                "n_distinct_codes": entry.n_distinct_codes,
            }
            for name, entry in statistics.items()
        ]
        chooser = Examples(codes, queries, ranked, seed=source.seed)
        views: dict[str, Any] = {}
        for entry in report.directions:  # labels come before pairs
            if entry.direction not in views and (view := chooser.of(entry)) is not None:
                views[entry.direction] = view
        return cls(statistics, rows, query_latency(codes, queries, ranked), list(views.values()))


def page_document(
    reports: Sequence[Report],
    comparisons: Sequence[Sequence[MeasureComparison]],
    insight: Insight,
) -> dict[str, Any]:
    """Describe everything on the page as JSON: the report's document and what was added to it."""
    document = reports[0].to_json()
    document["bytes_per_item"] = code_width(reports[0].code_bits)
    document["bit_statistics"] = [dict(row) for row in insight.statistics_rows]
    if insight.latency is not None:
        document["query_latency_ms"] = {
            "encode": insight.latency.encode,
            "search": insight.latency.search,
            "n_queries": insight.latency.n_queries,
            "n_items": insight.latency.n_items,
        }
    document["against"] = [
        {**other.to_json(), "differences": [comparison.to_json() for comparison in compared]}
        for other, compared in zip(reports[1:], comparisons, strict=True)
    ]
    return document


def write_lead(report: Report) -> str:
    """Write what was measured on what, in a sentence."""
    counts = report.counts
    if report.split is None:
        return (
            f"{counts['queries']:,} queries of {report.about['query_codes']} against "
            f"{counts['database']:,} items of {report.about['database_codes']}."
        )
    against = ""
    if report.database is not None:
        against = f", against {counts['database']:,} items of {report.database}"
    return (
        f"Measured on {report.about.get('collection', 'a collection')}: {counts['queries']:,} "
        f"queries of {report.split}{against}."
    )


def list_facts(report: Report, insight: Insight, split_note: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of what a reader must know of the codes."""
    about = report.about
    yield "code", f"{report.n_bits} bits, {code_width(report.code_bits)} bytes an item"
    for name in ("method", "preset", "encoder", "collection"):
        if about.get(name):
            yield name, str(about[name])
    if about.get("captions"):
        yield "texts", "each item's first" if about["captions"] == "first" else "all of each item"
    if report.split is not None:
        yield "queries", f"{report.counts['queries']:,} of {report.split}"
        if report.database is not None:
            yield "ranked by labels", f"{report.counts['database']:,} of {report.database}"
    if split_note:
        yield "splits", split_note
    if "seed" in about:
        yield "seed of training", str(about["seed"])
    if intervals := about.get("intervals"):
        resamples = f"{intervals['n_resamples']:,} resamples, seed {intervals['seed']}"
        yield "intervals", f"{intervals['level']:.0%}, {resamples}"
    yield from list_times(insight.latency)
    if about.get("model_fingerprint"):
        yield "model", str(about["model_fingerprint"])[:16]


def list_times(latency: Latency | None) -> Iterator[tuple[str, str]]:
    """Yield how long queries take, by modality."""
    if latency is None:
        return
    search = f"{format_milliseconds(latency.search)} to search {latency.n_items:,} codes"
    for modality, time in latency.encode.items():
        yield f"{modality} query", f"{format_milliseconds(time)} to encode, {search}"
    if not latency.encode:
        yield "query", search


def format_milliseconds(time: float) -> str:
    """Format a time with two significant digits."""
    digits = 0 if time >= 10 else 1 if time >= 1 else 2
    return f"{time:.{digits}f} ms"


def curve_rows(reports: Sequence[Report]) -> Iterator[dict[str, Any]]:
    """Yield rows of plots, one a rule of relevance and scoring."""
    rules = dict.fromkeys(
        curve.relevance
        for report in reports
        for measure in report.directions
        for curve in measure.curves
    )
    for rule in rules:
        for scorings in group_scorings(reports):
            if row := curve_row(reports, rule, scorings):
                yield row


def group_scorings(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """Group scorings that are drawn together: each alone, but reranked runs with plain ones."""
    scorings = tuple(dict.fromkeys(name for report in reports for name in report.scorings))
    return [scorings] if "reranked" in scorings else [(name,) for name in scorings]


def curve_row(reports: Sequence[Report], rule: str, scorings: tuple[str, ...]) -> dict[str, Any]:
    """Draw the plots of one rule of relevance and some scorings; empty if there are none."""
    if rule == "pair":
        plots = [("Recall@N: the own one among the first N", recall_at_plot)]
    else:
        plots = [
            ("Precision over recall, by rank", precision_recall_plot),
            ("Precision among the first N", precision_at_plot),
            ("Precision over recall of lookups within a radius r", radius_plot),
        ]
    drawn = [(text, plot(reports, rule, scorings)) for text, plot in plots]
    maps = [
        measure
        for measure in reports[0].measures
        if (measure.measure, measure.relevance) == ("map", rule)
    ]
    if maps:
        drawn.append(("MAP over the length of codes", bits_plot(reports, scorings, maps[0])))
    if not any(drawing for _, drawing in drawn):
        return {}
    ties = {measure.ties for report in reports for measure in report.measures} - {"none"}
    return {
        "heading": f"{GROUPS[rule][0]}, {' and '.join(scorings)}",
        "ties": ", ".join(sorted(ties)).replace("_", " "),
        "plots": [(text, drawing) for text, drawing in drawn if drawing],
    }


def make_data_link(kind: str, content: str) -> str:
    """Make a link that holds a file."""
    return f"data:{kind};base64,{base64.b64encode(content.encode()).decode()}"
