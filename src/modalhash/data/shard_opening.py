"""Open a shard with the reader of its format."""

from pathlib import Path

from modalhash.data.parquet_shards import ParquetShard
from modalhash.data.shards import Shard, ShardReader, SideWidths
from modalhash.data.tar_shards import TarShard
from modalhash.data.tars import is_tar

__all__ = ["open_shard"]


def open_shard(shard: Shard, side_widths: SideWidths, *, images: Path | None = None) -> ShardReader:
    """Open a shard.

    Args:
        shard: a Parquet file or a tar.
        side_widths: what to read of it; a shard may lack one side.
        images: the folder that paths of pictures are relative to; by default the shard's.

    Raises:
        CollectionError: if it can't be read, or holds nothing that is wanted.
        MissingExtraError: if it is a Parquet file and pyarrow isn't installed.
    """
    if is_tar(shard.path):
        return TarShard(shard, side_widths)
    return ParquetShard(shard, side_widths, images or shard.path.parent)
