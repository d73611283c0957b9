"""A feature store, written shard by shard; see `store_manifest` for the form."""

import itertools
import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders.store import FeatureStore
from modalhash.encoders.store_manifest import (
    MANIFEST,
    Manifest,
    ShardRecord,
    StoreSpec,
    shard_damage,
    shard_path,
)
from modalhash.errors import DamagedArtifactError, ShapeError
from modalhash.files import sha256_of_file, write_array

__all__ = ["StoreWriter"]

logger = logging.getLogger(__name__)

LEFTOVER_SECONDS = 3600.0
"""Files that no manifest names are removed at this age; another process may write younger ones."""


class StoreWriter:
    """Writes a feature store shard by shard, and goes on where an earlier writer stopped.

    A store of another tower or layout under the same folder, or one whose manifest is damaged, is
    begun anew. Shards whose files are missing or short count as unfinished.

    Args:
        folder: where the store lies or shall lie.
        spec: what all shards have in common.

    Attributes:
        batch_size: items encoded at once; that of the store already begun, or 0. Whoever fills
            the store sets it, and it is noted in the manifest.

    Raises:
        NewerFormatError: if a newer version wrote what is there.
        StorageError: if the file system refuses.
    """

    def __init__(self, folder: Path, spec: StoreSpec) -> None:
        self.folder, self.spec = folder, spec
        self.batch_size = 0
        self._has_changes = True
        self._shards: dict[int, ShardRecord] = {}
        if (folder / MANIFEST).exists():
            self._take_over()

    def _take_over(self) -> None:
        """Keep what an earlier writer finished and what still fits."""
        try:
            manifest = Manifest.read(self.folder)
        except DamagedArtifactError as error:
            logger.warning("%s; beginning it anew", error)
            return
        if replace(manifest.spec, n_rows=self.spec.n_rows) != self.spec:
            logger.info("%s holds features of another kind; beginning it anew", self.folder)
            return
        self.batch_size = manifest.batch_size
        self._has_changes = manifest.spec != self.spec
        for shard, record in manifest.shards.items():
            if shard >= self.spec.n_shards or record.rows != len(self.spec.rows_of(shard)):
                continue
            damage = shard_damage(self.folder, shard, record)
            if damage:
                logger.warning("%s: making it again", damage)
                self._has_changes = True
            else:
                self._shards[shard] = record

    def record(self, shard: int) -> ShardRecord | None:
        """Read the record of a finished shard; None without one."""
        return self._shards.get(shard)

    def discard(self, shard: int) -> None:
        """Forget a shard whose content changed."""
        self._shards.pop(shard, None)
        self._has_changes = True

    def restamp(self, shard: int, stamp: str) -> None:
        """Note new stamps of a shard whose content is the same."""
        self._shards[shard] = replace(self._shards[shard], stamp=stamp)
        self._has_changes = True

    def write(
        self,
        shard: int,
        pooled: NDArray[np.float32],
        *,
        content: str,
        stamp: str,
        tokens: NDArray[np.float32] | None = None,
        token_ends: NDArray[np.int64] | None = None,
    ) -> None:
        """Write a shard and note it in the manifest.

        Args:
            shard: its number.
            pooled: (rows, d) features.
            content: SHA-256 over the content of its items.
            stamp: SHA-256 over their stamps.
            tokens: (all tokens, w), item after item; None if the store holds none.
            token_ends: (rows,) where each item's tokens end.

        Raises:
            ShapeError: if an array doesn't fit the spec.
            StorageError: if the file system refuses; finished shards stay.
        """
        n_rows, width = len(self.spec.rows_of(shard)), self.spec.width
        if pooled.shape != (n_rows, width):
            raise ShapeError(f"pooled has shape {pooled.shape}, expected {(n_rows, width)}")
        arrays: dict[str, NDArray[Any]] = {"pooled": pooled.astype(self.spec.dtype, copy=False)}
        longest = 0
        if self.spec.token_width is not None:
            if tokens is None or token_ends is None or token_ends.shape != (n_rows,):
                raise ShapeError(f"shard {shard} needs tokens and {n_rows} token_ends")
            if tokens.shape != (int(token_ends[-1]), self.spec.token_width):
                raise ShapeError(
                    f"tokens has shape {tokens.shape}, expected "
                    f"{(int(token_ends[-1]), self.spec.token_width)}"
                )
            arrays["tokens"] = tokens.astype(self.spec.dtype, copy=False)
            arrays["token_ends"] = token_ends.astype(np.int64, copy=False)
            longest = int(np.diff(token_ends, prepend=0).max())
        files = {}
        for name, array in arrays.items():
            path = shard_path(self.folder, name, shard, content)
            write_array(path, array)
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        self._shards[shard] = ShardRecord(n_rows, content, stamp, longest, files)
        self._has_changes = True
        self._save()

    def finish(self) -> FeatureStore:
        """Note everything and open the store; a store that was up to date isn't written to.

        Raises:
            DamagedArtifactError: if a shard is missing.
            StorageError: if the file system refuses.
        """
        if self._has_changes:
            self._save()
            self._remove_leftovers()
        return FeatureStore(self.folder, self._manifest())

    def _manifest(self) -> Manifest:
        return Manifest(self.spec, self.batch_size, dict(self._shards))

    def _save(self) -> None:
        self._manifest().write(self.folder)

    def _remove_leftovers(self) -> None:
        """Remove files that the manifest doesn't name and that nobody can be writing."""
        named = {
            shard_path(self.folder, array, shard, record.content)
            for shard, record in self._shards.items()
            for array in record.files
        }
        newest = time.time() - LEFTOVER_SECONDS
        for path in itertools.chain(self.folder.glob("*-*-*.npy"), self.folder.glob(".*.part")):
            with suppress(OSError):
                if path not in named and path.stat().st_mtime < newest:
                    path.unlink()
