"""Landmarks of graph methods: which pairs they are, what they teach, and that codes keep them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from modalhash.layers import LandmarkGraph, LandmarkHead, ModalityFeatures, TrunkKind
from modalhash.methods.agch import Agch
from modalhash.methods.base import Batch, FeatureShapes, GradientMethod, Moment
from modalhash.methods.cagan import Cagan
from modalhash.methods.gch import Gch
from modalhash.methods.hugged_method import HuggedMethod
from modalhash.methods.landmarks import (
    NODE_LENGTH,
    LandmarkOutputs,
    guide_loss,
    landmark_outputs,
    make_landmark_graphs,
    set_landmarks,
    without_landmarks,
)
from modalhash.methods.local_alignment import HugSettings
from modalhash.methods.ms2gah import Ms2gah
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles.method_cases import small_settings
from tests.oracles.paired_features import made_pairs

SHAPES = FeatureShapes(3, 2, n_classes=2, n_pairs=6, batch_size=4, n_items=3)
OVER_LANDMARKS: dict[type[GradientMethod[Any]], dict[str, Any]] = {
    Agch: {"over_landmarks": True},
    Cagan: {"graph_path": "landmarks"},
    Gch: {"over_landmarks": True},
    Ms2gah: {"graph_path": "landmarks"},
}
every_method = pytest.mark.parametrize("method", OVER_LANDMARKS)


@dataclass(frozen=True)
class View:
    """Six pairs of three items, two captions each, in one batch."""

    n_pairs: int = 6

    def pairs(self) -> Batch:
        torch.manual_seed(4)
        items = torch.tensor([7, 7, 8, 8, 9, 9])
        pictures = torch.randn(3, 3)[items - 7]
        labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])[items - 7]
        texts = ModalityFeatures(torch.randn(6, 2))
        return Batch(ModalityFeatures(pictures), texts, labels, torch.arange(6), items)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        yield self.pairs()


def made_graphs(n_landmarks: int, **options: Any) -> tuple[LandmarkGraph, LandmarkGraph]:
    torch.manual_seed(0)
    with_labels = bool(options.get("with_labels"))
    graphs = make_landmark_graphs(SHAPES, 4, n_landmarks=n_landmarks, with_labels=with_labels)
    with torch.no_grad():
        set_landmarks(graphs, View(), **options)
    return graphs


def test_landmarks_are_spread_over_the_pairs_with_both_modalities_and_labels() -> None:
    image, text = made_graphs(3, with_labels=True)
    pairs = View().pairs()
    assert image.owners.tolist() == text.owners.tolist() == [7, 8, 9]
    for place, pair in enumerate((0, 2, 4)):
        picture, caption = pairs.image.pooled[pair], pairs.text.pooled[pair]
        labels = [[1.0, 0.0], [math.sqrt(0.5)] * 2, [0.0, 0.0]][place]
        node = [*(picture / picture.norm()).tolist(), *(caption / caption.norm()).tolist(), *labels]
        expected = NODE_LENGTH * torch.tensor(node)
        assert_close(image.nodes[place], expected, rtol=1e-6, atol=1e-6)
        assert_close(text.nodes[place], expected, rtol=1e-6, atol=1e-6)
        assert_close(image.keys[place], picture / picture.norm(), rtol=1e-6, atol=1e-6)
        assert_close(text.keys[place], caption / caption.norm(), rtol=1e-6, atol=1e-6)


def test_there_are_no_more_landmarks_than_pairs() -> None:
    image, _ = made_graphs(100)
    assert image.owners.tolist() == [7, 7, 8, 8, 9, 9]


def test_a_shuffled_graph_keeps_keys_and_gives_landmarks_the_nodes_of_others() -> None:
    (plain, _), (shuffled, _) = made_graphs(6), made_graphs(6, is_shuffled=True)
    assert torch.equal(plain.keys, shuffled.keys)
    assert not torch.equal(plain.nodes, shuffled.nodes)
    assert sorted(plain.nodes.tolist()) == sorted(shuffled.nodes.tolist())


@torch.no_grad()
def test_no_caption_of_an_item_tells_it_of_itself() -> None:
    """Both pairs of the item are hidden: what is left is that of the four others alone."""
    graphs = made_graphs(6)
    outputs = landmark_outputs(graphs, View().pairs())
    edges = outputs.image_scores.softmax(dim=1)
    assert outputs.is_itself.sum(dim=1).tolist() == [2] * 6
    assert not edges[outputs.is_itself].any()
    assert_close(edges.sum(dim=1), torch.ones(6), rtol=1e-6, atol=1e-6)


def test_the_guide_is_least_where_attention_is_what_similarities_ask() -> None:
    """Two landmarks, similarities 0 and log(3) / 15: they ask for shares of 1/4 and 3/4."""
    similarities = torch.tensor([[0.0, math.log(3) / 15]])
    nothing = torch.zeros(1, 1)
    even = torch.zeros(1, 2)
    seen = torch.zeros(1, 2, dtype=torch.bool)
    loss = guide_loss(LandmarkOutputs(nothing, nothing, even, even, seen), similarities)
    assert_close(loss, torch.tensor(2 * math.log(2)), rtol=1e-6, atol=0)
    right = torch.tensor([[0.25, 0.75]]).log()
    least = guide_loss(LandmarkOutputs(nothing, nothing, right, right, seen), similarities)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert_close(least, torch.tensor(2 * entropy), rtol=1e-6, atol=0)


def test_an_item_that_is_the_only_landmark_has_a_finite_guide() -> None:
    alone = torch.ones(1, 1, dtype=torch.bool)
    scores = torch.full((1, 1), -1e9, requires_grad=True)
    nothing = torch.zeros(1, 1)
    loss = guide_loss(LandmarkOutputs(nothing, nothing, scores, scores, alone), torch.ones(1, 1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


@every_method
def test_a_model_over_landmarks_keeps_them_and_learns_from_them(
    method: type[GradientMethod[Any]],
) -> None:
    made, training = make_method(
        method,
        preset="dense",
        changes={
            **small_settings(method),
            **OVER_LANDMARKS[method],
            "n_landmarks": 16,
            "epochs": 2,
        },
    )
    pairs = made_pairs(60, 0)
    hasher = train_method(TrainingPlan(made, training, 12), pairs.data()).hasher
    for tower in (hasher.image, hasher.text):
        assert isinstance(tower.head, LandmarkHead)
        graph = tower.head.graph
        assert len(set(graph.owners.tolist())) == 16
        # Landmarks stay; what reads them has learned.
        assert_close(graph.keys.norm(dim=1), torch.ones(16), rtol=1e-5, atol=1e-5)
        assert float(graph.log_sharpness.detach()) != pytest.approx(math.log(10), abs=1e-7)


@dataclass(frozen=True)
class TunedView(View):
    """The same pairs with features that an encoder has changed since."""

    def batches(self, batch_size: int) -> Iterator[Batch]:
        pairs = self.pairs()
        pooled = pairs.image.pooled
        yield replace(pairs, image=ModalityFeatures(pooled.roll(1, 1), untuned=pooled))


@every_method
def test_landmarks_follow_an_encoder_that_is_tuned(method: type[GradientMethod[Any]]) -> None:
    changes = {**small_settings(method), **OVER_LANDMARKS[method], "n_landmarks": 3}
    made, _ = make_method(method, preset="dense", changes=changes)
    assert isinstance(made, GradientMethod)
    heads = made.build_heads(SHAPES, 4)
    assert isinstance(heads.image, LandmarkHead)
    with torch.no_grad():
        made.before_training(heads, View())
        before = heads.image.graph.keys.clone()
        made.after_epoch(heads, View(), Moment(0, 2))
        assert torch.equal(heads.image.graph.keys, before)
        made.after_epoch(heads, TunedView(), Moment(0, 2))
    assert_close(heads.image.graph.keys, before.roll(1, 1), rtol=1e-6, atol=1e-7)


@every_method
def test_every_parameter_of_the_graph_gets_a_gradient(method: type[GradientMethod[Any]]) -> None:
    changes = {**small_settings(method), **OVER_LANDMARKS[method]}
    made, _ = make_method(method, preset="dense", changes=changes)
    assert isinstance(made, GradientMethod)
    torch.manual_seed(0)
    heads = made.build_heads(SHAPES, 4)
    with torch.no_grad():
        made.before_training(heads, View())
    heads.modules().train()
    made.batch_loss(heads, View().pairs(), Moment(0, 2)).total.backward()  # type: ignore[no-untyped-call]
    for head in (heads.image, heads.text):
        assert isinstance(head, LandmarkHead)
        for name, parameter in head.graph.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@every_method
def test_a_hugged_method_has_no_landmarks(method: type[GradientMethod[Any]]) -> None:
    """Frozen features are no neighbours of what trunks learn."""
    made, _ = make_method(method, preset="dense", changes=OVER_LANDMARKS[method])
    hugged = HuggedMethod(made, HugSettings(hug_trunk=TrunkKind.ATTENTION))
    assert without_landmarks(made).settings == hugged.base.settings
    shapes = FeatureShapes(3, 2, 3, 2, n_classes=2, n_pairs=6, batch_size=4, n_items=3)
    heads = hugged.base.build_heads(shapes, 4)
    assert not isinstance(heads.image, LandmarkHead)
