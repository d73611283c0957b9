import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import GraphConvolution, ModalityFeatures, NormalisedHead
from modalhash.methods.base import Batch, FeatureShapes, Moment, Needs
from modalhash.methods.gch import Gch, GchHeads, GchSettings, fused_nodes, label_edges, sign_gap_of
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_label_graphs as graphs
from tests.oracles import plain_label_networks as plain
from tests.oracles.paired_features import made_pairs
from tests.oracles.plain_losses import Matrix, Rows, cosine, dot, mean_square_gap

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 5, 5
LABELS = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]]


def made_method(**changes: Any) -> Gch:
    return Gch(GchSettings(**{"feature_width": 4} | changes))


def made_batch(n: int = 6, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(0)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, torch.tensor(LABELS[:n]).double(), torch.arange(n))


def made_heads(method: Gch) -> GchHeads:
    """Fresh parts, normalised by scales and offsets that aren't 1 and 0."""
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_classes=3)
    heads = method.build_heads(shapes, N_BITS)
    for part in heads.modules().double().modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return heads


def plain_edges(labels: Rows) -> Matrix:
    counts = [
        [1.0 if i == j and not any(row) else dot(row, other) for j, other in enumerate(labels)]
        for i, row in enumerate(labels)
    ]
    sums = [sum(row) for row in counts]
    return [
        [count / math.sqrt(sums[i] * sums[j]) for j, count in enumerate(row)]
        for i, row in enumerate(counts)
    ]


def gathered(edges: Rows, rows: Rows) -> Matrix:
    columns = list(zip(*rows, strict=True))
    return [[dot(line, column) for column in columns] for line in edges]


def plain_nodes(image: Rows, text: Rows) -> Matrix:
    def mixed(queries: Rows, keys: Rows) -> Matrix:
        """Rows of `keys`, weighted by how each of `queries` relates to them."""
        lines = [[cosine(query, key) for key in keys] for query in queries]
        shares = [[value / sum(map(abs, line)) for value in line] for line in lines]
        return gathered(shares, keys)

    pairs = zip(mixed(text, image), mixed(image, text), strict=True)
    return [[(one + other) / 2 for one, other in zip(*rows, strict=True)] for rows in pairs]


def convolved(part: nn.Module, rows: Rows, edges: Rows) -> Matrix:
    assert isinstance(part, GraphConvolution)
    weights = list(zip(*part.weight.tolist(), strict=True))
    mapped = [[dot(row, column) for column in weights] for row in rows]
    return [
        [value + bias for value, bias in zip(row, part.bias.tolist(), strict=True)]
        for row in gathered(edges, mapped)
    ]


def plain_terms(method: Gch, heads: GchHeads, batch: Batch) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings, parts = method.settings, heads.auxiliary
    assert batch.labels is not None
    labels = batch.labels.tolist()
    wanted = graphs.similarity(labels, settings.label_grading)
    scale, offset = settings.logit_scale or N_BITS / 2, settings.logit_offset

    def likeness(one: Rows, other: Rows) -> float:
        return graphs.logistic(graphs.code_logits(one, other, scale, offset), wanted)

    image, text, label = (
        plain.network(head, parts[f"{name}_classes"], rows)
        for name, head, rows in (
            ("image", heads.image, batch.image.pooled.tolist()),
            ("text", heads.text, batch.text.pooled.tolist()),
            ("label", parts["label"], labels),
        )
    )
    codes, teacher = [image["relaxed"], text["relaxed"]], label["relaxed"]
    terms = {
        "label": likeness(teacher, teacher),
        "guide": sum(mean_square_gap(one, plain.signs(teacher)) for one in codes),
        "pairs": sum(likeness(one, teacher) for one in codes),
        "classes": sum(
            graphs.cross_entropy(one["classes"], labels) for one in (image, text, label)
        ),
    }
    weights = {
        "label": 1.0,
        "guide": settings.guide_weight,
        "pairs": settings.pair_weight,
        "classes": settings.class_weight,
    }
    if settings.graph_weight:
        edges = plain_edges(labels)
        nodes = plain_nodes(image["features"], text["features"])
        hidden = graphs.mapped(convolved(parts["graph"], nodes, edges), lambda x: max(x, 0.0))
        graph = graphs.mapped(convolved(parts["graph_codes"], hidden, edges), math.tanh)
        classes = plain.linear(parts["graph_classes"], graph)
        terms["graph"] = likeness(graph, graph) + graphs.cross_entropy(classes, labels)
        terms["feedback"] = sum(mean_square_gap(one, graph) for one in codes)
        weights |= dict.fromkeys(("graph", "feedback"), settings.graph_weight)
    return {"total": sum(weights[name] * term for name, term in terms.items()), **terms}


def values(method: Gch, heads: GchHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.value.item() for name, term in report.terms.items()
    }


@pytest.mark.parametrize("times", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_grading": 0.5, "logit_scale": 12.0, "logit_offset": 2.0},
        {"guide_weight": 0.5, "class_weight": 3.0, "pair_weight": 0.2},
        {"graph_weight": 0.3},
        {"graph_weight": 0.0, "guide_weight": 0.0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = made_method(**changes)
    heads, batch = made_heads(method), made_batch(n, times=times)
    expected = plain_terms(method, heads, batch)
    found = values(method, heads, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


def test_edges_by_hand() -> None:
    """Counts [[2, 1, 0], [1, 1, 0], [0, 0, 0]]; sums 3 and 2, and 1 of an edge to itself."""
    labels = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    root = 1 / math.sqrt(6)
    expected = [[2 / 3, root, 0], [root, 1 / 2, 0], [0, 0, 1]]
    assert_allclose(label_edges(labels), np.array(expected), rtol=1e-12, atol=0)


def test_nodes_by_hand() -> None:
    """Both texts point where the first picture does: cosines [[1, 1], [0, 0]]."""
    image = torch.tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
    text = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    nodes = fused_nodes(image, text)
    # Texts gather the first picture; the first picture gathers both texts, the second none.
    assert_close(nodes, torch.tensor([[(2 + 2) / 2, 0.0], [2 / 2, 0.0]]), rtol=1e-6, atol=0)
    assert not nodes.requires_grad


def test_the_gap_from_a_teacher_s_signs_by_hand() -> None:
    relaxed = torch.tensor([[0.5, -0.5]], requires_grad=True)
    teacher = torch.tensor([[0.0, -0.1]], requires_grad=True)
    loss = sign_gap_of(relaxed, teacher)
    assert loss.item() == pytest.approx((0.25 + 0.25) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert relaxed.grad is not None
    assert relaxed.grad.tolist() == [[-0.5, 0.5]]


def learners(method: Gch, heads: GchHeads, term: str) -> set[str]:
    """The parts that a term's gradient reaches."""
    heads.modules().zero_grad()
    report = method.batch_loss(heads, made_batch(), Moment(0, 1))
    report.values[term].backward()  # type: ignore[no-untyped-call]
    parts = {"image": heads.image, "text": heads.text, **dict(heads.auxiliary.items())}
    return {
        name
        for name, part in parts.items()
        if any(one.grad is not None and bool(one.grad.abs().sum() > 0) for one in part.parameters())
    }


def test_who_learns_from_whom() -> None:
    method = made_method()
    heads = made_heads(method)
    assert learners(method, heads, "label") == {"label"}
    for term in ("guide", "pairs", "feedback"):
        assert learners(method, heads, term) == {"image", "text"}, term
    assert learners(method, heads, "graph") == {"graph", "graph_codes", "graph_classes"}
    assert learners(method, heads, "classes") == {
        "image", "text", "label", "image_classes", "text_classes", "label_classes",
    }  # fmt: skip


def test_networks_have_the_released_layers() -> None:
    heads = Gch().build_heads(FeatureShapes(image_width=4096, text_width=1386, n_classes=24), 64)
    assert heads.image.spec()["widths"] == [4096, 512, 64]
    assert heads.text.spec()["widths"] == [1386, 512, 512, 512, 64]
    label = heads.auxiliary["label"]
    assert isinstance(label, NormalisedHead)
    assert label.spec()["widths"] == [24, 512, 512, 64]
    for name, width in (("graph", 512), ("graph_codes", 64)):
        part = heads.auxiliary[name]
        assert isinstance(part, GraphConvolution)
        assert tuple(part.weight.shape) == (512, width)


def test_what_is_off_takes_no_part() -> None:
    shapes = FeatureShapes(image_width=4, text_width=5, n_classes=3)
    graph = {"graph", "graph_codes", "graph_classes"}
    whole = set(made_method().build_heads(shapes, 8).auxiliary)
    assert graph < whole
    assert set(made_method(graph_weight=0.0).build_heads(shapes, 8).auxiliary) == whole - graph


def test_presets() -> None:
    for preset in (None, "paper"):
        settings = make_method(Gch, preset=preset)[0].settings
        weights = (
            settings.guide_weight, settings.pair_weight, settings.class_weight,
            settings.graph_weight,
        )  # fmt: skip
        assert weights == (1.0, 0.0, 1.0, 1.0)
        assert (settings.label_grading, settings.logit_scale, settings.logit_offset) == (0, 0, 0)
    assert Gch.preset_for(has_sparse_texts=True) == "paper"
    assert Gch.preset_for(has_sparse_texts=False) == "dense"


def test_labels_are_needed_and_said_so() -> None:
    assert Gch.needs == {Needs.LABELS}
    method, training = make_method(Gch)
    data = replace(made_pairs(20, 5).data(), labels=None)
    message = (
        "GCH learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, training, 8), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_width": 0}, "feature_width is 0, expected at least 1"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, expected in [0, 1)"),
        ({"image_dropout": -0.1}, "image_dropout is -0.1, expected in [0, 1)"),
        ({"text_dropout": 1.0}, "text_dropout is 1.0, expected in [0, 1)"),
        ({"label_grading": 1.1}, "label_grading is 1.1, expected in [0, 1]"),
        ({"logit_scale": -1.0}, "logit_scale is -1.0, expected 0 or more"),
        ({"logit_offset": -1.0}, "logit_offset is -1.0, expected 0 or more"),
        ({"guide_weight": -1.0}, "guide_weight is -1.0, expected 0 or more"),
        ({"pair_weight": -1.0}, "pair_weight is -1.0, expected 0 or more"),
        ({"class_weight": math.nan}, "class_weight is nan, expected 0 or more"),
        ({"graph_weight": -1.0}, "graph_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        GchSettings(**changes)
