"""The verb that runs a paper's protocol: the printed numbers beside those of this machine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Unpack

from modalhash.benchmarking.comparing import run_tasks
from modalhash.benchmarking.grid_table import (
    ARROWS,
    COLLAPSED,
    explain_collapse,
    format_failures,
    format_spread,
    markdown,
)
from modalhash.benchmarking.outcomes import DIRECTIONS, Outcome, map_title
from modalhash.benchmarking.printed import Printed, printed_numbers, printed_protocols
from modalhash.benchmarking.reproduction_plan import ReproductionPlan, plan_reproduction
from modalhash.files import write_json, write_text
from modalhash.machine import describe_machine
from modalhash.methods import method_class
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import GridChoices, GridOptions, change_options

__all__ = [
    "Line",
    "Reproduction",
    "compare_with_printed",
    "reproduce",
    "reproduction_json",
    "reproduction_text",
]

FORMAT = 1


@dataclass(frozen=True)
class Line:
    """One number of ours, and those that papers print for it.

    Attributes:
        row: the method, with what was done to its answers.
        n_bits: bits of a code.
        direction: "image_to_text" or "text_to_image".
        measure: its title, see `map_title`.
        ours: one a seed that ran; empty if all failed.
        printed: those that are known.
        has_collapsed: whether the codes of any of our runs have collapsed.
    """

    row: str
    n_bits: int
    direction: str
    measure: str
    ours: tuple[float, ...]
    printed: tuple[Printed, ...]
    has_collapsed: bool = False

    def list_differences(self) -> list[float]:
        """List the differences of our mean from each printed number."""
        return [statistics.mean(self.ours) - number.value for number in self.printed if self.ours]


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        plan: what was run.
        lines: the numbers.
        reasons: Markdown, why runs failed or say nothing, or "".
        about: date, version, machine and the like, by name.
    """

    plan: ReproductionPlan
    lines: tuple[Line, ...]
    reasons: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_failed(self) -> bool:
        """Whether every run failed."""
        return not any(line.ours for line in self.lines)

    @property
    def sources(self) -> list[str]:
        """Where the printed numbers were read, each once."""
        return list(dict.fromkeys(number.source for line in self.lines for number in line.printed))


@takes_numpy_numbers
def reproduce(
    method: str,
    dataset: str,
    *,
    output: Path | str,
    protocol: str = "auto",
    command: str = "modalhash.reproduce",
    options: GridOptions | None = None,
    **choices: Unpack[GridChoices],
) -> Reproduction:
    """Run a method as papers do on a data set, and put their numbers beside those of this run.

    The protocol decides split, sizes and measure. Results are kept run by run, as `bench` keeps
    them; `output` also receives `reproduction.md` and `reproduction.json`.

    Args:
        method: a name in `modalhash.methods.METHODS`.
        dataset: a data set of papers, as `load_collection` takes it.
        output: the folder of the texts and of every result.
        protocol: as for `load_collection`; "auto" is the method's own, one with printed numbers
            first.
        command: what the files say how they were made.
        options: bits, seeds, encoder, preset, settings, workers, memory and cache. Encoder "auto"
            takes features that came with the data set, else what is nearest to the papers';
            preset "auto" is the data set's, else "paper", else what suits the features.
        **choices: fields of `modalhash.options.GridOptions`, which change `options`.

    Raises:
        UnknownNameError: if there is no such method, protocol or preset.
        CollectionError: if the data set can't be read.
        InputError: if no protocol of the method divides the data set, or it is too small for it.
        FeatureError: if the protocol or the method needs what the data set doesn't hold.
        StorageError: if the file system refuses; finished results are kept.
    """
    options = change_options(GridOptions, options, choices)
    plan = plan_reproduction(
        method,
        dataset,
        protocol=protocol,
        encoder=options.encoder,
        preset=options.preset,
        settings=options.settings,
    )
    outcomes = run_tasks(plan.tasks(options.bits, options.seeds), Path(output), options)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "modalhash": version("modalhash"),
        "machine": describe_machine(),
    }
    result = compare_with_printed(plan, outcomes, about)
    write_text(Path(output) / "reproduction.md", reproduction_text(result))
    write_json(Path(output) / "reproduction.json", reproduction_json(result))
    return result


def compare_with_printed(
    plan: ReproductionPlan, outcomes: Sequence[Outcome], about: Mapping[str, Any] | None = None
) -> Reproduction:
    """Put printed numbers beside those of runs.

    Args:
        plan: what was run.
        outcomes: of its tasks.
        about: what else says how they came about.
    """
    lines = []
    protocol = plan.protocol
    for row, n_bits in dict.fromkeys((outcome.row, outcome.n_bits) for outcome in outcomes):
        same = [outcome for outcome in outcomes if (outcome.row, outcome.n_bits) == (row, n_bits)]
        for top_k in protocol.top_k:
            title = map_title(top_k, protocol.convention)
            for direction in DIRECTIONS:
                key = f"{title} {direction}"
                ours = tuple(outcome.values[key] for outcome in same if key in outcome.values)
                printed = printed_numbers(
                    row, plan.family, protocol.name, top_k=top_k, n_bits=n_bits, direction=direction
                )
                has_collapsed = any(outcome.has_collapsed for outcome in same)
                lines.append(
                    Line(row, n_bits, direction, title, ours, tuple(printed), has_collapsed)
                )
    reasons = f"{explain_collapse(outcomes)}{format_failures(outcomes)}".strip()
    return Reproduction(plan, tuple(lines), reasons, about or {})


def reproduction_text(result: Reproduction) -> str:
    """Format a reproduction as Markdown: the table, differences from the papers, the sources.

    A printed number that isn't known is "unknown".
    """
    plan = result.plan
    title = method_class(plan.variant.method).title
    heads = ["method", "bits", "direction", "measure", "ours", "printed", "difference"]
    rows = [
        [
            line.row,
            str(line.n_bits),
            ARROWS[line.direction],
            line.measure,
            *format_line(line, result),
        ]
        for line in result.lines
    ]
    settings_line = f"Preset {plan.variant.preset}{changes(plan.variant.settings)}"
    parts = [
        f"# {title} on {plan.collection}, protocol {plan.place.protocol}\n",
        f"{plan.split_note}. {settings_line}. Means over seeds ± their deviation.\n",
        markdown(heads, rows),
    ]
    if any(not line.printed for line in result.lines):
        parts.append("unknown: no number that is printed for this could be read.\n")
    if result.reasons:
        parts.append(f"{result.reasons}\n")
    if others := other_protocols(plan):
        parts.append(
            f"Numbers under {' and '.join(others)} are known too; they can't be compared with "
            f"these: `--protocol {others[0]}`.\n"
        )
    parts.append("## How this differs from the papers\n")
    parts.append("".join(f"- {note}\n" for note in plan.notes))
    if result.sources:
        numbered = enumerate(result.sources, start=1)
        parts += ["## Sources\n", "".join(f"{number}. {source}\n" for number, source in numbered)]
    return "\n".join(parts)


def format_line(line: Line, result: Reproduction) -> list[str]:
    """Format our number, the printed ones with the numbers of their sources, the differences."""
    ours = format_spread(line.ours) if line.ours else "failed"
    if line.has_collapsed:
        ours = f"{ours} {COLLAPSED}"
    if not line.printed:
        return [ours, "unknown", "-"]
    printed = [
        f"0{number.text} [{result.sources.index(number.source) + 1}]" for number in line.printed
    ]
    less = [f"{difference:+.3f}" for difference in line.list_differences()]
    return [ours, ", ".join(printed), ", ".join(less) or "-"]


def changes(settings: Mapping[str, Any]) -> str:
    """Format changed settings as text."""
    return "".join(f", {name}={value}" for name, value in settings.items())


def other_protocols(plan: ReproductionPlan) -> list[str]:
    """List the other protocols under which numbers are known."""
    known = printed_protocols(plan.variant.method, plan.family)
    return [name for name in known if name != plan.protocol.name]


def reproduction_json(result: Reproduction) -> dict[str, Any]:
    """Describe a reproduction as a document; a printed number that isn't known is null."""
    plan = result.plan
    return {
        "format": FORMAT,
        **result.about,
        "method": plan.variant.method,
        "preset": plan.variant.preset,
        "settings": dict(plan.variant.settings),
        "collection": plan.collection,
        "data_set": plan.family,
        "protocol": plan.place.protocol,
        "split_note": plan.split_note,
        "encoder": plan.place.encoder,
        "convention": plan.protocol.convention,
        "ties": "expected",
        "lines": [line_json(line) for line in result.lines],
        "differs": list(plan.notes),
        "other_protocols": other_protocols(plan),
        "failures": result.reasons,
    }


def line_json(line: Line) -> dict[str, Any]:
    """Describe one line of the document."""
    return {
        "row": line.row,
        "bits": line.n_bits,
        "direction": line.direction,
        "measure": line.measure,
        "ours": list(line.ours),
        "collapsed": line.has_collapsed,
        "mean": round(statistics.mean(line.ours), 4) if line.ours else None,
        "deviation": round(statistics.pstdev(line.ours), 4) if line.ours else None,
        "printed": [
            {"value": number.value, "source": number.source, "difference": round(difference, 4)}
            for number, difference in zip(line.printed, line.list_differences(), strict=True)
        ]
        if line.printed and line.ours
        else [{"value": number.value, "source": number.source} for number in line.printed] or None,
    }
