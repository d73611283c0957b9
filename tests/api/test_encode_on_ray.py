"""The same shards on Ray: the same bytes, also after a worker was killed.

Ray isn't part of the `dev` extra, as it takes 245 MB: `pip install -c constraints.txt '.[ray]'`.
"""

import hashlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modalhash as mh
from modalhash.data import load_collection
from modalhash.errors import CollectionError, InputError, ModalhashError, SettingError
from tests.oracles.shard_files import rows_of, write_parquet, write_shards
from tests.oracles.tiny_on_ray import know_tiny

ray = pytest.importorskip("ray", reason="encoding on a Ray cluster")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("tiny_encoder", "own_cache"),
    # Of Ray itself: what its next version will do, and its processes' pipes at the end.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A small Ray on this machine, whose workers know the encoder `tiny`."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={
            "env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            "worker_process_setup_hook": know_tiny,
        },
    )
    yield
    ray.shutdown()


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(tmp_path / "shards", load_collection("scenes:60"), 6)
    return tmp_path / "shards"


@pytest.mark.usefixtures("cluster")
def test_ray_writes_the_same_bytes(scene_run: Path, shards: Path, tmp_path: Path) -> None:
    mh.encode_shards(scene_run, shards, tmp_path / "here")
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, values: Any = None) -> None:
        told.append((stage, done, total))

    written = mh.encode_shards(
        scene_run, shards, tmp_path / "there", ray="auto", workers=2, progress=progress
    )
    assert (written.n_encoded, written.n_items) == (6, 60)
    assert told == [("shards", done, 6) for done in range(7)]
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")
    (tmp_path / "there" / "part-00003.parquet.safetensors").unlink()
    assert mh.encode_shards(scene_run, shards, tmp_path / "there", ray="auto").n_encoded == 1
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_costs_nothing(scene_run: Path, shards: Path, tmp_path: Path) -> None:
    mh.encode_shards(scene_run, shards, tmp_path / "here")
    killed: list[int] = []
    rescue = threading.Event()

    def kill_a_worker() -> None:
        while not rescue.is_set() and not killed:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes()
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                except OSError:
                    continue
                if b"ray::" in line and b"MapWorker" in line and is_below(int(parent)):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(int(process.name))
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    try:
        written = mh.encode_shards(scene_run, shards, tmp_path / "there", ray="auto", workers=2)
    finally:
        rescue.set()
        thread.join()
    assert len(killed) == 1
    assert (written.n_encoded, written.n_items) == (6, 60)
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")


def is_below(process: int) -> bool:
    """Return whether this process started a process, at any remove."""
    while process > 1:
        if process == os.getpid():
            return True
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
    return False


@pytest.mark.usefixtures("cluster")
def test_damage_is_told_from_the_workers(scene_run: Path, tmp_path: Path) -> None:
    rows = rows_of(load_collection("scenes:60"), range(4))
    write_parquet(tmp_path / "shards" / "a.parquet", [rows[0], {**rows[1], "image": b"none"}])
    write_parquet(tmp_path / "shards" / "b.parquet", rows[2:])
    with pytest.raises(CollectionError) as caught:
        mh.encode_shards(scene_run, tmp_path / "shards", tmp_path / "codes", ray="auto")
    assert list(map(str, caught.value.defects)) == [
        "a.parquet, row 1: the picture isn't a JPEG, PNG or WebP picture; convert it"
    ]
    written = mh.encode_shards(
        scene_run, tmp_path / "shards", tmp_path / "codes", ray="auto", skip_bad=True
    )
    assert (written.n_items, written.n_left_out, written.n_encoded) == (3, 1, 1)


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_can_not_do_ends_the_job(
    scene_run: Path, shards: Path, tmp_path: Path
) -> None:
    model = mh.load_model(scene_run)
    model.folder = tmp_path / "elsewhere"
    with pytest.raises(
        ModalhashError, match=r"elsewhere is no model folder: it has no model\.json"
    ):
        mh.encode_shards(model, shards, tmp_path / "codes", ray="auto")
    model.folder = None
    with pytest.raises(InputError, match="no folder that Ray's workers could load: save it first"):
        mh.encode_shards(model, shards, tmp_path / "codes", ray="auto")
    for options, message in (
        ({"workers": 0}, "workers is 0, expected at least 1"),
        ({"gpus": -1}, "gpus is -1, expected 0 or more"),
    ):
        with pytest.raises(SettingError, match=re.escape(message)):
            mh.encode_shards(scene_run, shards, tmp_path / "codes", ray="auto", **options)  # type: ignore[arg-type]
