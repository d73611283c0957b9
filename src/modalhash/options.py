"""Options that several verbs share, each documented once.

Every verb takes its options as one object, `options=`, or field by field as keywords, which change
that object: `train(photos, device="cuda")` does the same as
`train(photos, options=TrainingOptions(device="cuda"))`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from dataclasses import field as with_default
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from modalhash.choices import MeasureChoices
from modalhash.errors import InputError, UnknownNameError
from modalhash.modalities import Direction
from modalhash.numpy_numbers import plain_numbers
from modalhash.progress import Progress, automatic
from modalhash.seeds import check_seeds

__all__ = [
    "CROSS_MODAL",
    "EvaluationChoices",
    "EvaluationOptions",
    "FeatureChoices",
    "FeatureOptions",
    "GridChoices",
    "GridOptions",
    "LabelNoiseChoices",
    "LabelNoiseOptions",
    "QuantizerChoices",
    "QuantizerOptions",
    "RunChoices",
    "RunOptions",
    "TrainingChoices",
    "TrainingOptions",
    "TuningChoices",
    "TuningOptions",
    "change_options",
]

CROSS_MODAL = (Direction.IMAGE_TO_TEXT, Direction.TEXT_TO_IMAGE)
"""The directions between the modalities."""
AnyOptions = TypeVar("AnyOptions")


@dataclass(frozen=True)
class RunOptions:
    """How a verb does its work; none of these changes a result."""

    cache: Path | str | None = None
    """Folder that keeps features; None is the user's cache folder."""
    device: str = "auto"
    """Where networks compute: "auto", "cpu", "cuda", "cuda:1", "mps"."""
    skip_bad: bool = False
    """Leave out items with defects; the log says how many."""
    progress: Progress = automatic
    """Is called with every step of a long job."""

    @property
    def cache_folder(self) -> Path | None:
        """The folder that keeps features; None is the user's cache folder."""
        return None if self.cache is None else Path(self.cache)


class RunChoices(TypedDict, total=False):
    """The fields of `RunOptions` as keywords."""

    cache: Path | str | None
    device: str
    skip_bad: bool
    progress: Progress


@dataclass(frozen=True)
class FeatureOptions(RunOptions):
    """How an encoder reads a collection."""

    frames: int = 12
    """Frames read of a video at most, evenly spaced; pictures ignore it."""
    frame_grid: int = 0
    """Side of the square that the patches of a frame are pooled to, as further tokens of a video;
    0 for none."""


class FeatureChoices(RunChoices, total=False):
    """The fields of `FeatureOptions` as keywords."""

    frames: int
    frame_grid: int


@dataclass(frozen=True)
class TrainingOptions(FeatureOptions):
    """How a training starts and what it may change."""

    hug: str | None = None
    """Also align content tokens: "contrastive", by the method's own loss ("same"), or "plus", with
    finer codes to rerank by. Takes an encoder with tokens and a method trained by gradient."""
    tune_encoder: bool = False
    """Also learn the encoder's weights, from raw pictures and texts. Takes an accelerator for
    models of usual size."""
    compatible_with: Any = None
    """A former model, or its run folder: queries of the new model search the codes that it made,
    and codes of both may be mixed in an index. Takes as many bits, and a method trained by
    gradient."""
    resume: bool = False
    """Continue the interrupted run in the output folder; a finished one is loaded."""
    overwrite: bool = False
    """Replace the run in the output folder; it is kept until features are ready."""


class TrainingChoices(FeatureChoices, total=False):
    """The fields of `TrainingOptions` as keywords."""

    hug: str | None
    tune_encoder: bool
    compatible_with: Any
    resume: bool
    overwrite: bool


@dataclass(frozen=True)
class EvaluationOptions(RunOptions):
    """What a model is measured on, and how."""

    database: str | None = None
    """Split that is ranked for relevance by labels; "rest" is every item outside the queries'
    split. None is the split "database" if there is one, else "train"."""
    captions: Literal["first", "all"] = "first"
    """Use each item's first text, or all of them."""
    directions: Sequence[str] = CROSS_MODAL
    """Directions of `modalhash.metrics.Direction`; those within one modality are measured by
    labels only."""
    database_model: Any = None
    """A former model, or its run folder, that makes the codes of what is ranked, while the model
    that is measured makes the queries; one of them must be compatible with the other. None makes
    both with one model."""
    scoring: str = "both"
    """What ranks items: "asymmetric", where the query keeps its numbers, "hamming", or "both", one
    after the other. Asymmetric takes longer, as it sorts."""
    rerank: int | str | None = None
    """Length of the shortlist that is reordered: a number, "auto" (5 % of the database,
    between 500 and 5000) or "all". The shortlist is by Hamming distance, and nothing else is
    measured. None reranks nothing."""
    rerank_by: str = "auto"
    """What reorders the shortlist: "fine", finer codes; "features", those of both sides, a byte a
    number in the database, as an index keeps them; "relaxed", the query's numbers before the sign;
    "auto" is finer codes."""
    rerank_score: str = "fused"
    """Reorder by hash codes and finer codes ("fused"), or by finer codes alone ("local")."""
    trec: Path | str | None = None
    """Folder for the rankings and what is relevant as files of TREC; None writes none."""
    trec_depth: int = 1000
    """Documents of a query in a run of TREC at most."""
    measures: MeasureChoices = with_default(default_factory=MeasureChoices)
    """Fields of `modalhash.metrics.MeasureSettings`, which may also be given as keywords beside
    these."""


class EvaluationChoices(RunChoices, MeasureChoices, total=False):
    """The fields of `EvaluationOptions` and of `MeasureSettings` as keywords."""

    database: str | None
    captions: Literal["first", "all"]
    directions: Sequence[str]
    database_model: Any
    scoring: str
    rerank: int | str | None
    rerank_by: str
    rerank_score: str
    trec: Path | str | None
    trec_depth: int
    measures: MeasureChoices


@dataclass(frozen=True)
class TuningOptions(RunOptions):
    """What a search over settings tries, and how it judges a trial."""

    over: Sequence[str] = ()
    """Settings to search, as in "learning_rate=1e-5:1e-3:log" or "epochs=20,40"; empty is the
    method's usual ones."""
    objective: str = "auto"
    """What judges a trial: "recall" by pair, "map" by labels, or "auto": map for methods that learn
    from labels, else recall."""
    validation_share: float = 0.2
    """Share of the training items that judges a trial, in (0, 0.5]."""
    repeats: int = 3
    """Divisions and seeds that judge each trial, at least 1; its value is the mean."""
    overwrite: bool = False
    """Start again where the output folder holds another search."""


class TuningChoices(RunChoices, total=False):
    """The fields of `TuningOptions` as keywords."""

    over: Sequence[str]
    objective: str
    validation_share: float
    repeats: int
    overwrite: bool


@dataclass(frozen=True)
class GridOptions:
    """Which trainings a comparison runs, and with what."""

    bits: Sequence[int] = (16, 32, 64, 128)
    """Lengths of codes."""
    seeds: Sequence[int] = (0, 1, 2)
    """Seeds; every row is trained once with each."""
    encoder: str = "auto"
    """Makes the features; "auto" is `offline`, or `precomputed` for collections of features."""
    preset: str = "auto"
    """Named settings of the methods that have them; "auto" takes what suits the features."""
    settings: Mapping[str, Any] | None = None
    """Changes to the settings of every method that has them."""
    workers: int = 1
    """Trainings at once, each in a process of one thread; 1 computes in this process."""
    memory_gib: float | None = None
    """Memory of all workers together; fewer run at once where they would need more."""
    cache: Path | str | None = None
    """Folder that keeps features; None is the user's cache folder."""
    progress: Progress = automatic
    """Is called after every training."""

    def __post_init__(self) -> None:
        """Check that there is something to run.

        Raises:
            InputError: if there is no length or no seed, or a seed is none.
        """
        if not self.bits:
            raise InputError("bits: at least 1 length is needed")
        check_seeds(self.seeds)


class GridChoices(TypedDict, total=False):
    """The fields of `GridOptions` as keywords."""

    bits: Sequence[int]
    seeds: Sequence[int]
    encoder: str
    preset: str
    settings: Mapping[str, Any] | None
    workers: int
    memory_gib: float | None
    cache: Path | str | None
    progress: Progress


@dataclass(frozen=True)
class LabelNoiseOptions(RunOptions):
    """Which trainings a study of wrong labels or wrong pairs runs, and with what."""

    shares: Sequence[float] | None = None
    """Shares of the training items' label bits that are flipped, each in [0, 0.5]; None is 0, .03
    and .1, unless pairs are shuffled."""
    shuffle_pairs: Sequence[float] | None = None
    """Shares of the training items that get the texts of other items, each in [0, 1]; 0 is always
    measured too. None flips labels instead."""
    without: Sequence[str] | None = None
    """Parts of the method that are also turned off, each in trainings of its own; None is the
    graph, if the method has one."""
    n_bits: int = 64
    """Bits of a code."""
    seeds: Sequence[int] = (0, 1, 2)
    """Seeds; each trains once and decides which bits are flipped, or which texts exchanged."""
    split: str = "auto"
    """The queries; "auto" is `test` if there is such a split, else `dev`."""
    encoder: str = "auto"
    """Makes the features; "auto" is `offline`, or `precomputed` for collections of features."""
    preset: str = "auto"
    """Named settings of the method."""
    settings: Mapping[str, Any] | None = None
    """Changes to the settings of the method or of training."""


class LabelNoiseChoices(RunChoices, total=False):
    """The fields of `LabelNoiseOptions` as keywords."""

    shares: Sequence[float] | None
    shuffle_pairs: Sequence[float] | None
    without: Sequence[str] | None
    n_bits: int
    seeds: Sequence[int]
    split: str
    encoder: str
    preset: str
    settings: Mapping[str, Any] | None


@dataclass(frozen=True)
class QuantizerOptions:
    """Which quantisers a board has, at which sizes, and how they are measured."""

    sizes: Sequence[int] = (2, 4, 8, 16, 32, 64, 128, 256)
    """Bytes an item."""
    seeds: Sequence[int] = (0, 1, 2)
    """Seeds; every row that depends on one is trained once with each."""
    quantizers: Sequence[str] | str = "all"
    """Names of rows, or "all"."""
    encoder: str = "auto"
    """Makes the features of collections; "auto" is `offline`, or `precomputed` for collections of
    features. Several, parted by commas, are measured one after another."""
    split: str = "auto"
    """The queries of collections; "auto" is `test` if there is such a split, else `dev`."""
    space: str = "auto"
    """Float vectors of collections: their "features", the "common" space that is learned of pairs,
    or "auto", which is the features where pictures and texts have one width."""
    n_queries: int | None = None
    """Queries of a side, at most, evenly spaced; None takes all."""
    shortlist: int = 100
    """Items that rescoring ranks again by int8 copies, at least 50."""
    workers: int = 1
    """Trainings at once, each in a process of one thread; 1 computes in this process."""
    memory_gib: float | None = None
    """Memory of all workers together; a row that needs more is left out, and says so."""
    cache: Path | str | None = None
    """Folder that keeps features; None is the user's cache folder."""
    progress: Progress = automatic
    """Is called after every training."""

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            InputError: naming the option, what came and what was expected.
        """
        checks = (
            ("sizes", bool(self.sizes) and min(self.sizes, default=0) >= 1, "positive numbers"),
            ("space", self.space in ("auto", "features", "common"), "auto, features or common"),
            ("n_queries", self.n_queries is None or self.n_queries >= 1, "at least 1, or None"),
            ("shortlist", self.shortlist >= 50, "at least 50, the ranks that count"),
            ("workers", self.workers >= 1, "at least 1"),
            ("memory_gib", self.memory_gib is None or self.memory_gib > 0, "a positive number"),
        )
        for name, is_good, expected in checks:
            if not is_good:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {expected}")
        check_seeds(self.seeds)


class QuantizerChoices(TypedDict, total=False):
    """The fields of `QuantizerOptions` as keywords."""

    sizes: Sequence[int]
    seeds: Sequence[int]
    quantizers: Sequence[str] | str
    encoder: str
    split: str
    space: str
    n_queries: int | None
    shortlist: int
    workers: int
    memory_gib: float | None
    cache: Path | str | None
    progress: Progress


def change_options(
    kind: type[AnyOptions], options: AnyOptions | None, choices: Mapping[str, Any]
) -> AnyOptions:
    """Build the options of a verb from an object and from keywords, which win.

    Keywords that are fields of `MeasureSettings` go to the field `measures`, if `kind` has it.

    Args:
        kind: class of the options.
        options: an object of that class; None is its defaults.
        choices: keywords by name.

    Raises:
        UnknownNameError: if no option has a keyword's name.
        InputError: if `options` is of another class.

    Example:
        >>> change_options(EvaluationOptions, None, {"rerank": 500, "top_k": (10,)}).measures
        {'top_k': (10,)}
    """
    choices = plain_numbers(dict(choices))
    if options is not None and not isinstance(options, kind):
        raise InputError(
            f"options is a {type(options).__name__}, expected {kind.__name__} or keywords"
        )
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    measures = set(MeasureChoices.__annotations__) if "measures" in known else set()
    for name in choices:
        if name not in known | measures:
            raise UnknownNameError("option", name, sorted(known | measures))
    changed = {name: value for name, value in choices.items() if name in known}
    chosen = {name: value for name, value in choices.items() if name in measures - known}
    base = kind() if options is None else options
    if chosen:
        base_measures = changed["measures"] if "measures" in changed else getattr(base, "measures")  # noqa: B009
        changed["measures"] = {**base_measures, **chosen}
    return replace(base, **changed)  # type: ignore[type-var]
