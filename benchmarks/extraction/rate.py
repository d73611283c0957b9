"""Compare extraction from picture files with the bare encoder on decoded pictures, in one run.

Measures pictures a second of three ways to the same features, in turn, so that load on the machine
meets all alike:

- `bare`: the offline encoder on pictures that are decoded already, batch after batch, with as many
  torch threads as asked for;
- `bare_lanes`: the same, but whole batches side by side, one core each, as extraction does it;
- `extraction`: `extract_features` from the files to a new store: look, hash, decode, encode, write.

Run it: `python -m benchmarks.extraction.rate`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.result_files import RESULTS, write_result
from modalhash.data import Collection
from modalhash.data.pictures import PictureFiles
from modalhash.encoders import Encoder, ImageTower, extract_features, load_encoder
from modalhash.encoders.encoding_threads import encoding_pool
from modalhash.machine import describe_machine

BATCH = 32


def write_pictures(folder: Path, n: int, side: int, seed: int) -> list[Path]:
    """Write smooth random pictures as JPEG files of quality 75, a few dozen kilobytes each."""
    generator = np.random.default_rng(seed)
    paths = []
    for place in range(n):
        coarse = generator.integers(0, 256, (side // 16, side // 16, 3), np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((side, side)), np.int16)
        noisy = picture + generator.integers(-12, 13, picture.shape)
        path = folder / f"{place:06}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=75)
        paths.append(path)
    return paths


def collection_of(paths: Sequence[Path]) -> Collection:
    """Return a collection whose texts cost nothing: their features are there."""
    names = tuple(path.name for path in paths)
    return Collection(
        "pictures",
        names,
        tuple(f"{name}#0" for name in names),
        np.arange(len(names)),
        pictures=PictureFiles(paths[0].parent, names),
        features={"text": np.ones((len(names), 1), np.float32)},
    )


def encode_in_turn(tower: ImageTower, prepared: Sequence[NDArray[Any]]) -> None:
    """Encode decoded pictures batch after batch."""
    for start in range(0, len(prepared), BATCH):
        tower.encode(prepared[start : start + BATCH])


def encode_side_by_side(tower: ImageTower, prepared: Sequence[NDArray[Any]]) -> None:
    """Encode decoded pictures in as many lanes as extraction takes."""
    batches = [prepared[start : start + BATCH] for start in range(0, len(prepared), BATCH)]
    with encoding_pool(tower.device) as pool:
        list(pool.map(tower.encode, batches))


def extract(collection: Collection, tower: ImageTower) -> None:
    """Extract into a store that is thrown away."""
    encoder = Encoder("offline+precomputed", tower, load_encoder("precomputed").text)
    with tempfile.TemporaryDirectory() as folder:
        extract_features(collection, encoder, cache_folder=Path(folder))


def rates(
    calls: Mapping[str, Callable[[], None]], n_pictures: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Time some calls in turn.

    Returns:
        By name: pictures a second (median, least and most), and pictures a second of processor
        time (median), which hardly depends on what else the machine does.
    """
    by_clock: dict[str, list[float]] = {name: [] for name in calls}
    by_cpu: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            call()
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            if repeat:  # the first round is thrown away
                by_clock[name].append(n_pictures / seconds)
                by_cpu[name].append(n_pictures / max(cpu_seconds, 1e-9))
    return {
        name: {
            "median_items_per_second": median(by_clock[name]),
            "min_items_per_second": min(by_clock[name]),
            "max_items_per_second": max(by_clock[name]),
            "median_items_per_cpu_second": median(by_cpu[name]),
        }
        for name in calls
    }


def measure(paths: Sequence[Path], threads: int, repeats: int) -> dict[str, object]:
    """Measure the three ways with some number of torch threads."""
    torch.set_num_threads(threads)
    tower = load_encoder("offline").image
    collection = collection_of(paths)
    assert collection.pictures is not None
    prepared = [tower.prepare(collection.pictures.open(place)) for place in range(len(paths))]
    measured = rates(
        {
            "bare": lambda: encode_in_turn(tower, prepared),
            "bare_lanes": lambda: encode_side_by_side(tower, prepared),
            "extraction": lambda: extract(collection, tower),
        },
        len(paths),
        repeats,
    )
    ratios = {
        f"{figure}_ratio_to_{other}": measured["extraction"][key] / measured[other][key]
        for other in ("bare", "bare_lanes")
        for figure, key in (
            ("median", "median_items_per_second"),
            ("cpu", "median_items_per_cpu_second"),
        )
    }
    return {**measured, **ratios}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="of JPEG files; default: generated pictures")
    parser.add_argument("--pictures", type=int, default=320, help="how many")
    parser.add_argument("--side", type=int, default=224, help="of generated pictures, in pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch")
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    print(json.dumps(machine, indent=2))
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as made:
        if options.folder:
            paths = sorted(options.folder.glob("*.jpg"))[: options.pictures]
        else:
            paths = write_pictures(Path(made), options.pictures, options.side, options.seed)
        for threads in options.threads:
            results[f"threads_{threads}"] = measure(paths, threads, options.repeats)
            print(threads, json.dumps(results[f"threads_{threads}"], indent=2))
    folder = options.folder.name if options.folder else "generated"
    settings = {**vars(options), "folder": folder, "pictures": len(paths)}
    output = options.output or RESULTS / f"extraction-rate-{folder}-{len(paths)}.json"
    write_result(output, "extraction.rate", settings, results)


if __name__ == "__main__":
    main()
