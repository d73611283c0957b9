"""Fill a feature store: prepare rows in threads, encode them, write shard after shard.

Pictures are opened and prepared by a few threads while others run the tower, so that decoding
costs little beyond the tower's own time. Shards are written in order, each as soon as it is there.
"""

import logging
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders.base import TowerOutput
from modalhash.encoders.content_rows import Rows, joint_hash, require_finite
from modalhash.encoders.encoding_threads import encoding_lanes, encoding_pool
from modalhash.encoders.memory import is_out_of_memory
from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import FeatureDtype
from modalhash.encoders.store_writer import StoreWriter
from modalhash.errors import FeatureError, ModalhashError
from modalhash.progress import Progress

__all__ = ["ShardMaking", "list_outdated_shards"]

logger = logging.getLogger(__name__)

FLOAT16_LARGEST = float(np.finfo(np.float16).max)


def list_outdated_shards(rows: Rows, writer: StoreWriter) -> list[int]:
    """List the shards to make, in order: those not finished, or whose content changed.

    Stamps are compared first; where one differs, the contents decide.
    """
    outdated = []
    for shard in range(writer.spec.n_shards):
        record, places = writer.record(shard), writer.spec.rows_of(shard)
        if record is not None:
            stamp = joint_hash(map(rows.stamp, places))
            if record.stamp == stamp:
                continue
            if record.content == joint_hash(map(rows.digest, places)):
                writer.restamp(shard, stamp)
                continue
            writer.discard(shard)
        outdated.append(shard)
    return outdated


@dataclass(frozen=True)
class PreparedRow:
    """A row that is ready to be encoded; its stamp was taken first, so a later change shows."""

    row: int
    stamp: str
    digest: str
    value: Any


Batches = Generator[list[PreparedRow], None, None]


@dataclass(frozen=True)
class StoredBatch:
    """Features of a batch as they go into a shard.

    Attributes:
        rows: the n rows, without what was prepared of them.
        pooled: (n, d) in the store's precision.
        tokens: (tokens of all items, w), item after item; None without tokens.
        n_tokens: (n,) int64 tokens of each item; None without tokens.
    """

    rows: Sequence[PreparedRow]
    pooled: NDArray[Any]
    tokens: NDArray[Any] | None = None
    n_tokens: NDArray[np.int64] | None = None


class ShardMaking:
    """One modality on its way into a store.

    Args:
        rows: what to encode.
        batch_size: items encoded at once; None takes what the store was begun with, or
            `starting_batch_size` for a new one.
        starting_batch_size: see `batch_size`.
        workers: threads that prepare rows; None takes one a processor, at most 4.
        progress: is told of every batch.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int | None,
        starting_batch_size: int,
        workers: int | None,
        progress: Progress,
    ) -> None:
        self._rows, self._progress = rows, progress
        self._asked_batch_size, self._starting_batch_size = batch_size, starting_batch_size
        self._workers = workers or min(4, os.cpu_count() or 1)
        self._zeros: list[int] = []

    def run(self, writer: StoreWriter, shards: Sequence[int]) -> FeatureStore:
        """Make some shards, in order, and open the store.

        Raises:
            FeatureError, CollectionError, StorageError: see `extract_features`; the shards
                finished before stay.
        """
        spec = writer.spec
        if not shards:
            return writer.finish()
        # The same size as before gives the same bits after a kill.
        writer.batch_size = self._asked_batch_size or writer.batch_size or self._starting_batch_size
        n_missing = sum(len(spec.rows_of(shard)) for shard in shards)
        n_done = spec.n_rows - n_missing
        stage = f"{spec.modality} features"
        self._progress(stage, n_done, spec.n_rows)
        parts: list[StoredBatch] = []
        with closing(self._encode_batches(self._batches(writer, shards), writer)) as batches:
            for part in batches:
                parts.append(part)
                n_done += len(part.rows)
                if part.rows[-1].row == spec.rows_of(shards[0])[-1]:
                    shard, *shards = shards
                    write_shard(shard, parts, writer)
                    parts = []
                self._progress(stage, n_done, spec.n_rows)
        if self._zeros:
            logger.warning(
                "%d of %d %s rows have all-zero features, the first is %s",
                *(len(self._zeros), n_missing, spec.modality, self._rows.name(min(self._zeros))),
            )
        return writer.finish()

    def _batches(self, writer: StoreWriter, shards: Sequence[int]) -> Batches:
        """Prepare rows in threads, some ahead, and yield them in batches that end with shards."""
        pool = ThreadPoolExecutor(self._workers, "modalhash-prepare")
        waiting: deque[Future[PreparedRow]] = deque()
        ahead = 2 * writer.batch_size + self._workers
        places = iter([row for shard in shards for row in writer.spec.rows_of(shard)])
        try:
            for shard in shards:
                n_left = len(writer.spec.rows_of(shard))
                while n_left:
                    batch = []
                    for _ in range(min(writer.batch_size, n_left)):
                        for place in islice(places, ahead - len(waiting)):
                            waiting.append(pool.submit(self._prepare, place))
                        batch.append(waiting.popleft().result())
                    n_left -= len(batch)
                    yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, row: int) -> PreparedRow:
        stamp = self._rows.stamp(row)
        return PreparedRow(row, stamp, self._rows.digest(row), self._rows.prepare(row))

    def _encode_batches(
        self, batches: Batches, writer: StoreWriter
    ) -> Generator[StoredBatch, None, None]:
        """Encode batches in the tower's lanes and yield their features in order.

        Where a row can't be prepared, the batches before it are yielded first.
        """
        device = self._rows.tower.device
        ahead = encoding_lanes(device) + 1
        waiting: deque[Future[list[StoredBatch]]] = deque()
        failure: Exception | None = None
        with closing(batches), encoding_pool(device) as pool:
            while failure is None:
                try:
                    batch = next(batches)
                except StopIteration:
                    break
                except (ModalhashError, OSError) as error:
                    failure = error
                else:
                    waiting.append(pool.submit(self._encode, batch, writer))
                    if len(waiting) >= ahead:
                        yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        if failure is not None:
            raise failure

    def _encode(self, batch: Sequence[PreparedRow], writer: StoreWriter) -> list[StoredBatch]:
        """Encode a batch; where memory runs out, in halves, and later batches are smaller."""
        with_tokens = writer.spec.token_width is not None
        try:
            output = self._rows.encode([row.value for row in batch], with_tokens=with_tokens)
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or type(error).__name__
        else:
            return [self._checked(output, batch, writer)]
        half = (len(batch) + 1) // 2
        writer.batch_size = min(writer.batch_size, half)
        logger.warning("out of memory (%s): going on with batches of %d", reason, half)
        return self._encode(batch[:half], writer) + self._encode(batch[half:], writer)

    def _checked(
        self, output: TowerOutput, batch: Sequence[PreparedRow], writer: StoreWriter
    ) -> StoredBatch:
        """Check what a tower returned and bring it to the stored precision.

        Raises:
            FeatureError: if widths differ, or a number isn't finite or too large for the store.
        """
        spec = writer.spec
        if output.pooled.shape != (len(batch), spec.width):
            raise FeatureError(
                f"the {spec.modality} tower returned features of shape {output.pooled.shape}, "
                f"expected {(len(batch), spec.width)}"
            )
        self._zeros += [
            row.row for row, vector in zip(batch, output.pooled, strict=True) if not vector.any()
        ]
        rows = [replace(row, value=None) for row in batch]
        names = [row.row for row in batch]
        pooled = self._converted(output.pooled, names, spec.dtype)
        if output.tokens is None or output.token_mask is None:
            return StoredBatch(rows, pooled)
        n_tokens = output.token_mask.sum(axis=1, dtype=np.int64)
        owners = np.repeat(names, n_tokens).tolist()
        tokens = self._converted(output.tokens[output.token_mask], owners, spec.dtype)
        return StoredBatch(rows, pooled, tokens, n_tokens)

    def _converted(
        self, vectors: NDArray[np.float32], owners: Sequence[int], dtype: FeatureDtype
    ) -> NDArray[Any]:
        """Convert vectors to the store's precision.

        Args:
            vectors: (k, d).
            owners: the row that each vector belongs to.
            dtype: the store's precision.

        Raises:
            FeatureError: naming the first row with a number that isn't finite or doesn't fit.
        """
        require_finite(vectors, lambda place: self._rows.name(owners[place]))
        if dtype == "float16" and vectors.size:
            peaks = np.abs(vectors).max(axis=1)
            if peaks.max() > FLOAT16_LARGEST:
                place = int(np.argmax(peaks > FLOAT16_LARGEST))
                raise FeatureError(
                    f"{self._rows.name(owners[place])} has a feature of size {peaks[place]:.6g}, "
                    f"more than float16 holds ({FLOAT16_LARGEST:.0f}): extract with "
                    "dtype='float32'"
                )
        return vectors.astype(dtype)


def write_shard(shard: int, parts: Sequence[StoredBatch], writer: StoreWriter) -> None:
    """Join the batches of a shard and write it."""
    tokens = [part.tokens for part in parts if part.tokens is not None]
    n_tokens = [part.n_tokens for part in parts if part.n_tokens is not None]
    writer.write(
        shard,
        np.concatenate([part.pooled for part in parts]),
        content=joint_hash(row.digest for part in parts for row in part.rows),
        stamp=joint_hash(row.stamp for part in parts for row in part.rows),
        tokens=np.concatenate(tokens) if tokens else None,
        token_ends=np.cumsum(np.concatenate(n_tokens)) if n_tokens else None,
    )
