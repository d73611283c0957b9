"""Kill -9 while shards are encoded, then the same command: the same bytes, nothing done twice."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modalhash.data import load_collection
from tests.oracles.shard_files import write_shards

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a system with signals")


def start(seconds: float, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a command; each batch of pictures takes some seconds."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "tests.oracles.tiny_encoder", str(seconds), "-q",
            *map(str, arguments),
        ],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(*arguments: str | Path) -> str:
    process = start(0, *arguments)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def test_a_kill_leaves_whole_shards_and_the_rest_is_done_later(
    scene_run: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", load_collection("scenes:60"), 12)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    command = ("encode", scene_run, tmp_path / "shards", "--shards", "-o")
    process = start(0.15, *command, broken)
    deadline = time.monotonic() + 120
    try:
        while len(list(broken.glob("*.safetensors"))) < 3 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9
    done = {path: path.stat().st_mtime_ns for path in broken.glob("*.safetensors")}
    assert 3 <= len(done) < 12
    (broken / ".part-00011.parquet.safetensors.kill.part").write_bytes(b"half")
    out = finish(*command, whole)
    assert "12 shards encoded now" in out
    out = finish(*command, broken)
    assert f"{12 - len(done)} shards encoded now" in out
    assert hashes(broken) == hashes(whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done
