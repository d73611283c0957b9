"""Kill -9 in the middle of an extraction: the second run leaves the files of an unbroken one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from modalhash.encoders import extract_features, extraction
from tests.oracles.fake_encoder import grey_collection, grey_encoder

extraction.SHARD_ROWS = {"image": 4, "text": 8}
extract_features(
    grey_collection(41), grey_encoder(float(sys.argv[2])), cache_folder=Path(sys.argv[1]),
    with_tokens=True, batch_size=2,
)
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(seconds)], cwd=ROOT)


def finished_shards(folder: Path) -> int:
    return len(list(folder.rglob("pooled-*.npy")))


@pytest.mark.parametrize("n_shards", [1, 4, 8])
def test_a_killed_extraction_goes_on_and_leaves_the_same_files(
    tmp_path: Path, n_shards: int
) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    slow = start(broken, 0.03)
    try:
        deadline = time.monotonic() + 60
        while finished_shards(broken) < n_shards and slow.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        slow.kill()
        slow.wait()
    assert slow.returncode != 0
    n_finished = finished_shards(broken)
    assert n_shards <= n_finished < 11  # 41 pictures in shards of 4
    kept = {path: path.stat().st_mtime_ns for path in finished_paths(broken)}
    assert start(broken, 0.0).wait() == 0
    assert start(whole, 0.0).wait() == 0
    assert contents(broken) == contents(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def finished_paths(folder: Path) -> list[Path]:
    """Return all files of shards but the one that may have been in the making."""
    return sorted(folder.rglob("pooled-*.npy"))[:-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".part"
    }
