import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import GraphConvolution, GraphNetwork, MlpHead, ModalityFeatures
from modalhash.methods.agch import (
    Agch,
    AgchHeads,
    AgchSettings,
    Measures,
    aggregated_similarity,
    degree_normalised,
    fusion_loss,
    graph_loss,
)
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.settings import make_method
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles.plain_statistics import code_statistics, squashed

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 6, 5
SMALL: dict[str, Any] = {
    "image_hidden_width": 7,
    "text_hidden_width": 3,
    "graph_width": 4,
    "graph_output_width": 3,
}


def made_batch(n: int = 5, seed: int = 0, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(seed)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, None, torch.arange(n))


def made_heads(method: Agch) -> AgchHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def plain_layers(layers: nn.Sequential, rows: plain.Rows) -> plain.Matrix:
    hidden = [[*row] for row in rows]
    for part in layers:
        if isinstance(part, nn.Linear):
            hidden = plain.affine(hidden, part.weight.tolist(), part.bias.tolist())
        else:
            hidden = graphs.positive(hidden)
    return hidden


def plain_network(network: nn.Module, rows: plain.Rows, edges: plain.Rows) -> plain.Matrix:
    assert isinstance(network, GraphNetwork)
    hidden = [[*row] for row in rows]
    for part in network.convolutions:
        assert isinstance(part, GraphConvolution)
        hidden = graphs.positive(
            graphs.convolved(hidden, edges, part.weight.tolist(), part.bias.tolist())
        )
    return plain.affine(hidden, network.map.weight.tolist(), network.map.bias.tolist())


def plain_affinity(settings: AgchSettings, batch: Batch) -> plain.Matrix:
    joined = [
        plain.unit(
            [settings.image_weight * value for value in plain.unit(image)]
            + [settings.text_weight * value for value in plain.unit(text)]
        )
        for image, text in zip(batch.image.pooled.tolist(), batch.text.pooled.tolist(), strict=True)
    ]

    def similarity(row: plain.Row, other: plain.Row) -> float:
        distance = math.dist(row, other)
        nearness = math.exp(-(distance**settings.distance_power) / settings.distance_scale)
        match settings.measures:
            case Measures.COSINE:
                return plain.dot(row, other)
            case Measures.DISTANCE:
                return nearness
            case Measures.BOTH:
                return plain.dot(row, other) * nearness

    return [[similarity(row, other) for other in joined] for row in joined]


def plain_edges(affinity: plain.Rows) -> plain.Matrix:
    edges = graphs.positive(affinity)
    degrees = [sum(line) for line in edges]
    return [
        [value / math.sqrt(degrees[i] * degrees[j]) for j, value in enumerate(line)]
        for i, line in enumerate(edges)
    ]


def plain_objective(method: Agch, heads: AgchHeads, batch: Batch, epoch: int) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings

    assert isinstance(heads.image, MlpHead)
    assert isinstance(heads.text, MlpHead)
    image = squashed(settings, plain_layers(heads.image.layers, batch.image.pooled.tolist()), epoch)
    text = squashed(settings, plain_layers(heads.text.layers, batch.text.pooled.tolist()), epoch)
    layer = heads.auxiliary["fusion"]
    assert isinstance(layer, nn.Linear)
    both = [[*one, *other] for one, other in zip(image, text, strict=True)]
    fused = squashed(
        settings, plain.affine(both, layer.weight.tolist(), layer.bias.tolist()), epoch
    )
    agreed = fused
    affinity, low = plain_affinity(settings, batch), settings.unrelated_similarity
    scale = settings.similarity_scale
    target = [[scale * ((1 - low) * value + low) for value in line] for line in affinity]
    edges = plain_edges(affinity)
    graph = 0.0
    for name, rows in (("image_graph", image), ("text_graph", text)):
        passed = squashed(settings, plain_network(heads.auxiliary[name], rows, edges), epoch)
        graph += plain.mean_square_gap(plain.cosines(passed, passed), target)
        graph += plain.mean_square_gap(passed, rows)
    terms = {
        "intra": sum(
            plain.mean_square_gap(plain.cosines(one, one), target) for one in (image, text, fused)
        ),
        "cross": plain.mean_square_gap(plain.cosines(image, text), target),
        "fusion": plain.mean_square_gap(image, agreed) + plain.mean_square_gap(text, agreed),
        "graph": graph,
    }
    entries = [value for line in target for value in line]
    return {
        "total": settings.intra_weight * terms["intra"]
        + settings.cross_weight * terms["cross"]
        + settings.fusion_weight * terms["fusion"]
        + settings.graph_weight * terms["graph"],
        **terms,
        "target_min": min(entries),
        "target_mean": sum(entries) / len(entries),
        "target_max": max(entries),
        **code_statistics(image, text),
    }


def values(method: Agch, heads: AgchHeads, batch: Batch, epoch: int) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(epoch, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"continuation": True, "scale_free": True},
        {"image_weight": 1.0, "text_weight": 0.8, "intra_weight": 0.4, "cross_weight": 0.3},
        {"unrelated_similarity": -0.25, "distance_power": 1.0, "distance_scale": 0.5},
        {"similarity_scale": 1.5},
        {"measures": Measures.COSINE, "continuation": True, "fusion_weight": 0.5},
        {"measures": Measures.DISTANCE, "graph_weight": 2.0},
        {"text_weight": 0.0, "image_hidden_width": 0, "text_hidden_width": 0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = Agch(AgchSettings(**SMALL | changes))
    heads, batch = made_heads(method), made_batch(n, times=times)
    expected = plain_objective(method, heads, batch, 7)
    found = values(method, heads, batch, 7)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        tolerance = 1e-6 if name.endswith("saturated") else 1e-10
        assert_allclose(found[name], value, rtol=tolerance, atol=1e-12, err_msg=name)


def test_the_aggregated_similarity_by_hand() -> None:
    # Pictures at a right angle, texts alike: joined rows (1, 0, 1) and (0, 1, 1) over √2, so that
    # their cosine is 1/2 and their distance 1.
    images = torch.eye(2, dtype=torch.float64)
    texts = torch.tensor([[3.0], [7.0]], dtype=torch.float64)
    for power in (0.5, 1.0):
        found = aggregated_similarity(
            images, texts, image_weight=2.0, text_weight=2.0, distance_scale=4.0,
            distance_power=power,
        )  # fmt: skip
        far = 0.5 * math.exp(-1 / 4)
        assert_allclose(found, [[1, far], [far, 1]], rtol=1e-12, atol=0)
    # Pictures say it four times louder: (2, 0, 1/2) and (0, 2, 1/2), over √(17/4).
    found = aggregated_similarity(
        images, texts, image_weight=2.0, text_weight=0.5, distance_scale=3.0, distance_power=0.5
    )
    far = 1 / 17 * math.exp(-((2 - 2 / 17) ** 0.25) / 3)
    assert_allclose(found, [[1, far], [far, 1]], rtol=1e-12, atol=0)


def test_edges_by_hand() -> None:
    affinity = torch.tensor([[1.0, 0.25, -1.0], [0.25, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    expected = torch.tensor([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]])
    assert_close(degree_normalised(affinity), expected, rtol=1e-6, atol=0)
    assert_close(degree_normalised(-affinity.abs()), torch.zeros(3, 3), rtol=0, atol=0)


def test_fusion_and_graph_terms_by_hand() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    text = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    fused = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    found = fusion_loss(image, text, fused)
    assert_allclose(found, 2 * 0.5**2 / 4 + (0.5**2 + 1.5**2) / 4, rtol=1e-12)
    # Cosines among text codes are those of the identity; the target is 1 and -1/2.
    target = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    assert_allclose(graph_loss(text, image, target), 2 * 0.5**2 / 4 + 2**2 / 4, rtol=1e-12)


def test_equal_items_are_exactly_alike_in_float32() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 8))).float()
    found = aggregated_similarity(
        features, features, image_weight=2.0, text_weight=0.3, distance_scale=4.0,
        distance_power=0.5,
    )  # fmt: skip
    assert_close(found.diagonal(), torch.ones(40), rtol=1e-6, atol=0)


def test_the_target_passes_no_gradient_to_features() -> None:
    method = Agch(AgchSettings(**SMALL))
    heads, batch = made_heads(method), made_batch()
    with torch.no_grad():
        for parameter in (*heads.image.parameters(), *heads.text.parameters()):
            parameter.zero_()
    image = batch.image.pooled.requires_grad_()
    report = method.batch_loss(heads, batch, Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [image])
    # AgchHeads of zeros give codes that don't depend on features; target and edges still could.
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_graph_networks_teach_the_heads() -> None:
    method = Agch(AgchSettings(**SMALL))
    heads = made_heads(method)
    term = method.batch_loss(heads, made_batch(), Moment(0, 1)).values["graph"]
    for head in (heads.image, heads.text):
        gradients = torch.autograd.grad(term, list(head.parameters()), retain_graph=True)
        assert all(bool((one != 0).any()) for one in gradients)


def test_swapped_modalities_of_equal_weight_change_nothing() -> None:
    equal: dict[str, Any] = {"text_hidden_width": 7, "image_weight": 1.0, "text_weight": 1.0}
    method = Agch(AgchSettings(**SMALL | equal))
    heads, batch = made_heads(method), made_batch()
    layer = heads.auxiliary["fusion"]
    assert isinstance(layer, nn.Linear)
    turned = nn.Linear(2 * N_BITS, N_BITS).double()
    with torch.no_grad():
        turned.weight.copy_(layer.weight.roll(N_BITS, dims=1))
        turned.bias.copy_(layer.bias)
    swapped_heads = AgchHeads(
        heads.text,
        heads.image,
        fusion=turned,
        image_graph=heads.text_graph,
        text_graph=heads.image_graph,
    )
    swapped = Batch(batch.text, batch.image, None, batch.positions)
    one = values(method, heads, batch, 2)
    other = values(method, swapped_heads, swapped, 2)
    assert one["total"] == pytest.approx(other["total"], rel=1e-12)


def test_presets_hold_the_constants_of_digests() -> None:
    published = {
        "mirflickr": (2.0, 0.3, 1.0, 1.0, 10.0),
        "paper": (2.0, 0.3, 1.0, 1.0, 10.0),
        "nuswide": (2.0, 0.3, 1.0, 1.0, 5.0),
        "wiki": (1.0, 0.8, 0.4, 0.3, 5.0),
    }
    for preset, expected in published.items():
        method, training = make_method(Agch, preset=preset)
        settings = method.settings
        found = (
            settings.image_weight, settings.text_weight, settings.intra_weight,
            settings.cross_weight, settings.fusion_weight,
        )  # fmt: skip
        assert found == expected, preset
        assert (settings.distance_scale, settings.graph_weight) == (4.0, 0.01)
        assert (settings.unrelated_similarity, settings.similarity_scale) == (-1.0, 1.0)
        assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
        assert training.epochs == (100 if preset == "wiki" else 40)


def test_the_suiting_preset() -> None:
    assert Agch.preset_for(has_sparse_texts=True) == "paper"
    assert Agch.preset_for(has_sparse_texts=False) == "dense"


def test_networks_have_the_paper_s_layers_and_rates() -> None:
    shapes = FeatureShapes(image_width=4096, text_width=1386)
    heads = Agch(AgchSettings(image_hidden_width=0)).build_heads(shapes, 64)
    assert heads.image.spec()["widths"] == [4096, 64]
    assert heads.text.spec()["widths"] == [1386, 4096, 64]
    found = {name: tuple(one.shape) for name, one in heads.auxiliary.named_parameters()}
    assert found["fusion.weight"] == (64, 128)
    assert found["image_graph.convolutions.0.weight"] == (64, 4096)
    assert found["image_graph.convolutions.1.weight"] == (4096, 2048)
    assert found["image_graph.map.weight"] == (64, 2048)
    assert heads.rate_scales == {"auxiliary.image_graph": 0.1, "auxiliary.text_graph": 0.1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_hidden_width": -1}, "image_hidden_width is -1, expected 0 or more"),
        ({"graph_width": 0}, "graph_width is 0, expected at least 1"),
        ({"text_weight": -0.3}, "text_weight is -0.3, expected 0 or more"),
        ({"distance_scale": 0.0}, "distance_scale is 0.0, expected positive"),
        ({"distance_power": math.nan}, "distance_power is nan, expected positive"),
        ({"unrelated_similarity": 1.0}, "unrelated_similarity is 1.0, expected in [-1, 1)"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        AgchSettings(**changes)
