"""Encode shards in one process: load the model once, write one code file per shard."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modalhash.artifacts import HashModel, load_model
from modalhash.artifacts.shard_encoding import ShardEncoder
from modalhash.data.shards import Shard
from modalhash.errors import ArtifactError, CollectionError, DamagedArtifactError, Defect
from modalhash.index.code_files import CodeHead, code_file_path, read_code_head, write_code_file

__all__ = ["ShardJob", "ShardOutcome", "ShardWorker", "is_done"]


@dataclass(frozen=True)
class ShardOutcome:
    """What became of one shard.

    Attributes:
        name: of the shard.
        defects: what was wrong; if it has a code file, of rows that were left out.
        is_written: whether it has a code file.
    """

    name: str
    defects: tuple[Defect, ...]
    is_written: bool


@dataclass(frozen=True)
class ShardJob:
    """What a worker must know to encode shards.

    Attributes:
        run: the model's folder.
        model_fingerprint: of the model that is there.
        output: where code files go.
        images: the folder that paths of pictures are relative to; by default each shard's.
        skip_bad: leave out rows with defects.
        device: where the encoder computes.
    """

    run: Path
    model_fingerprint: str
    output: Path
    images: Path | None
    skip_bad: bool
    device: str

    def worker(self, model: HashModel | None = None) -> "ShardWorker":
        """Load the model, unless it is given, and return what encodes with it.

        Raises:
            ArtifactError: if the folder holds another model by now.
        """
        if model is None:
            model = load_model(self.run, device=self.device)
        if model.fingerprint != self.model_fingerprint:
            raise ArtifactError(f"{self.run} holds another model by now: start again")
        return ShardWorker(self, model)


class ShardWorker:
    """Encodes one shard after the other with a model that is loaded once.

    Args:
        job: what is asked for.
        model: makes the codes.
    """

    def __init__(self, job: ShardJob, model: HashModel) -> None:
        self.job = job
        self.encoder = ShardEncoder(model, images=job.images, skip_bad=job.skip_bad)

    def encode(self, shard: Shard) -> ShardOutcome:
        """Write the code file of a shard, unless that is done.

        It may be done when a worker was lost between writing and saying so.

        Raises:
            FeatureError: if the model reads what shards don't have.
            StorageError: if the file system refuses.
        """
        path = code_file_path(self.job.output, shard.name)
        with suppress(DamagedArtifactError, CollectionError):
            if is_done(read_code_head(path), shard, self.job.model_fingerprint):
                return ShardOutcome(shard.name, (), True)
        try:
            content = self.encoder.encode(shard)
        except CollectionError as error:
            return ShardOutcome(shard.name, error.defects, False)
        write_code_file(path, content)
        left_out = (Defect("left-out", shard.name, problem) for problem in content.head.left_out)
        return ShardOutcome(shard.name, tuple(left_out), True)


def is_done(head: CodeHead | None, shard: Shard, model_fingerprint: str) -> bool:
    """Tell whether a code file holds the codes of a shard as it is now.

    Raises:
        CollectionError: if the shard can't be read.
    """
    if head is None or head.model_fingerprint != model_fingerprint:
        return False
    n_bytes, *times = shard.stamp()
    if head.shard["n_bytes"] != n_bytes:
        return False
    is_same = [head.shard["mtime_ns"], head.shard.get("ctime_ns")] == times
    return is_same or bool(head.shard["sha256"] == shard.content().sha256)
