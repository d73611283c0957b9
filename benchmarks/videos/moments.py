"""Measure how videos are divided and found again, and what that costs; see the README beside it.

Run it: `python -m benchmarks.videos.moments scenes:720`, which writes
`benchmarks/results/moments-scenes.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import modalhash as mh
from modalhash.data import Collection
from modalhash.data.moment_collections import VIDEO_COLUMNS
from modalhash.encoders import Encoder, extract_features
from modalhash.files import write_json
from modalhash.layers import LinearHead, canonical_maps
from modalhash.machine import describe_machine
from modalhash.search import SearchIndex, Side
from modalhash.videos import find_shots
from tests.oracles.drawn_videos import DrawnScene, Pixels, cut_scenes, write_video

RESULTS = Path(__file__).parent.parent / "results"
RATE, SIZE = 10, (320, 240)
SEED, FILMS, SCENES_A_FILM, TOP_K, SLACK = 0, 12, 60, 10, 2.0
PARTS = ("boundaries", "moments", "speed", "memory")
MAP_RIDGE = 0.1
FIXED_KEYS = {"sc_threshold": "0", "g": "100"}
PEAK = (
    "import sys; from pathlib import Path; from modalhash.machine import peak_mib; "
    "from modalhash.videos import find_shots; "
    "shots = find_shots(Path(sys.argv[1])); print(peak_mib(), len(shots.shots), shots.duration)"
)
FIND_PEAK = (
    "import sys; from pathlib import Path; import modalhash as mh; "
    "from modalhash.machine import peak_mib; path, cache = map(Path, sys.argv[1:]); "
    "mh.find(path.parent, 'a red circle', cache=cache); print(peak_mib())"
)


@dataclass(frozen=True)
class Film:
    """A video and what it shows when.

    Attributes:
        path: of the video.
        scenes: in their order.
        queries: a text for each scene.
    """

    path: Path
    scenes: Sequence[DrawnScene]


def list_scenes(
    collection: Collection, items: Sequence[int], seconds: Sequence[float]
) -> list[DrawnScene]:
    """List scenes that show some items of a collection, one after the other."""
    assert collection.pictures is not None
    assert collection.captions is not None
    starts, scenes, start = collection.caption_starts, [], 0.0
    for item, length in zip(items, seconds, strict=True):
        text, picture = collection.captions[int(starts[item])], collection.pictures.open(item)
        scenes.append(DrawnScene(start, start + length, text, picture))
        start += length
    return scenes


def draw_seconds(n_scenes: int, generator: np.random.Generator) -> list[float]:
    """Draw lengths of scenes between 3 and 7 seconds, 5 on average."""
    return [round(float(value), 1) for value in generator.uniform(3, 7, n_scenes)]


def add_flashes(frames: Iterator[tuple[float, Pixels]]) -> Iterator[tuple[float, Pixels]]:
    """Make two white frames of every 37."""
    for number, (frame_time, pixels) in enumerate(frames):
        yield frame_time, np.full_like(pixels, 255) if number % 37 in (5, 6) else pixels


def add_noise(frames: Iterator[tuple[float, Pixels]]) -> Iterator[tuple[float, Pixels]]:
    """Add noise, with a deviation of 12 of 255."""
    generator = np.random.default_rng(SEED)
    for frame_time, pixels in frames:
        noisy = pixels + generator.normal(0, 12, pixels.shape)
        yield frame_time, np.clip(noisy, 0, 255).astype(np.uint8)


def stand_still(picture: DrawnScene, seconds: float) -> Iterator[tuple[float, Pixels]]:
    """Show one picture over which a block moves."""
    ground = np.asarray(picture.picture.resize(SIZE))
    for number in range(round(seconds * RATE)):
        pixels = ground.copy()
        left = int((SIZE[0] - 40) * (0.5 + 0.5 * np.sin(number / 20)))
        pixels[90:130, left : left + 40] = (200, 30, 30)
        yield number / RATE, pixels


def measure_boundaries(scenes: Sequence[DrawnScene], folder: Path) -> dict[str, dict[str, float]]:
    """Measure precision and recall of boundaries."""
    expected = [scene.start for scene in scenes[1:]]
    draw = partial(cut_scenes, scenes, rate=RATE, size=SIZE)
    cases: Mapping[str, Callable[[], Iterator[tuple[float, Pixels]]]] = {
        "cuts": draw,
        "fades": lambda: draw(fade=1.0),
        "flashes": lambda: add_flashes(draw()),
        "noise": lambda: add_noise(draw()),
        "static": lambda: stand_still(scenes[0], 180),
    }
    rows = {}
    for name, frames in cases.items():
        for keys, options in (("", {}), (", a key frame every 10 s", FIXED_KEYS)):
            path = write_video(folder / "a.mp4", frames(), rate=RATE, size=SIZE, **options)  # type: ignore[arg-type]
            shots = find_shots(path)
            found = list_boundaries([shot.start for shot in shots.shots], shots.duration)
            truth = [] if name == "static" else expected
            rows[name + keys] = score_boundaries(found, truth, 1.0 if name == "fades" else 0.5)
    return rows


def list_boundaries(starts: Sequence[float], duration: float) -> list[float]:
    """List the starts of shots without the first; even divisions of a long shot don't count.

    A division is even where the shots on both sides are as long as each other, to 0.02 seconds.
    """
    edges = [*starts, duration]
    return [
        edges[place]
        for place in range(1, len(starts))
        if abs((edges[place + 1] - edges[place]) - (edges[place] - edges[place - 1])) > 0.02
    ]


def score_boundaries(
    found: Sequence[float], truth: Sequence[float], tolerance: float
) -> dict[str, float]:
    """Compute precision and recall with a tolerance in seconds."""

    def near(time_of_cut: float, others: Sequence[float]) -> bool:
        return any(abs(time_of_cut - other) <= tolerance + 0.01 for other in others)

    right, recalled = sum(near(cut, truth) for cut in found), sum(near(cut, found) for cut in truth)
    return {
        "n_true": len(truth),
        "n_found": len(found),
        "precision": round(right / len(found), 3) if found else 1.0,
        "recall": round(recalled / len(truth), 3) if truth else 1.0,
    }


def write_films(collection: Collection, folder: Path, split: str | None) -> list[Film]:
    """Write an hour of films of a collection's first items, or those of some splits."""
    every = range(collection.n_items)
    chosen = every if split is None else np.concatenate(
        [collection.split(name) for name in split.split("+")]
    ).tolist()  # fmt: skip
    generator, films = np.random.default_rng(SEED), []
    for number in range(FILMS):
        items = chosen[number * SCENES_A_FILM : (number + 1) * SCENES_A_FILM]
        scenes = list_scenes(collection, items, draw_seconds(SCENES_A_FILM, generator))
        frames = cut_scenes(scenes, rate=RATE, size=SIZE)
        path = write_video(folder / f"film{number:02d}.mp4", frames, rate=RATE, size=SIZE)
        films.append(Film(path, scenes))
    return films


def measure_moments(
    films: Sequence[Film],
    folder: Path,
    cache: Path,
    model: str | None,
    pairs: Collection | None,
) -> dict[str, Any]:
    """Count for how many scenes codes and floats find the moment among the first ten hits.

    Args:
        films: what they show when.
        folder: of the films.
        cache: a folder for everything that is kept.
        model: run folder; None is the default of `find`.
        pairs: what the model was trained on, if a linear map is to be learned on it too.
    """
    texts = [(film.path.name, scene) for film in films for scene in film.scenes]
    words = [scene.text for _, scene in texts]
    began = time.process_time()
    with mh.open_folder_index(folder, model=model, cache=cache) as index:
        seconds = time.process_time() - began
        hits_of = {
            f"codes, {scoring}": [find_by_codes(index, text, scoring) for text in words]
            for scoring in ("asymmetric", "hamming")
        } | find_by_floats(index, folder, words, cache, pairs)
        sizes = measure_bytes(index)
        n_items = len(index.sides[Side.IMAGES])
        n_bits = index.model.n_bits
    minutes = sum(film.scenes[-1].end for film in films) / 60
    is_found = {
        name: np.array(
            [
                any(is_right(hit, *text) for hit in hits)
                for text, hits in zip(texts, rows, strict=True)
            ]
        )
        for name, rows in hits_of.items()
    }
    floats = [name for name in is_found if name.startswith("floats")]
    return {
        "model": "ready, for folders" if model is None else Path(model).name,
        "n_bits": n_bits,
        "minutes": round(minutes, 1),
        "n_queries": len(texts),
        "n_items": n_items,
        "found": {name: int(marks.sum()) for name, marks in is_found.items()},
        "share_of_those_floats_find": {
            f"{name} of {base}": round(
                float((marks & is_found[base]).sum() / max(1, is_found[base].sum())), 4
            )
            for base in floats
            for name, marks in is_found.items()
            if name not in floats
        },
        **{f"{name}_a_minute": round(size / minutes) for name, size in sizes.items()},
        "items_a_minute": round(n_items / minutes, 2),
        "cpu_seconds_to_index": round(seconds, 1),
    }


def measure_bytes(index: SearchIndex) -> dict[str, int]:
    """Measure an index without its model: all of it, without metadata, and codes alone."""
    size = sum(file.stat().st_size for side in ("images", "texts")
               for file in (index.folder / side).rglob("*") if file.is_file())  # fmt: skip
    images = index.sides[Side.IMAGES]
    # As the log stores them: JSON in a JSON text.
    rows = [json.dumps(json.dumps(dict(row))) for row in images.metadata(images.ids)]
    ids = [json.dumps(str(identity)) for identity in images.ids]
    metadata = sum(len(row) + 1 for row in rows)
    return {
        "bytes": size,
        "bytes_without_metadata": size - metadata,
        "bytes_without_metadata_and_ids": size - metadata - sum(len(text) + 1 for text in ids),
    }


Span = tuple[str, float, float]
"""A video, and seconds in it."""


def is_right(hit: Span, film: str, scene: DrawnScene) -> bool:
    """Tell whether the middle of a hit lies in a scene, or 2 seconds beside it."""
    middle = (hit[1] + hit[2]) / 2
    return hit[0] == film and scene.start - SLACK <= middle <= scene.end + SLACK


def find_by_codes(index: SearchIndex, text: str, scoring: str) -> list[Span]:
    """Find the moments of a text as `find` does by asymmetric scoring."""
    hits = index.search(
        text, target=Side.IMAGES, k=TOP_K, where="kind = 'moment'", scoring=scoring
    ).hits
    return [(str(hit.video), hit.start or 0.0, hit.end or 0.0) for hit in hits]


def find_by_floats(
    index: SearchIndex,
    folder: Path,
    texts: Sequence[str],
    cache: Path,
    pairs: Collection | None,
) -> dict[str, list[list[Span]]]:
    """Find the moments of texts by the cosines of floats.

    Features, where both modalities lie in one space; the model's outputs before the sign, unless
    its bits are graded; and a linear map of the features, learned on pairs.
    """
    collection = mh.load_collection(folder)
    model = index.model
    table = extract_features(collection, model.encoder, cache_folder=cache / "features").image
    rows = list(zip(*(collection.metadata[name] for name in VIDEO_COLUMNS), strict=True))
    places = np.array([place for place, row in enumerate(rows) if row[0] == "moment"])
    images = table.pooled(places)
    queries = np.concatenate([model.encoder.text.encode([text]).pooled for text in texts])
    spaces = {}
    if images.shape[1] == queries.shape[1]:
        spaces["floats, features"] = images, queries
    if model.graded_bits is None:
        spaces["floats, before the sign"] = (
            model.relaxed_features(images, "image"),
            model.relaxed_features(queries, "text"),
        )
    if pairs is not None:
        maps = learn_linear_map(pairs, model.encoder, model.n_bits)
        spaces["floats, linear map"] = maps[0](images), maps[1](queries)
    spans = [(str(row[1]), float(row[2] or 0), float(row[3] or 0)) for row in rows]
    nearest = {
        name: np.argsort(-(normalise(two) @ normalise(one).T), axis=1, kind="stable")[:, :TOP_K]
        for name, (one, two) in spaces.items()
    }
    return {
        name: [[spans[places[place]] for place in row] for row in order]
        for name, order in nearest.items()
    }


def learn_linear_map(
    pairs: Collection, encoder: Encoder, width: int
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...]:
    """Learn canonical directions of the train split, each times its correlation."""
    tables = extract_features(pairs, encoder)
    items = np.sort(pairs.split("train"))
    images = torch.from_numpy(tables.image.pooled(items)).double()
    texts = torch.from_numpy(tables.text.pooled(pairs.caption_starts[items])).double()
    maps = canonical_maps([(images, texts)], width, ridge=MAP_RIDGE)
    heads = maps.weighted(maps.correlations).heads()

    def function(head: LinearHead) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        weight, bias = (part.detach().numpy() for part in (head.map.weight, head.map.bias))
        return lambda rows: rows @ weight.T + bias

    return tuple(function(head) for head in heads)


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def measure_speed(scenes: Sequence[DrawnScene], folder: Path) -> dict[str, dict[str, float]]:
    """Measure minutes of video a CPU second, at 25 frames a second."""
    rows = {}
    for size in ((320, 240), (640, 360), (1280, 720)):
        frames = cut_scenes(scenes, rate=25, size=size)
        path = write_video(folder / "speed.mp4", frames, rate=25, size=size, preset="veryfast")
        began = time.process_time()
        shots = find_shots(path)
        seconds = time.process_time() - began
        rows[f"{size[0]} x {size[1]}"] = {
            "minutes": round(shots.duration / 60, 2),
            "cpu_seconds": round(seconds, 2),
            "minutes_a_cpu_second": round(shots.duration / 60 / seconds, 3),
        }
    return rows


def measure_memory(scenes: Sequence[DrawnScene], folder: Path) -> dict[str, dict[str, float]]:
    """Measure the peak memory of finding shots in a short and in a long file."""
    rows = {}
    for name, minutes in (("10 minutes", 10), ("2 hours", 120)):
        n_repeats = round(minutes * 60 / scenes[-1].end)

        def frames(n_repeats: int = n_repeats) -> Iterator[tuple[float, Pixels]]:
            for repeat in range(n_repeats):
                for frame_time, pixels in cut_scenes(scenes, rate=RATE, size=SIZE):
                    yield repeat * scenes[-1].end + frame_time, pixels

        path = write_video(
            folder / name / "long.mp4", frames(), rate=RATE, size=SIZE, preset="ultrafast"
        )
        command = [sys.executable, "-c", PEAK, str(path)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        command = [sys.executable, "-c", FIND_PEAK, str(path), str(folder / "cache")]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[name] = {
            "peak_mib": round(float(printed[0]), 1),
            "peak_mib_of_find": round(float(run.stdout), 1),
            "n_shots": int(printed[1]),
            "seconds_of_video": float(printed[2]),
        }
    return rows


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", nargs="?", default=f"scenes:{FILMS * SCENES_A_FILM}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--model", help="run folder; by default the ready model for folders")
    parser.add_argument("--split", help="items that the films show, such as dev or dev+test")
    parser.add_argument("--name", help="of the result; by default the collection's")
    arguments = parser.parse_args()
    collection = mh.load_collection(arguments.collection)
    generator = np.random.default_rng(SEED)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        scenes = list_scenes(collection, range(40), draw_seconds(40, generator))
        if "boundaries" in arguments.parts:
            results["boundaries"] = measure_boundaries(scenes, folder)
        if "moments" in arguments.parts:
            films = write_films(collection, folder / "films", arguments.split)
            results["moments"] = measure_moments(
                films,
                folder / "films",
                folder / "cache",
                arguments.model,
                collection if arguments.model else None,
            )
        if "speed" in arguments.parts:
            results["speed"] = measure_speed(scenes, folder)
        if "memory" in arguments.parts:
            results["memory"] = measure_memory(scenes, folder)
    name = arguments.name or collection.name
    document = {
        "benchmark": "benchmarks.videos.moments",
        "settings": {"collection": collection.name, "split": arguments.split, "rate": RATE,
                     "size": SIZE, "films": FILMS,
                     "scenes_a_film": SCENES_A_FILM, "parts": list(arguments.parts),
                     "top_k": TOP_K, "slack_seconds": SLACK},
        "seed": SEED,
        "version": mh.__version__,
        "machine": describe_machine(),
        "results": results,
    }  # fmt: skip
    write_json(RESULTS / f"moments-{name}.json", document)
    print(results)


if __name__ == "__main__":
    main()
