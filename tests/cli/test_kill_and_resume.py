"""Kill -9 in the middle of a command, then the same command with --resume: nothing differs."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.oracles.command_line import CommandLine
from tests.oracles.tiny_encoder import SHARD_ROWS

resource = pytest.importorskip("resource", reason="needs a system with signals and limits")
ROOT = Path(__file__).parents[2]
TRAIN = (
    "train", "scenes:120", "--encoder", "tiny", "--method", "cfrh", "--bits", "16",
    "--set", "hidden_width=32", "--set", "batch_size=4", "--set", "validation_share=0.2",
)  # fmt: skip
EPOCHS = 30


def start(folder: Path, *arguments: str | Path, seconds: float = 0.0) -> subprocess.Popen[str]:
    """Start a command with a cache in `folder`; each batch of pictures takes some seconds."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "tests.oracles.tiny_encoder", str(seconds), "-q",
            *map(str, arguments), "--cache", str(folder / "cache"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finish(folder: Path, *arguments: str | Path) -> str:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


def kill_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    """Kill -9 as soon as a condition holds; the process must not have ended by itself."""
    deadline = time.monotonic() + 120
    try:
        while not is_time() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, leftovers of killed writes not counted."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".part"
    }


@pytest.mark.usefixtures("tiny_encoder")
def test_features_go_on_at_the_last_finished_shard(
    tmp_path: Path, modalhash: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    arguments = ("features", "scenes:120", "--encoder", "tiny", "--batch-size", "4")
    monkeypatch.setattr("modalhash.encoders.extraction.SHARD_ROWS", SHARD_ROWS)

    def shards() -> list[Path]:
        return sorted(broken.rglob("pooled-*.npy"))

    kill_when(start(broken, *arguments, seconds=0.1), lambda: len(shards()) >= 3)
    finished = {path: path.stat().st_mtime_ns for path in shards()[:-1]}
    assert 2 <= len(finished) < 15  # of 15 shards of pictures
    unbroken = modalhash("-q", *arguments, "--cache", whole / "cache")
    assert finish(broken, *arguments, "--resume") == unbroken.out
    assert hashes(broken) == hashes(whole)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def epochs_done(run: Path) -> int:
    state = run / "checkpoint" / "state.json"
    if not state.exists():
        return 0
    done: int = json.loads(state.read_text(encoding="utf-8"))["epochs_done"]
    return done


def without_times(run: Path) -> list[dict[str, Any]]:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [{key: entry[key] for key in entry if key != "seconds"} for entry in log]


@pytest.mark.usefixtures("tiny_encoder")
def test_training_goes_on_to_the_same_weights_and_codes(
    tmp_path: Path, modalhash: CommandLine
) -> None:
    train = (*TRAIN, "--set", f"epochs={EPOCHS}", "-o")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    finish(tmp_path, *train, whole)
    kill_when(start(tmp_path, *train, broken), lambda: epochs_done(broken) >= 3)
    assert 3 <= epochs_done(broken) < EPOCHS
    index = modalhash("index", broken, "-o", tmp_path / "index")
    assert index.code == 1
    assert "holds a run that isn't finished" in index.err
    finish(tmp_path, *train, broken, "--resume")
    for name in ("model.safetensors", "model.json", "README.md", "plan.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    assert without_times(broken) == without_times(whole)
    assert not list(broken.rglob("*.part"))
    for run in (broken, whole):
        cache = ("--cache", tmp_path / "cache")
        assert modalhash("encode", run, "scenes:120", "-o", run / "codes", *cache).code == 0
    assert hashes(broken / "codes") == hashes(whole / "codes")


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("tiny_encoder")
def test_a_disk_that_takes_no_more_loses_nothing(tmp_path: Path, modalhash: CommandLine) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    train = (
        "-q",
        *TRAIN,
        "--set",
        "epochs=2",
        "--set",
        "hidden_width=128",
        "--cache",
        cache,
        "-o",
        run,
    )
    limit = 30_000  # enough for a shard of features, too few for a checkpoint
    with file_size_limit(limit):
        ended = modalhash(*train)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"modalhash: can't write {run}/checkpoint/epoch-00001.safetensors: File too large; free "
        "some space or choose another folder, then run the same command again: what was finished "
        "is kept\n"
    )
    assert not (run / "model.json").exists()
    features = hashes(cache)
    assert len(features) == 4  # a shard and a manifest of each modality
    assert modalhash(*train, "--resume").code == 0
    assert hashes(cache) == features
    assert (run / "checkpoint" / "epoch-00002.safetensors").stat().st_size > limit
