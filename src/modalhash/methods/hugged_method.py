"""Hugging as a wrapper: a method trained by gradient, on trunks that content tokens share.

J. Wang, Z. Zeng, B. Chen, Y. Wang, D. Liao, G. Li, Y. Wang, S.-T. Xia: "Hugs bring double benefits:
unsupervised cross-modal hashing with multi-granularity aligned transformers", International
Journal of Computer Vision, 2024. https://doi.org/10.1007/s11263-024-02009-7

`HuggedMethod` puts a method's hash heads on trunks and adds the local alignment of
`local_alignment` to its loss; the method itself is unchanged. With weight 0 it is the fair
reference, the method on the same trunks: a handshake. That other methods gain by hugging is the
paper's claim; how they are hugged is our reading of its abstract.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from modalhash.errors import SettingError, UnknownNameError
from modalhash.layers import LocalEmbeddings, TrunkHead, TrunkKind
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Method,
    Moment,
    Needs,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.landmarks import without_landmarks
from modalhash.methods.local_alignment import (
    AlignedHeads,
    HugSettings,
    LocalAlignment,
    make_trunk,
    rows_of,
    trunk_pass,
    warn_of_missing_trunk,
)
from modalhash.methods.quantized_alignment import (
    FineSettings,
    add_fine_coder,
    after_fine_epoch,
    before_fine_training,
    check_fine_settings,
    fine_alignment,
)
from modalhash.methods.settings import make_method, read_value
from modalhash.methods.stand_in_heads import ConstantHead, PrecomputedTrunkHead

__all__ = ["HugMode", "HuggedMethod", "HuggedSettings", "configure_hugged_method"]


class HugMode(StrEnum):
    """How local embeddings are aligned: by contrast, or by the method's own loss.

    `same` puts the local embeddings of each concept in the place of the codes. `plus` is by
    contrast too, and learns finer codes of them to rerank by, as HuggingHash+ does.
    """

    CONTRASTIVE = "contrastive"
    SAME = "same"
    PLUS = "plus"


@dataclass(frozen=True)
class HuggedSettings:
    """Settings of a hugged method: its own, and those of the hug."""

    base: Any
    """The method's settings."""
    hug: HugSettings
    """Settings of trunks and alignment."""
    hug_mode: HugMode = HugMode.CONTRASTIVE
    """How local embeddings are aligned."""
    fine: FineSettings | None = None
    """Settings of the finer codes of `plus`."""


@dataclass
class HuggedHeads(AlignedHeads):
    """A method's heads on trunks; its own auxiliary parts stay with them."""

    base: Heads = field(kw_only=True)

    @property
    def auxiliary(self) -> nn.ModuleDict:
        """The method's own auxiliary parts under the name `base`, and the alignment."""
        base = nn.ModuleDict({"base": self.base.auxiliary})
        return base if self.hug is None else nn.ModuleDict({**base, "hug": self.hug})


class HuggedMethod(GradientMethod[HuggedHeads]):
    """A gradient method whose heads stand on trunks, with local alignment added to its loss.

    An unsupervised method gets batches of frozen features, from which it makes its targets, and
    heads that run through the trunks. A supervised one has its targets from labels: it gets class
    vectors for pooled features and its own heads.

    Args:
        base: the method.
        settings: of the hug.
        mode: how local embeddings are aligned.
        fine: settings of the finer codes, for the mode `plus`; None is the defaults.

    Raises:
        SettingError: if the method hugs by itself, solves in closed form, or can't be hugged in
            that mode; if finer codes don't fit the hug.
    """

    settings: HuggedSettings

    def __init__(
        self,
        base: Method,
        settings: HugSettings,
        mode: HugMode = HugMode.CONTRASTIVE,
        fine: FineSettings | None = None,
    ) -> None:
        check_huggable(base, mode)
        base = without_landmarks(base)
        self.fine = (fine or FineSettings()) if mode is HugMode.PLUS else None
        if self.fine is not None:
            check_fine_settings(self.fine, settings)
        super().__init__(HuggedSettings(base.settings, settings, mode, self.fine))
        assert isinstance(base, GradientMethod)
        self.base, self.hug_settings, self.mode = base, settings, mode
        self.name, self.title = base.name, f"hugged {base.title}"
        self.needs = base.needs | {Needs.TOKENS}
        self.smallest_batch = base.smallest_batch  # type: ignore[misc]
        if settings.hug_trunk is TrunkKind.NONE:
            warn_of_missing_trunk()

    def record(self) -> dict[str, Any]:
        """List all settings under their names, those of the method and of the hug together."""
        return {
            **self.base.record(),
            "hug": str(self.mode),
            **asdict(self.hug_settings),
            **({} if self.fine is None else asdict(self.fine)),
        }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> HuggedHeads:
        """Make the method's heads, put them on trunks and add what aligns content tokens."""
        base = self.base.build_heads(shapes, n_bits)
        settings = self.hug_settings
        image = make_trunk(settings, shapes.image_width, shapes.image_token_width)
        text = make_trunk(settings, shapes.text_width, shapes.text_token_width)
        heads = HuggedHeads(
            TrunkHead(image, base.image),
            TrunkHead(text, base.text),
            base=base,
            rate_scales={moved_name(name): scale for name, scale in base.rate_scales.items()},
        )
        if settings.hug_weight:
            width = n_bits if self.mode is HugMode.SAME else None
            heads.hug = LocalAlignment.for_heads(heads, settings, width=width)
        if self.fine is not None:
            add_fine_coder(heads, self.fine, settings)
        return heads

    def before_training(self, heads: HuggedHeads, view: TrainingView) -> None:
        """Let the method prepare, on heads that run through the trunks."""
        self.base.before_training(self.base_heads(heads), view)
        if self.fine is not None:
            before_fine_training(heads, view, self.fine)

    def batch_loss(self, heads: HuggedHeads, batch: Batch, moment: Moment) -> LossReport:
        """Add the weighted local alignment to the method's loss."""
        image, text = trunk_pass(heads, batch)
        if self.base.is_supervised:
            seen = replace(batch, image=image, text=text)
            report = self.base.batch_loss(heads.base, seen, moment)
        else:
            on_trunks = replace(
                heads.base,
                image=PrecomputedTrunkHead(heads.image, batch.image, image),
                text=PrecomputedTrunkHead(heads.text, batch.text, text),
            )
            report = self.base.batch_loss(on_trunks, batch, moment)
        if self.fine is not None:
            local, parts = fine_alignment(
                heads, batch, moment, (image, text), settings=self.fine, hug=self.hug_settings
            )
            local_term = Term(local, self.hug_settings.hug_weight)
            return LossReport({**report.terms, "local": local_term}, {**report.watched, **parts})
        hug = heads.hug
        if hug is None:
            return report
        local_image, local_text = hug(image, text)
        if self.mode is HugMode.SAME:
            local = self.own_criterion(heads, batch, moment, (local_image, local_text))
        else:
            local = hug.alignment(local_image, local_text, batch.items)
        watched = {**report.watched, **hug.ghost_shares(local_image, local_text)}
        hug_term = Term(local, self.hug_settings.hug_weight)
        return LossReport({**report.terms, "hug": hug_term}, watched)

    def after_epoch(self, heads: HuggedHeads, view: TrainingView, moment: Moment) -> None:
        """Let the method update what it keeps, and the hug its clusters."""
        self.base.after_epoch(self.base_heads(heads), view, moment)
        if heads.hug is not None:
            heads.hug.after_epoch(heads, view, moment)
        if self.fine is not None:
            after_fine_epoch(heads, view, moment, self.fine)

    def base_heads(self, heads: HuggedHeads) -> Heads:
        """The heads that the method sees outside of batches: its own where it reads labels."""
        if self.base.is_supervised:
            return heads.base
        return replace(heads.base, image=heads.image, text=heads.text)

    def own_criterion(
        self,
        heads: HuggedHeads,
        batch: Batch,
        moment: Moment,
        local: tuple[LocalEmbeddings, LocalEmbeddings],
    ) -> Tensor:
        """Compute the method's loss of local embeddings in the place of codes, the mean of all.

        Pairs take part where both sides have content.
        """
        image, text = local
        has_content = image.has_content & text.has_content
        if int(has_content.sum()) < max(2, self.base.smallest_batch):
            return (image.vectors.sum() + text.vectors.sum()) * 0.0
        seen = rows_of(batch, has_content)
        losses = []
        for concept in range(self.hug_settings.hug_concepts):
            stand_ins = replace(
                heads.base,
                image=ConstantHead(image.vectors[has_content, concept]),
                text=ConstantHead(text.vectors[has_content, concept]),
            )
            losses.append(self.base.batch_loss(stand_ins, seen, moment).total)
        return torch.stack(losses).mean()


def moved_name(name: str) -> str:
    """Find where a part of the method lies in the hugged one."""
    room, _, rest = name.partition(".")
    moved = {"image": "image.head", "text": "text.head", "auxiliary": "auxiliary.base"}[room]
    return f"{moved}.{rest}" if rest else moved


def check_huggable(base: Method, mode: HugMode) -> None:
    """Refuse methods that can't be hugged, or not in that mode.

    Raises:
        SettingError: saying why, and what to do.
    """
    if not isinstance(base, GradientMethod):
        raise SettingError(
            f"{base.title} is solved in closed form: there is no training that hugging could help; "
            "choose a method that is trained by gradient"
        )
    if isinstance(base.settings, HugSettings):
        raise SettingError(f"{base.title} hugs by itself: leave --hug out, and set hug_weight")
    if isinstance(base, HuggedMethod):
        raise SettingError(f"{base.title} is hugged already")
    if Needs.TOKENS in base.needs:
        raise SettingError(
            f"{base.title} reads content tokens itself: choose a method of pooled features to hug"
        )
    if mode in base.unhuggable:
        others = [choice for choice in HugMode if choice not in base.unhuggable]
        raise SettingError(
            f"{base.title} {base.unhuggable[mode]}: it can't be hugged in the mode {mode}; "
            + (f"choose --hug {others[0]}" if others else "choose another method to hug")
        )
    if mode is HugMode.SAME and base.is_supervised:
        raise SettingError(
            f"{base.title} learns its codes in networks of its own, which local embeddings can't "
            "stand in for: choose --hug contrastive"
        )


REDUCED: Mapping[str, Any] = {
    "image_token_width": 128,
    "image_token_grid": 4,
    "text_token_width": 128,
}
"""Tokens of frozen features as hugging reads them (ours: 49 x 1280 an item is slow to learn on)."""


def configure_hugged_method(
    method: type[Method],
    mode: str,
    *,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[HuggedMethod, TrainingSettings]:
    """Make a method hugged, with its settings, and choose how to train it.

    Args:
        method: class of the method to hug.
        mode: a `HugMode`.
        preset: of the method.
        changes: setting to value: the method's, training's, those of the hug ("hug_...") and, for
            `plus`, of finer codes ("fine_...").

    Raises:
        SettingError: if the method can't be hugged, there is no such mode, or a value is wrong.
        UnknownNameError: if the preset or a setting is unknown.
    """
    chosen: HugMode = read_value("hug", mode, HugMode)
    check_huggable(method(), chosen)
    types = get_type_hints(HugSettings)
    fine_types = get_type_hints(FineSettings) if chosen is HugMode.PLUS else {}
    own, fine, rest = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for name, value in (changes or {}).items():
        if name in types:
            own[name] = read_value(name, value, types[name])
        elif name in fine_types:
            fine[name] = read_value(name, value, fine_types[name])
        elif name.startswith(("hug_", "fine_")):
            raise UnknownNameError("setting of hugging", name, {*types, *fine_types})
        else:
            rest[name] = value
    base, training = make_method(method, preset=preset, changes={**REDUCED, **rest})
    settings = FineSettings(**fine) if chosen is HugMode.PLUS else None
    return HuggedMethod(base, HugSettings(**own), chosen, settings), training
