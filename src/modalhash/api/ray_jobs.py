"""Shards on a Ray cluster, through Ray Data.

A row of the data set is a shard's name, not its content: each of a pool of workers loads the model
once, reads whole shards, writes their code files and reports. So nothing large passes through Ray's
object store, there are no reading and writing tasks that wait for the processors the workers hold,
and a worker that is lost costs the shard it had in hand: Ray gives it to another one, which finds
the code file or makes it. Shards are written whole or not at all, and the same bytes each time, so
doing one twice does no harm.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from modalhash.api.shard_jobs import ShardJob, ShardOutcome, ShardWorker
from modalhash.data.shards import Shard
from modalhash.errors import Defect, InputError, ModalhashError, SettingError
from modalhash.extras import import_optional

__all__ = ["encode_on_ray"]

logger = logging.getLogger(__name__)

LOCAL: Final = "local"
STORE_BYTES: Final = 128 << 20
"""Of a Ray that is started here: only names and reports pass through it."""
MOST_BLOCKS: Final = 2000


class RayShardWorker:
    """What Ray Data calls in each worker; the model is loaded at the first shard.

    Args:
        job: what is asked for.
    """

    def __init__(self, job: ShardJob) -> None:
        self.job = job
        self.worker: ShardWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Encode a batch of one shard and report what became of it."""
        shard = Shard(Path(str(batch["path"][0])), str(batch["name"][0]))
        report: dict[str, Any] = {"name": shard.name, "is_written": False, "defects": []}
        report |= {"error": "", "message": ""}
        try:
            if self.worker is None:
                self.worker = self.job.worker()
            outcome = self.worker.encode(shard)
            report["is_written"] = outcome.is_written
            report["defects"] = [asdict(defect) for defect in outcome.defects]
        except ModalhashError as error:
            report |= {"error": type(error).__name__, "message": str(error)}
        return {name: [value] for name, value in report.items()}


def encode_on_ray(
    job: ShardJob,
    shards: Sequence[Shard],
    *,
    address: str,
    workers: int | None,
    gpus: float,
) -> Iterator[ShardOutcome]:
    """Encode shards on a Ray cluster; yield what became of each, in the order of their ends.

    Raises:
        InputError: if there is no cluster at the address.
        SettingError: if `workers` is below 1 or `gpus` negative.
        MissingExtraError: if Ray isn't installed.
        ModalhashError: what a worker raised.
    """
    if workers is not None and workers < 1:
        raise SettingError(f"workers is {workers}, expected at least 1")
    if gpus < 0:
        raise SettingError(f"gpus is {gpus}, expected 0 or more")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_optional("ray", extra="ray", feature="encoding on a Ray cluster")
    data = import_optional("ray.data", extra="ray", feature="encoding on a Ray cluster")
    with connect_cluster(ray, address):
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        size = min(workers or count_workers(ray, gpus), len(shards))
        logger.info("%d shards on %d workers of Ray", len(shards), size)
        rows = [{"path": str(shard.path.absolute()), "name": shard.name} for shard in shards]
        outcomes = data.from_items(
            rows, override_num_blocks=min(len(rows), MOST_BLOCKS)
        ).map_batches(
            RayShardWorker,
            fn_constructor_args=[job],
            batch_size=1,
            compute=data.ActorPoolStrategy(size=size),
            num_cpus=1,
            num_gpus=gpus,
        )
        for report in outcomes.iter_rows():
            if report["error"]:
                raise read_error(report)
            defects = [
                Defect(job["kind"], job["where"], job["problem"], tuple(job["items"]))
                for job in report["defects"]
            ]
            yield ShardOutcome(report["name"], tuple(defects), report["is_written"])


@contextmanager
def connect_cluster(ray: Any, address: str) -> Iterator[None]:
    """Connect to a Ray cluster, or start one; one that this process is connected to is taken.

    Raises:
        InputError: if there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    if address == LOCAL:
        # Its own, whatever RAY_ADDRESS says.
        settings |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"there is no Ray cluster at {address!r} ({reason}): start one with `ray start --head`,"
            " or leave out the address to start one on this machine"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def count_workers(ray: Any, gpus: float) -> int:
    """Count the workers that a cluster has room for."""
    resources = ray.cluster_resources()
    n_workers = int(resources.get("CPU", 1))
    if gpus:
        n_workers = min(n_workers, int(resources.get("GPU", 0) / gpus))
    return max(1, n_workers)


def read_error(report: dict[str, Any]) -> ModalhashError:
    """Read the error that a worker reported."""
    message = f"{report['name']}: {report['message']}"
    kind: Any = getattr(import_module(ModalhashError.__module__), report["error"], ModalhashError)
    try:
        error: ModalhashError = kind(message)
    except TypeError:  # kinds that are made of more than a message
        error = ModalhashError(message)
    return error
