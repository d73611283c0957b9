"""The form of features on disk: shards, and a manifest that says what is there.

A folder holds one modality of one collection as one tower sees it::

    manifest.json                    what the shards are, and which of them are finished
    pooled-00000-1f3a9c02.npy        (rows, d) features of the first shard
    tokens-00000-1f3a9c02.npy        (all tokens of the shard, w), item after item, no padding
    token_ends-00000-1f3a9c02.npy    (rows,) int64, where each item's tokens end

The second number of a name is that of the shard's content. A shard's files are complete before the
manifest names them, so a kill at any moment leaves finished shards, and perhaps files that nothing
names, which the next writer removes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from modalhash.data.collection import Modality
from modalhash.errors import DamagedArtifactError, SettingError
from modalhash.files import is_plain_name, read_json, write_json

__all__ = [
    "MANIFEST",
    "FeatureDtype",
    "Manifest",
    "ShardRecord",
    "StoreSpec",
    "shard_damage",
    "shard_path",
]

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = ("pooled", "tokens", "token_ends")
"""Names of the arrays that a shard may have."""
MOST_ROWS = 1 << 48
"""No store has more rows, and no array more columns."""

FeatureDtype = Literal["float16", "float32"]


@dataclass(frozen=True)
class StoreSpec:
    """What all shards of a store have in common.

    Attributes:
        modality: "image" or "text".
        tower: the tower's identity, for readers.
        fingerprint: the tower's fingerprint, which decides.
        dtype: of the stored numbers; rows come back as float32.
        width: d of pooled features.
        token_width: w of tokens; None if none are stored.
        n_rows: rows in all.
        shard_rows: rows of every shard but the last.
    """

    modality: Modality
    tower: Mapping[str, Any]
    fingerprint: str
    dtype: FeatureDtype
    width: int
    token_width: int | None
    n_rows: int
    shard_rows: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SettingError: naming the number, what came and what was expected.
        """
        if self.dtype not in ("float16", "float32"):
            raise SettingError(f"dtype is {self.dtype!r}, expected 'float16' or 'float32'")
        for name in ("width", "n_rows", "shard_rows"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}, expected at least 1")

    @property
    def n_shards(self) -> int:
        """Number of shards when all are there."""
        return -(-self.n_rows // self.shard_rows)

    def rows_of(self, shard: int) -> range:
        """List the rows of a shard."""
        start = shard * self.shard_rows
        return range(start, min(start + self.shard_rows, self.n_rows))


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard.

    Attributes:
        rows: how many.
        content: SHA-256 over the content of its items.
        stamp: SHA-256 over their stamps, which are cheap to get.
        longest: most tokens of an item; 0 without tokens.
        files: of each array ("pooled", "tokens", "token_ends"), its bytes and SHA-256.
    """

    rows: int
    content: str
    stamp: str
    longest: int
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        spec: what all shards have in common.
        batch_size: items encoded at once when the store was begun; continuing with the same
            number gives the same bits.
        shards: the finished shards, by number.
    """

    spec: StoreSpec
    batch_size: int
    shards: Mapping[int, ShardRecord]

    def write(self, folder: Path) -> None:
        """Write it atomically.

        Raises:
            StorageError: if the file system refuses.
        """
        document = {
            "format": FORMAT,
            "kind": "feature store",
            "modalhash": version("modalhash"),
            **asdict(self.spec),
            "batch_size": self.batch_size,
            "shards": {str(shard): asdict(self.shards[shard]) for shard in sorted(self.shards)},
        }
        write_json(folder / MANIFEST, document)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            DamagedArtifactError: if it is missing or not what this version writes.
            NewerFormatError: if a newer version wrote it.
            StorageError: if it can't be read.
        """
        document = read_json(folder / MANIFEST, kind="feature store", newest_format=FORMAT)
        try:
            spec = StoreSpec(**{name: document[name] for name in StoreSpec.__annotations__})
            check_spec(spec)
            shards = {
                int(shard): ShardRecord(**record) for shard, record in document["shards"].items()
            }
            batch_size = int(document["batch_size"])
            if any(not 0 <= shard < spec.n_shards for shard in shards):
                raise ValueError("more shards than rows")
            for record in shards.values():
                check_record(record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DamagedArtifactError(
                f"{folder / MANIFEST} is damaged ({error!r}): delete {folder} and extract again"
            ) from error
        return cls(spec, batch_size, shards)


def check_spec(spec: StoreSpec) -> None:
    """Refuse what no writer writes of all shards.

    Raises:
        ValueError: naming what is of another sort.
    """
    counts = [spec.width, spec.n_rows, spec.shard_rows]
    counts += [] if spec.token_width is None else [spec.token_width]
    if not all(type(count) is int and 0 < count < MOST_ROWS for count in counts):
        raise ValueError("a width or a number of rows")
    if not isinstance(spec.tower, dict) or not isinstance(spec.fingerprint, str):
        raise ValueError("tower or fingerprint")


def check_record(record: ShardRecord) -> None:
    """Refuse what no writer writes of a shard; a content names files, so it is plain.

    Raises:
        ValueError: naming what is of another sort.
    """
    counts = [record.rows, record.longest]
    if not all(type(count) is int and 0 <= count < MOST_ROWS for count in counts):
        raise ValueError("rows or longest")
    if not is_plain_name(record.content) or not isinstance(record.stamp, str):
        raise ValueError("content or stamp")
    for name, stated in record.files.items():
        if name not in ARRAYS or type(stated["bytes"]) is not int:
            raise ValueError("the files of a shard")
        if not isinstance(stated["sha256"], str):
            raise ValueError("a checksum")


def shard_path(folder: Path, array: str, shard: int, content: str) -> Path:
    """Build the path of one array of a shard."""
    return folder / f"{array}-{shard:05d}-{content[:8]}.npy"


def shard_damage(folder: Path, shard: int, record: ShardRecord) -> str | None:
    """Say what is wrong with the sizes of a shard's files; None if nothing is."""
    for array, stated in record.files.items():
        path = shard_path(folder, array, shard, record.content)
        try:
            n_bytes = path.stat().st_size
        except OSError:
            return f"{path} is missing"
        if n_bytes != stated["bytes"]:
            return f"{path} has {n_bytes} bytes, expected {stated['bytes']}"
    return None
