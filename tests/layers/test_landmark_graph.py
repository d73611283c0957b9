"""Graphs between items and landmarks."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import ArtifactError
from modalhash.layers import (
    FeatureScaling,
    LandmarkGraph,
    LandmarkHead,
    MlpHead,
    ModalityFeatures,
    ScalingRule,
    build_head,
)
from modalhash.methods.hasher import HashTower

SIZES: dict[str, Any] = {"hidden_width": 4, "n_bits": 3, "rank": 2}


def made_graph(n_landmarks: int = 5, *, attention_weight: float = 0.5) -> LandmarkGraph:
    """A graph in float64 whose landmarks are drawn."""
    torch.manual_seed(0)
    graph = LandmarkGraph(6, 7, n_landmarks, attention_weight=attention_weight, **SIZES).double()
    graph.set_landmarks(
        torch.randn(n_landmarks, 6).double(),
        torch.randn(n_landmarks, 7).double(),
        torch.arange(10, 10 + n_landmarks),
    )
    return graph


def plain_output(graph: LandmarkGraph, features: list[float], hidden: int | None = None) -> Tensor:
    """What one item gathers, landmark by landmark; `hidden` is a landmark it mustn't see."""

    def unit(row: Tensor) -> Tensor:
        return row / math.sqrt(float(row @ row))

    item = torch.tensor(features).double()
    left = unit(graph.matrix.left.weight @ item)
    raised, total = [], torch.zeros(4).double()
    for place, key in enumerate(graph.keys):
        right = unit(graph.matrix.right.weight @ key)
        score = float(unit(item) @ key) + graph.attention_weight * float(left @ right)
        is_seen = place != hidden
        raised.append(math.exp(score * math.exp(float(graph.log_sharpness))) if is_seen else 0.0)
    for weight, node in zip(raised, graph.nodes, strict=True):
        total = total + weight / sum(raised) * (graph.convolution.weight @ node)
    return graph.map.weight @ (total + graph.convolution.bias).clamp_min(0) + graph.map.bias


@torch.no_grad()
@pytest.mark.parametrize("attention_weight", [0.0, 0.5])
def test_an_item_gathers_what_a_plain_loop_over_landmarks_says(attention_weight: float) -> None:
    graph = made_graph(attention_weight=attention_weight)
    rows = [[0.5, -1.0, 2.0, 0.1, 0.0, 1.0], [3.0, 0.0, 0.0, -1.0, 1.0, 1.0]]
    expected = torch.stack([plain_output(graph, row) for row in rows])
    assert_close(graph(torch.tensor(rows).double()), expected, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_a_training_item_does_not_attend_to_itself() -> None:
    graph = made_graph()
    row = [0.5, -1.0, 2.0, 0.1, 0.0, 1.0]
    features = torch.tensor([row, row]).double()
    gathered = graph(features, torch.tensor([12, 99]))
    expected = torch.stack([plain_output(graph, row, hidden=2), plain_output(graph, row)])
    assert_close(gathered, expected, rtol=1e-10, atol=1e-12)


def test_without_its_weight_the_learned_matrix_gets_no_gradient() -> None:
    graph = made_graph(attention_weight=0.0)
    graph(torch.randn(3, 6).double()).sum().backward()
    for parameter in graph.matrix.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@torch.no_grad()
def test_the_only_landmark_is_gathered_whole_whatever_the_item_is() -> None:
    graph = made_graph(1)
    first, second = graph(torch.randn(2, 6).double())
    assert_close(first, second, rtol=1e-12, atol=1e-12)


def made_head() -> LandmarkHead:
    torch.manual_seed(1)
    graph = LandmarkGraph(6, 7, 5, attention_weight=0.5, **SIZES)
    graph.set_landmarks(torch.randn(5, 6), torch.randn(5, 7), torch.arange(5))
    return LandmarkHead(MlpHead((6, 8, 3)), graph)


@torch.no_grad()
def test_a_head_adds_what_landmarks_say_to_its_own_output() -> None:
    head, rows = made_head(), torch.randn(4, 6)
    own = head.head(ModalityFeatures(rows))
    assert_close(head(ModalityFeatures(rows)), own + head.graph(rows), rtol=1e-6, atol=1e-7)


def test_a_head_is_rebuilt_from_its_description_and_weights() -> None:
    head, rows = made_head(), torch.randn(4, 6)
    again = build_head(head.spec())
    again.load_state_dict(head.state_dict())
    with torch.no_grad():
        assert torch.equal(again(ModalityFeatures(rows)), head(ModalityFeatures(rows)))


@pytest.mark.parametrize("change", [{"n_landmarks": 0}, {"rank": -1}, {"attention_weight": "a"}])
def test_a_description_with_a_wrong_size_is_refused(change: dict[str, Any]) -> None:
    spec = made_head().spec()
    spec["graph"] |= change
    with pytest.raises(ArtifactError, match=re.escape("can't build")):
        build_head(spec)


def test_codes_of_a_tower_depend_on_the_item_alone() -> None:
    """One by one, all at once and in another order: the same numbers, bit for bit."""
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, 6), made_head()).eval()
    rows = torch.randn(300, 6).numpy()
    together = tower.relaxed(rows)
    assert (tower.relaxed(rows[::-1].copy())[::-1] == together).all()
    assert all((tower.relaxed(rows[[place]])[0] == together[place]).all() for place in (0, 7, 299))
