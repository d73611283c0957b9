"""Models on a hub: which files are fetched, and the card that a hub reads."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modalhash.artifacts.calibration import CALIBRATION
from modalhash.artifacts.model_record import CARD, RECORD, WEIGHTS
from modalhash.artifacts.onnx_files import ONNX_FOLDER, ONNX_MANIFEST
from modalhash.encoders import default_cache_folder
from modalhash.errors import InputError
from modalhash.hub import download_files, is_hub_name, read_hub_name
from modalhash.metrics import Measure, Report

__all__ = ["WEIGHTS_LICENCE", "check_licence", "find_model_folder", "hub_cache", "hub_card"]

FILES: Final = frozenset({RECORD, WEIGHTS, CARD, CALIBRATION, ONNX_MANIFEST, "tokenizer.json"})
FOLDERS: Final = ("encoder", ONNX_FOLDER)
"""Of a tuned encoder, and of ONNX files beside weights."""
LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]*")
WEIGHTS_LICENCE: Final = "the weights, which depends on the data they were learned from"
TASK: Final = {"type": "image-text-retrieval", "name": "Image-text retrieval by hash codes"}


def hub_cache() -> Path:
    """Name the folder, in the user's cache, that keeps what was fetched from a hub."""
    return default_cache_folder().parent / "hub"


def find_model_folder(source: Path | str, *, token: str | None = None) -> Path:
    """Find the folder of a model; one on a hub is fetched.

    Args:
        source: a folder, or `hf://OWNER/NAME`.
        token: of the user of the hub.

    Raises:
        InputError: if it is no name of a model on a hub.
        MissingExtraError: if the hub's client isn't installed.
        ModelUnavailableError: if it can't be had.
    """
    if not is_hub_name(source):
        return Path(source)
    name = read_hub_name(source)
    return download_files(name, hub_cache(), is_wanted=is_model_file, token=token)


def is_model_file(path: str) -> bool:
    """Tell whether a file of a repository is one of a model's."""
    first, *rest = path.split("/")
    return first in FOLDERS if rest else first in FILES or first.endswith(".onnx")


def check_licence(licence: str, whose: str) -> None:
    """Refuse what is no identifier of a licence.

    Args:
        licence: as hubs write it ("apache-2.0", "other").
        whose: what it is of, for the message.

    Raises:
        InputError: if it is none.
    """
    if not LICENCE.fullmatch(licence):
        raise InputError(
            f"license is {licence!r}, expected the identifier of a licence in lower case, such as "
            f"'apache-2.0', 'cc-by-4.0' or 'other'; it is that of {whose}"
        )


def hub_card(
    card: str, record: Mapping[str, Any], *, repository: str, licence: str, report: Report | None
) -> str:
    """Complete a model card with what a hub reads at its head.

    Args:
        card: Markdown, as `model_card` writes it.
        record: the entries of the model's record.
        repository: `OWNER/NAME`.
        licence: identifier of the weights' licence, as hubs write it ("apache-2.0", "other").
        report: of an evaluation of the model; its numbers go into `model-index`.

    Raises:
        InputError: if the licence is no identifier.
    """
    check_licence(licence, WEIGHTS_LICENCE)
    head: dict[str, Any] = {
        "license": licence,
        "library_name": "modalhash",
        "pipeline_tag": "feature-extraction",
        "tags": [
            "modalhash",
            "cross-modal-hashing",
            "image-text-retrieval",
            f"{record['n_bits']}-bits",
            str(record["method"]),
        ],
    }
    if report is not None:
        head["model-index"] = model_index(record, report)
    # JSON is YAML as well.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()]
    text = card.replace("THIS_FOLDER", f"hf://{repository}")
    return "\n".join(["---", *lines, "---", "", text])


def model_index(record: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """Write the numbers of a report as a hub's `model-index` has them, with all their rules."""
    collection = str(report.about.get("collection") or record["trained_on"]["collection"])
    metrics = [
        describe_measure(measure) for measure in report.measures if not math.isnan(measure.value)
    ]
    if not metrics:
        return []
    result = {
        "task": TASK,
        "dataset": {"name": collection, "type": collection, "split": report.split or "all"},
        "metrics": metrics,
    }
    return [{"name": f"{record['title']}, {record['n_bits']} bits", "results": [result]}]


def describe_measure(measure: Measure) -> dict[str, Any]:
    """Describe one number: value, formula, cut-off, ties, relevance and scoring."""
    cut = "" if measure.k is None else f"@{measure.k}"
    rules = {
        "direction": measure.direction,
        "formula": measure.convention or "",
        "ties": measure.ties,
        "relevance": measure.relevance,
        "scoring": measure.scoring,
        "n_queries": measure.n_queries,
        "n_database": measure.n_database,
    }
    rules_text = ", ".join(f"{name} {value}" for name, value in rules.items() if value != "")
    return {
        "type": f"{measure.measure}{cut}",
        "value": measure.value,
        "name": f"{measure.measure}{cut} ({rules_text})",
        "args": rules,
    }
