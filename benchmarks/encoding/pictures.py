"""Measure what decoding large JPEG files smaller saves, and how far it moves features and codes.

Run it: `python -m benchmarks.encoding.pictures [--folder PHOTOS]`
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
from PIL import Image

from benchmarks.result_files import RESULTS, write_result
from modalhash.artifacts.ready_model import ready_model
from modalhash.codes import hamming_distances
from modalhash.data import read_picture
from modalhash.encoders import ImageTower, load_encoder

LARGE, SMALL = (4000, 3000), (224, 224)
BATCH = 16
GRAIN = 6.0
"""Standard deviation of the grain that an enlarged photo gets, as a camera's sensor gives it."""


def make_photo(size: tuple[int, int], generator: np.random.Generator) -> Image.Image:
    """Make a picture whose detail falls with its fineness, as that of photos does (1 / f)."""
    width, height = size
    pixels = np.full((height, width, 3), 128.0, np.float32)
    cell = max(size)
    while cell >= 2:
        coarse = generator.normal(0, 1, (-(-height // cell) + 1, -(-width // cell) + 1, 3))
        for channel in range(3):
            layer = Image.fromarray(coarse[:, :, channel].astype(np.float32))
            pixels[:, :, channel] += 18 * np.asarray(layer.resize(size, Image.Resampling.BILINEAR))
        cell //= 2
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def enlarge_photo(path: Path, generator: np.random.Generator) -> Image.Image:
    """Enlarge a photo to 3,000 pixels a side, with grain."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB").resize((3000, 3000), Image.Resampling.LANCZOS)
    grain = generator.normal(0, GRAIN, (3000, 3000, 3))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def encode_files(tower: ImageTower, paths: Sequence[Path], side: int | None) -> None:
    """Decode and encode picture files, batch after batch."""
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        tower.encode([tower.prepare(read_picture(path, side=side)) for path in batch])


def prepare_files(tower: ImageTower, paths: Sequence[Path], side: int | None) -> None:
    """Decode picture files and bring them to the encoder's size, without encoding."""
    for path in paths:
        tower.prepare(read_picture(path, side=side))


def measure_rates(
    calls: Mapping[str, Callable[[], None]], n_pictures: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Time calls in turn, in pictures a second of processor time; the first round is left out."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds = time.process_time() - start
            if repeat:
                rates[name].append(n_pictures / max(seconds, 1e-9))
    return {
        name: {
            "median_items_per_cpu_second": median(values),
            "min_items_per_cpu_second": min(values),
            "max_items_per_cpu_second": max(values),
        }
        for name, values in rates.items()
    }


def measure_files(tower: ImageTower, paths: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Measure files decoded in full and smaller, without the encoder and with it."""
    side = tower.picture_side
    rates = measure_rates(
        {
            "full_prepare": lambda: prepare_files(tower, paths, None),
            "scaled_prepare": lambda: prepare_files(tower, paths, side),
            "full_encode": lambda: encode_files(tower, paths, None),
            "scaled_encode": lambda: encode_files(tower, paths, side),
        },
        len(paths),
        repeats,
    )
    key = "median_items_per_cpu_second"
    ratios = {
        f"{work}_ratio": rates[f"scaled_{work}"][key] / rates[f"full_{work}"][key]
        for work in ("prepare", "encode")
    }
    mebibytes = sum(path.stat().st_size for path in paths) / len(paths) / 2**20
    return {**rates, **ratios, "mean_mib": mebibytes}


def compare_features(tower: ImageTower, paths: Sequence[Path]) -> dict[str, float]:
    """Compare features and codes of the ready model of files decoded in full and smaller."""
    model = ready_model()
    cosines, bits = [], []
    for path in paths:
        full, scaled = read_picture(path), read_picture(path, side=tower.picture_side)
        features = tower.encode([tower.prepare(full), tower.prepare(scaled)]).pooled
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        cosines.append(float(unit[0] @ unit[1]))
        codes = model.encode_images([full, scaled])
        bits.append(int(hamming_distances(codes[:1], codes[1:])[0, 0]))
    return {
        "n_photos": len(paths),
        "mean_cosine": float(np.mean(cosines)),
        "min_cosine": min(cosines),
        "mean_bits_of_256": float(np.mean(bits)),
        "max_bits_of_256": max(bits),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, help="of photos to enlarge and compare features of")
    parser.add_argument("--photos", type=int, default=100, help="how many of them")
    parser.add_argument("--large", type=int, default=16, help="made pictures of 12 megapixels")
    parser.add_argument("--small", type=int, default=64, help="made pictures of 224 pixels a side")
    parser.add_argument("--quality", type=int, default=85, help="of their JPEG files")
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    generator, tower = np.random.default_rng(options.seed), load_encoder("offline").image
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as made:
        for name, size, n in (("large", LARGE, options.large), ("small", SMALL, options.small)):
            paths = [Path(made) / f"{name}{place:04}.jpg" for place in range(n)]
            for path in paths:
                make_photo(size, generator).save(path, quality=options.quality)
            results[name] = measure_files(tower, paths, options.repeats)
            print(name, json.dumps(results[name], indent=2))
        if options.folder:
            sources = sorted(options.folder.glob("*.jpg"))[: options.photos]
            paths = [Path(made) / f"photo{place:04}.jpg" for place in range(len(sources))]
            for path, source in zip(paths, sources, strict=True):
                enlarge_photo(source, generator).save(path, quality=options.quality)
            results["features"] = compare_features(tower, paths)
            print(json.dumps(results["features"], indent=2))
    output = options.output or RESULTS / "encoding-pictures.json"
    write_result(output, "encoding.pictures", vars(options), results)


if __name__ == "__main__":
    main()
