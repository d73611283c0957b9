import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn

from modalhash.errors import FeatureError, InputError, SettingError, TrainingError
from modalhash.layers import ScalingRule
from modalhash.methods.base import (
    CaptionChoice,
    FeatureShapes,
    Moment,
    Optimiser,
    Schedule,
    TrainingSettings,
)
from modalhash.methods.cca_sign import CcaSign
from modalhash.methods.cfrh import Cfrh, CfrhSettings
from modalhash.training import TrainingData, TrainingPlan, TrainingResult, train_method
from modalhash.training.loop import scale_pairs
from modalhash.training.optimisers import make_optimiser
from modalhash.training.pairs import Pairs
from modalhash.training.schedules import rate_factor
from modalhash.training.validation import pair_recall
from tests.oracles.paired_features import PlainTable, made_pairs
from tests.oracles.tiny_methods import Fault, FaultyMethod, FaultySettings, TokenMethod

MADE = made_pairs(120, 0)
N_BITS = 12


def faulty_plan(
    fault: Fault = Fault.NONE, folder: Path | None = None, **changes: Any
) -> TrainingPlan:
    method = FaultyMethod(FaultySettings(fault))
    return TrainingPlan(
        method, replace(method.training, **changes), N_BITS, seed=3, run_folder=folder
    )


def weights(result: TrainingResult) -> dict[str, Tensor]:
    return {name: value for name, value in result.hasher.state_dict().items() if ".map." in name}


def shapes_of(pairs: Pairs) -> FeatureShapes:
    return FeatureShapes(image_width=pairs.data.image.width, text_width=pairs.data.text.width)


def plain_training(plan: TrainingPlan, pairs: Pairs) -> dict[str, Tensor]:
    """Stochastic gradient descent with momentum, decay and clipping, written out."""
    settings, method = plan.settings, plan.method
    assert isinstance(method, FaultyMethod)
    torch.manual_seed(plan.seed)
    heads = method.build_heads(shapes_of(pairs), plan.n_bits)
    parameters = dict(heads.modules().named_parameters())
    moments: dict[str, Tensor] = {}
    n_steps = pairs.n_steps(settings.batch_size, drop_last=settings.drop_last)
    for epoch in range(settings.epochs):
        batches = pairs.epoch(epoch, plan.seed, settings.batch_size, drop_last=settings.drop_last)
        for step, batch in enumerate(batches):
            moment = Moment(epoch, settings.epochs, step, n_steps)
            loss = method.batch_loss(heads, batch, moment).total
            gradients = dict(
                zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True)
            )
            norm = float(sum(float(one.square().sum()) for one in gradients.values()) ** 0.5)
            clip = settings.gradient_clip
            shrink = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
            rate = settings.learning_rate * rate_factor(
                settings.schedule, epoch * n_steps + step, settings.epochs * n_steps
            )
            with torch.no_grad():
                for name, parameter in parameters.items():
                    scale = 0.5 if name.startswith("text.") else 1.0
                    change = shrink * gradients[name] + settings.weight_decay * parameter
                    moments[name] = settings.momentum * moments.get(name, 0) + change
                    parameter.sub_(rate * scale * moments[name])
    return {name: parameter.detach() for name, parameter in parameters.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": Schedule.ONE_CYCLE, "captions": CaptionChoice.ALL},
        {"gradient_clip": 0.05, "momentum": 0.0, "weight_decay": 0.0},
        {"schedule": Schedule.COSINE, "drop_last": False, "image_scaling": ScalingRule.UNIT},
        {"batch_size": 1_000, "captions": CaptionChoice.MEAN},
    ],
)
def test_the_loop_against_descent_written_out(changes: dict[str, Any]) -> None:
    plan = faulty_plan(epochs=2, **changes)
    data = replace(MADE.data(), labels=None, with_tokens=False)
    expected = plain_training(plan, scale_pairs(plan, data))
    result = train_method(plan, MADE.data())
    for name, value in expected.items():
        part, _, rest = name.partition(".")
        found = result.hasher.state_dict()[f"{part}.head.{rest}"]
        assert_allclose(found, value, rtol=0, atol=1e-5, err_msg=name)
    assert result.best_epoch == 1


def test_the_log_and_the_progress() -> None:
    told: list[tuple[str, int, int, Mapping[str, float]]] = []

    def note(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        told.append((stage, done, total, values or {}))

    plan = faulty_plan(epochs=3)
    result = train_method(plan, MADE.data(), progress=note)
    # 120 items in batches of 32, the rest left out: 3 steps an epoch.
    assert [one[:3] for one in told] == [("train", step, 9) for step in range(1, 10)]
    assert [one[3]["epoch"] for one in told] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [entry["epoch"] for entry in result.log] == [0, 1, 2]
    for entry, last_step in zip(result.log, told[2::3], strict=True):
        assert entry.keys() == {
            "epoch", "loss", "gap", "extra", "constant_image_bits", "constant_text_bits", "seconds",
        }  # fmt: skip
        assert entry["loss"] == entry["gap"] == pytest.approx(last_step[3]["loss"])
        assert (entry["extra"], entry["constant_image_bits"]) == (0, 0)
    assert result.log[-1]["loss"] < result.log[0]["loss"]
    assert not result.hasher.training


def test_the_log_file_has_a_line_an_epoch(tmp_path: Path) -> None:
    result = train_method(faulty_plan(folder=tmp_path, epochs=3), MADE.data())
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dict(entry) for entry in result.log]


def test_a_run_without_a_folder_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_method(faulty_plan(epochs=1), MADE.data())
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_and_leaves_no_trace() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    numpy_before = str(np.random.get_state())  # noqa: NPY002 - watched, not used
    one = weights(train_method(faulty_plan(epochs=2), MADE.data()))
    assert torch.equal(torch.get_rng_state(), before)
    assert str(np.random.get_state()) == numpy_before  # noqa: NPY002
    torch.manual_seed(12)
    again = weights(train_method(faulty_plan(epochs=2), MADE.data()))
    assert all(torch.equal(one[name], again[name]) for name in one)
    other = weights(train_method(replace(faulty_plan(epochs=2), seed=4), MADE.data()))
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(80, 16)).astype(np.float32)
    data = TrainingData(PlainTable(features), PlainTable(features), np.arange(81), np.arange(80))
    plan = faulty_plan(Fault.GOOD_ONCE, tmp_path, validation_share=0.3)
    result = train_method(plan, data)
    assert result.best_epoch == 1
    recalls = [entry["validation_recall_at_10"] for entry in result.log]
    assert recalls[1] == 1.0
    assert max(recalls[0], *recalls[2:]) < 0.2
    _, held = data.without(0.3, plan.seed)
    assert pair_recall(result.hasher, data, held) == 1.0
    # and it is kept by a run that was finished before
    again = train_method(plan, data, resume=True)
    assert again.best_epoch == 1
    assert pair_recall(again.hasher, data, held) == 1.0


def test_the_first_of_equally_good_epochs_is_kept() -> None:
    features = np.random.default_rng(0).normal(size=(80, 16)).astype(np.float32)
    data = TrainingData(PlainTable(features), PlainTable(features), np.arange(81), np.arange(80))
    result = train_method(faulty_plan(Fault.GOOD_ALWAYS, validation_share=0.3), data)
    assert [entry["validation_recall_at_10"] for entry in result.log] == [1.0] * 4
    assert result.best_epoch == 0


def test_held_out_items_are_never_trained_on() -> None:
    method = TokenMethod()
    plan = TrainingPlan(method, replace(method.training, validation_share=0.25), N_BITS, seed=5)
    train_method(plan, MADE.data())
    kept, held = MADE.data().without(0.25, 5)
    seen = {tuple(row) for batch in method.seen for row in batch.image.pooled.tolist()}
    assert seen <= {tuple(row) for row in MADE.image.all_pooled[kept.items].tolist()}
    assert not seen & {tuple(row) for row in MADE.image.all_pooled[held].tolist()}


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault.LOSS, "the loss is not finite in step 3 (loss inf, gap {gap}, extra 0) of epoch 2"),
        (
            Fault.TERM,
            "the loss is not finite in step 3 (loss {gap}, gap {gap}, extra nan) of epoch 2",
        ),
        (Fault.WEIGHTS, "image.map.weight is not finite at the end of epoch 2"),
        (Fault.HOOK, "image.map.bias is not finite at the end of epoch 2"),
    ],
)
def test_numbers_that_are_not_finite_stop_and_the_last_checkpoint_is_kept(
    fault: Fault, what: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        train_method(faulty_plan(fault, tmp_path), MADE.data())
    message = (
        f"{what}; the checkpoint after epoch 1 is kept in {tmp_path}; lower learning_rate "
        "(now 0.015625) or scale the features"
    )
    pattern = re.escape(message).replace(re.escape("{gap}"), r"0\.\d+")
    assert re.fullmatch(pattern, str(caught.value))
    # The same plan without the fault goes on from there and ends as if nothing had been.
    resumed = train_method(faulty_plan(folder=tmp_path), MADE.data(), resume=True)
    unbroken = train_method(faulty_plan(), MADE.data())
    for name, value in weights(unbroken).items():
        assert torch.equal(weights(resumed)[name], value)


def test_a_fault_in_a_run_without_a_folder_says_that_nothing_is_kept() -> None:
    message = (
        "image.map.bias is not finite at the end of epoch 2; nothing is kept of a run without a "
        "folder; lower learning_rate (now 0.015625) or scale the features"
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        train_method(faulty_plan(Fault.HOOK), MADE.data())


def test_a_learning_rate_that_explodes_in_the_first_epoch(tmp_path: Path) -> None:
    method = Cfrh(CfrhSettings(hidden_width=16))
    settings = replace(method.training, learning_rate=1e30, epochs=2)
    pattern = (
        r"the loss is not finite in step \d \(loss \w+, intra \S+, cross \S+, decode \w+, "
        r"target_min \S+, .*, text_unexplained \S+\) of epoch 1; no epoch was finished; "
        r"lower learning_rate \(now 1e\+30\) or scale the features"
    )
    with pytest.raises(TrainingError, match=f"^{pattern}$"):
        train_method(TrainingPlan(method, settings, 8, run_folder=tmp_path), MADE.data())
    assert not (tmp_path / "checkpoint").exists()


def test_a_small_collection_is_passed_over_until_the_least_steps_are_done() -> None:
    # 64 items in batches of 16 are 4 steps an epoch: 10 steps take 3 epochs.
    for least, epochs in ((0, 2), (8, 2), (10, 3), (12, 3), (13, 4)):
        plan = faulty_plan(epochs=2, least_steps=least, batch_size=16)
        result = train_method(plan, MADE.data(n_items=64))
        assert len(result.log) == epochs


def test_a_large_collection_is_passed_over_less_often_and_at_last_in_part() -> None:
    # 64 items in batches of 16 are 4 steps an epoch.
    for most, n_epochs, n_steps in ((0, 3, 12), (12, 3, 12), (11, 2, 8), (4, 1, 4), (3, 1, 3)):
        plan = faulty_plan(epochs=3, most_steps=most, batch_size=16)
        steps: list[tuple[int, int]] = []

        def note_steps(
            stage: str, done: int, total: int, values: Any = None, *, steps: Any = steps
        ) -> None:
            del values
            if stage == "train":
                steps.append((done, total))

        result = train_method(plan, MADE.data(n_items=64), progress=note_steps)
        assert len(result.log) == n_epochs
        assert steps == [(step + 1, n_steps) for step in range(n_steps)]


def test_a_collapse_is_told_at_half_time_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="modalhash"):
        result = train_method(faulty_plan(Fault.COLLAPSE, epochs=5), MADE.data())
    assert [entry["constant_image_bits"] for entry in result.log] == [9] * 5
    expected = (
        "after epoch {}, 9 of 12 image bits are the same for every training item: codes are "
        "collapsing; lower learning_rate, or scale the features (--set image_scaling=centred_unit)"
    )
    assert [record.getMessage() for record in caplog.records] == [
        expected.format(epoch) for epoch in (2, 5)
    ]


def test_sound_codes_are_not_called_collapsed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="modalhash"):
        train_method(faulty_plan(epochs=2), MADE.data())
    assert caplog.records == []


def test_learning_rate_scales_go_by_whole_names() -> None:
    method = FaultyMethod()
    parts = nn.ModuleDict(
        {
            "image": nn.Linear(2, 2),
            "text": nn.Linear(2, 2),
            "texture": nn.Linear(2, 2),
            "auxiliary": nn.ModuleDict({"slow": nn.Linear(2, 2), "slower": nn.Linear(2, 2)}),
        }
    )
    heads = method.build_heads(shapes_of(scale_pairs(faulty_plan(), MADE.data())), 2)
    heads.rate_scales = {"auxiliary.slow": 0.1, "auxiliary": 0.5, "text.weight": 3.0}
    optimiser = make_optimiser(parts, heads.rate_scales, TrainingSettings())
    scales = {
        id(parameter): group["scale"]
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    assert {name: scales[id(one)] for name, one in parts.named_parameters()} == {
        "image.weight": 1, "image.bias": 1, "text.weight": 3, "text.bias": 1,
        "texture.weight": 1, "texture.bias": 1,
        "auxiliary.slow.weight": 0.1, "auxiliary.slow.bias": 0.1,
        "auxiliary.slower.weight": 0.5, "auxiliary.slower.bias": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("optimiser", "kind", "stated"),
    [
        (Optimiser.SGD, torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.1}),
        (Optimiser.ADAM, torch.optim.Adam, {"weight_decay": 0.1}),
        (Optimiser.ADAMW, torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
)
def test_each_optimiser_gets_its_settings(
    optimiser: Optimiser, kind: type[torch.optim.Optimizer], stated: dict[str, float]
) -> None:
    settings = TrainingSettings(optimiser=optimiser, momentum=0.8, weight_decay=0.1)
    heads = FaultyMethod().build_heads(shapes_of(scale_pairs(faulty_plan(), MADE.data())), 2)
    made = make_optimiser(heads.modules(), heads.rate_scales, settings)
    assert type(made) is kind
    for group in made.param_groups:
        assert {name: group[name] for name in stated} == stated
    plan = faulty_plan(optimiser=optimiser, learning_rate=0.01, epochs=3)
    log = train_method(plan, MADE.data()).log
    assert log[-1]["loss"] < log[0]["loss"]


def test_scalings_are_fitted_on_the_training_pairs_alone() -> None:
    plan = faulty_plan(
        epochs=1,
        image_scaling=ScalingRule.STANDARDISED,
        text_scaling=ScalingRule.STANDARDISED,
        captions=CaptionChoice.ALL,
        validation_share=0.25,
    )
    result = train_method(plan, MADE.data())
    kept, _ = MADE.data().without(0.25, plan.seed)
    starts = MADE.caption_starts
    # An item counts as often as it has texts: each makes a pair.
    images = np.repeat(kept.items, starts[kept.items + 1] - starts[kept.items])
    assert_allclose(
        result.hasher.image.scaling.mean, MADE.image.all_pooled[images].mean(axis=0), rtol=1e-5
    )
    texts = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in kept.items])
    assert_allclose(
        result.hasher.text.scaling.mean, MADE.text.all_pooled[texts].mean(axis=0), rtol=1e-5
    )


def test_a_closed_form_uses_every_pair_and_tells_when_it_is_done() -> None:
    told: list[tuple[str, int, int]] = []

    def note(stage: str, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        told.append((stage, done, total))

    method = CcaSign()
    settings = replace(method.training, validation_share=0.5)
    whole = train_method(TrainingPlan(method, method.training, 8), MADE.data())
    found = train_method(TrainingPlan(method, settings, 8), MADE.data(), progress=note)
    assert told == [("solve", 0, 1), ("solve", 1, 1)]
    assert (found.log, found.best_epoch) == ((), None)
    for name, value in weights(whole).items():
        assert torch.equal(weights(found)[name], value)


def test_too_few_items() -> None:
    for n_items in (0, 1):
        message = f"{n_items} training items: at least 2 are needed"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            train_method(faulty_plan(), MADE.data(n_items=n_items))
    assert train_method(faulty_plan(epochs=1), MADE.data(n_items=2)).best_epoch == 0


def test_too_few_items_to_choose_an_epoch_by() -> None:
    message = (
        "validation_share is 0.1, which holds out 10 of 100 training items: choosing the best "
        "epoch by recall@10 takes at least 11; raise it, or set it to 0"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        train_method(faulty_plan(validation_share=0.1), MADE.data(n_items=100))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_bits": 0}, "n_bits is 0, expected a positive number: 16 to 256"),
        ({"n_bits": -8}, "n_bits is -8, expected a positive number: 16 to 256"),
        ({"n_bits": 10**6}, "n_bits is 1000000, expected 65536 at most: 16 to 256"),
        ({"seed": -1}, "seed is -1, expected 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296, expected 0 to 4294967295"),
    ],
)
def test_plans_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        replace(faulty_plan(), **changes)
    assert replace(faulty_plan(epochs=1), seed=2**32 - 1).seed == 2**32 - 1


def test_missing_labels_stop_before_any_work() -> None:
    method = TokenMethod()
    plan = TrainingPlan(method, method.training, N_BITS)
    message = (
        "Token learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(plan, replace(MADE.data(), labels=None))
    assert method.events == []


@pytest.mark.parametrize("modality", ["image", "text"])
def test_missing_tokens_stop_before_any_work(modality: str) -> None:
    method = TokenMethod()
    bare = PlainTable(MADE.image.all_pooled if modality == "image" else MADE.text.all_pooled)
    data = replace(MADE.data(), **{modality: bare})  # type: ignore[arg-type]
    message = (
        f"Token needs token features, but there are none for the {modality} side: run "
        "`modalhash features` with --tokens and an encoder that has them"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, method.training, N_BITS), data)
    assert method.events == []
    assert bare.most_rows == 0


def test_tokens_have_no_mean() -> None:
    method = TokenMethod()
    settings = replace(method.training, captions=CaptionChoice.MEAN)
    message = (
        "captions is mean, but Token reads tokens, which have no mean: choose random, first or all"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, settings, N_BITS), MADE.data())
