"""A `sync` is killed again and again while its folder changes; nothing may be lost.

    python -m benchmarks.index.sync_kills               # 30 kills
    python -m benchmarks.index.sync_kills --kills 4 --photos 30

Before each kill some pictures of the folder are added, replaced and removed. A process then syncs
the index with the folder, and is killed (SIGKILL) after a random time. The index is opened: it must
be whole; each code must be that of the content which is recorded beside it; and an item that was
there before, and whose picture still is, must still be there. Every few kills a sync runs to its
end: the index must hold just what the folder holds, and a further sync must find nothing to do.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import modalhash as mh
from modalhash.artifacts import HashModel
from modalhash.files import sha256_of_file
from modalhash.machine import describe_machine
from modalhash.search import Side
from modalhash.search.file_records import FileRecord

SYNCER = """
import os, sys
from modalhash.api import syncing
import modalhash as mh

index, folder = sys.argv[1:]
syncing.ENCODED_AT_ONCE = 8  # so that kills come between two changes of the index, too
model = mh.ready_model(64)
model.encode_texts(["so that all is loaded"])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            mh.sync(index, folder, confirmed=True)
        finally:
            os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""
"""Forks a sync for each line, so that torch is loaded once."""
FINISHED_EVERY = 5
LONGEST = 1.1
"""The latest kill, as a share of the time that a sync takes."""
SIDE = 64
"""Pixels of a made picture's sides."""


class Folder:
    """A folder of made pictures that changes at random.

    Args:
        path: the folder.
        n_photos: how many it holds at first.
        generator: of everything random.
    """

    def __init__(self, path: Path, n_photos: int, generator: random.Random) -> None:
        self.path, self.generator, self.n_made = path, generator, 0
        path.mkdir()
        for _ in range(n_photos):
            self.add()

    def names(self) -> set[str]:
        """List the pictures."""
        return {path.name for path in self.path.iterdir()}

    def draw(self, name: str) -> None:
        """Write a picture of noise, whole or not at all."""
        pixels = np.frombuffer(self.generator.randbytes(3 * 16), np.uint8).reshape(4, 4, 3)
        picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        unfinished = self.path.parent / "unfinished.png"
        picture.save(unfinished)
        unfinished.replace(self.path / name)

    def add(self) -> None:
        """Add a picture."""
        self.n_made += 1
        self.draw(f"{self.n_made:06d}.png")

    def change(self) -> None:
        """Add, replace and remove some pictures."""
        names = sorted(self.names())
        chosen = self.generator.sample(names, min(len(names) // 2, 12))
        for name in chosen[::2]:
            self.draw(name)
        for name in chosen[1::2]:
            (self.path / name).unlink()
            self.add()


def read_codes(index: Path) -> dict[str, tuple[str, NDArray[np.uint8]]]:
    """Read the content's digest and the code of each item, after a check of the whole index."""
    assert mh.verify_index(index)
    with mh.open_index(index) as opened:
        images = opened.sides[Side.IMAGES]
        items = {}
        for block in images.blocks():
            for identity, code, row in zip(block.ids, block.codes, block.metadata, strict=True):
                record = FileRecord.of(row)
                assert record is not None
                items[str(identity)] = (record.digest, code)
    return items


class Codes:
    """The codes of pictures by their content, each computed once.

    Args:
        model: that encodes.
        folder: the pictures.
    """

    def __init__(self, model: HashModel, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.by_digest: dict[str, NDArray[np.uint8]] = {}

    def compute(self) -> None:
        """Compute those of pictures that are new."""
        for path in self.folder.iterdir():
            digest = sha256_of_file(path)
            if digest not in self.by_digest:
                self.by_digest[digest] = self.model.encode_images([path])[0]


def run(folder: Path, *, n_kills: int, n_photos: int, seed: int) -> dict[str, Any]:
    """Kill and check, and return the counts; raises AssertionError when something was lost."""
    generator = random.Random(seed)
    photos, place = Folder(folder / "photos", n_photos, generator), folder / "index"
    model = mh.ready_model(64)
    mh.build_index(model, photos.path, output=place, cache=folder / "cache").close()
    codes, n_killed = Codes(model, photos.path), 0
    codes.compute()
    syncer = subprocess.Popen(
        [sys.executable, "-c", SYNCER, str(place), str(photos.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert syncer.stdin is not None
    assert syncer.stdout is not None
    assert syncer.stdout.readline() == "ready\n"
    started, n_finished = time.perf_counter(), 0
    photos.change()
    codes.compute()
    syncer.stdin.write("sync\n")
    syncer.stdin.flush()
    assert syncer.stdout.readline()
    assert syncer.stdout.readline() == "0\n"
    longest = LONGEST * (time.perf_counter() - started)
    for kill in range(1, n_kills + 1):
        before = read_codes(place).keys()
        photos.change()
        codes.compute()
        syncer.stdin.write("sync\n")
        syncer.stdin.flush()
        child = int(syncer.stdout.readline())
        time.sleep(generator.uniform(0, longest))
        subprocess.run(["kill", "-9", str(child)], check=False, capture_output=True)
        n_killed += syncer.stdout.readline() == "9\n"
        after = read_codes(place)
        lost = (before & photos.names()) - after.keys()
        assert not lost, f"kill {kill}: {sorted(lost)} are lost"
        for name, (digest, code) in after.items():
            np.testing.assert_array_equal(code, codes.by_digest[digest], f"kill {kill}: {name}")
        if kill % FINISHED_EVERY and kill < n_kills:
            continue
        mh.sync(place, photos.path, confirmed=True)
        n_finished += 1
        held = {name: digest for name, (digest, _) in read_codes(place).items()}
        assert held == {path.name: sha256_of_file(path) for path in photos.path.iterdir()}
        counts = mh.sync(place, photos.path)
        assert (counts.added, counts.replaced, counts.removed) == (0, 0, 0)
    syncer.stdin.close()
    syncer.stdout.close()
    assert syncer.wait() == 0
    return {
        "kills": n_kills,
        "killed_before_the_end": n_killed,
        "photos": n_photos,
        "seed": seed,
        "lost": 0,
        "finished_syncs": n_finished,
        "seconds_of_a_sync": round(longest / LONGEST, 2),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        result = run(folder, n_kills=given.kills, n_photos=given.photos, seed=given.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps({"machine": describe_machine(), "result": result}, indent=2))


if __name__ == "__main__":
    main()
