"""The verb `bench_quantizers`: how many bytes an item needs, beside what else compresses floats."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np

from modalhash.benchmarking.faiss_quantizers import FAISS_QUANTIZERS
from modalhash.benchmarking.grid import compute_on_one_core, read_arrays
from modalhash.benchmarking.quantizer_page import write_quantizer_page
from modalhash.benchmarking.quantizer_rows import QuantizerRow, rows_csv
from modalhash.benchmarking.quantizer_searches import QueryValues
from modalhash.benchmarking.quantizer_table import Verdict, find_verdicts, quantizer_table
from modalhash.benchmarking.quantizer_tasks import (
    NESTED,
    RATE_ITEMS,
    QuantizerTask,
    attempt_task,
    make_failures,
)
from modalhash.benchmarking.sign_quantizers import SIGN_QUANTIZERS
from modalhash.benchmarking.tasks import Place, check_place
from modalhash.benchmarking.vector_inputs import (
    ArrayInputs,
    is_hdf5_benchmark,
    read_array_space,
    read_collection_space,
    read_hdf5_space,
)
from modalhash.benchmarking.vector_spaces import VectorSpace, read_space, write_space
from modalhash.benchmarking.workers import Budget, Killed, Workers
from modalhash.errors import InputError, MissingExtraError, UnknownNameError
from modalhash.files import read_json, report_damage, write_json, write_text, write_with
from modalhash.machine import describe_machine
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import QuantizerChoices, QuantizerOptions, change_options

__all__ = ["QUANTIZERS", "QuantizerBoard", "bench_quantizers"]

logger = logging.getLogger(__name__)
FORMAT: Final = 1
QUANTIZERS: Final = (*FAISS_QUANTIZERS, *SIGN_QUANTIZERS, NESTED)
"""Names of all rows."""
MODEL_BYTES: Final = (16, 32)
"""Models of `nested` that are trained: one for sizes up to the first, one up to the second, and one
for all larger ones."""


Source = str | Path | ArrayInputs
"""What a board is measured on."""


@dataclass(frozen=True)
class QuantizerBoard:
    """Quantisers measured side by side at the same sizes.

    Attributes:
        folder: holds `table.md`, `results.csv`, `verdicts.json`, `about.json`, the result of every
            training, and `quantizers.html` where the extra `report` is installed.
        rows: one a quantiser, size, seed and scoring; those that can't be made say why.
        verdicts: our rows against the best of the others of as many bytes or fewer.
        table: Markdown.
    """

    folder: Path
    rows: tuple[QuantizerRow, ...]
    verdicts: tuple[Verdict, ...]
    table: str

    @property
    def has_failed(self) -> bool:
        """Whether no row was measured."""
        return all(row.error for row in self.rows)


@takes_numpy_numbers
def bench_quantizers(
    collections: Source | Sequence[Source],
    *,
    output: Path | str,
    command: str = "modalhash.bench_quantizers",
    options: QuantizerOptions | None = None,
    **choices: Unpack[QuantizerChoices],
) -> QuantizerBoard:
    """Measure what quantisers of float vectors keep at 2 to 256 bytes an item, side by side.

    Rivals are FAISS's: scalar, product and additive quantisers, RaBitQ with its factors counted,
    signs of projections. Ours are `nested`, trained on the pairs of a collection, and
    `shared-space`, for vectors without pairs. Items are ranked by the query's floats, by Hamming
    distance where codes are signs, and by int8 copies of a shortlist, whose bytes count.

    Each training's result is kept as soon as it ends, so that the same call after a kill resumes.

    Args:
        collections: one or several: what `load_collection` takes, by name; HDF5 files of
            ann-benchmarks or VIBE as they come; `ArrayInputs` of any program.
        output: the folder of the table and of every result.
        command: what the files say how they were made.
        options: sizes, seeds, quantisers, encoder, split, space, shortlist, workers, memory.
        **choices: fields of `modalhash.options.QuantizerOptions`, which change `options`.

    Raises:
        UnknownNameError: if there is no such quantiser.
        InputError: if vectors of two widths are to be one space, an HDF5 file lacks a part, or an
            option is out of its range.
        CollectionError: if a collection or file can't be read.
        DamagedArtifactError, NewerFormatError: if a result in `output` can't be read.
        StorageError: if the file system refuses; finished results are kept.
    """
    options = change_options(QuantizerOptions, options, choices)
    names = list_quantizers(options.quantizers)
    folder = Path(output)
    sources: list[Source] = (
        [collections] if isinstance(collections, str | Path | ArrayInputs) else list(collections)
    )
    if not sources:
        raise InputError("there is no collection, file or array to measure on")
    for source in sources:
        check_source(source, folder, options)
    spaces = [pair for source in sources for pair in keep_spaces(source, folder, options)]
    tasks = [task for file, space in spaces for task in make_tasks(file, space, names, options)]
    done = run_tasks(tasks, folder / "runs", options)
    rows = [row for task in tasks for row, _ in done[task.key]]
    verdicts = find_verdicts([pair for task in tasks for pair in done[task.key]])
    table = quantizer_table(rows, verdicts)
    board = QuantizerBoard(folder, tuple(rows), tuple(verdicts), table)
    notes = {space.name: [*space.notes, describe_counts(space)] for _, space in spaces}
    write_board(board, command, options, notes)
    return board


def check_source(source: Source, folder: Path, options: QuantizerOptions) -> None:
    """Refuse a collection that can't be read and isn't kept, before vectors of others are made.

    Raises:
        CollectionError, InputError: if a collection or file can't be read.
        UnknownNameError: if there is no such collection, split or encoder.
    """
    if isinstance(source, ArrayInputs) or is_hdf5_benchmark(str(source)):
        return
    for encoder in list_encoders(options):
        if find_stored_space(folder, describe_source(str(source), encoder, options)) is None:
            check_place(Place(str(source), encoder, options.split))


def list_quantizers(names: str | Sequence[str]) -> list[str]:
    """List the names of rows; "all" is every one.

    Raises:
        UnknownNameError: if there is none of a name.
    """
    if isinstance(names, str):
        names = list(QUANTIZERS) if names == "all" else names.split(",")
    stripped = [name.strip() for name in names]
    for name in stripped:
        if name not in QUANTIZERS:
            raise UnknownNameError("quantizer", name, QUANTIZERS)
    return stripped


def describe_counts(space: VectorSpace) -> str:
    """Describe how many queries and items there are."""
    return f"{space.n_queries:,} queries of a side, {space.n_items:,} stored items"


def keep_spaces(
    source: Source, folder: Path, options: QuantizerOptions
) -> list[tuple[Path, VectorSpace]]:
    """Read the vectors of a source, and keep them in the folder for workers and a later call.

    A collection gives a space for each encoder.
    """
    if isinstance(source, ArrayInputs):
        shown = source.items if isinstance(source.items, str | Path) else "arrays"
        space = read_array_space(source, Path(shown).stem, options.n_queries)
        return [(store_space(space, folder), space)]
    if is_hdf5_benchmark(str(source)):
        space = read_hdf5_space(str(source), options.n_queries, options.memory_gib)
        return [(store_space(space, folder), space)]
    return [
        keep_collection(str(source), encoder, folder, options) for encoder in list_encoders(options)
    ]


def list_encoders(options: QuantizerOptions) -> list[str]:
    """List the encoders that make features of collections."""
    return [encoder.strip() for encoder in options.encoder.split(",")]


def describe_source(source: str, encoder: str, options: QuantizerOptions) -> list[object]:
    """Describe what decides the vectors of a collection."""
    return [source, encoder, options.split, options.space, options.n_queries]


def keep_collection(
    source: str, encoder: str, folder: Path, options: QuantizerOptions
) -> tuple[Path, VectorSpace]:
    """Read the vectors of a collection, or those that an earlier call has kept."""
    described = describe_source(source, encoder, options)
    stored = find_stored_space(folder, described)
    if stored is not None:
        return stored, read_space(stored)
    space = read_collection_space(
        source, encoder=encoder, split=options.split, space=options.space,
        n_queries=options.n_queries, cache=options.cache,
    )  # fmt: skip
    file = store_space(space, folder)
    write_json(file.with_suffix(".json"), {"format": FORMAT, "made_of": described})
    return file, space


def store_space(space: VectorSpace, folder: Path) -> Path:
    """Write a space into the folder, under a name that its content decides."""
    file = folder / "spaces" / f"{space.fingerprint}.npz"
    if not file.exists():
        write_space(space, file)
    return file


def find_stored_space(folder: Path, described: Sequence[object]) -> Path | None:
    """Find the vectors of a collection that an earlier call has made: a common space is learned."""
    for file in sorted((folder / "spaces").glob("*.json")):
        document = read_json(file, kind="space", newest_format=FORMAT)
        vectors = file.with_suffix(".npz")
        if document.get("made_of") == list(described) and vectors.exists():
            return vectors
    return None


def make_tasks(
    file: Path, space: VectorSpace, names: Sequence[str], options: QuantizerOptions
) -> Iterator[QuantizerTask]:
    """Yield the trainings of a space: cheap ones first, and `nested` last."""
    fingerprint = file.stem
    for name in names:
        if name == "shared-space" and space.kind == "common space":
            continue  # nested, which learns that space, serves there
        for sizes, n_bits in list_sizes(name, options.sizes, space.width):
            for seed in options.seeds if is_seeded(name) else options.seeds[:1]:
                yield QuantizerTask(
                    str(file), space.name, fingerprint, name, sizes, n_bits, seed,
                    options.shortlist,
                    None if options.memory_gib is None else options.memory_gib / options.workers,
                    seed == options.seeds[0],
                    None if options.cache is None else str(options.cache),
                )  # fmt: skip


def is_seeded(name: str) -> bool:
    """Tell whether seeds give another quantiser."""
    if name in FAISS_QUANTIZERS:
        return FAISS_QUANTIZERS[name].is_seeded
    return name not in SIGN_QUANTIZERS or SIGN_QUANTIZERS[name].is_seeded


def list_sizes(
    name: str, sizes: Sequence[int], width: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield the sizes of each training, and the bits of its model, 0 but for `nested`."""
    if name == NESTED:
        rest = sorted(sizes)
        for most in (*MODEL_BYTES, rest[-1]):
            part = tuple(size for size in rest if size <= most)
            rest = [size for size in rest if size > most]
            if part:
                yield part, 8 * most
        return
    natural = FAISS_QUANTIZERS[name].natural if name in FAISS_QUANTIZERS else None
    for size in sizes:
        yield (size,), 0
    if natural is not None and natural(width) not in sizes:
        yield (0,), 0


def run_tasks(
    tasks: Sequence[QuantizerTask], runs: Path, options: QuantizerOptions
) -> dict[str, list[tuple[QuantizerRow, QueryValues]]]:
    """Run every task that has no result yet, and read all results."""
    missing = [task for task in tasks if not (runs / f"{task.key}.json").exists()]
    done = len(tasks) - len(missing)
    if done:
        logger.info("%d of %d results are in %s already", done, len(tasks), runs)
    for task, measured in run_missing(missing, options):
        write_result(runs, task, measured)
        done += 1
        options.progress("bench quantizers", done, len(tasks))
    return {task.key: read_result(runs, task) for task in tasks}


def run_missing(
    tasks: Sequence[QuantizerTask], options: QuantizerOptions
) -> Iterator[tuple[QuantizerTask, list[tuple[QuantizerRow, QueryValues]]]]:
    """Yield tasks with what they gave, as they end."""
    if options.workers == 1:
        for task in tasks:
            yield task, attempt_task(task)
        return
    workers = Workers(
        attempt_task,
        Budget(options.workers, None if options.memory_gib is None else 1024 * options.memory_gib),
        kind_of=lambda task: f"{task.quantizer} {task.space_name}",
        peak_of=lambda measured: max(row.peak_mib for row, _ in measured),
        prepare=compute_on_one_core,
    )
    for task, answer in workers.run(tasks):
        yield task, make_failures(task, answer.reason) if isinstance(answer, Killed) else answer


def write_result(
    runs: Path, task: QuantizerTask, measured: Sequence[tuple[QuantizerRow, QueryValues]]
) -> None:
    """Write the rows of a task, and the values of their queries."""
    arrays: dict[str, Any] = {
        f"{place}/{name}": values
        for place, (_, of_queries) in enumerate(measured)
        for name, values in of_queries.items()
    }
    if arrays:
        write_with(runs / f"{task.key}.npz", lambda file: np.savez_compressed(file, **arrays))
    document = {"format": FORMAT, "task": asdict(task), "modalhash": version("modalhash")}
    write_json(
        runs / f"{task.key}.json", {**document, "rows": [asdict(row) for row, _ in measured]}
    )


def read_result(runs: Path, task: QuantizerTask) -> list[tuple[QuantizerRow, QueryValues]]:
    """Read what `write_result` wrote."""
    path = runs / f"{task.key}.json"
    document = read_json(path, kind="result", newest_format=FORMAT)
    with report_damage(path, "delete it, and its row is measured again"):
        rows = [QuantizerRow(**row) for row in document["rows"]]
    arrays = {} if all(row.error for row in rows) else read_arrays(path.with_suffix(".npz"))
    values: list[QueryValues] = [{} for _ in rows]
    for name, array in arrays.items():
        place, _, value = name.partition("/")
        values[int(place)][value] = array
    return list(zip(rows, values, strict=True))


def write_board(
    board: QuantizerBoard,
    command: str,
    options: QuantizerOptions,
    notes: Mapping[str, Sequence[str]],
) -> None:
    """Write the table, every number, how they were made, and a page with plots.

    Without the extra `report` there is no page, and the log says so.
    """
    about = {
        "format": FORMAT,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "machine": describe_machine(),
        "settings": {
            "sizes": list(options.sizes),
            "seeds": list(options.seeds),
            "shortlist": options.shortlist,
            "rate_items": RATE_ITEMS,
        },
        "collections": {name: list(lines) for name, lines in notes.items()},
        "verdicts": [asdict(verdict) for verdict in board.verdicts],
    }
    write_text(board.folder / "table.md", board.table)
    write_text(board.folder / "results.csv", rows_csv(board.rows))
    write_json(
        board.folder / "results.json",
        {"format": FORMAT, "rows": [asdict(row) for row in board.rows]},
    )
    write_json(board.folder / "about.json", about)
    origin = f"{about['date']}, {command}, modalhash {version('modalhash')}"
    try:
        write_quantizer_page(
            board.rows, board.verdicts, notes, board.folder / "quantizers.html", origin=origin
        )
    except MissingExtraError as error:
        logger.warning("no page with plots: %s", error)
