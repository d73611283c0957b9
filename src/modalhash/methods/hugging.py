"""Hugging: align what content tokens say, so that the code of the class token gets better.

J. Wang, Z. Zeng, B. Chen, Y. Wang, D. Liao, G. Li, Y. Wang, S.-T. Xia: "Hugs bring double benefits:
unsupervised cross-modal hashing with multi-granularity aligned transformers", International
Journal of Computer Vision, 2024. https://doi.org/10.1007/s11263-024-02009-7

What HuggingHash, HuggingHash+ and the wrapper `Hugged` share. A trunk a modality lets class and
content tokens meet; GhostVLAD sums content tokens up as a few local embeddings, each of them a
concept that both modalities share; the k-th of a picture is aligned with the k-th of its text. None
of it is needed for a code but the trunk.

`Hugged` puts a method's hash heads on such trunks and adds the alignment to its loss; the method
doesn't know. With weight 0 it is the fair reference, the method on the same trunks: a handshake.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from modalhash.errors import SettingError, UnknownNameError
from modalhash.layers import (
    AssignNorm,
    GhostVlad,
    HashHead,
    LocalEmbeddings,
    ModalityFeatures,
    ProjectionNorm,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
)
from modalhash.layers.ghost_vlad import MODALITIES
from modalhash.losses import local_alignment
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Method,
    Moment,
    Needs,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.settings import configured_method, read_value

__all__ = ["Hug", "HugMode", "HugSettings", "Hugged", "hugged_method", "make_trunk", "trunk_pass"]

logger = logging.getLogger(__name__)
RESTART_BATCH, RESTART_TOKENS, RESTART_BATCHES = 256, 256, 20
"""A restart looks at up to 256 tokens a modality of each of up to 20 batches of 256 pairs."""
EMPTY_SHARE = 0.01
"""Share of all assignments below which a cluster counts as empty."""


class HugMode(StrEnum):
    """How local embeddings are aligned: by contrast, or by the method's own loss.

    `same` puts the local embeddings of each concept in the place of the codes.
    """

    CONTRASTIVE = "contrastive"
    SAME = "same"


@dataclass(frozen=True)
class HugSettings:
    """Settings of trunks and local alignment; HCQ is the same first author's WWW 2022 method."""

    hug_weight: float = 0.3
    """Weight of the local alignment; 0 is a handshake (ours for frozen features; 1 fine-tuned)."""
    hug_temperature: float = 0.1
    """Temperature of the local alignment (ours for frozen features; HCQ 0.05)."""
    hug_prior: float = 0.0
    """Share of local negatives thought to be positives (HCQ 0)."""
    hug_concepts: int = 7
    """Local embeddings an item (HCQ; its results hardly depended on it)."""
    hug_ghosts: int = 1
    """Ghost clusters, for tokens that say little (HCQ)."""
    hug_width: int = 128
    """Width of local embeddings (ours for frozen features; HCQ 512)."""
    hug_assignment: AssignNorm = AssignNorm.BATCH
    """Whether assignments are batch-normalised, by each modality's own statistics (HCQ does)."""
    hug_projection: ProjectionNorm = ProjectionNorm.AFTER
    """Where tokens are normalised: before or after their projection (ours)."""
    hug_restart: bool = True
    """Start the clusters anew from tokens after the first epoch (ours; HCQ keeps random ones)."""
    hug_trunk: TrunkKind = TrunkKind.TRANSFORMER
    """How class and content tokens meet (ours: frozen features have no other common path)."""
    hug_trunk_width: int = 128
    """Width of tokens inside the trunk (ours)."""
    hug_trunk_heads: int = 4
    """Attention heads of the trunk (ours)."""
    hug_trunk_layers: int = 1
    """Transformer layers of the trunk (ours)."""
    hug_trunk_dropout: float = 0.1
    """Share dropped in training of what each part of the trunk adds (HCQ)."""

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            SettingError: naming the setting, what came and what was expected.
        """
        sizes = ("concepts", "width", "trunk_width", "trunk_heads", "trunk_layers")
        checks = (
            ("hug_weight", self.hug_weight >= 0, "0 or more"),
            ("hug_temperature", self.hug_temperature > 0, "positive"),
            ("hug_prior", 0 <= self.hug_prior < 1, "in [0, 1)"),
            ("hug_ghosts", self.hug_ghosts >= 0, "0 or more"),
            ("hug_trunk_dropout", 0 <= self.hug_trunk_dropout < 1, "in [0, 1)"),
            *((f"hug_{name}", getattr(self, f"hug_{name}") >= 1, "at least 1") for name in sizes),
            (
                "hug_trunk_width",
                self.hug_trunk_width % max(1, self.hug_trunk_heads) == 0,
                f"a multiple of the {self.hug_trunk_heads} hug_trunk_heads",
            ),
        )
        for name, is_good, expected in checks:
            if not is_good:
                raise SettingError(f"{name} is {getattr(self, name)}, expected {expected}")


def make_trunk(settings: HugSettings, pooled_width: int, token_width: int | None) -> TokenTrunk:
    """Return a fresh trunk of one modality."""
    assert token_width is not None
    return TokenTrunk(
        settings.hug_trunk,
        pooled_width,
        token_width,
        width=settings.hug_trunk_width,
        n_heads=settings.hug_trunk_heads,
        n_layers=settings.hug_trunk_layers,
        dropout=settings.hug_trunk_dropout,
    )


def trunk_pass(heads: Heads, batch: Batch) -> tuple[ModalityFeatures, ModalityFeatures]:
    """Return what the trunks of both heads make of a batch's pictures and texts."""
    assert isinstance(heads.image, TrunkHead)
    assert isinstance(heads.text, TrunkHead)
    return heads.image.trunk(batch.image), heads.text.trunk(batch.text)


class Hug(nn.Module):
    """GhostVLAD over what trunks give, and the watch over its clusters.

    Args:
        settings: of the alignment.
        image_width: w of the content tokens that come out of the image trunk.
        text_width: of those of the text trunk.
        width: of local embeddings; None as the settings say.
    """

    image_masses: Tensor
    text_masses: Tensor

    def __init__(
        self, settings: HugSettings, image_width: int, text_width: int, *, width: int | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.vlad = GhostVlad(
            image_width,
            text_width,
            width=width or settings.hug_width,
            n_concepts=settings.hug_concepts,
            n_ghosts=settings.hug_ghosts,
            assign_norm=settings.hug_assignment,
            projection_norm=settings.hug_projection,
        )
        n_clusters = settings.hug_concepts + settings.hug_ghosts
        self.register_buffer("image_masses", torch.zeros(n_clusters))
        self.register_buffer("text_masses", torch.zeros(n_clusters))

    @classmethod
    def on(cls, heads: Heads, settings: HugSettings, *, width: int | None = None) -> "Hug":
        """Return one that fits the trunks of both heads."""
        assert isinstance(heads.image, TrunkHead)
        assert isinstance(heads.text, TrunkHead)
        widths = (heads.image.trunk.content_width, heads.text.trunk.content_width)
        return cls(settings, *widths, width=width)

    def forward(
        self, image: ModalityFeatures, text: ModalityFeatures
    ) -> tuple[LocalEmbeddings, LocalEmbeddings]:
        """Return the local embeddings of n pairs from what the trunks gave.

        In training, cluster masses are added up until the epoch ends.
        """
        found = self.vlad(image, "image"), self.vlad(text, "text")
        if self.training:
            self.image_masses += found[0].masses
            self.text_masses += found[1].masses
        return found

    def alignment(
        self, image: LocalEmbeddings, text: LocalEmbeddings, items: Tensor | None
    ) -> Tensor:
        """Return the contrastive local alignment, a scalar."""
        return local_alignment(
            image.vectors,
            text.vectors,
            temperature=self.settings.hug_temperature,
            has_content=image.has_content & text.has_content,
            positive_prior=self.settings.hug_prior,
            items=items,
        )

    def ghost_shares(self, image: LocalEmbeddings, text: LocalEmbeddings) -> dict[str, Tensor]:
        """Return the share of each modality's assignments that ghosts take, for the log."""
        return {
            f"{name}_ghost_share": shares(found.masses)[self.settings.hug_concepts :].sum()
            for name, found in (("image", image), ("text", text))
        }

    def after_epoch(self, heads: Heads, view: TrainingView, moment: Moment) -> None:
        """Start the clusters anew after the first epoch; warn of empty ones; forget the masses."""
        if moment.epoch == 0 and moment.n_epochs > 1 and self.settings.hug_restart:
            samples = self.sampled_tokens(heads, view)
            if len(samples) > self.settings.hug_concepts:
                self.vlad.restart(samples, torch.default_generator)
        if moment.epoch + 1 in (moment.n_epochs // 2, moment.n_epochs):
            self.warn_of_empty_clusters(moment.epoch)
        self.image_masses.zero_()
        self.text_masses.zero_()

    def sampled_tokens(self, heads: Heads, view: TrainingView) -> Tensor:
        """Return projected tokens of both modalities, drawn from all over the training pairs."""
        stride = max(1, -(-view.n_pairs // (RESTART_BATCH * RESTART_BATCHES)))
        found = []
        for place, batch in enumerate(view.batches(RESTART_BATCH)):
            if place % stride:
                continue
            for modality, content in zip(MODALITIES, trunk_pass(heads, batch), strict=True):
                assert content.tokens is not None
                assert content.token_mask is not None
                projected = self.vlad.project(content.tokens, content.token_mask, modality)
                real = projected[content.token_mask]
                chosen = torch.randperm(len(real))[:RESTART_TOKENS]
                found.append(real[chosen.to(real.device)])
        return torch.cat(found)

    def warn_of_empty_clusters(self, epoch: int) -> None:
        """Log a warning for real clusters that hold next to nothing in both modalities."""
        image, text = shares(self.image_masses), shares(self.text_masses)
        for cluster in range(self.settings.hug_concepts):
            if max(image[cluster], text[cluster]) < EMPTY_SHARE:
                logger.warning(
                    "in epoch %d, concept %d holds %.2f %% of the image and %.2f %% of the text "
                    "assignments: it aligns nothing; lower hug_concepts (now %d)",
                    epoch + 1,
                    cluster + 1,
                    100 * image[cluster],
                    100 * text[cluster],
                    self.settings.hug_concepts,
                )


def shares(masses: Tensor) -> Tensor:
    """Return masses divided by their sum, 0 where there is none."""
    return masses / masses.sum().clamp_min(torch.finfo(masses.dtype).tiny)


@dataclass(frozen=True)
class HuggedSettings:
    """Settings of a hugged method: its own, and those of the hug."""

    base: Any
    """The method's settings."""
    hug: HugSettings
    """Settings of trunks and alignment."""
    hug_mode: HugMode = HugMode.CONTRASTIVE
    """How local embeddings are aligned."""


class Hugged(GradientMethod):
    """A gradient method whose heads stand on trunks, with local alignment added to its loss.

    An unsupervised method gets batches of frozen features, from which it makes its targets, and
    heads that run through the trunks. A supervised one has its targets from labels: it gets class
    vectors for pooled features and its own heads.

    Args:
        base: the method.
        settings: of the hug.
        mode: how local embeddings are aligned.

    Raises:
        SettingError: if the method hugs by itself, solves in closed form, or can't be hugged in
            that mode.
    """

    settings: HuggedSettings

    def __init__(
        self, base: Method, settings: HugSettings, mode: HugMode = HugMode.CONTRASTIVE
    ) -> None:
        check_huggable(base, mode)
        super().__init__(HuggedSettings(base.settings, settings, mode))
        assert isinstance(base, GradientMethod)
        self.base, self.hug_settings, self.mode = base, settings, mode
        self.name, self.title = base.name, f"hugged {base.title}"
        self.needs = base.needs | {Needs.TOKENS}
        self.smallest_batch = base.smallest_batch  # type: ignore[misc]
        if settings.hug_trunk is TrunkKind.NONE:
            warn_of_missing_trunk()

    def record(self) -> dict[str, Any]:
        """Return all settings under their names, those of the method and of the hug together."""
        return {
            **self.base.record(),
            "hug": str(self.mode),
            **asdict(self.hug_settings),
        }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        """Make the method's heads, put them on trunks and add what aligns content tokens."""
        base = self.base.build_heads(shapes, n_bits)
        settings = self.hug_settings
        image = make_trunk(settings, shapes.image_width, shapes.image_token_width)
        text = make_trunk(settings, shapes.text_width, shapes.text_token_width)
        made = Heads(
            TrunkHead(image, base.image),
            TrunkHead(text, base.text),
            nn.ModuleDict({"base": base.auxiliary}),
            rate_scales={moved_name(name): scale for name, scale in base.rate_scales.items()},
        )
        if settings.hug_weight:
            width = n_bits if self.mode is HugMode.SAME else None
            made.auxiliary["hug"] = Hug.on(made, settings, width=width)
        return made

    def before_training(self, heads: Heads, view: TrainingView) -> None:
        """Let the method prepare, on heads that run through the trunks."""
        self.base.before_training(self.base_heads(heads), view)

    def batch_loss(self, heads: Heads, batch: Batch, moment: Moment) -> LossReport:
        """Add the weighted local alignment to the method's loss."""
        image, text = trunk_pass(heads, batch)
        if self.base.is_supervised:
            seen = replace(batch, image=image, text=text)
            report = self.base.batch_loss(self.own_heads(heads), seen, moment)
        else:
            once = Heads(
                Passed(heads.image, batch.image, image),
                Passed(heads.text, batch.text, text),
                base_auxiliary(heads),
            )
            report = self.base.batch_loss(once, batch, moment)
        if "hug" not in heads.auxiliary:
            return report
        hug = heads.auxiliary["hug"]
        assert isinstance(hug, Hug)
        local_image, local_text = hug(image, text)
        if self.mode is HugMode.CONTRASTIVE:
            local = hug.alignment(local_image, local_text, batch.items)
        else:
            local = self.own_criterion(heads, batch, moment, (local_image, local_text))
        terms = {**report.terms, "hug": local, **hug.ghost_shares(local_image, local_text)}
        return LossReport(report.total + self.hug_settings.hug_weight * local, terms)

    def after_epoch(self, heads: Heads, view: TrainingView, moment: Moment) -> None:
        """Let the method update what it keeps, and the hug its clusters."""
        self.base.after_epoch(self.base_heads(heads), view, moment)
        if "hug" in heads.auxiliary:
            hug = heads.auxiliary["hug"]
            assert isinstance(hug, Hug)
            hug.after_epoch(heads, view, moment)

    def base_heads(self, heads: Heads) -> Heads:
        """Return the heads that the method sees outside of batches."""
        if self.base.is_supervised:
            return self.own_heads(heads)
        return Heads(heads.image, heads.text, base_auxiliary(heads))

    def own_heads(self, heads: Heads) -> Heads:
        """Return the method's own heads, which read class vectors."""
        assert isinstance(heads.image, TrunkHead)
        assert isinstance(heads.text, TrunkHead)
        return Heads(heads.image.head, heads.text.head, base_auxiliary(heads))

    def own_criterion(
        self,
        heads: Heads,
        batch: Batch,
        moment: Moment,
        local: tuple[LocalEmbeddings, LocalEmbeddings],
    ) -> Tensor:
        """Return the method's loss of local embeddings in the place of codes, the mean of all.

        Pairs take part where both sides have content.
        """
        image, text = local
        has_content = image.has_content & text.has_content
        if int(has_content.sum()) < max(2, self.base.smallest_batch):
            return (image.vectors.sum() + text.vectors.sum()) * 0.0
        seen = rows_of(batch, has_content)
        losses = []
        for concept in range(self.hug_settings.hug_concepts):
            stand_ins = Heads(
                Given(image.vectors[has_content, concept]),
                Given(text.vectors[has_content, concept]),
                base_auxiliary(heads),
            )
            losses.append(self.base.batch_loss(stand_ins, seen, moment).total)
        return torch.stack(losses).mean()


class Passed(HashHead):
    """A head on a trunk that has seen this batch already: it reads what the trunk gave.

    Args:
        head: on its trunk.
        features: of the batch.
        seen: what the trunk made of them.
    """

    reads_tokens = True

    def __init__(self, head: HashHead, features: ModalityFeatures, seen: ModalityFeatures) -> None:
        super().__init__()
        self.head, self.features, self.seen = head, features, seen
        self.training = head.training

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Return (n, b) relaxed codes; features of other items go through the trunk."""
        assert isinstance(self.head, TrunkHead)
        if features is not self.features:
            return self.head.forward(features)
        relaxed: Tensor = self.head.head(self.seen)
        return relaxed

    @property
    def n_bits(self) -> int:
        """Number of bits b."""
        return self.head.n_bits

    def spec(self) -> dict[str, Any]:
        """Return that of the head."""
        return self.head.spec()


class Given(HashHead):
    """A stand-in for a head that gives the same vectors whatever it reads.

    Args:
        vectors: (n, b).
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, features: ModalityFeatures) -> Tensor:
        """Return the vectors."""
        return self.vectors

    @property
    def n_bits(self) -> int:
        """Width of the vectors."""
        return self.vectors.shape[1]

    def spec(self) -> dict[str, Any]:
        """Return the kind; no model is made of it."""
        return {"kind": "given"}


def base_auxiliary(heads: Heads) -> nn.ModuleDict:
    """Return the method's own auxiliary parts."""
    auxiliary = heads.auxiliary["base"]
    assert isinstance(auxiliary, nn.ModuleDict)
    return auxiliary


def rows_of(batch: Batch, chosen: Tensor) -> Batch:
    """Return the chosen pairs of a batch; all of them leave it as it is."""
    if bool(chosen.all()):
        return batch

    def rows(features: ModalityFeatures) -> ModalityFeatures:
        tokens, mask = features.tokens, features.token_mask
        return ModalityFeatures(
            features.pooled[chosen],
            None if tokens is None else tokens[chosen],
            None if mask is None else mask[chosen],
        )

    return Batch(
        rows(batch.image),
        rows(batch.text),
        None if batch.labels is None else batch.labels[chosen],
        batch.positions[chosen],
        None if batch.items is None else batch.items[chosen],
    )


def moved_name(name: str) -> str:
    """Return where a part of the method lies in the hugged one."""
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
    if isinstance(base, Hugged):
        raise SettingError(f"{base.title} is hugged already")
    if Needs.TOKENS in base.needs:
        raise SettingError(
            f"{base.title} reads content tokens itself: choose a method of pooled features to hug"
        )
    if mode is HugMode.SAME and base.is_supervised:
        raise SettingError(
            f"{base.title} learns its codes in networks of its own, which local embeddings can't "
            "stand in for: choose --hug contrastive"
        )


def warn_of_missing_trunk() -> None:
    """Log that without a trunk local alignment can't reach the code."""
    logger.warning(
        "hug_trunk is none: unless the encoder is tuned too, content tokens have no path to the "
        "hash heads, so hugging can't change a code; choose attn or transformer"
    )


REDUCED: Mapping[str, Any] = {
    "image_token_width": 128,
    "image_token_grid": 4,
    "text_token_width": 128,
}
"""Tokens of frozen features as hugging reads them (ours: 49 x 1280 an item is slow to learn on)."""


def hugged_method(
    method: type[Method],
    mode: str,
    *,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Hugged, TrainingSettings]:
    """Return a method hugged, with its settings, and how to train it.

    Args:
        method: class of the method to hug.
        mode: a `HugMode`.
        preset: of the method.
        changes: setting to value: the method's, training's, and those of the hug ("hug_...").

    Raises:
        SettingError: if the method can't be hugged, there is no such mode, or a value is wrong.
        UnknownNameError: if the preset or a setting is unknown.
    """
    chosen: HugMode = read_value("hug", mode, HugMode)
    check_huggable(method(), chosen)
    types = get_type_hints(HugSettings)
    own, rest = dict[str, Any](), dict[str, Any]()
    for name, value in (changes or {}).items():
        if name in types:
            own[name] = read_value(name, value, types[name])
        elif name.startswith("hug_"):
            raise UnknownNameError("setting of hugging", name, types)
        else:
            rest[name] = value
    base, training = configured_method(method, preset=preset, changes={**REDUCED, **rest})
    return Hugged(base, HugSettings(**own), chosen), training
