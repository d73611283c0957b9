"""Train methods at several lengths and seeds on one collection and measure them side by side.

Run `python -m benchmarks.quality.methods --help`.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

import modalhash as mh
from benchmarks.machine import describe_machine
from modalhash.cli.options import cache_option, changes
from modalhash.data import Collection
from modalhash.files import write_json, write_text
from modalhash.metrics import Report

RESULTS = Path(__file__).parent.parent / "results"
MEASURES = (
    ("MAP@50 shared label", "map", "shared_label", 50),
    ("MAP@50 Jaccard", "map", "jaccard", 50),
    ("recall@10 by pair", "recall", "pair", 10),
)
DIRECTIONS = ("image_to_text", "text_to_image")


@click.command()
@click.argument("collection")
@click.option("--split", default="dev", show_default=True, help="Queries.")
@click.option("--encoder", default="offline", show_default=True)
@click.option("--methods", default="random,cca-sign,cca-itq,cfrh", show_default=True)
@click.option("--bits", default="16,32,64,128", show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--preset", default="auto", show_default=True, help="Of methods that have it.")
@click.option("--set", "settings", multiple=True, callback=changes, help="For gradient methods.")
@click.option("--name", required=True, help="Of the result file.")
@cache_option
def main(
    *,
    collection: str,
    split: str,
    encoder: str,
    methods: str,
    bits: str,
    seeds: str,
    preset: str,
    settings: dict[str, str],
    name: str,
    cache: str | None,
) -> None:
    """Measure methods on COLLECTION and write benchmarks/results/quality-NAME.json and .md."""
    loaded = mh.load_collection(collection)
    runs = []
    grid = itertools.product(
        methods.split(","), map(int, bits.split(",")), map(int, seeds.split(","))
    )
    for method, n_bits, seed in grid:
        chosen = preset if preset in ("auto", *presets_of(method)) else None
        run = measure(
            loaded, split, cache, method=method, n_bits=n_bits, seed=seed, encoder=encoder,
            preset=chosen, settings=settings if is_trained(method) else {},
        )  # fmt: skip
        runs.append(run)
        values = "  ".join(f"{value:.3f}" for value in run["values"])
        click.echo(f"{method} {n_bits} bits seed {seed}: {values}  ({run['cpu_seconds']} CPU s)")
    write_json(
        RESULTS / f"quality-{name}.json",
        {
            "benchmark": "quality.methods",
            "settings": {
                "collection": loaded.name, "collection_sha256": loaded.fingerprint(),
                "split": split, "database": "train", "captions": "first", "encoder": encoder,
                "preset": preset, "changes": settings,
            },
            "seed": sorted({run["seed"] for run in runs}),
            "version": version("modalhash"),
            "machine": describe_machine(),
            "columns": [f"{title} {one}" for title, *_ in MEASURES for one in DIRECTIONS],
            "results": runs,
        },
    )  # fmt: skip
    text = table(runs)
    write_text(RESULTS / f"quality-{name}.md", text)
    click.echo(text)


def presets_of(method: str) -> Sequence[str]:
    """Return the presets of a method."""
    from modalhash.methods import method_class

    return list(method_class(method).presets)


def is_trained(method: str) -> bool:
    """Tell whether a method is trained by gradients."""
    from modalhash.methods import method_class
    from modalhash.methods.base import GradientMethod

    return issubclass(method_class(method), GradientMethod)


def measure(
    collection: Collection, split: str, cache: str | None, **options: Any
) -> dict[str, Any]:
    """Train and measure once."""
    started = time.process_time()
    model = mh.train(collection, cache=cache, **options)
    seconds = time.process_time() - started
    report = mh.evaluate(model, collection, split=split, cache=cache)
    return {
        "method": options["method"],
        "n_bits": options["n_bits"],
        "seed": options["seed"],
        "values": [round(value, 4) for value in values_of(report)],
        "cpu_seconds": round(seconds, 1),
    }


def values_of(report: Report) -> list[float]:
    """Return the columns of the table; NaN where there are no labels."""
    rules = {measure.relevance for measure in report.measures}
    return [
        report.value(measure, one, relevance=rule, k=k) if rule in rules else float("nan")
        for _, measure, rule, k in MEASURES
        for one in DIRECTIONS
    ]


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return means and deviations over seeds as Markdown."""
    heads = [f"{title} {arrow}" for title, *_ in MEASURES for arrow in ("I→T", "T→I")]
    lines = ["| method | bits | " + " | ".join(heads) + " | CPU s |"]
    lines.append("| --- | --- |" + " --- |" * (len(heads) + 1))
    for key, group in itertools.groupby(runs, key=lambda run: (run["method"], run["n_bits"])):
        same = list(group)
        cells = [
            f"{statistics.mean(column):.3f} ± {statistics.pstdev(column):.3f}"
            for column in zip(*(run["values"] for run in same), strict=True)
        ]
        seconds = statistics.mean(run["cpu_seconds"] for run in same)
        lines.append(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
