"""How much a method loses when some of the labels or pairs that it learns from are wrong."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from modalhash.api.learning import extract_features, train, train_on_exchanged_texts
from modalhash.api.measuring import evaluate, select_queries
from modalhash.api.method_choice import AUTO, choose_method, find_training_items
from modalhash.api.opening import open_collection
from modalhash.benchmarking.grid_table import COLUMNS, cells, markdown
from modalhash.benchmarking.measuring_tasks import list_values
from modalhash.benchmarking.outcomes import Outcome
from modalhash.benchmarking.tasks import Variant, usual_encoder, usual_split
from modalhash.benchmarking.variants import method_variants
from modalhash.benchmarking.wrong_pairs import (
    check_pair_shares,
    format_wrong_pairs,
    shuffle_texts,
)
from modalhash.choices import Scoring
from modalhash.data import Collection
from modalhash.errors import InputError, SettingError, UnknownNameError
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import Needs
from modalhash.numpy_numbers import takes_numpy_numbers
from modalhash.options import LabelNoiseChoices, LabelNoiseOptions, change_options
from modalhash.progress import Progress, silent
from modalhash.seeds import check_seed, check_seeds

__all__ = [
    "RobustnessRun",
    "RobustnessStudy",
    "flip_labels",
    "robustness",
    "robustness_variants",
]

FORMAT = 1
TRAIN = "train"
GRAPH = "without the graph"
LABELLED_METHOD = "ms2gah"
"""The method that is studied under flipped labels, unless another is named."""
FLIP, SHUFFLE_PAIRS = "flip", "shuffle_pairs"
FLIPPED_SHARES = (0.0, 0.03, 0.1)
"""Shares of label bits that are flipped, unless others are named."""
COUNT_NAMES = {FLIP: "n_flipped", SHUFFLE_PAIRS: "n_shuffled"}
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class RobustnessRun:
    """One training on labels or pairs of which a share is wrong, and one measurement on true ones.

    Attributes:
        share: of the training items' label bits that were flipped, or of the items that got the
            texts of others.
        n_flipped: how many bits or items that were.
        outcome: row, length, seed, numbers and seconds.
        preset: that the training took; "" for the method's defaults.
    """

    share: float
    n_flipped: int
    outcome: Outcome
    preset: str = ""


@dataclass(frozen=True)
class RobustnessStudy:
    """All runs of a study.

    Attributes:
        about: method, collection, encoder, split, preset, settings.
        runs: by share, then variant, then seed.
        noise: what was wrong: "flip" for labels, "shuffle_pairs" for pairs.
    """

    about: Mapping[str, Any]
    runs: tuple[RobustnessRun, ...]
    noise: str = FLIP

    def table(self) -> str:
        """Format a row a share and variant, means and deviations over seeds, as Markdown."""
        if self.noise == SHUFFLE_PAIRS:
            return format_wrong_pairs((run.share, run.outcome) for run in self.runs)
        rows: dict[tuple[float, str], list[Outcome]] = {}
        for run in self.runs:
            rows.setdefault((run.share, run.outcome.row), []).append(run.outcome)
        lines = [[f"{100 * share:g} %", name, *cells(same)] for (share, name), same in rows.items()]
        return markdown(["flipped", "variant", *(heading for _, heading in COLUMNS)], lines)

    def to_json(self) -> dict[str, Any]:
        """Describe the study as the document that `robustness --json` gives."""
        return {
            "format": FORMAT,
            "about": dict(self.about),
            "runs": [
                {
                    self.noise: run.share,
                    COUNT_NAMES[self.noise]: run.n_flipped,
                    "variant": run.outcome.row,
                    "n_bits": run.outcome.n_bits,
                    "seed": run.outcome.seed,
                    "values": dict(run.outcome.values),
                    "cpu_seconds": run.outcome.cpu_seconds,
                }
                for run in self.runs
            ],
        }


def flip_labels(labels: Labels, share: float, seed: int) -> Labels:
    """Copy labels and flip a share of the bits: 0 becomes 1, and 1 becomes 0.

    Which ones depends on the seed and the shape alone, and those of a smaller share are among those
    of a larger one.

    Args:
        labels: (n, c) uint8 of 0 and 1; not changed.
        share: in [0, 0.5]; `round(share * n * c)` bits are flipped.
        seed: decides which.

    Returns:
        (n, c) uint8.

    Raises:
        SettingError: if the share or the seed is out of its range.

    Example:
        >>> flip_labels(np.zeros((2, 5), np.uint8), 0.2, seed=0).sum()
        np.uint64(2)
    """
    check_share(share)
    check_seed(seed)
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
    """List the whole method, then one variant for each part that is to be turned off.

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
        others = [other for other in METHODS if Needs.LABELS in method_class(other).needs]
        raise InputError(
            f"{method.title} learns without labels, so that flipped ones change nothing: choose a "
            f"method that learns from them ({', '.join(others)})"
        )
    (whole,) = method_variants([name], preset=preset, settings=settings)
    if without is None:
        without = [GRAPH] if GRAPH in method.ablations else []
    variants = [whole]
    for part in dict.fromkeys(without):
        known = next(
            (candidate for candidate in (part, f"without {part}") if candidate in method.ablations),
            None,
        )
        if known is None:
            raise UnknownNameError(f"part of {name} to turn off", part, method.ablations)
        changes = {**whole.settings, **method.ablations[known]}
        variants.append(replace(whole, name=known, settings=changes))
    return variants


@takes_numpy_numbers
def robustness(
    collection: Collection | str | Path,
    method: str = AUTO,
    *,
    options: LabelNoiseOptions | None = None,
    **choices: Unpack[LabelNoiseChoices],
) -> RobustnessStudy:
    """Train on labels or pairs of which some are wrong, and measure what that costs.

    Only the labels or pairs of training items are changed, and only for training; all measures see
    the collection's own. Variants of one seed meet the same changes.

    Args:
        collection: or what `load_collection` takes.
        method: with `shares` one that learns from labels, by default `ms2gah`; with
            `shuffle_pairs` any, or several parted by commas, by default the collection's default.
        options: shares, parts to turn off, bits, seeds, split, encoder, preset, settings, cache
            and device.
        **choices: fields of `modalhash.options.LabelNoiseOptions`, which change `options`.

    Raises:
        InputError: if labels are to be flipped and the method learns without labels, or the
            collection has none; if both `shares` and `shuffle_pairs` are given, a list is empty, or
            there are too few items to exchange texts.
        SettingError: if a share is out of its range.
        UnknownNameError: if there is no such method, part or split.
    """
    options = change_options(LabelNoiseOptions, options, choices)
    if options.shuffle_pairs is None:
        return study_labels(collection, method, options)
    if options.shares is not None:
        raise InputError(
            "shares flips labels and shuffle_pairs exchanges texts: name one of them, not both"
        )
    return study_pairs(collection, method, options, options.shuffle_pairs)


def study_labels(
    collection: Collection | str | Path, method: str, options: LabelNoiseOptions
) -> RobustnessStudy:
    """Measure what flipped labels cost; see `robustness`."""
    variants = robustness_variants(
        LABELLED_METHOD if method == AUTO else method,
        without=options.without,
        preset=options.preset,
        settings=options.settings,
    )
    shares = FLIPPED_SHARES if options.shares is None else options.shares
    check_lists(shares, options)
    for share in shares:
        check_share(share)
    collection = open_collection(collection, options.skip_bad, options.progress)
    if collection.labels is None:
        raise InputError(
            f"{collection.name} has no labels to flip: add labels.tsv, or name another collection"
        )
    study = run_study(collection, variants, shares, options, FLIP)
    n_label_bits = collection.labels[collection.split(TRAIN)].size
    return replace(study, about={**study.about, "n_label_bits": n_label_bits})


def study_pairs(
    collection: Collection | str | Path,
    method: str,
    options: LabelNoiseOptions,
    shares: Sequence[float],
) -> RobustnessStudy:
    """Measure what wrong pairs cost; share 0 is always measured. See `robustness`."""
    check_lists(shares, options)
    if options.without:
        raise InputError("without turns off parts under flipped labels: leave it out")
    collection = open_collection(collection, options.skip_bad, options.progress)
    items = find_training_items(collection, TRAIN)
    check_pair_shares(collection, items, shares)
    names = [choose_method(collection) if method == AUTO else method]
    variants = method_variants(
        [name.strip() for name in names[0].split(",")],
        preset=options.preset,
        settings=options.settings,
    )
    return run_study(collection, variants, [0.0, *shares], options, SHUFFLE_PAIRS)


def check_lists(shares: Sequence[float], options: LabelNoiseOptions) -> None:
    """Refuse a study without a share, without a seed, or with one that isn't a seed."""
    if not shares:
        raise InputError("shares: at least 1 is needed")
    check_seeds(options.seeds)


def run_study(
    collection: Collection,
    variants: Sequence[Variant],
    shares: Sequence[float],
    options: LabelNoiseOptions,
    noise: str,
) -> RobustnessStudy:
    """Train and measure every share, variant and seed."""
    split = usual_split(collection, options.split)
    encoder = usual_encoder(collection, options.encoder)
    select_queries(collection, split)
    extract_features(
        collection,
        encoder,
        cache=options.cache,
        device=options.device,
        progress=options.progress,
    )
    jobs = [
        Job(share, variant, options.n_bits, seed, noise)
        for share in dict.fromkeys(shares)
        for variant in variants
        for seed in dict.fromkeys(options.seeds)
    ]
    resolved = replace(options, split=split, encoder=encoder)
    runs = [
        run_job(collection, job, watch_part(options.progress, place, len(jobs)), resolved)
        for place, job in enumerate(jobs)
    ]
    about = {
        "method": ", ".join(dict.fromkeys(variant.method for variant in variants)),
        "collection": collection.name,
        "collection_fingerprint": collection.fingerprint(),
        "encoder": encoder,
        "split": split,
        "preset": runs[-1].preset,
        "variants": {variant.name: dict(variant.settings) for variant in variants},
    }
    return RobustnessStudy(about, tuple(runs), noise)


@dataclass(frozen=True)
class Job:
    """One training of a study."""

    share: float
    variant: Variant
    n_bits: int
    seed: int
    noise: str


def check_share(share: float) -> None:
    """Refuse a share out of its range."""
    if not 0 <= share <= 0.5:
        raise SettingError(f"the share of flipped labels is {share}, expected in [0, 0.5]")


def run_job(
    collection: Collection, job: Job, progress: Progress, options: LabelNoiseOptions
) -> RobustnessRun:
    """Train on labels or pairs of which some are wrong, and measure on the true ones."""
    items = collection.split(TRAIN)
    started = time.process_time()
    common: dict[str, Any] = {
        "method": job.variant.method,
        "n_bits": job.n_bits,
        "encoder": options.encoder,
        "split": TRAIN,
        "seed": job.seed,
        "preset": job.variant.preset or None,
        "settings": job.variant.settings,
        "cache": options.cache,
        "device": options.device,
        "progress": progress,
    }
    if job.noise == SHUFFLE_PAIRS:
        owners = shuffle_texts(collection, items, job.share, job.seed)
        n_changed = int((owners != np.arange(collection.n_items)).sum())
        hug = job.variant.hug or None
        model = train_on_exchanged_texts(collection, owners, hug=hug, **common)
    else:
        assert collection.labels is not None
        labels = collection.labels.copy()
        labels[items] = flip_labels(labels[items], job.share, job.seed)
        n_changed = int((labels != collection.labels).sum())
        model = train(replace(collection, labels=labels), **common)
    seconds = time.process_time() - started
    report = evaluate(
        model,
        collection,
        split=options.split,
        scoring=Scoring.HAMMING,
        cache=options.cache,
        device=options.device,
        progress=silent,
    )
    outcome = Outcome(
        job.variant.name,
        f"{collection.name} {options.split}",
        job.n_bits,
        job.seed,
        list_values(report),
        round(seconds, 1),
        job.n_bits,
    )
    return RobustnessRun(job.share, n_changed, outcome, model.record.preset)


def watch_part(progress: Progress, place: int, count: int) -> Progress:
    """Make a watcher that reports the steps of one training as a part of all trainings.

    Args:
        progress: watches all trainings.
        place: of this training, from 0.
        count: of all trainings.
    """

    def watch(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if stage == TRAIN:
            progress("all trainings", place * total + done, count * total, values)

    return watch
