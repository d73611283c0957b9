import math
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.losses import FilterRule, diagonal_gap, strong_relations
from modalhash.methods.base import Batch, FeatureShapes, Heads, Moment
from modalhash.methods.settings import make_method
from modalhash.methods.sgrn import (
    Sgrn,
    SgrnSettings,
    consistency_loss,
    intra_loss,
    joint_loss,
)
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_losses as plain
from tests.oracles import plain_relation_graphs as graphs
from tests.oracles.largest_tensor import LargestTensor
from tests.oracles.paired_features import made_pairs

N, IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 6, 4, 6, 5


def made_batch(n: int = N, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n))


def made_heads(method: Sgrn, *, n_pairs: int = N, seed: int = 0) -> Heads:
    torch.manual_seed(seed)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_pairs=n_pairs)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double().eval()
    return heads


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    return Batch(
        ModalityFeatures(batch.image.pooled[rows]),
        ModalityFeatures(batch.text.pooled[rows]),
        None,
        batch.positions[rows],
    )


def plain_relaxed(head: object, rows: Tensor, factor: float) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    first, last = (part for part in head.layers if isinstance(part, nn.Linear))
    hidden = plain.affine(rows.tolist(), first.weight.tolist(), first.bias.tolist())
    hidden = [[max(value, 0.0) for value in row] for row in hidden]
    outputs = plain.affine(hidden, last.weight.tolist(), last.bias.tolist())
    return [[math.tanh(factor * value) for value in row] for row in outputs]


def plain_objective(method: Sgrn, heads: Heads, batch: Batch, moment: Moment) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings, scale = method.settings, method.settings.similarity_scale
    factor = math.sqrt(moment.epoch + 1) if settings.continuation else 1.0
    image = plain_relaxed(heads.image, batch.image.pooled, factor)
    text = plain_relaxed(heads.text, batch.text.pooled, factor)
    rebased = []
    for features in (batch.image, batch.text):
        graph = graphs.relations(features.pooled.tolist())
        graph = graphs.filtered(
            graph, settings.filter_rule, settings.keep_share, settings.deviation_factor
        )
        rebased.append(graphs.associated(graph, settings.correlation_share))
    joint = graphs.joint(rebased[0], rebased[1], settings.image_share, settings.cross_share)
    joint = graphs.reconstructed(joint, settings.reconstruction_share)
    among_images, among_texts = plain.cosines(image, image), plain.cosines(text, text)
    across = plain.cosines(image, text)
    size = range(len(joint))
    low = settings.unrelated_similarity
    target = graphs.target(joint, scale, low)
    gap = plain.mean_square_gap
    intra = gap(among_images, graphs.target(rebased[0], scale, low))
    intra += gap(among_texts, graphs.target(rebased[1], scale, low))
    own = gap(among_images, target) + gap(among_texts, target)
    terms = {
        "intra": intra,
        "joint": gap(across, target) + settings.own_share * own,
        "pair": sum((across[i][i] - scale) ** 2 for i in size) / len(size),
        "consistency": gap(across, [[across[j][i] for j in size] for i in size])
        + gap(across, among_images)
        + gap(across, among_texts),
    }
    weights = {
        "intra": settings.intra_weight, "joint": settings.joint_weight,
        "pair": settings.pair_weight, "consistency": settings.consistency_weight,
    }  # fmt: skip
    return {"total": sum(weights[name] * value for name, value in terms.items())} | terms


def values(method: Sgrn, heads: Heads, batch: Batch, moment: Moment) -> dict[str, float]:
    report = method.batch_loss(heads, batch, moment)
    return {"total": report.total.item()} | {
        name: term.value.item() for name, term in report.terms.items()
    }


@pytest.mark.parametrize("epoch", [0, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"filter_rule": FilterRule.ROW_MEAN, "image_share": 0.9},
        {"filter_rule": FilterRule.DEVIATION, "deviation_factor": 0.5, "similarity_scale": 1.0},
        {"keep_share": 0.2},
        {"filter_rule": FilterRule.SHUFFLED, "keep_share": 0.2},
        {"keep_share": 1.0, "correlation_share": 0.0, "cross_share": 0.0},
        {"reconstruction_share": 0.0, "own_share": 2.0},
        {"continuation": False, "intra_weight": 0.1, "joint_weight": 0.5, "pair_weight": 2.0},
        {"consistency_weight": 1.0, "pair_weight": 0.0},
        {"unrelated_similarity": -0.4},
        {"unrelated_similarity": 0.0},
    ],
)
def test_every_term_of_the_objective_against_loops(changes: dict[str, Any], epoch: int) -> None:
    method = Sgrn(SgrnSettings(hidden_width=7, **changes))
    heads, batch, moment = made_heads(method), made_batch(), Moment(epoch, 20)
    expected = plain_objective(method, heads, batch, moment)
    found = values(method, heads, batch, moment)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("hundred", [1.0, 100.0, -100.0])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_small_batches_and_large_features(n: int, hundred: float) -> None:
    method = Sgrn(SgrnSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch(n)
    batch = replace(
        batch,
        image=ModalityFeatures(hundred * batch.image.pooled),
        text=ModalityFeatures(hundred * batch.text.pooled),
    )
    expected = plain_objective(method, heads, batch, Moment(3, 20))
    for name, value in values(method, heads, batch, Moment(3, 20)).items():
        assert_allclose(value, expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_terms_by_hand() -> None:
    among_images = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    among_texts = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    across = torch.tensor([[0.5, 0.25], [-0.25, 1.0]])
    target = torch.tensor([[1.5, 0.0], [0.0, 1.5]])
    half, own = 0.5**2, 0.5**2
    assert intra_loss(among_images, among_texts, target, target).item() == pytest.approx(
        2 * (half + own) / 2
    )
    cross = (1 + 0.25**2 + 0.25**2 + half) / 4
    joint = joint_loss(among_images, among_texts, across, target, own_share=0.1)
    assert joint.item() == pytest.approx(cross + 0.1 * 2 * (half + own) / 2)
    assert diagonal_gap(across, 1.5).item() == pytest.approx((1 + half) / 2)
    found = consistency_loss(among_images, among_texts, across)
    transposed = 2 * 0.5**2 / 4
    with_images = (0.5**2 + 0.25**2 + 0.75**2) / 4
    with_texts = (0.5**2 + 0.75**2 + 0.25**2) / 4
    assert found.item() == pytest.approx(transposed + with_images + with_texts)


@pytest.mark.parametrize("term", ["total", "intra", "joint", "pair", "consistency"])
def test_the_gradient_of_each_term_equals_finite_differences(term: str) -> None:
    method = Sgrn(SgrnSettings(hidden_width=3))
    heads, batch = made_heads(method), made_batch(4)
    modules = heads.modules()
    names = [name for name, _ in modules.named_parameters()]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = modules

        def forward(self) -> Tensor:
            report = method.batch_loss(heads, batch, Moment(1, 2))
            return report.total if term == "total" else report.values[term]

    def loss(*parameters: Tensor) -> Tensor:
        changed = {f"inner.{name}": one for name, one in zip(names, parameters, strict=True)}
        out: Tensor = torch.func.functional_call(Whole(), changed, ())
        return out

    parameters = [one.detach().clone().requires_grad_() for one in modules.parameters()]
    assert torch.autograd.gradcheck(loss, tuple(parameters))


def test_swapped_modalities_of_equal_share_change_nothing() -> None:
    method = Sgrn(SgrnSettings(hidden_width=7, image_share=0.5))
    heads, batch = made_heads(method), made_batch()
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    one = values(method, heads, batch, Moment(2, 20))
    other = values(
        method, replace(heads, image=heads.text, text=heads.image), swapped, Moment(2, 20)
    )
    assert one == pytest.approx(other, rel=1e-12)


def test_flipping_a_bit_in_both_modalities_changes_nothing() -> None:
    method = Sgrn(SgrnSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch()
    before = values(method, heads, batch, Moment(2, 20))
    with torch.no_grad():
        for head in (heads.image, heads.text):
            assert isinstance(head, MlpHead)
            last = head.layers[-1]
            assert isinstance(last, nn.Linear)
            last.weight[3] *= -1
            last.bias[3] *= -1
    assert values(method, heads, batch, Moment(2, 20)) == pytest.approx(before, rel=1e-12)


def test_targets_carry_no_gradient_and_codes_do() -> None:
    method = Sgrn(SgrnSettings(hidden_width=7))
    heads, batch = made_heads(method), made_batch()
    method.batch_loss(heads, batch, Moment(0, 1)).total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in heads.modules().named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name
    with torch.no_grad():
        for name, parameter in heads.modules().named_parameters():
            parameter.fill_(1.0 if name.endswith("bias") else 0.0)
    for features in (batch.image.pooled, batch.text.pooled):
        features.requires_grad_()
    assert method.graphs(batch)[0][2].requires_grad
    report = method.batch_loss(heads, batch, Moment(0, 1))  # of codes that no feature changes
    for gradient in torch.autograd.grad(report.total, [batch.image.pooled, batch.text.pooled]):
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def quick_plan(folder: Path | None = None, **changes: Any) -> TrainingPlan:
    method, training = make_method(Sgrn, changes={"hidden_width": 16, "epochs": 3} | changes)
    return TrainingPlan(method, training, N_BITS, seed=3, run_folder=folder)


def test_a_batch_too_small_for_a_graph_is_refused_before_any_work() -> None:
    with LargestTensor() as largest, pytest.raises(SettingError, match="batch_size"):
        train_method(quick_plan(batch_size=3), made_pairs(100, 0).data())
    assert largest.numbers == 0


def test_heads_have_the_family_s_layers() -> None:
    heads = Sgrn().build_heads(FeatureShapes(image_width=4096, text_width=1386), 64)
    assert heads.image.spec() == {"kind": "mlp", "widths": [4096, 4096, 64], "dropout": 0.5}
    assert heads.text.spec() == {"kind": "mlp", "widths": [1386, 4096, 64], "dropout": 0.0}
    assert not list(heads.auxiliary.parameters())
    training = Sgrn.training
    assert (training.learning_rate, training.momentum, training.weight_decay) == (0.01, 0.9, 5e-4)
    assert (training.batch_size, training.epochs, training.drop_last) == (32, 100, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"image_dropout": 1.0}, "image_dropout is 1.0, expected in [0, 1)"),
        ({"text_dropout": -0.5}, "text_dropout is -0.5, expected in [0, 1)"),
        ({"keep_share": 0.0}, "keep_share is 0.0, expected in (0, 1]"),
        ({"keep_share": 1.1}, "keep_share is 1.1, expected in (0, 1]"),
        ({"correlation_share": 1.1}, "correlation_share is 1.1, expected in [0, 1]"),
        ({"image_share": -0.1}, "image_share is -0.1, expected in [0, 1]"),
        ({"cross_share": math.nan}, "cross_share is nan, expected in [0, 1]"),
        ({"reconstruction_share": 2.0}, "reconstruction_share is 2.0, expected in [0, 1]"),
        (
            {"unrelated_similarity": 1.0},
            "unrelated_similarity is 1.0, expected in [-1, 1)",
        ),
        (
            {"unrelated_similarity": math.nan},
            "unrelated_similarity is nan, expected in [-1, 1)",
        ),
        ({"similarity_scale": -1.0}, "similarity_scale is -1.0, expected 0 or more"),
        ({"intra_weight": -1.0}, "intra_weight is -1.0, expected 0 or more"),
        ({"joint_weight": -1.0}, "joint_weight is -1.0, expected 0 or more"),
        ({"own_share": -1.0}, "own_share is -1.0, expected 0 or more"),
        ({"pair_weight": -1.0}, "pair_weight is -1.0, expected 0 or more"),
        ({"consistency_weight": -1.0}, "consistency_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        SgrnSettings(**changes)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SgrnSettings().keep_share = 0.5  # type: ignore[misc]


def test_the_log_counts_relations_that_rebasing_removes_and_adds() -> None:
    # Items on a quarter of a circle: all relate. Each of the ends keeps its one neighbour, and the
    # middle the nearer end, so that the wider gap is kept by its own end and nothing but the
    # relation of both ends is removed. The ends share the middle, which correlation connects.
    angles = torch.tensor([0.0, 0.5, 1.2], dtype=torch.float64)
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    for share, connected in ((0.3, 1 / 3), (0.0, 0.0)):
        method = Sgrn(SgrnSettings(keep_share=0.1, correlation_share=share))
        _, changes = method.rebased(features)
        assert_close(changes["removed"].item(), 1 / 3, rtol=1e-6, atol=0)
        assert_close(changes["connected"].item(), connected, rtol=1e-6, atol=0)


def test_a_shuffled_filter_keeps_as_many_relations_of_other_nodes() -> None:
    generator = torch.Generator().manual_seed(0)
    graph = torch.rand(40, 40, generator=generator)
    graph = (graph + graph.T) / 2
    graph.fill_diagonal_(1.0)
    strong = strong_relations(graph, FilterRule.TOP_SHARE, keep_share=0.1)
    shuffled = strong_relations(graph, FilterRule.SHUFFLED, keep_share=0.1)
    assert shuffled.sum() == strong.sum()
    assert (shuffled & strong).sum() - 40 < 0.4 * (strong.sum() - 40)
