"""The verb `score`: every measure for codes and labels that any program made."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.choices import Scoring
from modalhash.codes import BitOrder, ReadCodes, read_codes, unpack
from modalhash.codes.asymmetric import Relaxed, WeightedQueries
from modalhash.codes.fingerprints import are_comparable, compatible_fingerprints
from modalhash.codes.manifest import read_codes_manifest
from modalhash.data.arrays import read_arrays
from modalhash.errors import CollectionError, InputError, ShapeError
from modalhash.files import map_array
from modalhash.metrics import (
    Direction,
    MeasureChoices,
    MeasureSettings,
    Report,
    code_statistics,
    evaluate_asymmetric,
    evaluate_direction,
    match_items,
    read_labels,
)
from modalhash.metrics.options import read_choice
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.trec import write_trec
from modalhash.trec.writing import USUAL_DEPTH

__all__ = ["ScoredCodes", "read_scored_codes", "score"]

Source = ArrayLike | Path | str
Array = NDArray[Any]


@dataclass(frozen=True)
class ScoredCodes:
    """One side of a score: codes, and what a folder of `modalhash encode` says of them.

    Attributes:
        name: where they are from, for people.
        read: the codes.
        labels: (n, c) of 0 and 1, or None.
        items: n ids of the items behind the rows, or None.
        ids: n ids of the rows themselves, pictures or texts, or None.
        model_fingerprint: of the model that made them, or "".
        compatible_with: fingerprints of former models that this one is compatible with.
        relaxed: (n, b) numbers before the sign, where these rank; else None.
    """

    name: str
    read: ReadCodes
    labels: Array | None = None
    items: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    model_fingerprint: str = ""
    compatible_with: tuple[str, ...] = ()
    relaxed: Relaxed | None = None


@takes_numpy_numbers
def score(
    query_codes: Source,
    database_codes: Source,
    *,
    query_labels: Source | None = None,
    database_labels: Source | None = None,
    query_targets: Source | None = None,
    pairs: bool = False,
    leave_out_self: bool | None = None,
    n_bits: int | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    direction: Direction | str = Direction.IMAGE_TO_TEXT,
    scoring: Scoring | str = Scoring.HAMMING,
    trec: Path | str | None = None,
    trec_depth: int = USUAL_DEPTH,
    **choices: Unpack[MeasureChoices],
) -> Report:
    """Measure a ranking by codes that any program made.

    Codes are arrays or files of them: -1 and +1, or 0 and 1 (0 means -1), with one column a bit;
    or packed bytes, which need `n_bits`. A folder that `modalhash encode` wrote will do too: the
    direction says which side of it, and its labels are used unless others are given. Files are
    .npy, or .npz, .mat and .h5 with the array's name behind a colon where there are several
    ("codes.mat:qB").

    Args:
        query_codes: (q, b) or (q, p); or a file; or a folder. With scoring "asymmetric" it is the
            queries' numbers before the sign, (q, b), in an array or a file.
        database_codes: (m, b) or (m, p); or a file; or a folder.
        query_labels: (q, c) of 0 and 1, or (q,) classes by number or name; or a file.
        database_labels: the same for the database.
        query_targets: (q,) or (q, t) database rows, from 0, that are the queries' own; -1 fills up.
        pairs: row i of the database is query i's own; of folders, the rows of the same item are.
        leave_out_self: don't rank a query for itself, as `evaluate` doesn't. By default that is so
            where the direction is within one modality and both sides hold the same rows: the same
            codes in the same order, or, of folders, the queries' own pictures or texts. The notes
            say which it was.
        n_bits: bits of a code; must be given for packed codes, a folder knows its own.
        bit_order: of packed codes, "little" or "big"; of folders it is known.
        direction: what asks and what answers.
        scoring: what ranks the database: "hamming", the distance of codes; or "asymmetric", where
            the query keeps its numbers (`modalhash.codes.asymmetric_scores`).
        trec: folder for the ranking and what is relevant as files of TREC, see
            `modalhash.trec.write_trec`; None writes none.
        trec_depth: documents of a query in the run at most.
        **choices: of `modalhash.metrics.MeasureSettings` (`top_k`, `conventions`, `ties`, ...).

    Returns:
        All measures; the notes say which forms of codes and labels were found.

    Raises:
        InputError: if a file can't be read, a value isn't one of the known forms, widths or
            lengths differ, nothing says what is relevant, or queries are to be left out that aren't
            in the database.
        UnknownNameError: if a choice isn't known.
        DamagedArtifactError, NewerFormatError: if a folder isn't what `modalhash encode` writes.

    Example:
        >>> codes = [[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]]
        >>> report = score(codes, codes, query_labels=[0, 1, 0], database_labels=[0, 1, 0])
        >>> round(report.value("map", "image_to_text", relevance="shared_label"), 4)
        0.8889
    """
    direction = read_choice("direction", Direction, direction)
    scoring = read_choice("scoring", Scoring, scoring)
    if scoring is Scoring.ASYMMETRIC:
        queries = read_relaxed_queries(query_codes)
    else:
        queries = read_scored_codes(
            query_codes, direction.query, n_bits=n_bits, bit_order=bit_order, name="query_codes"
        )
    database = read_scored_codes(
        database_codes,
        direction.database,
        n_bits=n_bits,
        bit_order=bit_order,
        name="database_codes",
    )
    check_sides(queries, database)
    itself = rows_of_queries(queries, database, direction, leave_out_self)
    notes = [
        f"{name} ({side.name}): {side.read.form}"
        for name, side in (("query codes", queries), ("database codes", database))
    ]
    n_queries, n_database = len(queries.read.codes), len(database.read.codes)
    labels: dict[str, Any] = {}
    if (both_labels := find_labels(queries, database, query_labels, database_labels)) is not None:
        labels["query_labels"], labels["database_labels"], form = read_labels(
            *both_labels, n_queries=n_queries, n_database=n_database
        )
        notes.append(f"labels: {form}")
        is_own = queries.items is not None and itself is None
        if is_own and not set(queries.items or ()).isdisjoint(database.items or ()):
            notes.append("queries' own items are in the database: they count under labels too")
    targets = own_rows(queries, database, query_targets, pairs=pairs)
    if not labels and targets is None:
        raise InputError(
            "nothing says what is relevant: give labels of both sides (--query-labels, "
            "--database-labels), pairs (--pairs) or targets (--targets)"
        )
    if itself is not None:
        notes.append("each query itself is left out of the database")
    elif are_same_codes(queries, database):
        notes.append("both sides are the same codes: each query finds itself, and that counts")
    shared: dict[str, Any] = {"query_targets": targets, "own_rows": itself, **labels, **choices}
    sides = (database.read.codes, queries.read.n_bits)
    if queries.relaxed is None:
        report = evaluate_direction(queries.read.codes, *sides, direction=direction, **shared)
    else:
        report = evaluate_asymmetric(queries.relaxed, *sides, direction=direction, **shared)
    if trec is not None:
        write_scored_ranking(
            trec, queries, database, shared, direction=direction, scoring=scoring, depth=trec_depth
        )
    return Report(
        n_bits=queries.read.n_bits,
        split=None,
        database=None,
        counts={"queries": n_queries, "database": n_database},
        directions=(report,),
        about={
            "query_codes": queries.name,
            "database_codes": database.name,
            "model_fingerprint": queries.model_fingerprint,
            "intervals": MeasureSettings.read(choices).intervals(),
            "query_statistics": summarise_bits(queries.read),
            "database_statistics": summarise_bits(database.read),
        },
        notes=tuple(notes),
    )


def write_scored_ranking(
    folder: Path | str,
    queries: ScoredCodes,
    database: ScoredCodes,
    shared: dict[str, Any],
    *,
    direction: Direction,
    scoring: Scoring,
    depth: int,
) -> None:
    """Write the ranking and what is relevant as files of TREC; rows without ids have numbers.

    Raises:
        InputError: if `depth` is less than 1.
        StorageError: if the file system refuses.
    """
    query_ids, database_ids = (
        range(len(side.read.codes)) if side.ids is None else side.ids
        for side in (queries, database)
    )
    relaxed = queries.relaxed
    if relaxed is None:
        relaxed = unpack(queries.read.codes, queries.read.n_bits).astype(np.float32)
    names = ("query_labels", "database_labels", "query_targets", "own_rows")
    write_trec(
        folder,
        relaxed,
        database.read.codes,
        queries.read.n_bits,
        query_ids=query_ids,
        database_ids=database_ids,
        direction=direction,
        scoring=scoring,
        depth=depth,
        **{name: shared[name] for name in names if shared.get(name) is not None},
    )


def are_same_codes(queries: ScoredCodes, database: ScoredCodes) -> bool:
    """Tell whether both sides hold the same codes in the same order."""
    return np.array_equal(queries.read.codes, database.read.codes)


def rows_of_queries(
    queries: ScoredCodes, database: ScoredCodes, direction: Direction, leave_out: bool | None
) -> Array | None:
    """Find the database row that is each query itself, where it isn't to be ranked.

    Args:
        queries: one side.
        database: the other side.
        direction: within one modality, rows can be the queries themselves.
        leave_out: None leaves them out where all of them are there.

    Raises:
        InputError: if they are to be left out, but aren't all there.
    """
    if leave_out is False or (leave_out is None and not direction.is_within):
        return None
    rows: Array | None = None
    if queries.ids is not None and database.ids is not None:
        places = {identity: row for row, identity in enumerate(database.ids)}
        rows = np.array([places.get(identity, -1) for identity in queries.ids], np.int64)
        rows = None if (rows < 0).any() else rows
    elif are_same_codes(queries, database):
        rows = np.arange(len(queries.read.codes))
    if rows is None and leave_out:
        raise InputError(
            "leave_out_self (--leave-out-self): not every query is a row of the database, so it "
            "isn't known which to leave out: give both sides the same codes, or leave it out"
        )
    return rows


def find_labels(
    queries: ScoredCodes,
    database: ScoredCodes,
    query_labels: Source | None,
    database_labels: Source | None,
) -> tuple[Array, Array] | None:
    """Find both sides' labels, given or of their folders, or None if there are none.

    Raises:
        InputError: if those of one side are given and the other has none.
    """
    of_queries = queries.labels
    if query_labels is not None:
        of_queries = open_array(query_labels, "query_labels")
    of_database = database.labels
    if database_labels is not None:
        of_database = open_array(database_labels, "database_labels")
    if of_queries is not None and of_database is not None:
        return of_queries, of_database
    if query_labels is not None or database_labels is not None:
        missing = "query_labels" if of_queries is None else "database_labels"
        raise InputError(f"{missing} is missing: relevance by labels needs both sides' labels")
    return None


def summarise_bits(read: ReadCodes) -> dict[str, float | int]:
    """Measure how well codes use their bits, in four numbers."""
    statistics = code_statistics(read.codes, read.n_bits)
    return {
        "mean_entropy": statistics.mean_entropy,
        "mean_correlation": statistics.mean_correlation,
        "n_constant_bits": statistics.n_constant_bits,
        "n_distinct_codes": statistics.n_distinct_codes,
    }


def read_scored_codes(
    source: Source,
    modality: str,
    *,
    n_bits: int | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    name: str = "codes",
) -> ScoredCodes:
    """Read one side's codes from an array, a file, or a folder that `modalhash encode` wrote.

    Args:
        source: the array, or where it is.
        modality: "image" or "text", the side of a folder.
        n_bits: bits of a code; a folder's own must not differ.
        bit_order: of packed codes that aren't from a folder.
        name: the argument's name, for messages.

    Raises:
        InputError: if it can't be read or isn't codes.
        DamagedArtifactError, NewerFormatError: if a folder isn't what `modalhash encode` writes.
    """
    if not isinstance(source, Path | str) or not Path(source).is_dir():
        array = open_array(source, name)
        shown = Path(source).name if isinstance(source, Path | str) else "an array"
        read = read_codes(array, n_bits=n_bits, bit_order=bit_order, name=name)
        return ScoredCodes(shown, read)
    folder = Path(source)
    manifest = read_codes_manifest(folder)
    if n_bits not in (None, manifest["n_bits"]):
        raise ShapeError(
            f"{name} in {folder} has {manifest['n_bits']} bits, but n_bits is {n_bits}: leave it "
            "out, a folder knows its own"
        )
    codes = open_array(folder / f"{modality}_codes.npy", name)
    read = read_codes(codes, n_bits=manifest["n_bits"], bit_order=manifest["bit_order"], name=name)
    images, owners = manifest["image_ids"], manifest["text_images"]
    rows = np.arange(len(images)) if modality == "image" else np.asarray(owners, np.int64)
    ids = images if modality == "image" else manifest.get("text_ids", ())
    if len(rows) != len(codes):
        raise ShapeError(
            f"{folder} has {len(codes)} {modality} codes, its manifest names {len(rows)}: "
            "make it again"
        )
    labels = folder / "labels.npy"
    return ScoredCodes(
        f"{modality} codes of {folder.name}",
        read,
        open_array(labels, "labels")[rows] if labels.exists() else None,
        tuple(images[row] for row in rows),
        tuple(ids) if len(ids) == len(codes) else None,
        manifest["model_fingerprint"],
        compatible_fingerprints(manifest.get("compatible_with", ()), manifest["n_bits"]),
    )


def read_relaxed_queries(source: Source) -> ScoredCodes:
    """Read queries that keep their numbers, from an array or a file.

    Raises:
        InputError: if it is a folder, can't be read, or a number is NaN or infinite.
        ShapeError: if it isn't real numbers of two axes.
    """
    if isinstance(source, Path | str) and Path(source).is_dir():
        raise InputError(
            f"query_codes is the folder {source}, which holds codes: asymmetric scoring needs the "
            "queries' numbers before the sign, in a file; for a model of this library, "
            "`modalhash evaluate` measures both"
        )
    array = open_array(source, "query_codes")
    if array.ndim != 2 or array.dtype.kind not in "iuf" or not array.size:
        raise ShapeError(
            f"query_codes is {array.dtype} of shape {array.shape}, expected real numbers of two "
            "axes, one column a bit: the numbers whose signs are the queries' codes"
        )
    relaxed = array.astype(np.float64)
    n_bits = array.shape[1]
    read = ReadCodes(
        WeightedQueries.of(relaxed, n_bits, name="query_codes").codes,
        n_bits,
        "real numbers, one column a bit",
    )
    shown = Path(source).name if isinstance(source, Path | str) else "an array"
    return ScoredCodes(shown, read, relaxed=relaxed)


def check_sides(queries: ScoredCodes, database: ScoredCodes) -> None:
    """Refuse codes that can't be compared.

    Raises:
        ShapeError: if they differ in bits.
        InputError: if two models made them that aren't compatible.
    """
    if queries.read.n_bits != database.read.n_bits:
        raise ShapeError(
            f"query_codes has {queries.read.n_bits} bits ({queries.read.form}), database_codes "
            f"has {database.read.n_bits} ({database.read.form}): codes of one length compare"
        )
    if not are_comparable(
        queries.model_fingerprint,
        database.model_fingerprint,
        first_compatible=queries.compatible_with,
        second_compatible=database.compatible_with,
    ):
        raise InputError(
            f"{queries.name} and {database.name} were made by two models, so their distances mean "
            "nothing: encode both with one, or train the newer model with --compatible-with"
        )


def own_rows(
    queries: ScoredCodes, database: ScoredCodes, targets: Source | None, *, pairs: bool
) -> Array | None:
    """Find the database rows that are each query's own, or None if nothing says so.

    Raises:
        InputError: if targets and pairs are both given, or targets look counted from 1.
        ShapeError: if pairs are wanted and the sides differ in length.
    """
    n_queries, n_database = len(queries.read.codes), len(database.read.codes)
    if targets is not None:
        if pairs:
            raise InputError("give either pairs or query_targets, not both")
        rows = open_array(targets, "query_targets")
        if rows.dtype.kind == "f" and (rows == np.floor(rows)).all():  # as MATLAB stores them
            rows = rows.astype(np.int64)
        if rows.dtype.kind in "iu" and rows.size and rows.max() == n_database and rows.min() >= 1:
            raise InputError(
                f"query_targets holds rows 1 to {n_database} of {n_database}: it counts from 1 "
                "(MATLAB); subtract 1"
            )
        return rows
    if not pairs:
        return None
    if queries.items is not None and database.items is not None:
        numbers = {item: row for row, item in enumerate(dict.fromkeys(database.items))}
        matched = match_items(
            [numbers.get(item, -1) for item in queries.items],
            [numbers[item] for item in database.items],
        )
        if matched.shape[1] == 0:
            raise InputError(f"no item of {queries.name} is in {database.name}: there are no pairs")
        return matched
    if n_queries != n_database:
        raise ShapeError(
            f"pairs means that row i answers query i, but there are {n_queries} queries and "
            f"{n_database} database rows: give the rows in query_targets (--targets)"
        )
    return np.arange(n_queries)


def open_array(source: Source, name: str) -> Array:
    """Open an array: itself, or its file.

    Raises:
        InputError: if there is no such file, it can't be read, or the array in it isn't named.
    """
    if not isinstance(source, Path | str):
        return np.asarray(source)
    text = str(source)
    before, colon, inside = text.rpartition(":")
    if not colon or Path(text).exists() or not Path(before).exists():
        path, inside = Path(text), ""
    else:
        path = Path(before)
    if not path.exists():
        raise InputError(f"{name}: there is no file {path}")
    if path.suffix.lower() == ".npy":
        try:
            return np.array(map_array(path))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{name}: {path} can't be read as .npy: {error}") from error
    try:
        arrays = read_arrays(path)
    except CollectionError as error:
        known = "" if path.suffix else " (expected .npy, .npz, .mat or .h5)"
        raise InputError(f"{name}: {error.defects[0]}{known}") from error
    if inside and inside not in arrays:
        raise InputError(f"{name}: {path} has no array {inside!r}; it has {list_names(arrays)}")
    if not inside and len(arrays) != 1:
        raise InputError(
            f"{name}: {path} has {list_names(arrays)}: say which, as in {path.name}:{min(arrays)}"
            if arrays
            else f"{name}: {path} holds no array"
        )
    return arrays[inside] if inside else next(iter(arrays.values()))


def list_names(names: Iterable[str]) -> str:
    """Write names as a list for people."""
    return ", ".join(sorted(names))
