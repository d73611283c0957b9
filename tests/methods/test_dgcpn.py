import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead
from modalhash.losses import diagonal_gap, signs_of
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.dgcpn import (
    Dgcpn,
    DgcpnHeads,
    DgcpnSettings,
    Neighbours,
    consistency_loss,
    off_diagonal_gap,
)
from modalhash.methods.hugged_method import configure_hugged_method
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles import plain_neighbours as neighbours
from tests.oracles.paired_features import made_pairs
from tests.oracles.plain_statistics import code_statistics
from tests.oracles.view_of_pairs import MadeView

IMAGE_WIDTH, TEXT_WIDTH, N_BITS, N_PAIRS = 4, 6, 5, 9
SMALL: dict[str, Any] = {"hidden_width": 7, "dropout": 0.0, "image_weight": 0.6}
NO_REDUCTION: dict[str, Any] = {
    "image_token_grid": 0,
    "image_token_width": 0,
    "text_token_width": 0,
}


def made_view(n_pairs: int = N_PAIRS, times: float = 1.0) -> MadeView:
    return MadeView(n_pairs, IMAGE_WIDTH, TEXT_WIDTH, times=times)


def made_heads(method: Dgcpn, view: MadeView) -> DgcpnHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_pairs=view.n_pairs)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    with torch.no_grad():
        method.before_training(heads, view)
    return heads


def plain_codes(head: object, rows: Tensor) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    found = rows.tolist()
    for part in head.layers:
        if isinstance(part, nn.Linear):
            found = plain.affine(found, part.weight.tolist(), part.bias.tolist())
        else:
            found = graphs.positive(found)
    return [[math.tanh(value) for value in row] for row in found]


def plain_signs(rows: plain.Rows) -> plain.Matrix:
    return [[1.0 if value >= 0 else -1.0 for value in row] for row in rows]


def plain_comparison(
    settings: DgcpnSettings, image: plain.Rows, text: plain.Rows, target: plain.Rows
) -> dict[str, float]:
    n = len(image)
    one, two, both = (
        plain.cosines(image, image), plain.cosines(text, text), plain.cosines(image, text)
    )  # fmt: skip
    turned = [list(line) for line in zip(*both, strict=True)]
    pair = sum((both[i][i] - settings.pair_target) ** 2 for i in range(n)) / n
    similarity = sum(
        (found[i][j] - target[i][j]) ** 2
        for found in (one, two, both)
        for i in range(n)
        for j in range(n)
        if i != j
    ) / (n * n)
    consistency = sum(
        plain.mean_square_gap(*matrices)
        for matrices in ((both, one), (both, two), (one, two), (both, turned))
    )
    total = (
        settings.pair_weight * pair
        + settings.similarity_weight * similarity
        + settings.consistency_weight * consistency
    )
    return {"total": total, "pair": pair, "similarity": similarity, "consistency": consistency}


def plain_target(settings: DgcpnSettings, view: MadeView, n_kept: int) -> plain.Matrix:
    """Over all pairs."""
    direct = neighbours.fused_cosines(
        view.image.tolist(), view.text.tolist(), settings.image_weight
    )
    coherence = neighbours.coherence(neighbours.neighbour_weights(direct, n_kept), n_kept)
    share, low = settings.coherence_share, settings.unrelated_similarity
    mixed = plain.weighted_sum((1 - share, share * settings.coherence_scale), (direct, coherence))
    return [[low + (1 - low) * value for value in line] for line in mixed]


def values(method: Dgcpn, heads: DgcpnHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(3, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("chosen", [[4, 1], [8, 0, 3, 5, 2], list(range(N_PAIRS))])
@pytest.mark.parametrize(
    ("changes", "n_kept"),
    [
        ({}, 4),
        ({"keep_share": 1.0, "image_weight": 0.99}, 8),
        ({"most_neighbours": 2, "coherence_share": 1.0, "coherence_scale": 3.0}, 2),
        ({"unrelated_similarity": -0.3, "pair_weight": 0.2, "consistency_weight": 0.5}, 4),
        ({"pair_target": 1.0, "similarity_weight": 2.0, "image_weight": 0.0}, 4),
        ({"half_binary": False, "coherence_share": 0.0}, 4),
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n_kept: int, chosen: list[int], times: float
) -> None:
    method = Dgcpn(DgcpnSettings(**SMALL | changes))
    view = made_view(times=times)
    heads, batch = made_heads(method, view), view.batch(torch.tensor(chosen))
    everywhere = plain_target(method.settings, view, n_kept)
    target = [[everywhere[i][j] for j in chosen] for i in chosen]
    image, text = (
        plain_codes(head, part.pooled)
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
    )
    expected = plain_comparison(method.settings, image, text, target)
    if method.settings.half_binary:
        expected["half_binary"] = sum(
            plain_comparison(method.settings, *codes, target)["total"]
            for codes in ((image, plain_signs(text)), (plain_signs(image), text))
        )
        expected["total"] += expected["half_binary"]
    found = values(method, heads, batch)
    entries = [value for line in target for value in line]
    expected |= {"target_min": min(entries), "target_max": max(entries)}
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    statistics = code_statistics(image, text)
    assert set(found) - set(expected) == {"target_mean", *statistics}


def test_the_terms_by_hand() -> None:
    across = torch.tensor([[0.5, 0.2], [0.0, 1.0]])
    assert diagonal_gap(across, 1.5).item() == pytest.approx((1 + 0.25) / 2)
    target = torch.tensor([[9.0, 0.5], [-0.5, 9.0]])
    assert off_diagonal_gap(across, target).item() == pytest.approx((0.09 + 0.25) / 4)
    images, texts = torch.eye(2), torch.ones(2, 2)
    gaps = (0.25 + 0.04 + 0 + 0) + (0.25 + 0.64 + 1 + 0) + (0 + 1 + 1 + 0) + 2 * 0.04
    assert consistency_loss(images, texts, across).item() == pytest.approx(gaps / 4)


def test_signs_of_zero_is_one_and_passes_no_gradient() -> None:
    relaxed = torch.tensor([[0.0, -0.2, 100.0]], requires_grad=True)
    found = signs_of(relaxed)
    assert_array_equal(found, [[1, -1, 1]])
    assert not found.requires_grad


def test_coherence_by_hand() -> None:
    # Of four pairs the first two have the same neighbours, half and half: 2 (1/4 + 1/4) = 1. The
    # third has one of them: 2 * 1/2 = 1. The last has none in common with any.
    kept = Neighbours(4, 5, 2)
    kept.places.copy_(torch.tensor([[2, 3], [3, 2], [3, 4], [0, 1]]))
    kept.weights.copy_(torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]]))
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 2, 0], [0, 0, 0, 1]]
    assert_allclose(kept.coherence(torch.arange(4)), expected, rtol=1e-6, atol=0)
    assert_allclose(kept.coherence(torch.tensor([2, 3])), [[2, 0], [0, 1]], rtol=1e-6, atol=0)


def test_a_pair_is_not_its_own_neighbour_and_weights_sum_to_one() -> None:
    view = made_view()
    heads = made_heads(Dgcpn(DgcpnSettings(**SMALL)), view)
    kept = heads.auxiliary["neighbours"]
    assert isinstance(kept, Neighbours)
    assert not (kept.places == torch.arange(N_PAIRS)[:, None]).any()
    assert_allclose(kept.weights.sum(dim=1), np.ones(N_PAIRS), rtol=1e-6, atol=0)


def test_neighbours_among_some_nodes_are_those_of_all_that_are_nodes() -> None:
    view = made_view(20)
    settings = DgcpnSettings(**SMALL, graph_nodes=5, keep_share=0.5)
    heads = made_heads(Dgcpn(settings), view)
    kept = heads.auxiliary["neighbours"]
    assert isinstance(kept, Neighbours)
    direct = neighbours.fused_cosines(view.image.tolist(), view.text.tolist(), 0.6)
    nodes = [0, 4, 8, 12, 16]
    for i, line in enumerate(direct):
        others = sorted((j for j in range(5) if nodes[j] != i), key=lambda j: -line[nodes[j]])
        assert_array_equal(kept.places[i], others[:2])


def test_the_target_passes_no_gradient_to_features() -> None:
    method, view = Dgcpn(DgcpnSettings(**SMALL)), made_view()
    heads = made_heads(method, view)
    with torch.no_grad():
        for parameter in heads.modules().parameters():
            parameter.zero_()
    view.image.requires_grad_()
    report = method.batch_loss(heads, view.batch(torch.arange(4)), Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [view.image])
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_the_defaults_are_the_released_constants() -> None:
    method, training = make_method(Dgcpn, preset="paper")
    settings = method.settings
    assert (settings.image_weight, settings.coherence_share) == (0.99, 0.3)
    assert (settings.pair_target, settings.unrelated_similarity) == (1.5, -1.0)
    assert (training.batch_size, training.learning_rate, training.epochs) == (32, 0.005, 100)
    heads = Dgcpn().build_heads(FeatureShapes(4096, 1386, n_pairs=5000), 64)
    kept = heads.auxiliary["neighbours"]
    assert isinstance(kept, Neighbours)
    assert kept.places.shape == (5000, 2000)
    assert settings.coherence_scale * 2000 == 4000
    assert heads.image.spec()["widths"] == [4096, 4096, 64]


def test_the_suiting_preset() -> None:
    assert Dgcpn.preset_for(has_sparse_texts=True) == "paper"
    assert Dgcpn.preset_for(has_sparse_texts=False) == "dense"


def test_neighbours_that_would_take_too_much_memory_are_refused() -> None:
    message = (
        "most_neighbours is 2000: the neighbours of 100000 pairs would take 1526 MiB, at most 512 "
        "are allowed: lower most_neighbours or keep_share"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Dgcpn().build_heads(FeatureShapes(8, 8, n_pairs=100_000), 16)


@pytest.mark.parametrize("mode", ["contrastive", "same"])
def test_it_can_be_hugged(mode: str) -> None:
    changes = {
        "hidden_width": 16,
        "batch_size": 16,
        "epochs": 1,
        "hug_width": 8,
        "hug_concepts": 3,
        "hug_trunk_width": 8,
        "hug_trunk_heads": 2,
    }
    changes = changes | NO_REDUCTION
    of, training = configure_hugged_method(Dgcpn, mode, preset="dense", changes=changes)
    result = train_method(TrainingPlan(of, training, 12), made_pairs().data(n_items=64))
    assert result.hasher.n_bits == 12
    assert result.log[0]["hug"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0, expected in [0, 1)"),
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
        ({"keep_share": 0.0}, "keep_share is 0.0, expected in (0, 1]"),
        ({"most_neighbours": 0}, "most_neighbours is 0, expected at least 1"),
        ({"graph_nodes": 1}, "graph_nodes is 1, expected at least 2"),
        ({"coherence_share": -0.1}, "coherence_share is -0.1, expected in [0, 1]"),
        ({"coherence_scale": -1.0}, "coherence_scale is -1.0, expected 0 or more"),
        ({"unrelated_similarity": 1.0}, "unrelated_similarity is 1.0, expected in [-1, 1)"),
        ({"pair_weight": math.nan}, "pair_weight is nan, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DgcpnSettings(**changes)
