import functools
import math
import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import GraphAttention, ModalityFeatures, NormalisedHead
from modalhash.losses import LabelTarget, label_similarity
from modalhash.methods.base import Batch, FeatureShapes, Moment, Needs
from modalhash.methods.label_networks import (
    Outputs,
    classification_loss,
    feedback_loss,
    guidance_loss,
    label_encoder_loss,
    quantization_loss,
)
from modalhash.methods.ms2gah import GraphPath, Ms2gah, Ms2gahHeads, Ms2gahSettings
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_label_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles.paired_features import made_pairs

N, IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 6, 4, 5, 5
LABELS = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]]
Networks = dict[str, Any]
IN_A_BATCH = (GraphPath.SIDE_BRANCH, GraphPath.IN_PATH)
"""Paths of graphs among the items of a batch; `test_landmarks` has the other."""


def made_method(**changes: Any) -> Ms2gah:
    small = {"feature_width": 4, "n_attention_heads": 2, "graph_dropout": 0.0}
    return Ms2gah(Ms2gahSettings(**small | changes))


def made_batch(n: int = N, seed: int = 0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, torch.tensor(LABELS[:n]).double(), torch.arange(n))


def made_heads(method: Ms2gah, seed: int = 0) -> Ms2gahHeads:
    """Fresh parts, normalised by scales and offsets that aren't 1 and 0."""
    torch.manual_seed(seed)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_classes=3)
    heads = method.build_heads(shapes, N_BITS)
    parts = heads.modules().double()
    for part in parts.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return heads


def plain_trunk(head: nn.Module, rows: plain.Rows) -> plain.Rows:
    assert isinstance(head, NormalisedHead)
    parts = [part for part in head.trunk if isinstance(part, nn.Linear | nn.BatchNorm1d)]
    for linear, norm in zip(parts[::2], parts[1::2], strict=True):
        rows = plain.affine(rows, linear.weight.tolist(), linear.bias.tolist())
        rows = graphs.batch_normalised(rows, norm.weight.tolist(), norm.bias.tolist())
        rows = graphs.mapped(rows, graphs.leaky)
    return rows


def plain_linear(part: nn.Module, rows: plain.Rows) -> plain.Matrix:
    assert isinstance(part, nn.Linear)
    return plain.affine(rows, part.weight.tolist(), part.bias.tolist())


def plain_attention(net: nn.Module, rows: plain.Rows, edges: graphs.Edges) -> plain.Rows:
    for layer in net.layers:  # type: ignore[union-attr]
        assert isinstance(layer, GraphAttention)
        gathered = graphs.attention(
            rows, layer.map.weight.tolist(), layer.near.tolist(), layer.far.tolist(), edges
        )
        rows = graphs.plus(graphs.mapped(gathered, graphs.elu), rows)
    return rows


def plain_outputs(codes: nn.Module, classes: nn.Module, features: plain.Rows) -> Networks:
    return {
        "features": features,
        "relaxed": graphs.mapped(plain_linear(codes, features), math.tanh),
        "classes": plain_linear(classes, features),
    }


def plain_terms(method: Ms2gah, heads: Ms2gahHeads, batch: Batch) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings, parts = method.settings, heads.auxiliary
    assert batch.labels is not None
    labels = batch.labels.tolist()
    wanted = graphs.similarity(labels, settings.label_grading)
    scale, offset = settings.logit_scale or N_BITS / 2, settings.logit_offset

    def of_codes(one: Networks, other: Networks) -> float:
        logits = graphs.code_logits(one["relaxed"], other["relaxed"], scale, offset)
        return graphs.logistic(logits, wanted)

    def of_features(one: Networks, other: Networks) -> float:
        logits = graphs.feature_logits(one["features"], other["features"], scale, offset)
        return graphs.logistic(logits, wanted)

    def entropy(*networks: Networks) -> float:
        return sum(graphs.cross_entropy(one["classes"], labels) for one in networks)

    edges = graphs.links(labels, settings.edge_threshold)
    alone = [[i == j for j in range(len(labels))] for i in range(len(labels))]
    hidden = {
        name: plain_trunk(head, rows.pooled.tolist())
        for name, head, rows in (
            ("image", heads.image, batch.image), ("text", heads.text, batch.text),
        )
    }  # fmt: skip

    def students(links: graphs.Edges) -> list[Networks]:
        found = []
        for name, head in (("image", heads.image), ("text", heads.text)):
            assert isinstance(head, NormalisedHead)
            rows = hidden[name]
            if head.attention is not None:
                rows = plain_attention(head.attention, rows, links)
            found.append(plain_outputs(head.last, parts[f"{name}_classes"], rows))
        return found

    image, text = students(alone)
    terms = {"classes": entropy(image, text), "cross": of_codes(image, text)}
    voters = [image["relaxed"], text["relaxed"]]
    pulled = [image["relaxed"], text["relaxed"]]
    label: Networks = {}
    if settings.guide_weight:
        encoder = parts["label"]
        assert isinstance(encoder, NormalisedHead)
        label = plain_outputs(encoder.last, parts["label_classes"], plain_trunk(encoder, labels))
        terms["label"] = of_codes(label, label) + of_features(label, label)
        terms["guide"] = sum(
            of_codes(one, label) + of_features(one, label) for one in (image, text)
        )
        terms["classes"] += entropy(label)
        voters.append(label["relaxed"])
        pulled.append(label["relaxed"])
    if settings.graph_weight:
        if settings.graph_path is GraphPath.IN_PATH:
            linked = students(edges)
            terms["graph"] = settings.class_weight * entropy(*linked)
            terms["graph"] += settings.cross_weight * of_codes(*linked)
            if label:
                guidance = sum(of_codes(one, label) + of_features(one, label) for one in linked)
                terms["graph"] += settings.guide_weight * guidance
            teachers = [one["relaxed"] for one in linked]
        else:
            nodes = graphs.mapped(graphs.plus(hidden["image"], hidden["text"]), lambda x: x / 2)
            graph = plain_outputs(
                parts["graph_codes"],
                parts["graph_classes"],
                plain_attention(parts["graph"], nodes, edges),
            )
            terms["graph"] = of_codes(graph, graph) + settings.class_weight * entropy(graph)
            teachers = [graph["relaxed"]] * 2
        voters.append(graphs.mapped(graphs.plus(*teachers), lambda x: x / 2))
        pairs = zip((image, text), teachers, strict=True)
        terms["feedback"] = sum(
            plain.mean_square_gap(one["relaxed"], teacher) for one, teacher in pairs
        )
    votes = functools.reduce(graphs.plus, voters)
    signs = graphs.mapped(votes, lambda value: 1.0 if value >= 0 else -1.0)
    terms["quantization"] = sum(plain.mean_square_gap(one, signs) for one in pulled)
    weights = {
        "label": settings.guide_weight,
        "guide": settings.guide_weight,
        "classes": settings.class_weight,
        "cross": settings.cross_weight,
        "graph": settings.graph_weight,
        "feedback": settings.graph_weight,
        "quantization": settings.quantization_weight,
    }
    return {"total": sum(weights[name] * term for name, term in terms.items()), **terms}


def values(method: Ms2gah, heads: Ms2gahHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {
        "total": report.total.item(),
        **{name: term.value.item() for name, term in report.terms.items()},
    }


@pytest.mark.parametrize("path", IN_A_BATCH)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_grading": 0.0, "logit_scale": 12.0, "logit_offset": 2.0},
        {"label_grading": 1.0, "edge_threshold": 0.6, "quantization_weight": 2.0},
        {"guide_weight": 0.5, "class_weight": 3.0, "cross_weight": 0.2, "graph_weight": 0.7},
        {"guide_weight": 0.0},
        {"graph_weight": 0.0},
        {"class_weight": 0.0, "n_attention_heads": 1},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], path: GraphPath
) -> None:
    method = made_method(graph_path=path, **changes)
    heads, batch = made_heads(method), made_batch()
    expected = plain_terms(method, heads, batch)
    found = values(method, heads, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


def pair(relaxed: list[list[float]], features: list[list[float]] | None = None) -> Outputs:
    codes = torch.tensor(relaxed)
    return Outputs(codes if features is None else torch.tensor(features), codes, codes)


def test_label_encoder_and_guidance_by_hand() -> None:
    """Two codes: (1, 1) and (1, -1), of bit products 1 and 0; scale 2, so logits 2 and 0."""
    target = LabelTarget(torch.tensor([[1.0, 0.5], [0.5, 1.0]]), 2.0)
    label = pair([[1.0, 1.0], [1.0, -1.0]], [[0.0, 3.0], [0.0, 3.0]])
    same, other = math.log1p(math.exp(2)) - 2, math.log(2)
    codes = (2 * same + 2 * other) / 4
    half = math.log1p(math.exp(2)) - 1  # equal features of items that are half alike
    features = (2 * same + 2 * half) / 4
    expected = pytest.approx(codes + features)
    assert label_encoder_loss(label, target).item() == expected
    assert guidance_loss(label, label, target).item() == expected


def test_classification_by_hand() -> None:
    one, other = pair([[0.0, math.log(3)]]), pair([[math.log(3), 0.0]])
    found = classification_loss([one, other], torch.tensor([[1.0, 0.0]]))
    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2 + (
        math.log(4 / 3) + math.log(2)) / 2)  # fmt: skip


def test_feedback_by_hand_and_without_gradient_to_teachers() -> None:
    student = torch.tensor([[1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.5]], requires_grad=True)
    loss = feedback_loss([student, student], [teacher, -teacher])
    assert loss.item() == pytest.approx(2 * (1 + 0.25) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None


def test_quantization_by_hand() -> None:
    """Sums: 0.5 - 0.2 + 0.1 = 0.4, -0.5 + 0.5 = 0 and -0.1 - 0.2 - 0.3: signs +, +, -."""
    one = torch.tensor([[0.5, -0.5, -0.1]], requires_grad=True)
    other, voter = torch.tensor([[-0.2, 0.5, -0.2]]), torch.tensor([[0.1, 0.0, -0.3]])
    errors = (0.5**2 + 1.5**2 + 0.9**2) / 3 + (1.2**2 + 0.5**2 + 0.8**2) / 3
    loss = quantization_loss([one, other], [voter])
    assert loss.item() == pytest.approx(errors)
    loss.backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    assert_close(one.grad, torch.tensor([[-1.0, -3.0, 1.8]]) / 3, rtol=1e-6, atol=0)
    alone = quantization_loss([torch.tensor([[0.5, -0.5]])])
    assert alone.item() == pytest.approx(0.25)


def test_terms_equal_finite_differences() -> None:
    target = LabelTarget(label_similarity(torch.tensor(LABELS).double(), 0.5), 3.0, 1.0)
    generator = torch.Generator().manual_seed(3)

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).double()

    label = Outputs(made(N, 4), made(N, 3).tanh(), made(N, 3))
    inputs = tuple(made(N, width).requires_grad_() for width in (4, 3))
    labels = torch.tensor(LABELS).double()
    for loss in (
        lambda features, codes: guidance_loss(Outputs(features, codes, codes), label, target),
        lambda features, codes: label_encoder_loss(Outputs(features, codes, codes), target),
        lambda features, codes: classification_loss([Outputs(features, codes, codes)], labels),
        lambda features, codes: feedback_loss([codes, features[:, :3]], [label.relaxed] * 2),
        lambda features, codes: quantization_loss([codes, features[:, 1:]], [label.relaxed]),
    ):
        assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_the_gradient_equals_finite_differences(path: GraphPath) -> None:
    """Of the networks of both modalities and the graph; feedback apart, whose teacher is held."""
    method = made_method(graph_path=path, feature_width=2)
    heads, batch = made_heads(method), made_batch()
    modules = heads.modules()
    names = [name for name, _ in modules.named_parameters() if "auxiliary.label" not in name]

    def loss(*parameters: Tensor) -> Tensor:
        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = modules

            def forward(self) -> Tensor:
                report = method.batch_loss(heads, batch, Moment(1, 2))
                return report.total - method.settings.graph_weight * report.values["feedback"]

        changed = {f"inner.{name}": one for name, one in zip(names, parameters, strict=True)}
        out: Tensor = torch.func.functional_call(Whole(), changed, ())
        return out

    found = dict(modules.named_parameters())
    parameters = [found[name].detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(loss, tuple(parameters))


def gradients(method: Ms2gah, heads: Ms2gahHeads, term: str) -> Mapping[str, bool]:
    """Whether a term's gradient reaches each part."""
    heads.modules().zero_grad()
    report = method.batch_loss(heads, made_batch(), Moment(0, 1))
    report.values[term].backward()  # type: ignore[no-untyped-call]
    return {
        name: any(
            one.grad is not None and bool(one.grad.abs().sum() > 0) for one in part.parameters()
        )
        for name, part in (
            ("image", heads.image), ("text", heads.text), *heads.auxiliary.items(),
        )
    }  # fmt: skip


def test_who_learns_from_whom() -> None:
    method = made_method()
    heads = made_heads(method)

    def learners(term: str) -> set[str]:
        return {name for name, is_reached in gradients(method, heads, term).items() if is_reached}

    assert learners("guide") == {"image", "text"}
    assert learners("label") == {"label"}
    assert learners("feedback") == {"image", "text"}
    assert learners("graph") == {"image", "text", "graph", "graph_codes", "graph_classes"}
    assert learners("cross") == {"image", "text"}
    assert learners("quantization") == {"image", "text", "label"}
    assert learners("classes") == {
        "image", "text", "label", "image_classes", "text_classes", "label_classes",
    }  # fmt: skip


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_every_parameter_learns(path: GraphPath) -> None:
    method = made_method(graph_path=path)
    heads = made_heads(method)
    report = method.batch_loss(heads, made_batch(), Moment(0, 1))
    report.total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in heads.modules().named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_a_flipped_bit_of_all_codes_changes_nothing(path: GraphPath) -> None:
    method = made_method(graph_path=path)
    heads, batch = made_heads(method), made_batch()
    before = values(method, heads, batch)
    lasts = [heads.image.last, heads.text.last, heads.auxiliary["label"].last]
    if path is GraphPath.SIDE_BRANCH:
        lasts.append(heads.auxiliary["graph_codes"])
    with torch.no_grad():
        for last in lasts:
            assert isinstance(last, nn.Linear)
            last.weight[3] *= -1
            last.bias[3] *= -1
    assert values(method, heads, batch) == pytest.approx(before, rel=1e-12)


def permuted_batch(batch: Batch, order: Tensor) -> Batch:
    assert batch.labels is not None
    return Batch(
        ModalityFeatures(batch.image.pooled[order]),
        ModalityFeatures(batch.text.pooled[order]),
        batch.labels[order],
        batch.positions[order],
    )


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_the_order_of_the_batch_changes_nothing(path: GraphPath) -> None:
    method = made_method(graph_path=path)
    heads, batch = made_heads(method), made_batch()
    permuted = permuted_batch(batch, torch.tensor([4, 2, 0, 5, 1, 3]))
    expected = values(method, heads, batch)
    assert values(method, heads, permuted) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_permuted_classes_change_nothing(path: GraphPath) -> None:
    method = made_method(graph_path=path)
    heads, batch = made_heads(method), made_batch()
    before = values(method, heads, batch)
    order = torch.tensor([2, 0, 1])
    assert batch.labels is not None
    with torch.no_grad():
        for name, part in heads.auxiliary.items():
            if name.endswith("_classes"):
                assert isinstance(part, nn.Linear)
                part.weight.copy_(part.weight[order].clone())
                part.bias.copy_(part.bias[order].clone())
        first = heads.auxiliary["label"].trunk[1]  # type: ignore[index]
        assert isinstance(first, nn.Linear)
        first.weight.copy_(first.weight[:, order].clone())
    permuted = replace(batch, labels=batch.labels[:, order])
    assert values(method, heads, permuted) == pytest.approx(before, rel=1e-10)


@pytest.mark.parametrize("path", IN_A_BATCH)
@pytest.mark.parametrize("size", [1.0, 100.0, 0.0])
@pytest.mark.parametrize("labels", ["none", "one class", "all apart"])
def test_odd_batches_give_finite_losses_and_gradients(
    labels: str, size: float, path: GraphPath
) -> None:
    method = made_method(graph_path=path)
    heads, batch = made_heads(method), made_batch(3)
    rows = {"none": torch.zeros(3, 3), "one class": torch.ones(3, 3), "all apart": torch.eye(3)}
    odd = Batch(
        ModalityFeatures(size * batch.image.pooled),
        ModalityFeatures(size * batch.text.pooled),
        rows[labels].double(),
        batch.positions,
    )
    expected = plain_terms(method, heads, odd)
    for name, value in values(method, heads, odd).items():
        assert_allclose(value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
    total = method.batch_loss(heads, odd, Moment(0, 1)).total
    found = torch.autograd.grad(total, list(heads.modules().parameters()))
    assert all(bool(torch.isfinite(one).all()) for one in found)


def test_what_is_off_takes_no_part() -> None:
    shapes = FeatureShapes(image_width=4, text_width=5, n_classes=3)
    plain_parts = {"image_classes", "text_classes"}
    graph_parts, label_parts = {"graph", "graph_codes", "graph_classes"}, {"label", "label_classes"}
    for changes, expected in (
        ({}, plain_parts | graph_parts | label_parts),
        ({"graph_weight": 0.0}, plain_parts | label_parts),
        ({"guide_weight": 0.0}, plain_parts | graph_parts),
        ({"graph_path": GraphPath.IN_PATH}, plain_parts | label_parts),
    ):
        heads = made_method(**changes).build_heads(shapes, 8)
        assert set(heads.auxiliary) == expected
    for weight, n_heads in ((1.0, 2), (0.0, 0)):
        method = made_method(graph_path=GraphPath.IN_PATH, graph_weight=weight)
        heads = method.build_heads(shapes, 8)
        assert heads.image.spec()["n_attention_heads"] == n_heads
        assert heads.text.spec()["n_attention_heads"] == n_heads


@pytest.mark.parametrize("path", IN_A_BATCH)
def test_codes_don_t_depend_on_batch_mates(path: GraphPath) -> None:
    made = made_pairs(120, 40)
    changes = {
        "feature_width": 16, "epochs": 2, "batch_size": 16, "graph_path": path,
        "learning_rate": 5e-3, "image_dropout": 0.2,
    }  # fmt: skip
    method, training = make_method(Ms2gah, changes=changes)
    result = train_method(TrainingPlan(method, training, 16), made.data())
    order = np.random.default_rng(0).permutation(40)
    for tower, table, rows in (
        (result.hasher.image, made.image, made.unseen),
        (result.hasher.text, made.text, made.caption_starts[made.unseen]),
    ):
        whole = tower.encode(table.pooled(rows))
        assert len(np.unique(whole, axis=0)) > 10
        assert_array_equal(tower.encode(table.pooled(rows[order])), whole[order])
        alone = [tower.encode(table.pooled(rows[place : place + 1])) for place in range(40)]
        assert_array_equal(np.concatenate(alone), whole)


def test_heads_have_the_siblings_layers() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386, n_classes=24)
    heads = Ms2gah().build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 512, 64]
    assert heads.text.spec()["widths"] == [1386, 512, 512, 64]
    encoder = heads.auxiliary["label"]
    assert isinstance(encoder, NormalisedHead)
    assert encoder.spec()["widths"] == [24, 512, 512, 64]
    nears = [tuple(one.near.shape) for one in heads.auxiliary["graph"].layers]  # type: ignore[union-attr]
    assert nears == [(4, 128), (1, 512)]
    training = Ms2gah.training
    assert (training.learning_rate, training.weight_decay) == (1e-3, 5e-4)
    assert (training.batch_size, training.epochs) == (128, 100)
    assert (training.optimiser, training.schedule) == ("adam", "exponential")


def test_presets_by_features() -> None:
    assert Ms2gah.preset_for(has_sparse_texts=True) == "paper"
    assert Ms2gah.preset_for(has_sparse_texts=False) == "dense"
    dense, wiki = Ms2gah.presets["dense"], Ms2gah.presets["wiki"]
    assert {key for key in dense if dense[key] != wiki[key]} == {"input_dropout"}


def test_labels_are_needed_and_said_so() -> None:
    assert Ms2gah.needs == {Needs.LABELS}
    method, training = make_method(Ms2gah)
    data = replace(made_pairs(20, 5).data(), labels=None)
    message = (
        "MS2GAH learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, training, 8), data)


def test_a_batch_of_one_is_refused_before_training() -> None:
    method, training = make_method(Ms2gah, changes={"batch_size": 1})
    message = "batch_size: 1, but MS2GAH compares the pairs of a batch with each other and needs "
    with pytest.raises(SettingError, match=f"^{re.escape(message)}at least 2$"):
        train_method(TrainingPlan(method, training, 8), made_pairs(20, 5).data())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_width": 0}, "feature_width is 0, expected at least 1"),
        ({"n_attention_heads": 0}, "n_attention_heads is 0, expected at least 1"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, expected in [0, 1)"),
        ({"image_dropout": -0.1}, "image_dropout is -0.1, expected in [0, 1)"),
        ({"text_dropout": math.nan}, "text_dropout is nan, expected in [0, 1)"),
        ({"graph_dropout": 1.5}, "graph_dropout is 1.5, expected in [0, 1)"),
        ({"label_grading": 1.1}, "label_grading is 1.1, expected in [0, 1]"),
        ({"edge_threshold": -0.1}, "edge_threshold is -0.1, expected in [0, 1]"),
        ({"logit_scale": -1.0}, "logit_scale is -1.0, expected 0 or more"),
        ({"logit_offset": -1.0}, "logit_offset is -1.0, expected 0 or more"),
        ({"guide_weight": -1.0}, "guide_weight is -1.0, expected 0 or more"),
        ({"class_weight": math.nan}, "class_weight is nan, expected 0 or more"),
        ({"cross_weight": -1.0}, "cross_weight is -1.0, expected 0 or more"),
        ({"graph_weight": -1.0}, "graph_weight is -1.0, expected 0 or more"),
        ({"quantization_weight": -1.0}, "quantization_weight is -1.0, expected 0 or more"),
        (
            {"feature_width": 10, "n_attention_heads": 4},
            "feature_width is 10, expected a multiple of n_attention_heads, which is 4",
        ),
        (
            {"guide_weight": 0.0, "cross_weight": 0.0, "graph_weight": 0.0},
            "guide_weight, cross_weight and graph_weight are all 0: nothing teaches the codes",
        ),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Ms2gahSettings(**changes)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Ms2gahSettings().label_grading = 1.0  # type: ignore[misc]
