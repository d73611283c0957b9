import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor, nn

from modalhash.errors import FeatureError, SettingError, UnknownNameError
from modalhash.layers import HashHead, LinearHead, ModalityFeatures, TrunkHead
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Moment,
    Needs,
    Term,
    TrainingSettings,
    TrainingView,
)
from modalhash.methods.cca_itq import CcaItq
from modalhash.methods.cfrh import Cfrh
from modalhash.methods.hugged_method import (
    HuggedHeads,
    HuggedMethod,
    HugMode,
    configure_hugged_method,
)
from modalhash.methods.hugging_hash import HuggingHash
from modalhash.methods.local_alignment import HugSettings, LocalAlignment
from modalhash.training import TrainingPlan, train_method
from tests.oracles.paired_features import PlainTable, made_pairs
from tests.oracles.tiny_methods import TokenMethod, TokenSettings

N, N_BITS = 5, 4
SHAPES = FeatureShapes(image_width=7, text_width=6, image_token_width=5, text_token_width=4)
SMALL: dict[str, Any] = {
    "hug_width": 8,
    "hug_concepts": 3,
    "hug_trunk_width": 8,
    "hug_trunk_heads": 2,
    "hug_trunk_dropout": 0.0,
}


CLOSED_FORM = (
    "CCA + ITQ is solved in closed form: there is no training that hugging could help; choose a "
    "method that is trained by gradient"
)
OWN_NETWORKS = (
    "Labelled learns its codes in networks of its own, which local embeddings can't stand in for: "
    "choose --hug contrastive"
)


@dataclass
class WatchedHeads(Heads):
    """Hash heads and one more part."""

    extra: nn.Linear


class Watching(GradientMethod[WatchedHeads]):
    """A method that pulls codes together and notes what it is given."""

    name = "watching"
    title = "Watching"
    settings_class = TokenSettings
    training = TrainingSettings(epochs=2, batch_size=32)

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.seen: list[tuple[WatchedHeads, Batch]] = []
        self.events: list[str] = []

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> WatchedHeads:
        return WatchedHeads(
            LinearHead(shapes.image_width, n_bits),
            LinearHead(shapes.text_width, n_bits),
            extra=nn.Linear(n_bits, 1),
            rate_scales={"text": 2.0, "auxiliary.extra": 0.5, "image.map": 3.0},
        )

    def batch_loss(self, heads: WatchedHeads, batch: Batch, moment: Moment) -> LossReport:
        self.seen.append((heads, batch))
        image, text = heads.image(batch.image), heads.text(batch.text)
        gap = (image - text).square().mean()
        return LossReport({"gap": Term(gap)})

    def before_training(self, heads: WatchedHeads, view: TrainingView) -> None:
        self.note("before_training", heads, view)

    def after_epoch(self, heads: WatchedHeads, view: TrainingView, moment: Moment) -> None:
        self.note(f"after_epoch {moment.epoch}", heads, view)

    def note(self, event: str, heads: WatchedHeads, view: TrainingView) -> None:
        assert set(heads.auxiliary) == {"extra"}
        heads.image(next(view.batches(3)).image)
        self.events.append(event)


class Labelled(Watching):
    """The same with labels, which its codes are pulled by; it reads its own heads' parts."""

    name = "labelled"
    title = "Labelled"
    needs = frozenset({Needs.LABELS})

    def batch_loss(self, heads: WatchedHeads, batch: Batch, moment: Moment) -> LossReport:
        assert isinstance(heads.image, LinearHead)
        heads.image.map(batch.image.pooled)
        return super().batch_loss(heads, batch, moment)


def hugged(
    base: GradientMethod[Any], mode: HugMode = HugMode.CONTRASTIVE, **changes: Any
) -> HuggedMethod:
    return HuggedMethod(base, HugSettings(**(SMALL | changes)), mode)


def made_heads(of: HuggedMethod) -> HuggedHeads:
    torch.manual_seed(0)
    heads = of.build_heads(SHAPES, N_BITS)
    for head in (heads.image, heads.text):
        assert isinstance(head, TrunkHead)
        nn.init.normal_(head.trunk.back.weight)  # starts at 0
    return heads


def made_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)

    def features(width: int, token_width: int) -> ModalityFeatures:
        mask = torch.arange(3) < torch.tensor([[3], [2], [1], [0], [2]])
        return ModalityFeatures(
            torch.randn(N, width, generator=generator),
            torch.randn(N, 3, token_width, generator=generator),
            mask,
        )

    return Batch(features(7, 5), features(6, 4), torch.eye(N), torch.arange(N), torch.arange(N))


def test_the_method_sees_frozen_features_and_codes_of_the_trunk() -> None:
    base = Watching()
    of, batch = hugged(base), made_batch()
    heads = made_heads(of)
    report = of.batch_loss(heads, batch, Moment(0, 1))
    ((seen_heads, seen),) = base.seen
    assert seen is batch
    with torch.no_grad():
        image, text = heads.image(batch.image), heads.text(batch.text)
        gap = (image - text).square().mean()
        assert torch.equal(seen_heads.image(batch.image), image)
        assert torch.equal(seen_heads.text(batch.text), text)
        assert isinstance(heads.image, TrunkHead)
        assert not torch.equal(image, heads.image.head(batch.image))
    assert torch.allclose(report.values["gap"], gap)
    assert set(report.values) == {"gap", "hug", "image_ghost_share", "text_ghost_share"}
    expected = report.values["gap"] + 0.3 * report.values["hug"]
    assert torch.allclose(report.total, expected)


def test_a_stand_in_for_a_head_reads_other_batches_too() -> None:
    base = Watching()
    of, batch = hugged(base), made_batch()
    heads = made_heads(of)
    of.batch_loss(heads, batch, Moment(0, 1))
    stand_in: HashHead = base.seen[0][0].image
    other = ModalityFeatures(batch.image.pooled + 1, batch.image.tokens, batch.image.token_mask)
    assert torch.equal(stand_in(other), heads.image(other))
    assert stand_in.n_bits == N_BITS
    assert stand_in.spec() == heads.image.spec()


def test_a_supervised_method_gets_class_vectors_and_its_own_heads() -> None:
    base = Labelled()
    of, batch = hugged(base), made_batch()
    heads = made_heads(of)
    report = of.batch_loss(heads, batch, Moment(0, 1))
    ((seen_heads, seen),) = base.seen
    assert isinstance(heads.image, TrunkHead)
    assert seen_heads.image is heads.image.head
    assert torch.equal(seen.image.pooled, heads.image.trunk(batch.image).pooled)
    assert torch.equal(seen_heads.image(seen.image), heads.image(batch.image))
    assert seen.labels is batch.labels
    report.total.backward()  # type: ignore[no-untyped-call]
    assert heads.image.trunk.back.weight.grad is not None


@pytest.mark.parametrize("base", [Watching, Labelled])
def test_a_handshake_is_the_method_on_the_trunk(base: type[Watching]) -> None:
    of = hugged(base(), hug_weight=0.0)
    report = of.batch_loss(made_heads(of), made_batch(), Moment(0, 1))
    assert set(report.values) == {"gap"}
    assert torch.equal(report.total, report.values["gap"])
    assert set(made_heads(of).auxiliary) == {"base"}


def test_the_same_criterion_is_the_method_s_loss_of_each_concept() -> None:
    of, batch = hugged(Watching(), HugMode.SAME), made_batch()
    heads = made_heads(of)
    hug = heads.auxiliary["hug"]
    assert isinstance(hug, LocalAlignment)
    report = of.batch_loss(heads, batch, Moment(0, 1))
    assert isinstance(heads.image, TrunkHead)
    assert isinstance(heads.text, TrunkHead)
    image = hug.vlad(heads.image.trunk(batch.image), "image").vectors
    text = hug.vlad(heads.text.trunk(batch.text), "text").vectors
    assert image.shape == (N, 3, N_BITS)  # as wide as codes
    rows = [0, 1, 2, 4]  # item 3 has no content
    gaps = [(image[rows, k] - text[rows, k]).square().mean() for k in range(3)]
    assert torch.allclose(report.values["hug"], torch.stack(gaps).mean(), rtol=1e-5)


def test_a_batch_with_too_little_content_has_no_criterion() -> None:
    of, batch = hugged(Watching(), HugMode.SAME), made_batch()
    assert batch.image.token_mask is not None
    batch.image.token_mask[1:] = False
    report = of.batch_loss(made_heads(of), batch, Moment(0, 1))
    assert float(report.values["hug"].detach()) == 0


def test_rates_follow_the_parts_to_where_they_lie() -> None:
    assert made_heads(hugged(Watching())).rate_scales == {
        "text.head": 2.0,
        "auxiliary.base.extra": 0.5,
        "image.head.map": 3.0,
    }


@pytest.mark.parametrize("base", [Watching, Labelled])
@pytest.mark.parametrize("mode", list(HugMode))
def test_it_trains_through_the_whole_contract(base: type[Watching], mode: HugMode) -> None:
    if base is Labelled and mode is HugMode.SAME:
        return
    method = base()
    of, made = hugged(method, mode), made_pairs(60, 20)
    result = train_method(TrainingPlan(of, method.training, 8), made.data())
    assert method.events == ["before_training", "after_epoch 0", "after_epoch 1"]
    rooms = {
        name.split(".")[1] for name in result.hasher.state_dict() if not name.startswith("fine.")
    }
    assert rooms == {"scaling", "head"}
    rows = made.unseen
    codes = result.hasher.image.encode(made.image.pooled(rows), *made.image.tokens(rows))
    assert codes.shape == (20, 1)


def test_a_method_that_reads_tokens_is_refused() -> None:
    message = "Token reads content tokens itself: choose a method of pooled features to hug"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        hugged(TokenMethod())


def test_names_and_needs() -> None:
    of = hugged(Watching())
    assert (of.name, of.title) == ("watching", "hugged Watching")
    assert of.needs == {Needs.TOKENS}
    assert not of.is_supervised
    assert hugged(Labelled()).is_supervised


def test_missing_tokens_stop_before_any_work() -> None:
    of, training = configure_hugged_method(Cfrh, "contrastive")
    made = made_pairs(60, 20)
    data = made.data()
    bare = PlainTable(made.image.all_pooled)
    message = (
        "hugged CFRH needs token features, but there are none for the image side: run `modalhash "
        "features` with --tokens and an encoder that has them"
    )
    with pytest.raises(FeatureError, match=re.escape(message)):
        train_method(
            TrainingPlan(of, training, 8),
            type(data)(bare, data.text, data.caption_starts, data.items),
        )


def test_settings_of_method_training_and_hug_share_one_list() -> None:
    of, training = configure_hugged_method(
        Cfrh,
        "same",
        preset="dense",
        changes={"hug_weight": "0.5", "hidden_width": "64", "epochs": "3", "hug_concepts": 5},
    )
    assert of.hug_settings.hug_weight == 0.5
    assert of.hug_settings.hug_concepts == 5
    assert of.base.settings.hidden_width == 64
    assert training.epochs == 3
    assert training.learning_rate == Cfrh.presets["dense"]["learning_rate"]
    assert (training.image_token_width, training.image_token_grid) == (128, 4)
    record = of.record()
    assert record["hug"] == "same"
    assert record["hidden_width"] == 64
    assert record["hug_weight"] == 0.5


def test_reduced_tokens_are_a_default_that_settings_change() -> None:
    _, training = configure_hugged_method(Cfrh, "contrastive", changes={"image_token_width": 0})
    assert training.image_token_width == 0
    assert training.text_token_width == 128


def test_unknown_hug_settings_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match="setting of hugging"):
        configure_hugged_method(Cfrh, "contrastive", changes={"hug_wait": 1})
    with pytest.raises(UnknownNameError, match="setting of cfrh"):
        configure_hugged_method(Cfrh, "contrastive", changes={"hiden_width": 1})


@pytest.mark.parametrize(
    ("method", "mode", "message"),
    [
        (
            CcaItq,
            "contrastive",
            CLOSED_FORM,
        ),
        (
            HuggingHash,
            "contrastive",
            "HuggingHash hugs by itself: leave --hug out, and set hug_weight",
        ),
        (
            Labelled,
            "same",
            OWN_NETWORKS,
        ),
        (Cfrh, "own", "hug is 'own', expected one of: contrastive, same, plus"),
    ],
)
def test_what_cannot_be_hugged_is_refused(method: Any, mode: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        configure_hugged_method(method, mode)


def test_a_hugged_method_is_not_hugged_again() -> None:
    with pytest.raises(SettingError, match=re.escape("hugged Watching is hugged already")):
        hugged(hugged(Watching()))


@pytest.mark.parametrize("mode", [HugMode.CONTRASTIVE, HugMode.SAME])
def test_hugging_changes_cfrh_s_codes_and_runs_can_be_repeated(mode: HugMode) -> None:
    made = made_pairs(100, 30)
    rows = made.unseen

    def codes(weight: float) -> Tensor:
        of, training = configure_hugged_method(
            Cfrh,
            mode,
            changes={"hidden_width": 16, "epochs": 2, "hug_weight": weight, **SMALL},
        )
        hasher = train_method(TrainingPlan(of, training, 16), made.data()).hasher
        features = (made.image.pooled(rows), *made.image.tokens(rows))
        return torch.from_numpy(hasher.image.relaxed(*features))

    once = codes(2.0)
    assert_array_equal(codes(2.0), once)
    assert np.any(codes(0.0).numpy() != once.numpy())


def test_resuming_gives_the_codes_of_an_unbroken_run(tmp_path: Path) -> None:
    made = made_pairs(60, 20)
    changes = {"hidden_width": 16, "epochs": 3, **SMALL}
    of, training = configure_hugged_method(Cfrh, "contrastive", changes=changes)
    whole = train_method(TrainingPlan(of, training, 16), made.data()).hasher
    short = TrainingPlan(of, training, 16, run_folder=tmp_path)

    class StopError(Exception):
        pass

    def stop(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        if done == 3:  # in the second epoch of one or more steps
            raise StopError

    with pytest.raises(StopError):
        train_method(short, made.data(), progress=stop)
    again = train_method(short, made.data(), resume=True).hasher
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
