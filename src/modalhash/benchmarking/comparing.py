"""The verbs that train methods side by side: `bench` and `ablate`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

from modalhash.benchmarking.grid import read_values, run_grid
from modalhash.benchmarking.grid_page import write_grid_page
from modalhash.benchmarking.grid_table import MARKED, ablation_table, cost_table, grid_table
from modalhash.benchmarking.marks import Cell, Marks, find_marks, marks_json
from modalhash.benchmarking.module_table import (
    Differences,
    differences_json,
    find_differences,
    module_table,
)
from modalhash.benchmarking.outcomes import Outcome, csv_text
from modalhash.benchmarking.tasks import Place, Task, Variant, describe_variants, make_tasks
from modalhash.benchmarking.variants import (
    ModuleRows,
    ablation_variants,
    list_module_rows,
    method_variants,
    module_variants,
    quick_variants,
)
from modalhash.errors import MissingExtraError
from modalhash.files import write_json, write_text
from modalhash.machine import describe_machine
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Needs
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import GridChoices, GridOptions, change_options

__all__ = ["Comparison", "ablate", "bench", "run_tasks"]

logger = logging.getLogger(__name__)
FORMAT = 1
QUICK_BITS, QUICK_SEEDS = (16, 64), (0,)


@dataclass(frozen=True)
class Comparison:
    """Methods, or variants of one, measured side by side.

    Attributes:
        folder: holds `table.md`, `results.csv`, `about.json`, the result of every run, and
            `bench.html` where the extra `report` is installed.
        outcomes: one a training, or two where codes are also reranked; failures are among them.
        marks: the best row of each column, and those that can't be told from it.
        table: Markdown.
        differences: of rows without a module, or with shuffled input, from the whole method.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]
    marks: Mapping[Cell, Marks]
    table: str
    differences: Differences = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        """Whether every run failed."""
        return all(outcome.error for outcome in self.outcomes)


Tabulate = Callable[[Sequence[Outcome], Mapping[Cell, Marks], Differences], str]
"""Makes the table of outcomes, of the marks of the best, and of differences from the whole."""


@takes_numpy_numbers
def bench(
    collections: str | Path | Sequence[str | Path],
    methods: str | Sequence[str] = "all",
    *,
    output: Path | str,
    split: str = "auto",
    quick: bool = False,
    command: str = "modalhash.bench",
    options: GridOptions | None = None,
    **choices: Unpack[GridChoices],
) -> Comparison:
    """Train methods side by side and measure them alike.

    Each result is kept as soon as its run ends, so that the same call after a kill resumes, and a
    larger one reuses what is there. A method that can't be run (labels or tokens missing) is in
    the table with its reason.

    Args:
        collections: one or several of what `load_collection` takes, by name.
        methods: names, or "all"; "cfrh+hug" is cfrh with hugging.
        output: the folder of the table and of every result.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        quick: 16 and 64 bits, seed 0 and two epochs: shows that everything runs, not how good
            it is.
        command: what the files say how they were made.
        options: bits, seeds, encoder, preset, settings, workers, memory and cache.
        **choices: fields of `modalhash.options.GridOptions`, which change `options`.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if there is nothing to run, or no method has one of the settings.
        DamagedArtifactError, NewerFormatError: if a result in `output` can't be read.
        StorageError: if the file system refuses; finished results are kept.
    """
    options = change_options(GridOptions, options, choices)
    names = list_methods(methods)
    variants = method_variants(names, preset=options.preset, settings=options.settings)
    if quick:
        variants = quick_variants(variants)
        options = replace(options, bits=QUICK_BITS, seeds=QUICK_SEEDS)

    def tabulate(outcomes: Sequence[Outcome], marks: Mapping[Cell, Marks], _: Differences) -> str:
        return f"{grid_table(outcomes, marks)}\n{MARKED}\n\n{cost_table(outcomes)}"

    plan = ComparisonPlan(make_places(collections, split, options), variants, tabulate)
    return plan.run(Path(output), command, options)


@takes_numpy_numbers
def ablate(
    method: str,
    collections: str | Path | Sequence[str | Path],
    *,
    output: Path | str,
    split: str = "auto",
    modules: bool = False,
    command: str = "modalhash.ablate",
    options: GridOptions | None = None,
    **choices: Unpack[GridChoices],
) -> Comparison:
    """Turn off each named part of a method, one at a time, and measure what that changes.

    The first row is the whole method; the others are differences from it, paired by seed.

    Args:
        method: a name in `modalhash.methods.METHODS`; with `modules` also several, parted by
            commas, or "all".
        collections: as for `bench`.
        output: as for `bench`.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        modules: only structural modules (graphs, filters, memories, label networks), each turned
            off and each fed what belongs to other items.
        command: what the files say how they were made.
        options: as for `bench`.
        **choices: fields of `modalhash.options.GridOptions`, which change `options`.

    Raises:
        UnknownNameError: if there is no such method.
        InputError: if there is no part that can be turned off, or no such setting.
        DamagedArtifactError, NewerFormatError: if a result in `output` can't be read.
        StorageError: if the file system refuses; finished results are kept.
    """
    options = change_options(GridOptions, options, choices)
    rows: list[ModuleRows] = []
    changes: Any = {"preset": options.preset, "settings": options.settings}
    if modules:
        names = list_methods(method)
        variants = module_variants(names, **changes)
        rows = [row for name in names for row in list_module_rows(name)]
    else:
        variants = ablation_variants(method, **changes)

    def tabulate(
        outcomes: Sequence[Outcome], _: Mapping[Cell, Marks], differences: Differences
    ) -> str:
        if modules:
            return module_table(outcomes, rows, differences)
        return ablation_table(outcomes)

    wholes = {name: row.on for row in rows for name in (row.off, row.shuffled)}
    plan = ComparisonPlan(make_places(collections, split, options), variants, tabulate, wholes)
    return plan.run(Path(output), command, options)


def list_methods(methods: str | Sequence[str]) -> list[str]:
    """List the names of methods; "all" is every built-in one."""
    if isinstance(methods, str):
        methods = list(METHODS) if methods == "all" else methods.split(",")
    return [name.strip() for name in methods]


def make_places(
    collections: str | Path | Sequence[str | Path], split: str, options: GridOptions
) -> list[Place]:
    """Make a place of every collection, each once."""
    names = [collections] if isinstance(collections, str | Path) else collections
    return [Place(name, options.encoder, split) for name in dict.fromkeys(map(str, names))]


@dataclass(frozen=True)
class ComparisonPlan:
    """What a comparison runs, and how its table is made.

    Attributes:
        places: collections with encoder and split.
        variants: rows of the table.
        tabulate: makes the table.
        wholes: row to the row that it is compared with.
    """

    places: Sequence[Place]
    variants: Sequence[Variant]
    tabulate: Tabulate
    wholes: Mapping[str, str] = field(default_factory=dict)

    def run(self, folder: Path, command: str, options: GridOptions) -> Comparison:
        """Run every variant at every place, and write the tables."""
        tasks = make_tasks(self.places, self.variants, options.bits, options.seeds)
        outcomes = run_tasks(tasks, folder, options)
        values = read_values(tasks, folder)
        marks = find_marks(values, labelled=find_labelled_rows(tasks))
        differences = find_differences(values, self.wholes)
        table = self.tabulate(outcomes, marks, differences)
        result = Comparison(folder, tuple(outcomes), marks, table, differences)
        write_comparison(result, self.variants, command)
        return result


def run_tasks(tasks: Sequence[Task], folder: Path, options: GridOptions) -> list[Outcome]:
    """Run tasks as the options of a comparison say."""
    return run_grid(
        tasks,
        folder,
        workers=options.workers,
        memory_gib=options.memory_gib,
        cache=options.cache,
        progress=options.progress,
    )


def find_labelled_rows(tasks: Sequence[Task]) -> set[str]:
    """Find the rows whose methods learn from labels."""
    return {
        task.variant.name
        for task in tasks
        if Needs.LABELS in method_class(task.variant.method).needs
    }


def write_comparison(result: Comparison, variants: Sequence[Variant], command: str) -> None:
    """Write the table, every number, how they were made, and a page with plots.

    Without the extra `report` there is no page, and the log says so.
    """
    about: dict[str, Any] = {
        "format": FORMAT,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "machine": describe_machine(),
        "rows": describe_variants(variants),
        "marks": marks_json(result.marks),
    }
    if result.differences:
        about["differences"] = differences_json(result.differences)
    write_text(result.folder / "table.md", result.table)
    write_text(result.folder / "results.csv", csv_text(result.outcomes))
    write_json(result.folder / "about.json", about)
    origin = f"{about['date']}, {command}, modalhash {version('modalhash')}"
    try:
        write_grid_page(result.outcomes, result.marks, result.folder / "bench.html", origin=origin)
    except MissingExtraError as error:
        logger.warning("no page with plots: %s", error)
