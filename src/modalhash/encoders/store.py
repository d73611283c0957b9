"""A feature store, read: its shards are mapped into memory; see `store_manifest` for the form."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders.feature_tables import check_rows, missing_tokens_error
from modalhash.encoders.store_manifest import Manifest, shard_damage, shard_path
from modalhash.errors import DamagedArtifactError, StorageError
from modalhash.files import map_array, sha256_of_file

__all__ = ["FeatureStore"]

OPEN_ARRAYS = 192
"""Arrays a store keeps mapped at once; each holds a file handle."""


class FeatureStore:
    """A finished feature store, read by rows; only the rows asked for come into memory.

    Args:
        folder: where it lies.
        manifest: what its manifest says; read from the folder if None.

    Raises:
        DamagedArtifactError: if it is unfinished, or a file is missing or short.
        NewerFormatError: if a newer version wrote it.
        StorageError: if it can't be read.
    """

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        self.folder = folder
        manifest = manifest or Manifest.read(folder)
        self.spec, self._shards = manifest.spec, manifest.shards
        for shard in range(self.spec.n_shards):
            record = self._shards.get(shard)
            if record is None:
                raise DamagedArtifactError(
                    f"{folder} is unfinished ({len(self._shards)} of {self.spec.n_shards} shards): "
                    "run the extraction again, it goes on from there"
                )
            damage = shard_damage(folder, shard, record)
            if damage:
                raise DamagedArtifactError(f"{damage}: extract again to repair it")
        self._open: OrderedDict[tuple[str, int], NDArray[Any]] = OrderedDict()

    @property
    def width(self) -> int:
        """Width d of pooled features."""
        return self.spec.width

    @property
    def dtype(self) -> str:
        """Name of the dtype that the numbers are kept in."""
        return str(self.spec.dtype)

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """(t, w): most tokens of an item and their width; None if no tokens are stored."""
        if self.spec.token_width is None:
            return None
        return max(1, *(record.longest for record in self._shards.values())), self.spec.token_width

    def __len__(self) -> int:
        """Count the number of rows."""
        return self.spec.n_rows

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the pooled features of some rows, (k, d) float32, in the order of `rows`.

        Raises:
            ShapeError, InputError: if rows aren't row numbers.
            DamagedArtifactError: if a file doesn't hold what the manifest says.
        """
        rows = check_rows(rows, len(self))
        features = np.empty((len(rows), self.width), np.float32)
        shards = rows // self.spec.shard_rows
        for shard in np.unique(shards).tolist():
            places = np.flatnonzero(shards == shard)
            inside = rows[places] - shard * self.spec.shard_rows
            features[places] = self._array("pooled", shard)[inside]
        return features

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read the tokens of some rows: (k, t, w) float32 and their mask (k, t) bool.

        Raises:
            ShapeError, InputError: if rows aren't row numbers.
            FeatureError: if no tokens are stored.
            DamagedArtifactError: if a file doesn't hold what the manifest says.
        """
        shape = self.token_shape
        if shape is None:
            raise missing_tokens_error(f"the {self.spec.modality} features of {self.folder}")
        rows = check_rows(rows, len(self))
        tokens = np.zeros((len(rows), *shape), np.float32)
        mask = np.zeros((len(rows), shape[0]), np.bool_)
        for place, row in enumerate(rows.tolist()):
            shard, inside = divmod(row, self.spec.shard_rows)
            ends = self._array("token_ends", shard)
            start, end = int(ends[inside - 1]) if inside else 0, int(ends[inside])
            tokens[place, : end - start] = self._array("tokens", shard)[start:end]
            mask[place, : end - start] = True
        return tokens, mask

    def verify(self) -> None:
        """Read every shard and compare it with its checksum.

        Raises:
            DamagedArtifactError: naming the first file that differs.
            StorageError: if a file can't be read.
        """
        for shard, record in sorted(self._shards.items()):
            for array, stated in record.files.items():
                path = shard_path(self.folder, array, shard, record.content)
                if sha256_of_file(path) != stated["sha256"]:
                    raise DamagedArtifactError(
                        f"{path} is damaged (its checksum differs): delete it and extract again"
                    )

    def _array(self, array: str, shard: int) -> NDArray[Any]:
        """Map an array of a shard into memory; the ones used last stay open."""
        key = (array, shard)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        record = self._shards[shard]
        path = shard_path(self.folder, array, shard, record.content)
        try:
            mapped: NDArray[Any] = map_array(path)
        except (ValueError, EOFError) as error:
            raise DamagedArtifactError(
                f"{path} is damaged ({error}): delete it and extract again"
            ) from error
        except OSError as error:
            raise StorageError(f"can't read {path}: {error.strerror or error}") from error
        expected: dict[str, tuple[tuple[int, ...], str]] = {
            "pooled": ((record.rows, self.width), self.spec.dtype),
            "tokens": ((len(mapped), self.spec.token_width or 0), self.spec.dtype),
            "token_ends": ((record.rows,), "int64"),
        }
        shape, dtype = expected[array]
        if mapped.shape != shape or mapped.dtype != np.dtype(dtype):
            raise DamagedArtifactError(
                f"{path} holds {mapped.shape} {mapped.dtype}, expected {shape} {dtype}: delete it "
                "and extract again"
            )
        self._open[key] = mapped
        if len(self._open) > OPEN_ARRAYS:
            self._open.popitem(last=False)
        return mapped
