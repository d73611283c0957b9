"""Measure `modalhash find` on photos without captions: how well it finds, and what it costs.

The photos of a split are copied into a folder, without captions or labels. `find` makes their
index, with the ready model. Then every caption of the split is a query on that index, and the
ranking of all photos is measured: MAP@50 counts a photo as right that shares a label with the
query's, recall@10 the query's own photo. At last some photos are changed, removed and added, and
the folder is brought up to date; what this touched is counted.

Run it: `python -m benchmarks.quality.any_folder flickr8k:FOLDER --split dev`, which writes
`benchmarks/results/any-folder.json`.
"""

import argparse
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.codes import Codes
from modalhash.data import Collection
from modalhash.files import write_json
from modalhash.machine import describe_machine
from modalhash.metrics import evaluate_direction
from modalhash.search import SearchIndex, Side

RESULTS = Path(__file__).parent.parent / "results"
QUERY = "a dog in the snow"
TOUCHED = {"replaced": 100, "removed": 50, "added": 50}
"""How many photos are changed between two calls."""
SEED = 0
Row = dict[str, float]


@contextmanager
def timed(row: Row) -> Iterator[None]:
    """Add the wall and CPU seconds of a block to a row."""
    start = time.perf_counter(), time.process_time()
    yield
    row["wall_seconds"] = round(time.perf_counter() - start[0], 2)
    row["cpu_seconds"] = round(time.process_time() - start[1], 2)


def copy_photos(collection: Collection, items: Sequence[int], folder: Path) -> None:
    """Copy photos into a folder, under their own names."""
    assert collection.pictures is not None
    for item in items:
        path = collection.pictures.path(item)
        assert path is not None
        shutil.copy2(path, folder / path.name)


def measure_ranking(
    model: HashModel, index: SearchIndex, collection: Collection, items: NDArray[np.int64]
) -> Row:
    """Measure text to image with every caption of some items as a query on their index."""
    texts = np.flatnonzero(np.isin(collection.caption_items, items))
    owners = collection.caption_items[texts]
    assert collection.captions is not None
    assert collection.labels is not None
    queries = model.encode_texts([collection.captions[text] for text in texts])
    ids = [Path(collection.item_ids[item]).name for item in items]
    codes: Codes = index.sides[Side.IMAGES].reconstruct(ids)
    truths: dict[str, dict[str, Any]] = {
        "label": {
            "query_labels": collection.labels[owners],
            "database_labels": collection.labels[items],
        },
        "pair": {"query_targets": np.searchsorted(items, owners)},
    }
    random = np.random.default_rng(SEED).integers(0, 256, queries.shape, np.uint8)
    values: Row = {}
    for name, asking in (("", queries), ("random_codes_", random)):
        by_label, by_pair = (
            evaluate_direction(
                asking, codes, model.n_bits, direction="text_to_image", top_k=[10, 50], **truth
            )
            for truth in truths.values()
        )
        rule = {"convention": "truncated", "relevance": "shared_label"}
        values[f"{name}map@50"] = round(by_label.find("map", k=50, **rule).value, 4)
        values[f"{name}recall@10"] = round(by_pair.find("recall", k=10).value, 4)
    return values


def change_photos(folder: Path, generator: np.random.Generator) -> None:
    """Turn some photos around, remove some, and add copies of others with a grey corner."""
    names = sorted(path.name for path in folder.iterdir())
    chosen = [names[place] for place in generator.permutation(len(names))[: sum(TOUCHED.values())]]
    for place, name in enumerate(chosen):
        if place < TOUCHED["replaced"]:
            Image.open(folder / name).rotate(180).save(folder / name)
        elif place < TOUCHED["replaced"] + TOUCHED["removed"]:
            (folder / name).unlink()
        else:
            with Image.open(folder / name) as opened:
                picture = opened.convert("RGB")
            picture.paste((128, 128, 128), (0, 0, 20, 20))
            picture.save(folder / f"new-{name}")


def measure(source: str, split: str) -> dict[str, Row]:
    """Measure a first call, a second one, the ranking, and a call after changes."""
    collection = mh.load_collection(source)
    items = np.sort(collection.split(split))
    rows: dict[str, Row] = {name: {} for name in ("model", "first", "second", "changes")}
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch, "photos"), Path(scratch, "cache")
        folder.mkdir()
        copy_photos(collection, items.tolist(), folder)
        with timed(rows["model"]):
            model = mh.ready_model()
            model.encode_texts([QUERY])
        for name in ("first", "second"):
            with timed(rows[name]):
                mh.find(folder, QUERY, model=model, cache=cache)
        with mh.open_folder_index(folder, model=model, cache=cache) as index:
            rows["text_to_image"] = measure_ranking(model, index, collection, items)
            index_folder = index.folder
        change_photos(folder, np.random.default_rng(SEED))
        with timed(rows["changes"]):
            counts = mh.sync(index_folder, folder)
        rows["changes"] |= vars(counts)
    return rows


def main() -> None:
    """Read options, measure, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("collection", help="what load_collection takes")
    parser.add_argument("--split", default="dev")
    options = parser.parse_args()
    rows = measure(options.collection, options.split)
    for name, values in rows.items():
        print(f"{name:14} {values}")
    name = Path(options.collection).name
    write_json(
        RESULTS / "any-folder.json",
        {
            "format": 1,
            "date": datetime.now(UTC).date().isoformat(),
            "command": shlex.join(
                ["python", "-m", "benchmarks.quality.any_folder", name, "--split", options.split]
            ),
            "machine": describe_machine(),
            "results": rows,
        },
    )


if __name__ == "__main__":
    main()
