"""How much a method that learns from labels loses when some of them are wrong."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalhash.api.learning import extract_features, train
from modalhash.api.measuring import evaluate, select_queries
from modalhash.api.opening import opened
from modalhash.artifacts import HashModel
from modalhash.benchmarking.grid import Variant, measured_values, usual_encoder, usual_split
from modalhash.benchmarking.grid_table import COLUMNS, cells, markdown
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.variants import method_variants
from modalhash.data import Collection
from modalhash.errors import InputError, SettingError, UnknownNameError
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Needs
from modalhash.progress import Progress, silent

__all__ = [
    "RobustnessRun",
    "RobustnessStudy",
    "flipped_labels",
    "measure_robustness",
    "robustness_variants",
]

FORMAT = 1
TRAIN = "train"
GRAPH = "without the graph"
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class RobustnessRun:
    """One training on labels of which a share is wrong, and one measurement on true labels.

    Attributes:
        share: of the training items' label bits that were flipped.
        n_flipped: how many bits that were.
        outcome: row, length, seed, numbers and seconds.
    """

    share: float
    n_flipped: int
    outcome: Outcome


@dataclass(frozen=True)
class RobustnessStudy:
    """All runs of a study.

    Attributes:
        about: method, collection, encoder, split, preset, settings.
        runs: by share, then variant, then seed.
    """

    about: Mapping[str, Any]
    runs: tuple[RobustnessRun, ...]

    def table(self) -> str:
        """Return Markdown: a row a share and variant, means and deviations over seeds."""
        rows: dict[tuple[float, str], list[Outcome]] = {}
        for run in self.runs:
            rows.setdefault((run.share, run.outcome.row), []).append(run.outcome)
        lines = [[f"{100 * share:g} %", name, *cells(same)] for (share, name), same in rows.items()]
        return markdown(["flipped", "variant", *(heading for _, heading in COLUMNS)], lines)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `robustness --json` gives."""
        return {
            "format": FORMAT,
            "about": dict(self.about),
            "runs": [
                {
                    "flip": run.share,
                    "n_flipped": run.n_flipped,
                    "variant": run.outcome.row,
                    "n_bits": run.outcome.n_bits,
                    "seed": run.outcome.seed,
                    "values": dict(run.outcome.values),
                    "cpu_seconds": run.outcome.cpu_seconds,
                }
                for run in self.runs
            ],
        }


def flipped_labels(labels: Labels, share: float, seed: int) -> Labels:
    """Return labels of which a share of the bits is flipped: 0 becomes 1, and 1 becomes 0.

    Which ones depends on the seed and the shape alone, and those of a smaller share are among those
    of a larger one.

    Args:
        labels: (n, c) uint8 of 0 and 1; not changed.
        share: in [0, 0.5]; `round(share * n * c)` bits are flipped.
        seed: decides which.

    Returns:
        (n, c) uint8.

    Raises:
        SettingError: if the share is out of its range.

    Example:
        >>> flipped_labels(np.zeros((2, 5), np.uint8), 0.2, seed=0).sum()
        np.uint64(2)
    """
    check_share(share)
    chosen = np.random.default_rng(seed).permutation(labels.size)[: round(share * labels.size)]
    flipped = labels.copy()
    flipped.reshape(-1)[chosen] ^= 1
    return flipped


def robustness_variants(
    name: str,
    *,
    without: Sequence[str] | None = None,
    preset: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> list[Variant]:
    """Return the whole method, then one variant for each part that is to be turned off.

    Args:
        name: of a method that learns from labels.
        without: parts among the method's ablations, "the graph" or "without the graph"; by default
            the graph, if the method names one.
        preset: "auto", or a name.
        settings: changes for all variants.

    Raises:
        UnknownNameError: if there is no such method or no such part.
        InputError: if the method learns without labels, or has no such setting.
    """
    method = method_class(name)
    if Needs.LABELS not in method.needs:
        others = [one for one in METHODS if Needs.LABELS in method_class(one).needs]
        raise InputError(
            f"{method.title} learns without labels, so that flipped ones change nothing: choose a "
            f"method that learns from them ({', '.join(others)})"
        )
    (whole,) = method_variants([name], preset=preset, settings=settings)
    if without is None:
        without = [GRAPH] if GRAPH in method.ablations else []
    variants = [whole]
    for part in dict.fromkeys(without):
        known = next((one for one in (part, f"without {part}") if one in method.ablations), None)
        if known is None:
            raise UnknownNameError(f"part of {name} to turn off", part, method.ablations)
        changes = {**whole.settings, **method.ablations[known]}
        variants.append(replace(whole, name=known, settings=changes))
    return variants


def measure_robustness(
    collection: Collection | str | Path,
    variants: Sequence[Variant],
    *,
    shares: Sequence[float] = (0.0, 0.03, 0.1),
    n_bits: int = 64,
    seeds: Sequence[int] = (0, 1, 2),
    split: str = "auto",
    encoder: str = "auto",
    skip_bad: bool = False,
    cache: Path | str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> RobustnessStudy:
    """Train on labels with flipped bits, and measure on the true ones.

    Only the labels of training items are flipped, and only for training; all measures see the
    collection's own. Variants of one seed meet the same flipped bits.

    Args:
        collection: or what `load_collection` takes.
        variants: of one method, as `robustness_variants` gives them.
        shares: of the bits that are flipped, each in [0, 0.5].
        n_bits: bits of a code.
        seeds: a training each, which decide the flipped bits too.
        split: the queries; "auto" is `test` if there is such a split, else `dev`.
        encoder: makes the features; "auto" is `offline`, or `precomputed` where there are features
            only.
        skip_bad: leave out items with defects; the log says how many.
        cache: where features are kept.
        device: "auto", "cpu", "cuda", ...
        progress: told of every step.

    Raises:
        InputError: if the collection has no labels, or a list is empty.
        SettingError: if a share is out of its range.
        UnknownNameError: if there is no such split.
    """
    if not (shares and seeds and variants):
        raise InputError("shares, seeds and variants: at least 1 of each is needed")
    for share in shares:
        check_share(share)
    collection = opened(collection, skip_bad, progress)
    if collection.labels is None:
        raise InputError(
            f"{collection.name} has no labels to flip: add labels.tsv, or name another collection"
        )
    split, encoder = usual_split(collection, split), usual_encoder(collection, encoder)
    select_queries(collection, split)
    extract_features(collection, encoder, cache=cache, device=device, progress=progress)
    jobs = [
        Job(share, variant, n_bits, seed)
        for share in dict.fromkeys(shares)
        for variant in variants
        for seed in dict.fromkeys(seeds)
    ]
    runs = []
    for place, job in enumerate(jobs):
        model, seconds, n_flipped = trained_on_flipped(
            collection, job, encoder, cache=cache, device=device,
            progress=nth_of(progress, place, len(jobs)),
        )  # fmt: skip
        report = evaluate(model, collection, split=split, cache=cache, device=device)
        outcome = Outcome(
            job.variant.name,
            f"{collection.name} {split}",
            n_bits,
            job.seed,
            measured_values(report),
            round(seconds, 1),
            n_bits,
        )
        runs.append(RobustnessRun(job.share, n_flipped, outcome))
    about = {
        "method": variants[0].method,
        "collection": collection.name,
        "collection_fingerprint": collection.fingerprint(),
        "encoder": encoder,
        "split": split,
        "preset": model.record.preset,
        "variants": {one.name: dict(one.settings) for one in variants},
        "n_label_bits": collection.labels[collection.split(TRAIN)].size,
    }
    return RobustnessStudy(about, tuple(runs))


@dataclass(frozen=True)
class Job:
    """One training of a study."""

    share: float
    variant: Variant
    n_bits: int
    seed: int


def check_share(share: float) -> None:
    """Refuse a share out of its range."""
    if not 0 <= share <= 0.5:
        raise SettingError(f"the share of flipped labels is {share}, expected in [0, 0.5]")


def trained_on_flipped(
    collection: Collection,
    job: Job,
    encoder: str,
    *,
    cache: Path | str | None,
    device: str,
    progress: Progress,
) -> tuple[HashModel, float, int]:
    """Train on labels of which some are flipped; return the model, CPU seconds and flipped bits."""
    assert collection.labels is not None
    items = collection.split(TRAIN)
    labels = collection.labels.copy()
    labels[items] = flipped_labels(labels[items], job.share, job.seed)
    started = time.process_time()
    model = train(
        replace(collection, labels=labels),
        method=job.variant.method,
        n_bits=job.n_bits,
        encoder=encoder,
        split=TRAIN,
        seed=job.seed,
        preset=job.variant.preset or None,
        settings=job.variant.settings,
        cache=cache,
        device=device,
        progress=progress,
    )
    seconds = time.process_time() - started
    return model, seconds, int((labels != collection.labels).sum())


def nth_of(progress: Progress, place: int, count: int) -> Progress:
    """Return a watcher that tells of the steps of one training as a part of all trainings."""

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if stage == TRAIN:
            progress("all trainings", place * total + done, count * total, values)

    return watch
