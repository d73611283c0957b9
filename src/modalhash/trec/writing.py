"""Rankings by codes as run and qrels files, for trec_eval, ranx and their kind."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.choices import Scoring
from modalhash.codes import Codes, asymmetric_scores
from modalhash.codes.asymmetric import Relaxed, WeightedQueries
from modalhash.errors import InputError, StorageError
from modalhash.files import write_with
from modalhash.metrics import Direction
from modalhash.metrics.rankings import WeightedRanking
from modalhash.trec.files import write_name

__all__ = ["USUAL_DEPTH", "write_trec"]

USUAL_DEPTH: Final = 1000
BLOCK_PAIRS: Final = 1 << 21


def write_trec(
    folder: Path | str,
    relaxed_queries: Relaxed,
    database_codes: Codes,
    n_bits: int,
    *,
    query_ids: Sequence[Any],
    database_ids: Sequence[Any],
    direction: Direction | str,
    scoring: Scoring | str = Scoring.ASYMMETRIC,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    own_rows: ArrayLike | None = None,
    depth: int = USUAL_DEPTH,
) -> list[Path]:
    """Write a ranking and what is relevant as files of TREC.

    `DIRECTION-SCORING.run` holds the `depth` best of each query with their scores, ties in the
    order of the database; `DIRECTION-labels.qrels` holds how many labels a query and an item have
    in common, `DIRECTION-pairs.qrels` the queries' own items. White space and % in ids become %XX.
    trec_eval orders ties by the documents' names; the ranks in the run are those that our measures
    take with `ties="database_order"`.

    Args:
        folder: for the files; made if missing, files of the same names are replaced.
        relaxed_queries: (q, n_bits) numbers before the sign; by Hamming distance their signs count.
        database_codes: (m, p) uint8, packed.
        n_bits: bits of a code.
        query_ids: q names.
        database_ids: m names.
        direction: what asks and what answers.
        scoring: what ranks: "asymmetric" or "hamming".
        query_labels: (q, c) of 0 and 1.
        database_labels: (m, c) of 0 and 1.
        query_targets: (q,) or (q, t) database rows, -1 fills up.
        own_rows: (q,) the database row that is each query itself, which is left out.
        depth: documents of a query at most.

    Returns:
        The files.

    Raises:
        InputError: if `depth` is less than 1.
        StorageError: if the file system refuses.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}, expected at least 1")
    direction, scoring = Direction(direction), Scoring(scoring)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"can't make {folder}: {error.strerror or error}") from error
    relaxed: Any = relaxed_queries
    if scoring is Scoring.HAMMING:
        relaxed = np.where(np.asarray(relaxed) >= 0, 1.0, -1.0)
    own = None if own_rows is None else np.asarray(own_rows, np.int64)
    names = [write_name(identity) for identity in query_ids]
    documents = [write_name(identity) for identity in database_ids]
    tag = f"modalhash-{n_bits}-{scoring.value}"
    run = rank_blocks(relaxed, database_codes, n_bits, own, depth)
    files = {f"{direction.value}-{scoring.value}.run": run_lines(run, names, documents, tag)}
    if query_labels is not None and database_labels is not None:
        common = common_labels(np.asarray(query_labels), np.asarray(database_labels), own)
        files[f"{direction.value}-labels.qrels"] = qrels_lines(common, names, documents)
    if query_targets is not None:
        pairs = target_rows(np.asarray(query_targets, np.int64))
        files[f"{direction.value}-pairs.qrels"] = qrels_lines(pairs, names, documents)
    for name, lines in files.items():
        write_with(folder / name, make_writer(lines))
    return [folder / name for name in files]


Row = tuple[NDArray[np.int64], NDArray[Any]]
"""Database rows of a query, and their scores or grades."""


def make_writer(lines: Iterable[str]) -> Callable[[IO[bytes]], object]:
    """Make what fills a file with lines."""
    return lambda file: file.writelines(line.encode() for line in lines)


def rank_blocks(
    relaxed: NDArray[np.floating[Any]],
    database_codes: Codes,
    n_bits: int,
    own_rows: NDArray[np.int64] | None,
    depth: int,
) -> Iterator[Row]:
    """Yield the best rows of each query with their scores, block by block."""
    ranking = WeightedRanking(WeightedQueries.of(relaxed, n_bits), database_codes, own_rows)
    n_rows = max(1, BLOCK_PAIRS // max(1, len(database_codes)))
    for start in range(0, len(relaxed), n_rows):
        block = slice(start, min(start + n_rows, len(relaxed)))
        rows = ranking.order(block).rows[:, :depth]
        scores = asymmetric_scores(relaxed[block], database_codes, n_bits)
        yield from zip(rows, np.take_along_axis(scores, rows, axis=1), strict=True)


def common_labels(
    query_labels: NDArray[Any], database_labels: NDArray[Any], own_rows: NDArray[np.int64] | None
) -> Iterator[Row]:
    """Yield the rows that share labels with each query, and how many they share."""
    items = database_labels.astype(np.float32).T
    for place, labels in enumerate(query_labels):
        grades = (labels.astype(np.float32) @ items).astype(np.int64)
        if own_rows is not None:
            grades[own_rows[place]] = 0
        rows = np.flatnonzero(grades)
        yield rows, grades[rows]


def target_rows(targets: NDArray[np.int64]) -> Iterator[Row]:
    """Yield each query's own rows, of grade 1."""
    for row in targets.reshape(len(targets), -1):
        own = row[row >= 0]
        yield own, np.ones(len(own), np.int64)


def run_lines(
    rows: Iterable[Row], names: Sequence[str], documents: Sequence[str], tag: str
) -> Iterator[str]:
    """Yield the lines of a run; scores have all digits of a float32."""
    for name, (places, scores) in zip(names, rows, strict=True):
        for rank, (place, score) in enumerate(
            zip(places.tolist(), scores.tolist(), strict=True), 1
        ):
            yield f"{name} Q0 {documents[place]} {rank} {score:.9g} {tag}\n"


def qrels_lines(
    rows: Iterable[Row], names: Sequence[str], documents: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of judgements."""
    for name, (places, grades) in zip(names, rows, strict=True):
        for place, grade in zip(places.tolist(), grades.tolist(), strict=True):
            yield f"{name} 0 {documents[place]} {grade}\n"
