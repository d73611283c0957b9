"""The verb that encodes shards: each once, here or on a Ray cluster."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modalhash.api.opening import open_model
from modalhash.api.ray_jobs import encode_on_ray
from modalhash.api.shard_jobs import ShardJob, ShardOutcome, is_done
from modalhash.artifacts import HashModel
from modalhash.artifacts.shard_encoding import find_side_widths
from modalhash.data.shards import Shard, find_shards
from modalhash.errors import (
    ArtifactError,
    CollectionError,
    DamagedArtifactError,
    Defect,
    IndexLockedError,
    InputError,
    StorageError,
)
from modalhash.index.code_files import (
    CodeHead,
    check_one_kind,
    code_file_path,
    ids_twice,
    is_code_folder,
    read_code_file,
    read_code_folder,
    read_code_head,
    write_code_file,
    write_code_folder,
)
from modalhash.index.ids import format_ids
from modalhash.index.lock import WriterLock
from modalhash.progress import Progress, automatic

__all__ = ["ShardCodes", "encode_shards"]

logger = logging.getLogger(__name__)

STAGE: Final = "shards"
LOGGED_DEFECTS: Final = 20
"""Of a shard, so many rows that were left out are named in the log."""
NAMED_TWICE: Final = 1000


@dataclass(frozen=True)
class ShardCodes:
    """What `encode_shards` wrote: a code file a shard, and `shards.json`.

    Attributes:
        folder: where.
        n_bits: bits of a code.
        n_shards: shards that have code files.
        n_encoded: of these, how many were encoded now; the others were finished before.
        n_items: rows with codes.
        n_texts: texts with codes.
        n_left_out: rows that were left out, also before.
        left_out: shards that were left out, and why.
    """

    folder: Path
    n_bits: int
    n_shards: int
    n_encoded: int
    n_items: int
    n_texts: int
    n_left_out: int
    left_out: tuple[Defect, ...] = ()


def encode_shards(
    model: HashModel | Path | str,
    shards: Path | str,
    output: Path | str,
    *,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 0,
    images: Path | str | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress = automatic,
) -> ShardCodes:
    """Write a code file for each of many shards; rows are read as a stream, features aren't kept.

    Each shard is encoded once: a code file is whole or absent and says whose codes it holds, so
    the same call after a kill goes on with the shards that are missing and leaves the same bytes
    as an unbroken run, with Ray or without. At the end the ids of all shards are compared.

    Args:
        model: or its run folder.
        shards: a folder, a file or a pattern of Parquet files or tars; see
            `modalhash.data.shards` and the page on scale.
        output: the folder; it holds the codes of these shards and of no others.
        ray: address of a Ray cluster to encode on ("auto", "ray://host:10001"), or "local" to
            start one on this machine; None encodes in this process. All machines must see the run,
            the shards and the output under the same paths.
        workers: with Ray, how many processes encode; by default one a processor of the cluster, or
            as many as the GPUs suffice for.
        gpus: with Ray, how many GPUs each worker takes; may be a fraction.
        images: the folder that paths of pictures in Parquet are relative to; by default each
            shard's own.
        skip_bad: leave out rows that are damaged, rows whose id an earlier row has, and shards
            that can't be read; the log says which. Otherwise a shard with a bad row gets no code
            file; the other shards do.
        overwrite: encode shards anew that changed or were encoded with another model, and remove
            codes of shards that are gone.
        device: "auto", "cpu", "cuda", ...
        progress: told of every shard.

    Raises:
        InputError: if there are no shards, `output` holds codes of changed or other shards, ids are
            of two kinds, or Ray is asked for and the model isn't saved.
        IndexLockedError: if another process encodes into `output`.
        CollectionError: if shards or rows are damaged, or ids come twice, naming the places. What
            could be encoded is kept.
        ArtifactError: if `output` holds codes of another model.
        FeatureError: if the model reads what shards don't have.
        MissingExtraError: if Ray, or pyarrow for Parquet, isn't installed.
        StorageError: if the file system refuses; finished shards stay.
    """
    loaded = open_model(model, device)
    find_side_widths(loaded)
    listed = find_shards(shards)
    folder = Path(output).absolute()
    run = None if loaded.folder is None else loaded.folder.absolute()
    if ray is not None and run is None:
        raise InputError("the model has no folder that Ray's workers could load: save it first")
    job = ShardJob(
        run or folder,
        loaded.fingerprint,
        folder,
        None if images is None else Path(images).absolute(),
        skip_bad,
        device,
    )
    with sole_writer(folder):
        missing = list_missing_shards(listed, job, overwrite=overwrite)
        if not missing and is_settled(listed, job):
            return summarize_folder(listed, job, loaded.n_bits, n_encoded=0)
        stated: dict[str, Any] = {
            "n_bits": loaded.n_bits,
            "model_fingerprint": loaded.fingerprint,
            "compatible_with": loaded.compatible_fingerprints,
        }
        write_code_folder(folder, None, **stated)
        if ray is None or not missing:
            outcomes: Iterator[ShardOutcome] = map(job.worker(loaded).encode, missing)
        else:
            outcomes = encode_on_ray(job, missing, address=ray, workers=workers, gpus=gpus)
        failed = collect_failures(outcomes, len(listed) - len(missing), len(listed), progress)
        if failed and not skip_bad:
            raise make_refusal(failed, len(listed))
        without = {outcome.name: outcome.defects[0] for outcome in failed}
        encoded = [shard for shard in listed if shard.name not in without]
        settle_ids(encoded, job)
        heads = read_heads(encoded, job)
        if not any(head.n_items for head in heads):
            raise make_no_codes_error(failed, heads, listed)
        left_out = [(name, without[name].problem) for name in sorted(without)]
        write_code_folder(folder, heads, left_out=left_out, **stated)
        return summarize_folder(encoded, job, loaded.n_bits, n_encoded=len(missing) - len(failed))


def make_no_codes_error(
    failed: Sequence[ShardOutcome], heads: Sequence[CodeHead], shards: Sequence[Shard]
) -> CollectionError:
    """Make the error of shards of which every row was left out."""
    defects = [defect for outcome in failed for defect in outcome.defects]
    defects += [
        Defect("left-out", head.shard["name"], problem)
        for head in heads
        for problem in head.left_out
    ]
    nothing = Defect("no-items", shards[0].name, "and the other shards have no row")
    return CollectionError(
        defects or [nothing],
        listed="the log names them",
        advice="; every row was left out, so there are no codes",
    )


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep other processes from encoding into a folder, and remove what a kill left half written.

    Raises:
        IndexLockedError: if one does.
        StorageError: if the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"can't write {folder}: {error.strerror or error}") from error
    try:
        lock = WriterLock(folder)
    except IndexLockedError as error:
        raise IndexLockedError(
            f"another process encodes into {folder}: wait until it is done, or choose another "
            "folder"
        ) from error
    try:
        for path in folder.rglob(".*.safetensors.*.part"):
            path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def list_missing_shards(shards: Sequence[Shard], job: ShardJob, *, overwrite: bool) -> list[Shard]:
    """List the shards without codes, by name; refuse codes that would be mixed with others.

    Raises:
        ArtifactError: if there are codes of another model.
        InputError: if there are codes of changed shards, or of shards that weren't named.
    """
    missing: list[Shard] = []
    changed: list[str] = []
    foreign: list[str] = []
    for shard in shards:
        path = code_file_path(job.output, shard.name)
        try:
            head = read_code_head(path)
        except DamagedArtifactError as error:
            logger.warning("%s is encoded again: %s", shard.name, error)
            head = None
        with suppress(CollectionError):  # which the worker will tell
            if is_done(head, shard, job.model_fingerprint):
                continue
        missing.append(shard)
        if head is not None:
            other = head.model_fingerprint != job.model_fingerprint
            (foreign if other else changed).append(shard.name)
    known = {code_file_path(job.output, shard.name) for shard in shards}
    gone = [path for path in sorted(job.output.rglob("*.safetensors")) if path not in known]
    gone = [path for path in gone if is_code_file(path)]
    advice = "with --overwrite, or choose another folder"
    if overwrite:
        for name in (*changed, *foreign):
            logger.info("%s is encoded again", name)
            gone.append(code_file_path(job.output, name))
        for path in gone:
            path.unlink()
    elif foreign:
        raise ArtifactError(
            f"{job.output} holds codes of another model, of {format_ids(foreign)}: encode them "
            f"again {advice}"
        )
    elif changed:
        raise InputError(
            f"{len(changed)} shards changed since they were encoded: {format_ids(changed)}; encode "
            f"them again {advice}"
        )
    elif gone:
        names = [path.relative_to(job.output).as_posix() for path in gone]
        raise InputError(
            f"{job.output} holds codes of shards that weren't named: {format_ids(names)}; name all "
            f"shards, remove these {advice}"
        )
    return missing


def is_code_file(path: Path) -> bool:
    """Tell whether a file is one of ours, be it damaged."""
    try:
        return read_code_head(path) is not None
    except DamagedArtifactError:
        return False


def is_settled(shards: Sequence[Shard], job: ShardJob) -> bool:
    """Tell whether `shards.json` names just the code files that are there."""
    if not is_code_folder(job.output):
        return False
    try:
        document = read_code_folder(job.output)
    except (ArtifactError, InputError):
        return False
    return not document["left_out"] and [
        (entry["shard"], entry["data_sha256"]) for entry in document["files"]
    ] == [(head.shard["name"], head.data_sha256) for head in read_heads(shards, job)]


def read_heads(shards: Sequence[Shard], job: ShardJob) -> list[CodeHead]:
    """Read what the code files of some shards say of themselves."""
    heads = [read_code_head(code_file_path(job.output, shard.name)) for shard in shards]
    return [head for head in heads if head is not None]


def collect_failures(
    outcomes: Iterator[ShardOutcome], n_done: int, n_shards: int, progress: Progress
) -> list[ShardOutcome]:
    """Wait for all shards; return those without a code file, by name."""
    failed = []
    progress(STAGE, n_done, n_shards)
    for outcome in outcomes:
        n_done += 1
        progress(STAGE, n_done, n_shards)
        if not outcome.is_written:
            failed.append(outcome)
        for defect in outcome.defects[:LOGGED_DEFECTS]:
            message = defect if not outcome.is_written else f"left out: {defect.problem}"
            logger.warning("%s", message)
        if len(outcome.defects) > LOGGED_DEFECTS:
            logger.warning("%s: and %d more", outcome.name, len(outcome.defects) - LOGGED_DEFECTS)
    return sorted(failed, key=lambda outcome: outcome.name)


def make_refusal(failed: Sequence[ShardOutcome], n_shards: int) -> CollectionError:
    """Make the error of shards that couldn't be encoded."""
    return CollectionError(
        [defect for outcome in failed for defect in outcome.defects],
        listed="the log names them",
        advice=(
            f"; {n_shards - len(failed)} of {n_shards} shards are encoded: mend the rest and run "
            "the same again, or leave bad rows out with --skip-bad"
        ),
    )


def settle_ids(shards: Sequence[Shard], job: ShardJob) -> None:
    """See that each id is there once; where bad rows are skipped, leave out all but the first.

    Raises:
        CollectionError: if ids come more than once, naming the places.
        InputError: if ids are of two kinds.
    """
    heads = read_heads(shards, job)
    check_one_kind(heads)
    paths = [code_file_path(job.output, shard.name) for shard in shards]
    later: dict[int, dict[int, str]] = defaultdict(dict)
    n_twice = 0
    for twice in ids_twice(paths):
        n_twice += 1
        if not job.skip_bad and n_twice > NAMED_TWICE:
            continue
        (first, _, first_row), *others = twice.places
        for owner, item, row in others:
            later[owner][item] = (
                f"{shards[owner].name}, row {row}: the id {twice.id!r} is already in "
                f"{shards[first].name}, row {first_row}"
            )
    if not n_twice:
        return
    problems = [later[owner][item] for owner in sorted(later) for item in sorted(later[owner])]
    for problem in problems[:LOGGED_DEFECTS]:
        logger.warning("%s%s", "left out: " if job.skip_bad else "", problem)
    if not job.skip_bad:
        places = (problem.partition(": ") for problem in problems)
        defects = [Defect("duplicate-id", place, problem) for place, _, problem in places]
        raise CollectionError(
            defects,
            listed=f"{n_twice} ids come more than once",
            advice="; give every row its own id, or leave out all but the first with --skip-bad",
        )
    logger.warning("%d ids come more than once: all but the first row are left out", n_twice)
    for owner, dropped in later.items():
        items = sorted(dropped)
        file = read_code_file(paths[owner]).without(items, [dropped[item] for item in items])
        write_code_file(paths[owner], file)


def summarize_folder(
    shards: Sequence[Shard], job: ShardJob, n_bits: int, *, n_encoded: int
) -> ShardCodes:
    """Summarize the content of a folder."""
    heads = read_heads(shards, job)
    document = read_code_folder(job.output)
    return ShardCodes(
        job.output,
        n_bits,
        len(heads),
        n_encoded,
        sum(head.n_items for head in heads),
        sum(head.n_texts for head in heads),
        sum(head.n_left_out for head in heads),
        tuple(
            Defect("left-out", entry["shard"], entry["problem"]) for entry in document["left_out"]
        ),
    )
