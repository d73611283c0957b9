"""The demo: everything on built-in pictures, from drawing them to a page of answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.api import build_index, evaluate, extract_features, load_collection, train
from modalhash.api.method_choice import choose_method
from modalhash.artifacts import HashModel
from modalhash.codes import code_width, hamming_distances
from modalhash.data import Collection
from modalhash.files import write_json
from modalhash.metrics import Report
from modalhash.progress import Progress, automatic, silent
from modalhash.reports.pages import figure_data, new_figure, write_page
from modalhash.reports.sheet import make_answer_view, write_sheet
from modalhash.search import SearchIndex, Side

__all__ = ["DemoResult", "run_demo"]

COLLECTION, ENCODER = "icons", "offline"
FLOORS = ("random", "cca-sign")
TEXT_QUERIES = (
    "a glass of wine",
    "rain and storm",
    "listening to music",
    "wild animal",
    "pay with money",
    "travel by plane",
)
HITS = 8
NO_LOSSES, MOST_LOSSES = ("epoch", "seconds", "recall", "validation"), 5
"""Entries of a run's log that are no losses, and how many losses are drawn."""
WANTED = ("plane-departure", "frog")
"""Held-out icons to ask with, the first that is there."""


@dataclass(frozen=True)
class DemoResult:
    """Where the demo's results lie.

    Attributes:
        page: the page of answers, measures and plots.
        sheet: the answers as one picture.
        run: the trained model's folder.
        index: the index folder.
        reports: name of codes to their measures: the demo's own, and floors to compare with.
    """

    page: Path
    sheet: Path
    run: Path
    index: Path
    reports: Mapping[str, Report]


def run_demo(
    folder: Path | str,
    *,
    n_bits: int = 64,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = automatic,
) -> DemoResult:
    """Draw the icons, learn codes, measure them on held-out icons, index and search.

    A second run reuses what is there.

    Args:
        folder: where everything goes.
        n_bits: bits of a code.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every stage.

    Returns:
        Where the results lie.

    Raises:
        MissingExtraError: if the extra `demo` isn't installed.
        InputError: if the folder holds a demo of other settings.
    """
    folder = Path(folder)
    shared: dict[str, Any] = {"cache": cache, "device": device, "progress": progress}
    collection = load_collection(COLLECTION)
    method = choose_method(collection)
    models = {
        name: train(
            collection,
            output=folder / "runs" / f"{name}-{n_bits}",
            method=name,
            n_bits=n_bits,
            encoder=ENCODER,
            resume=True,
            **shared,
        )
        for name in (method, *FLOORS)
    }
    reports = {
        name: evaluate(model, collection, split="test", **shared) for name, model in models.items()
    }
    for name, report in reports.items():
        write_json(folder / "runs" / f"{name}-{n_bits}" / "report.json", report.to_json())
    model = models[method]
    index = build_index(
        model, collection, output=folder / f"index-{n_bits}", overwrite=True, **shared
    )
    answers = [index.search(text=text, k=HITS) for text in TEXT_QUERIES]
    answers += picture_answers(index, collection)
    result = DemoResult(
        folder / "demo.html",
        folder / "answers.png",
        folder / "runs" / f"{method}-{n_bits}",
        folder / f"index-{n_bits}",
        reports,
    )
    write_sheet(answers, result.sheet)
    rows = [
        {"name": models[name].record.title, "is_own": name == method, "cells": cells(report)}
        for name, report in reports.items()
    ]
    write_page(
        "demo.html",
        {
            "title": model.record.title,
            "n_bits": n_bits,
            "n_bytes": code_width(n_bits),
            "n_train": len(collection.split("train")),
            "n_queries": len(collection.split("test")),
            "n_indexed": collection.n_items,
            "answers": [make_answer_view(answer) for answer in answers],
            "columns": ["MAP@50 image→text", "text→image", "recall@10 image→text", "text→image"],
            "rows": rows,
            "distance_plot": distance_plot(model, collection, cache),
            "loss_plot": loss_plot(result.run),
            "commands": f'modalhash search {result.index} --text "space travel"\n'
            f"modalhash evaluate {result.run} --split test\n"
            "modalhash train YOUR_PHOTOS/ -o runs/photos",
        },
        result.page,
    )
    return result


def picture_answers(index: SearchIndex, collection: Collection) -> list[Any]:
    """Search with a held-out icon: the nearest texts and the nearest pictures."""
    held_out = {collection.item_ids[item] for item in collection.split("test")}
    preferred = next((name for name in WANTED if name in held_out), None)
    name = preferred or min(held_out)
    file = index.folder / index.sides[Side.IMAGES].metadata([name])[0]["image"]
    return [index.search(image=file, k=HITS, target=side) for side in (Side.TEXTS, Side.IMAGES)]


def cells(report: Report) -> list[str]:
    """Format the numbers of the demo's table."""
    directions = ("image_to_text", "text_to_image")
    return [
        f"{report.value('map', direction, relevance='shared_label', k=50):.3f}"
        for direction in directions
    ] + [
        f"{report.value('recall', direction, relevance='pair', k=10):.3f}"
        for direction in directions
    ]


def distance_plot(model: HashModel, collection: Collection, cache: Path | str | None) -> str:
    """Draw the histogram of distances of held-out pairs and of all others."""
    items = collection.split("test")
    features = extract_features(collection, model.encoder, cache=cache, progress=silent)
    images = model.encode_features(features.image.pooled(items), "image")
    texts = model.encode_features(features.text.pooled(collection.caption_starts[items]), "text")
    distances = hamming_distances(texts, images)
    is_pair = np.eye(len(items), dtype=bool)
    figure = new_figure()
    axes = figure.axes[0]
    edges = np.arange(-0.5, model.n_bits + 1.5, max(1, model.n_bits // 32)).tolist()
    for chosen, label, colour in ((~is_pair, "others", "#9ca3af"), (is_pair, "pairs", "#6366f1")):
        axes.hist(distances[chosen], edges, density=True, alpha=0.65, label=label, color=colour)
    axes.set_xlabel("differing bits", color="#6b7280")
    axes.set_ylabel("share", color="#6b7280")
    axes.legend(frameon=False, labelcolor="#6b7280")
    return figure_data(figure)


def loss_plot(run: Path) -> str:
    """Draw the curves of a run's log."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    figure = new_figure()
    axes = figure.axes[0]
    for name in [name for name in log[0] if name not in NO_LOSSES][:MOST_LOSSES]:
        values = [entry.get(name, float("nan")) for entry in log]
        axes.plot(range(1, len(log) + 1), values, label=name.replace("_", " "))
    axes.set_xlabel("epoch", color="#6b7280")
    axes.legend(frameon=False, labelcolor="#6b7280")
    return figure_data(figure)
