"""The whole contract of a method: what to minimise, never how, where or on which device.

A method is a frozen settings object and pure functions. It never opens files, picks devices or
prints; everything it learns lives in the `Heads` it builds, so that a checkpoint is complete.

Two kinds cover the literature:

- `GradientMethod`: `build_heads`, `batch_loss`; `before_training` and `after_epoch` do nothing
  unless filled in (codebooks, memory banks, whole-set graphs: buffers of auxiliary parts).
  `relaxed_pairs` says what a former model's codes are compared with, where there is one.
- `ClosedFormMethod`: `solve`.

Whatever is learned ends as two hash heads, one a modality. Only these are saved, served and
evaluated, so a code can't depend on the other modality, on batch mates or on labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property, reduce
from typing import Annotated, Any, ClassVar, Final, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers import HashHead, ModalityFeatures, ScalingRule
from modalhash.layers.fine_codes import FineCoder
from modalhash.methods.controls import NamedModule
from modalhash.methods.former_codes import FormerCodes
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    SHARE_TO_HALF,
    Settings,
)

__all__ = [
    "DENSE_TRAINING",
    "Batch",
    "CaptionChoice",
    "ClosedFormMethod",
    "FeatureShapes",
    "GradientMethod",
    "Heads",
    "LossReport",
    "Method",
    "Moment",
    "Needs",
    "Optimiser",
    "Precision",
    "Schedule",
    "Term",
    "TrainingSettings",
    "TrainingView",
]


class Needs(StrEnum):
    """What a method must be given beyond pooled features."""

    TOKENS = "tokens"
    LABELS = "labels"


class Optimiser(StrEnum):
    """The optimisers of the field's papers."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class Schedule(StrEnum):
    """How the learning rate moves: not at all, down a half cosine, one-cycle, or geometrically."""

    CONSTANT = "constant"
    COSINE = "cosine"
    ONE_CYCLE = "one_cycle"
    EXPONENTIAL = "exponential"


class Precision(StrEnum):
    """What tuned backbones compute in; heads and losses are float32 in any case.

    `auto` is bfloat16 on an accelerator that has it, else float32.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class CaptionChoice(StrEnum):
    """Which text of an item is its partner: one drawn anew each epoch, the first, all, their mean.

    `all` makes each picture-text pair an example; `mean` averages the features of the texts.
    """

    RANDOM = "random"
    FIRST = "first"
    ALL = "all"
    MEAN = "mean"


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """How a method is trained; each method states its defaults, users change them."""

    epochs: Annotated[int, AT_LEAST_ONE] = 20
    """Passes over the training pairs."""
    least_steps: Annotated[int, NOT_NEGATIVE] = 0
    """Fewest steps in all: small collections are passed over more often until these are done; 0
    where a run names its epochs."""
    most_steps: Annotated[int, NOT_NEGATIVE] = 0
    """Most steps in all: large collections are passed over less often, or in part; 0, as where a
    run names its epochs, is no limit."""
    batch_size: Annotated[int, AT_LEAST_ONE] = 32
    """Pairs a step."""
    drop_last: bool = True
    """Leave out an epoch's last, smaller batch."""
    optimiser: Optimiser = Optimiser.SGD
    """Update rule."""
    learning_rate: Annotated[float, POSITIVE] = 0.01
    """Step size of every parameter, times the method's own scale where it states one."""
    momentum: Annotated[float, SHARE_BELOW_ONE] = 0.9
    """Momentum of SGD; the Adam family ignores it."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 5e-4
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW)."""
    schedule: Schedule = Schedule.CONSTANT
    """Course of the learning rate over all steps."""
    gradient_clip: Annotated[float, NOT_NEGATIVE] = 0.0
    """Largest norm of the whole gradient; 0 is no limit."""
    captions: CaptionChoice = CaptionChoice.RANDOM
    """Which text of an item is its partner."""
    image_scaling: ScalingRule = ScalingRule.NONE
    """Scaling of pooled image features, fitted on the training pairs."""
    text_scaling: ScalingRule = ScalingRule.NONE
    """Scaling of pooled text features, fitted on the training pairs."""
    image_token_width: Annotated[int, NOT_NEGATIVE] = 0
    """Width that image tokens are projected to, on their principal directions; 0 as they come."""
    text_token_width: Annotated[int, NOT_NEGATIVE] = 0
    """Width that text tokens are projected to, on their principal directions; 0 as they come."""
    image_token_grid: Annotated[int, NOT_NEGATIVE] = 0
    """Side that a square of image tokens is pooled to; 0 as they come."""
    validation_share: Annotated[float, SHARE_TO_HALF] = 0.0
    """Share of the training items held out to choose the best epoch; 0 keeps the last epoch."""
    tune_encoder: bool = False
    """Learn the encoder's weights too; what follows acts only then."""
    encoder_rate_scale: Annotated[float, NOT_NEGATIVE] = 1.0
    """Factor on backbones' rates, `learning_rate` times 0.002 (CLIP), 0.01 (ViT), 0.05 (BERT)."""
    freeze_blocks: Annotated[int, NOT_NEGATIVE] = 0
    """First blocks of each backbone, and its embeddings, that stay as they are."""
    encoder_precision: Precision = Precision.AUTO
    """What the backbones compute in."""
    flip_pictures: bool = False
    """Mirror half of the pictures, drawn anew each epoch; texts that say left or right stay."""
    smallest_crop: Annotated[float, SHARE_ABOVE_ZERO] = 1.0
    """Smallest share of a picture's area that is cut out at random each epoch; 1 cuts nothing."""
    compatibility_weight: Annotated[float, NOT_NEGATIVE] = 4.0
    """Weight of agreeing with a former model's codes, as a multiple of the method's own loss, or of
    1 where that is smaller; acts only with `compatible_with`."""


DENSE_TRAINING: Final[Mapping[str, Any]] = {
    "image_scaling": "centred_unit",
    "text_scaling": "centred_unit",
    "optimiser": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "schedule": "one_cycle",
    "batch_size": 64,
    "epochs": 40,
    "least_steps": 500,
}
"""How the presets `dense` of unsupervised methods train on dense features of small collections.

Ours, chosen on Flickr8k dev; a preset names what it does otherwise.
"""


@dataclass(frozen=True)
class FeatureShapes:
    """Widths of what the heads will read.

    Attributes:
        image_width: d of pooled image features.
        text_width: d of pooled text features.
        image_token_width: w of image tokens, or None.
        text_token_width: w of text tokens, or None.
        n_classes: c of the labels, or None.
        n_pairs: training pairs.
        batch_size: pairs a step.
        n_items: training items; fewer than pairs where each text of an item makes one.
    """

    image_width: int
    text_width: int
    image_token_width: int | None = None
    text_token_width: int | None = None
    n_classes: int | None = None
    n_pairs: int = 0
    batch_size: int = 0
    n_items: int = 0


@dataclass(frozen=True)
class Batch:
    """Paired items: row i of each part belongs to the same pair. Features are scaled already.

    Attributes:
        image: image features of n pairs.
        text: text features of the same pairs.
        labels: (n, c) float32 of 0 and 1, or None; given only to methods that need labels.
        positions: (n,) int64, each pair's place in the training set, for memory banks.
        items: (n,) int64, the item each pair belongs to, where several may belong to one; None:
            all to different ones.
        former: what a former model says of the pairs, if there is one to be compatible with.
    """

    image: ModalityFeatures
    text: ModalityFeatures
    labels: Tensor | None
    positions: Tensor
    items: Tensor | None = None
    former: FormerCodes | None = None

    def __len__(self) -> int:
        """Count the pairs, n."""
        return len(self.image)


@dataclass(frozen=True)
class Moment:
    """Where training stands.

    Attributes:
        epoch: from 0.
        n_epochs: in all.
        step: within the epoch, from 0.
        n_steps: of an epoch.
    """

    epoch: int
    n_epochs: int
    step: int = 0
    n_steps: int = 1

    @property
    def progress(self) -> float:
        """Share of all steps that are done before this one, in [0, 1)."""
        return (self.epoch + self.step / self.n_steps) / self.n_epochs


@dataclass
class Heads:
    """Everything a method learns.

    A method whose training needs more parts (decoders, graph networks, banks as buffers) adds them
    as fields of a subclass. These auxiliary parts act in training only; checkpoints keep them, a
    model never does. A field that is None is left out.

    Attributes:
        image: hash head of pictures; saved with the model.
        text: hash head of texts; saved with the model.
        rate_scales: name of a part or parameter ("auxiliary.rotation", "image") to a factor on the
            learning rate; of several that fit, the first counts.
        fine: what makes finer codes beside the hash codes, to rerank by; saved with the model, and
            no hash code changes without it.
    """

    image: HashHead
    text: HashHead
    rate_scales: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    fine: FineCoder | None = field(default=None, kw_only=True)

    @property
    def auxiliary(self) -> nn.ModuleDict:
        """The parts that a subclass adds, by their names."""
        shared = {field.name for field in fields(Heads)}
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return nn.ModuleDict(
            {
                name: part
                for name, part in parts.items()
                if name not in shared and isinstance(part, nn.Module)
            }
        )

    def modules(self) -> nn.ModuleDict:
        """Collect all parts under the names `image`, `text`, `auxiliary` and, if there, `fine`."""
        parts = {"image": self.image, "text": self.text, "auxiliary": self.auxiliary}
        return nn.ModuleDict(parts if self.fine is None else {**parts, "fine": self.fine})


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Attributes:
        value: scalar before its weight, with gradient.
        weight: factor in the total; a term of weight 0 takes no part in it.
    """

    value: Tensor
    weight: float = 1.0

    @property
    def weighted(self) -> Tensor:
        """The scalar that is added to the total."""
        return self.value if self.weight == 1 else self.weight * self.value


@dataclass(frozen=True)
class LossReport:
    """A batch's loss: the weighted sum of its terms.

    Attributes:
        terms: each term by its name.
        watched: further scalars by name, for the log alone.

    Example:
        >>> gap, spread = torch.tensor(2.0), torch.tensor(4.0)
        >>> LossReport({"gap": Term(gap), "spread": Term(spread, 0.5)}).total
        tensor(4.)
    """

    terms: Mapping[str, Term]
    watched: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def total(self) -> Tensor:
        """The scalar to minimise, with gradient.

        Raises:
            SettingError: if no term has a weight.
        """
        parts = [term.weighted for term in self.terms.values() if term.weight]
        if not parts:
            raise SettingError(
                f"the weights of {', '.join(self.terms)} are all 0: nothing teaches the codes"
            )
        return reduce(torch.Tensor.add, parts)

    @property
    def values(self) -> dict[str, Tensor]:
        """Each term before its weight and what is watched, scalars by name."""
        return {name: term.value for name, term in self.terms.items()} | dict(self.watched)


class TrainingView(Protocol):
    """Read access to the training pairs for what can't be done batch by batch."""

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield all pairs in order, scaled, each exactly once; the last batch may be smaller."""


class Method(ABC):
    """What both kinds have in common.

    Attributes:
        name: as in the table of methods.
        title: as people write it ("CFRH").
        needs: what it must be given beyond pooled features.
        training: its default training settings.
        presets: named changes to method and training settings, each with its reason in the docs.
        ablations: plain name ("without the graph") to the changes of settings that turn one named
            part off.
        removed_parts: name of an ablation to the terms of the loss and the auxiliary parts that it
            turns off; a contract test checks that they no longer act.
        modules: name of a structural module (graph, filter, memory, label network) to its controls;
            every ablation that turns one off is there.
        smallest_batch: fewest pairs of a batch that the objective is defined for.
        unhuggable: mode of hugging to why the method can't be hugged in it.
        tunes_encoders: whether its loss has a gradient for features, where it is minimised by one.
        settings: the method's own frozen settings.
    """

    name: str
    title: str
    needs: frozenset[Needs] = frozenset()
    training: ClassVar[TrainingSettings] = TrainingSettings()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    removed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    modules: ClassVar[Mapping[str, NamedModule]] = {}
    smallest_batch: ClassVar[int] = 1
    unhuggable: ClassVar[Mapping[str, str]] = {}
    tunes_encoders: ClassVar[bool] = True
    settings_class: ClassVar[type[Any]]

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings if settings is not None else self.settings_class()

    @classmethod
    def preset_for(cls, *, has_sparse_texts: bool) -> str | None:
        """Find the preset that suits the features, or None for the defaults.

        That is `paper` for bags of words, which papers' constants are for, else `dense`; `dense`
        for both if there is no `paper`.

        Args:
            has_sparse_texts: whether text features are mostly zeros, as bags of words are.
        """
        suited = ("paper", "dense") if has_sparse_texts else ("dense",)
        return next((name for name in suited if name in cls.presets), None)

    @classmethod
    def build_head(cls, spec: Mapping[str, Any]) -> HashHead:
        """Make a head of a kind of the method's own from what its `spec` returned.

        Called for a saved model whose head is of no kind that the library knows.

        Raises:
            ArtifactError: if the method has no such head; by default always.
        """
        raise ArtifactError(
            f"the model describes a hash head that {cls.__name__} doesn't build: {dict(spec)}"
        )

    def record(self) -> dict[str, Any]:
        """List all settings by name, as a model's record keeps them."""
        return asdict(self.settings)

    @property
    def is_supervised(self) -> bool:
        """Whether labels take part in learning."""
        return Needs.LABELS in self.needs


H = TypeVar("H", bound=Heads)
"""The heads of a method: `Heads`, or a subclass with its auxiliary parts."""


class GradientMethod(Method, Generic[H]):
    """A method that minimises a loss over batches of pairs."""

    @abstractmethod
    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> H:
        """Make fresh parts; random numbers come from torch's generator, which training seeds."""

    @abstractmethod
    def batch_loss(self, heads: H, batch: Batch, moment: Moment) -> LossReport:
        """Compute the loss of one batch."""

    def relaxed_pairs(self, heads: H, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute relaxed codes of a batch, pictures and texts, that a former model's are met with.

        By default what the heads give; a method that learns from something else fills this in.
        """
        return heads.image(batch.image), heads.text(batch.text)

    def before_training(self, heads: H, view: TrainingView) -> None:
        """Prepare what needs the whole training set; called once, before the first epoch.

        Parts are in evaluation mode and no gradient is kept, as in `after_epoch`.
        """

    def after_epoch(self, heads: H, view: TrainingView, moment: Moment) -> None:
        """Update what isn't learned by gradient (codebooks, rotations); called after each epoch."""


class ClosedFormMethod(Method):
    """A method that solves for its heads from moments or matrices of the training features.

    Batches come and heads are made on the CPU, in float64 where it matters.
    """

    @abstractmethod
    def solve(
        self, view: TrainingView, shapes: FeatureShapes, n_bits: int, generator: torch.Generator
    ) -> Heads:
        """Solve for the heads.

        Raises:
            SettingError: if `n_bits` is more than the method can give on these features.
        """
