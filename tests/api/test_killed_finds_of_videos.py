"""A `find` over videos that is killed (SIGKILL) goes on at the last finished video."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import modalhash as mh
from modalhash.search import Side
from tests.oracles.drawn_videos import draw_scenes, write_scenes

pytest.importorskip("av")
pytestmark = pytest.mark.slow

FINDER = """
import sys, time
from pathlib import Path
import modalhash as mh
from modalhash.api import syncing
from modalhash.videos import shot_lists

folder, cache, log, stage, stop = sys.argv[1:]
shot_lists.AT_ONCE, syncing.ENCODED_AT_ONCE = 1, 1
counts = {"divide": 0, "encode": 0}
find_shots, encode_part = shot_lists.find_shots, syncing.encode_part


def note(name, what):
    counts[name] += 1
    with open(log, "a") as file:
        print(name, what, file=file, flush=True)
    if name == stage and counts[name] == int(stop):
        time.sleep(600)  # until it is killed


def divide(path, settings=None):
    note("divide", path.name)
    return find_shots(path, settings)


def encode(index, items, places, progress):
    note("encode", items.collection.item_ids[places[0]])
    return encode_part(index, items, places, progress)


shot_lists.find_shots, syncing.encode_part = divide, encode
mh.find(folder, "a red circle", cache=Path(cache))
"""


def run(folder: Path, cache: Path, log: Path, stage: str = "", stop: int = 0) -> list[str]:
    """Run a find, killed where it is to stop; return what it did, line by line."""
    log.unlink(missing_ok=True)
    command = [sys.executable, "-c", FINDER, str(folder), str(cache), str(log), stage, str(stop)]
    with subprocess.Popen(command, env=os.environ | {"MODALHASH_CACHE": str(cache)}) as process:
        if not stop:
            assert process.wait(300) == 0
            return log.read_text().splitlines() if log.exists() else []
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            lines = log.read_text().splitlines() if log.exists() else []
            if sum(line.startswith(stage) for line in lines) == stop:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        return lines


def test_a_killed_find_goes_on_at_the_last_finished_video(tmp_path: Path) -> None:
    folder, cache, log = tmp_path / "films", tmp_path / "cache", tmp_path / "log"
    for place, name in enumerate("abc"):
        write_scenes(folder / f"{name}.mp4", draw_scenes((3.0, 3.0), first=2 * place))
    divided = run(folder, cache, log, "divide", 2)
    assert divided == ["divide a.mp4", "divide b.mp4"]  # killed in the second
    encoded = run(folder, cache, log, "encode", 2)
    assert encoded[:2] == ["divide b.mp4", "divide c.mp4"]
    assert encoded[2:] == ["encode a.mp4", "encode b.mp4"]  # killed before the second is in
    assert run(folder, cache, log) == ["encode b.mp4", "encode c.mp4"]
    assert run(folder, cache, log) == []
    with mh.open_folder_index(folder, cache=cache) as index:
        ids = set(index.sides[Side.IMAGES].ids.tolist())
    moments = {f"{name}.mp4#t={span}" for name in "abc" for span in ("0,3", "3,6")}
    assert ids == moments | {"a.mp4", "b.mp4", "c.mp4"}
