import logging
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import (
    AttentionMatrix,
    GraphConvolution,
    MlpHead,
    ModalityFeatures,
    PairMatrix,
    PositionMatrix,
)
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.cagan import (
    Cagan,
    CaganHeads,
    CaganSettings,
    GraphBranch,
    TextSimilarity,
    distillation_loss,
    text_similarities,
)
from modalhash.methods.settings import make_method
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles.plain_statistics import code_statistics, squashed

IMAGE_WIDTH, TEXT_WIDTH, N_BITS, BATCH = 4, 6, 5, 5
SMALL: dict[str, Any] = {"hidden_width": 7, "graph_width": 6, "graph_output_width": 3}
PUBLISHED = 6e-5  # values written down to 4 decimals

# The worked example: three pairs, their relaxed codes and their graph codes.
IMAGES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
TEXTS = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
IMAGE_RELAXED = torch.tensor(
    [[0.9, 0.8, -0.7, 0.1], [0.6, 0.9, -0.2, -0.4], [-0.5, 0.3, 0.9, 0.8]], dtype=torch.float64
)
TEXT_RELAXED = torch.tensor(
    [[0.8, 0.9, -0.9, -0.1], [0.7, 0.2, -0.6, 0.3], [-0.9, 0.1, 0.7, 0.9]], dtype=torch.float64
)
IMAGE_GRAPH = torch.tensor(
    [[1, 1, -1, 1], [1, 1, -1, -1], [-1, -1, 1, 1]], dtype=torch.float64
)  # fmt: skip
TEXT_GRAPH = torch.tensor([[1, 1, -1, -1], [1, 1, 1, -1], [-1, 1, 1, 1]], dtype=torch.float64)
WORKED = Batch(ModalityFeatures(IMAGES), ModalityFeatures(TEXTS), None, torch.arange(3))


def made_batch(n: int = BATCH, seed: int = 0, *, times: float = 1.0) -> Batch:
    """Pictures of any sign; texts as bags of words, one of them without words."""
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(n, IMAGE_WIDTH))
    texts = (generator.random((n, TEXT_WIDTH)) < 0.3).astype(float)
    if n > 2:
        texts[2] = 0
    image, text = (ModalityFeatures(torch.from_numpy(times * rows)) for rows in (images, texts))
    return Batch(image, text, None, torch.arange(n))


def made_method(**changes: Any) -> Cagan:
    return Cagan(CaganSettings(**SMALL | changes))


def made_heads(method: Cagan, batch_size: int = BATCH) -> CaganHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(
        image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, batch_size=batch_size
    )  # fmt: skip
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def plain_target(settings: CaganSettings, batch: Batch) -> plain.Matrix:
    image = plain.rescaled(batch.image.pooled.tolist())
    rows = batch.text.pooled.tolist()
    if settings.text_similarity is TextSimilarity.BINARY:
        text = graphs.shared_words(rows)
    else:
        text = plain.rescaled(rows)
        for i, line in enumerate(text):
            line[i] = 1.0
    weights = (settings.image_weight, settings.text_weight, settings.fusion_weight)
    fused = plain.weighted_sum(weights, (image, text, plain.cosines(image, text)))
    return plain.weighted_sum((settings.similarity_scale,), (fused,))


def plain_head(head: object, rows: plain.Rows) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    first, last = (part for part in head.layers if isinstance(part, nn.Linear))
    hidden = graphs.positive(plain.affine(rows, first.weight.tolist(), first.bias.tolist()))
    return plain.affine(hidden, last.weight.tolist(), last.bias.tolist())


def plain_branch(
    settings: CaganSettings, branch: object, rows: plain.Rows, target: plain.Matrix
) -> plain.Matrix:
    assert isinstance(branch, GraphBranch)
    size = range(len(rows))
    if isinstance(branch.matrix, PairMatrix):
        left, right = branch.matrix.left.weight.tolist(), branch.matrix.right.weight.tolist()
        learned = graphs.pair_matrix(rows, left, right)
    else:
        assert isinstance(branch.matrix, PositionMatrix)
        places = branch.matrix.weight.tolist()
        learned = [[places[i][j] for j in size] for i in size]
    edges = plain.weighted_sum((1.0, settings.attention_weight), (target, learned))
    if settings.normalise_adjacency:
        edges = graphs.row_sums_of_one(edges)
    hidden = [list(row) for row in rows]
    for convolution in branch.network.convolutions:
        assert isinstance(convolution, GraphConvolution)
        weight, bias = convolution.weight.tolist(), convolution.bias.tolist()
        hidden = graphs.positive(graphs.convolved(hidden, edges, weight, bias))
    last = branch.network.map
    return plain.affine(hidden, last.weight.tolist(), last.bias.tolist())


def plain_objective(method: Cagan, heads: CaganHeads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings

    def gap(rows: plain.Rows, others: plain.Rows) -> float:
        return plain.mean_square_gap(plain.cosines(rows, others), target)

    target = plain_target(settings, batch)
    image_rows, text_rows = batch.image.pooled.tolist(), batch.text.pooled.tolist()
    image = squashed(settings, plain_head(heads.image, image_rows), epoch)
    text = squashed(settings, plain_head(heads.text, text_rows), epoch)
    intra = gap(image, image) + gap(text, text)
    cross = gap(image, text) + gap(text, image)
    cross -= settings.pair_weight * plain.mean_paired_cosine(image, text)
    total = settings.intra_weight * intra + settings.cross_weight * cross
    entries = [value for line in target for value in line]
    found = {
        "intra": intra,
        "cross": cross,
        "target_min": min(entries),
        "target_mean": sum(entries) / len(entries),
        "target_max": max(entries),
        **code_statistics(image, text),
    }
    if settings.graph:
        branches = heads.auxiliary
        one = squashed(
            settings, plain_branch(settings, branches["image_graph"], image_rows, target), epoch
        )
        other = squashed(
            settings, plain_branch(settings, branches["text_graph"], text_rows, target), epoch
        )
        found["graph"] = gap(one, other)
        found["distillation"] = gap(one, image) + gap(one, text)
        found["image_graph_saturated"] = share_saturated(one)
        found["text_graph_saturated"] = share_saturated(other)
        total += settings.graph_weight * found["graph"]
        total += settings.distillation_weight * found["distillation"]
    return found | {"total": total}


def share_saturated(rows: plain.Rows) -> float:
    values = [value for row in rows for value in row]
    return sum(abs(value) > 0.99 for value in values) / len(values)


def values(method: Cagan, heads: CaganHeads, batch: Batch, epoch: int) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(epoch, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


def assert_as_by_loops(method: Cagan, heads: CaganHeads, batch: Batch, epoch: int) -> None:
    expected = plain_objective(method, heads, batch, epoch)
    found = values(method, heads, batch, epoch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-9
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("epoch", [0, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_free": True},
        {"attention_matrix": AttentionMatrix.POSITIONS},
        {"attention_rank": 1},
        {"attention_weight": 1.5, "intra_weight": 1.0},
        {"attention_weight": 0.0, "graph_weight": 0.5, "distillation_weight": 2.0},
        {"text_similarity": TextSimilarity.LINEAR, "similarity_scale": 1.0},
        {"cross_weight": 0.5, "pair_weight": 0.0},
        {"normalise_adjacency": True},
        {"graph": False, "continuation": False},
        {"image_weight": 1.0, "text_weight": 0.0, "fusion_weight": 0.0},
    ],
)
def test_every_part_of_the_objective_against_loops(changes: dict[str, Any], epoch: int) -> None:
    method = made_method(**changes)
    assert_as_by_loops(method, made_heads(method), made_batch(), epoch)


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("matrix", AttentionMatrix)
def test_small_batches_and_large_features(matrix: AttentionMatrix, n: int, times: float) -> None:
    method = made_method(attention_matrix=matrix)
    assert_as_by_loops(method, made_heads(method), made_batch(n, times=times), 3)


def test_the_target_of_the_worked_example() -> None:
    expected = [[1.3904, 1.1104, -1.3904], [0.9869, 1.2669, -0.4269], [-1.2856, -0.4456, 1.2856]]
    assert_allclose(Cagan().target(WORKED), expected, atol=PUBLISHED, rtol=0)


def test_the_losses_of_the_worked_example() -> None:
    class ConstantHead(MlpHead):
        def __init__(self, relaxed: Tensor) -> None:
            super().__init__((2, 4))
            self.relaxed = relaxed

        def forward(self, features: ModalityFeatures) -> Tensor:
            return torch.atanh(self.relaxed)

    class GivenGraph(nn.Module):
        def __init__(self, codes: Tensor) -> None:
            super().__init__()
            self.codes = codes

        def forward(self, features: Tensor, target: Tensor) -> Tensor:
            return 100 * self.codes

    heads = CaganHeads(
        ConstantHead(IMAGE_RELAXED),
        ConstantHead(TEXT_RELAXED),
        GivenGraph(IMAGE_GRAPH),  # type: ignore[arg-type]
        GivenGraph(TEXT_GRAPH),  # type: ignore[arg-type]
    )
    found = values(Cagan(), heads, WORKED, 0)
    expected = {
        "intra": 0.4038, "cross": -0.3138, "graph": 0.5838, "distillation": 0.6589, "total": 0.4092,
    }  # fmt: skip
    for name, value in expected.items():
        assert_allclose(found[name], value, atol=PUBLISHED, rtol=0, err_msg=name)


def test_distillation_by_hand() -> None:
    one, other = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    target = torch.zeros(2, 2)
    # cos(one, one) = I: mean square 2 / 4; cos(one, other), cos(other, other): 2 / 4 and 4 / 4.
    found = distillation_loss(one, one, other, target)
    assert_close(found, torch.tensor(0.5 + 0.5), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rule", TextSimilarity)
def test_a_text_without_words_is_like_itself(rule: TextSimilarity) -> None:
    found = text_similarities(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), rule)
    assert_close(found, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), rtol=0, atol=1e-6)


def test_the_order_of_the_batch_matters_to_the_matrix_of_places() -> None:
    method = made_method(attention_matrix=AttentionMatrix.POSITIONS)
    heads, batch, order = made_heads(method), made_batch(), torch.tensor([4, 2, 0, 1, 3])
    permuted = Batch(
        ModalityFeatures(batch.image.pooled[order]),
        ModalityFeatures(batch.text.pooled[order]),
        None,
        batch.positions[order],
    )
    one, other = values(method, heads, batch, 2), values(method, heads, permuted, 2)
    assert one["cross"] == pytest.approx(other["cross"], rel=1e-9)
    assert one["graph"] != pytest.approx(other["graph"], rel=1e-3)


def test_every_part_learns_and_features_get_no_gradient_through_target_or_graph() -> None:
    method = made_method()
    heads, batch = made_heads(method), made_batch()
    parts = dict(heads.modules().named_parameters())
    gradients = torch.autograd.grad(
        method.batch_loss(heads, batch, Moment(0, 1)).total, list(parts.values())
    )
    for name, gradient in zip(parts, gradients, strict=True):
        assert float(gradient.abs().sum()) > 0, name
    with torch.no_grad():
        for head in (heads.image, heads.text):
            for parameter in head.parameters():
                parameter.zero_()
    image = batch.image.pooled.requires_grad_()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [image])
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_without_the_graph_nothing_of_it_is_made() -> None:
    assert len(made_heads(made_method(graph=False)).auxiliary) == 0
    assert set(made_heads(made_method()).auxiliary) == {"image_graph", "text_graph"}


def test_heads_start_the_same_with_and_without_a_graph() -> None:
    one, other = made_heads(made_method()), made_heads(made_method(graph=False))
    for head, plain_one in ((one.image, other.image), (one.text, other.text)):
        for name, parameter in head.state_dict().items():
            assert torch.equal(parameter, plain_one.state_dict()[name]), name


def test_networks_have_the_released_layers() -> None:
    method, training = make_method(Cagan, preset="paper")
    assert isinstance(method, Cagan)
    shapes = FeatureShapes(image_width=512, text_width=1386, batch_size=32)
    heads = method.build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [512, 4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]
    for name, width in (("image_graph", 512), ("text_graph", 1386)):
        branch = heads.auxiliary[name]
        assert {key: tuple(one.shape) for key, one in branch.named_parameters()} == {
            "matrix.weight": (32, 32),
            "network.convolutions.0.weight": (width, 2048),
            "network.convolutions.0.bias": (2048,),
            "network.convolutions.1.weight": (2048, 1024),
            "network.convolutions.1.bias": (1024,),
            "network.map.weight": (64, 1024),
            "network.map.bias": (64,),
        }
    assert (training.learning_rate, training.momentum, training.weight_decay) == (0.01, 0.9, 5e-4)
    assert (training.batch_size, training.epochs, training.drop_last) == (32, 20, True)


def test_presets_hold_the_released_constants() -> None:
    for preset, attention, distillation in (
        ("paper", 0.45, 0.15), ("mirflickr", 0.45, 0.15), ("coco", 0.45, 0.15),
        ("nuswide", 0.5, 0.25),
    ):  # fmt: skip
        settings = make_method(Cagan, preset=preset)[0].settings
        assert (settings.attention_weight, settings.distillation_weight) == (
            attention,
            distillation,
        )
        assert (settings.image_weight, settings.text_weight, settings.fusion_weight) == (
            0.5,
            0.2,
            0.3,
        )
        assert settings.attention_matrix is AttentionMatrix.POSITIONS
        assert settings.similarity_scale == 1.4
    assert Cagan.preset_for(has_sparse_texts=True) == "paper"
    assert Cagan.preset_for(has_sparse_texts=False) == "dense"
    dense = make_method(Cagan, preset="dense")[0].settings
    assert dense.text_similarity is TextSimilarity.LINEAR


class Texts:
    """Training pairs of which only texts are looked at."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    @property
    def n_pairs(self) -> int:
        return len(self.rows)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        rows = ModalityFeatures(self.rows[:batch_size])
        yield Batch(rows, rows, None, torch.arange(len(rows)))


@pytest.mark.parametrize("rule", TextSimilarity)
def test_dense_texts_are_warned_of_under_binary_similarity(
    rule: TextSimilarity, caplog: pytest.LogCaptureFixture
) -> None:
    method = made_method(text_similarity=rule)
    heads = made_heads(method)
    with caplog.at_level(logging.WARNING, logger="modalhash"):
        method.before_training(heads, Texts(torch.rand(40, 6) + 0.1))
        dense = list(caplog.messages)
        method.before_training(heads, Texts(torch.eye(40)))
    assert caplog.messages == dense
    expected = (
        "text_similarity is binary, but 100.0 % of the first texts' pairs count as alike: it says "
        "next to nothing of dense features or of common words; set text_similarity=linear, or "
        "take the preset dense"
    )
    assert dense == ([expected] if rule is TextSimilarity.BINARY else [])


def test_one_text_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    method = made_method()
    method.before_training(made_heads(method), Texts(torch.ones(1, 6)))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"graph_width": 0}, "graph_width is 0, expected at least 1"),
        ({"graph_output_width": 0}, "graph_output_width is 0, expected at least 1"),
        ({"attention_rank": 0}, "attention_rank is 0, expected at least 1"),
        ({"image_weight": -0.1}, "image_weight is -0.1, expected 0 or more"),
        ({"text_weight": -0.1}, "text_weight is -0.1, expected 0 or more"),
        ({"fusion_weight": -0.1}, "fusion_weight is -0.1, expected 0 or more"),
        ({"similarity_scale": -1.0}, "similarity_scale is -1.0, expected 0 or more"),
        ({"attention_weight": -1.0}, "attention_weight is -1.0, expected 0 or more"),
        ({"intra_weight": -1.0}, "intra_weight is -1.0, expected 0 or more"),
        ({"cross_weight": -1.0}, "cross_weight is -1.0, expected 0 or more"),
        ({"pair_weight": -1.0}, "pair_weight is -1.0, expected 0 or more"),
        ({"graph_weight": -1.0}, "graph_weight is -1.0, expected 0 or more"),
        ({"distillation_weight": math.nan}, "distillation_weight is nan, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        CaganSettings(**changes)
