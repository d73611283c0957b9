import math
import re
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.cirh import (
    Cirh,
    CirhHeads,
    CirhSettings,
    Thresholds,
    collaborated_relations,
    mixed_with_neighbours,
)
from modalhash.methods.cirh_networks import FusionNetwork
from modalhash.methods.hugged_method import configure_hugged_method
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_fusion as fusion
from tests.oracles import plain_losses as plain
from tests.oracles import plain_neighbours as neighbours
from tests.oracles.paired_features import made_pairs
from tests.oracles.plain_statistics import code_statistics
from tests.oracles.view_of_pairs import MadeView

IMAGE_WIDTH, TEXT_WIDTH, N_BITS, N_PAIRS = 4, 6, 5, 9
SMALL: dict[str, Any] = {"hidden_width": 7, "dropout": 0.0, "fusion_width": 3}
NO_REDUCTION: dict[str, Any] = {
    "image_token_grid": 0,
    "image_token_width": 0,
    "text_token_width": 0,
}


def made_view(n_pairs: int = N_PAIRS, times: float = 1.0) -> MadeView:
    return MadeView(n_pairs, IMAGE_WIDTH, TEXT_WIDTH, times=times)


def made_heads(method: Cirh, view: MadeView) -> CirhHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_pairs=view.n_pairs)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    with torch.no_grad():
        method.before_training(heads, view)
    return heads


def network_of(heads: CirhHeads) -> FusionNetwork:
    found = heads.auxiliary["network"]
    assert isinstance(found, FusionNetwork)
    return found


def mean_square(rows: plain.Rows) -> plain.Matrix:
    return [[value * math.sqrt(len(row)) for value in plain.unit(row)] for row in rows]


def plain_relations(settings: CirhSettings, view: MadeView, n_kept: int) -> plain.Matrix:
    """Over all pairs."""
    direct = neighbours.fused_cosines(
        view.image.tolist(), view.text.tolist(), settings.image_weight
    )
    kept = neighbours.kept_similarities(direct, n_kept)
    size = range(len(kept))
    squashed = [[2 / (1 + math.exp(-kept[i][j])) - 1 + float(i == j) for j in size] for i in size]
    share = settings.direct_share
    return [
        [
            share * kept[i][j] + (1 - share) * (squashed[i][j] + squashed[j][i]) / 2
            for j in size
        ]
        for i in size
    ]  # fmt: skip


def plain_mixed(rows: plain.Rows, relations: plain.Rows) -> plain.Matrix:
    found = []
    for row, line in zip(rows, relations, strict=True):
        order = sorted(range(len(line)), key=lambda j: -line[j])
        others = zip(row, rows[order[2]], rows[order[3]], strict=True)
        found.append([0.7 * own + 0.2 * second + 0.1 * third for own, second, third in others])
    return found


def plain_objective(
    method: Cirh, heads: CirhHeads, batch: Batch, relations: plain.Rows
) -> dict[str, float]:
    """The objective as the module's docstring writes it, in plain numbers."""
    settings = method.settings
    image, text = (mean_square(part.pooled.tolist()) for part in (batch.image, batch.text))
    if settings.mix_neighbours:
        image, text = plain_mixed(image, relations), plain_mixed(text, relations)
    found = fusion.fused(network_of(heads), image, text, relations)
    signs = [[1.0 if value >= 0 else -1.0 for value in row] for row in found["joint"]]
    image_codes, text_codes = (
        fusion.squashed(fusion.through(head.layers, part.pooled.tolist()))
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
        if isinstance(head, MlpHead)
    )
    gap = plain.mean_square_gap
    terms = {
        "decode": gap(found["decoded_image"], image) + gap(found["decoded_text"], text),
        "relation": sum(
            gap(plain.cosines(found[name], found[name]), relations)
            for name in ("image", "text", "joint")
        ),
        "sign": gap(found["joint"], signs),
        "follow": gap(image_codes, signs) + gap(text_codes, signs) + gap(image_codes, text_codes),
        "head_relation": sum(
            gap(plain.cosines(*codes), relations)
            for codes in (
                (image_codes, text_codes),
                (image_codes, image_codes),
                (text_codes, text_codes),
            )
        ),
    }
    total = (
        settings.decode_weight * terms["decode"]
        + settings.relation_weight * terms["relation"]
        + terms["sign"]
        + terms["follow"]
        + settings.head_relation_weight * terms["head_relation"]
    )
    return {"total": total, **terms}


def values(method: Cirh, heads: CirhHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(3, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("chosen", [[4, 1, 0, 7], [8, 0, 3, 5, 2], list(range(N_PAIRS))])
@pytest.mark.parametrize(
    ("changes", "n_kept"),
    [
        ({}, 4),
        ({"keep_share": 1.0, "image_weight": 1.0, "mix_neighbours": False}, 9),
        ({"keep_share": 0.01, "direct_share": 1.0, "decode_weight": 0.0}, 1),
        ({"text_hidden_width": 3, "relation_weight": 0.5, "head_relation_weight": 2.0}, 4),
        ({"direct_share": 0.0, "image_weight": 0.0}, 4),
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n_kept: int, chosen: list[int], times: float
) -> None:
    method = Cirh(CirhSettings(**SMALL | changes))
    view = made_view(times=times)
    heads, batch = made_heads(method, view), view.batch(torch.tensor(chosen))
    everywhere = plain_relations(method.settings, view, n_kept)
    relations = [[everywhere[i][j] for j in chosen] for i in chosen]
    expected = plain_objective(method, heads, batch, relations)
    found = values(method, heads, batch)
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-9, atol=1e-10, err_msg=name)
    targets = {"target_min", "target_mean", "target_max"}
    assert set(found) - set(expected) == targets | set(code_statistics([[1.0]], [[1.0]]))


def test_relations_by_hand() -> None:
    # The first row keeps .5, the second nothing but itself, whose own is kept whatever it is.
    similarity = torch.tensor([[1.0, 0.5], [0.5, 0.2]], dtype=torch.float64)
    found = collaborated_relations(
        similarity, torch.tensor([0.5, 0.6], dtype=torch.float64), direct_share=0.6
    )
    half = (2 / (1 + math.exp(-0.5)) - 1) / 2
    expected = [
        [0.6 + 0.4 * (2 / (1 + math.exp(-1)) - 1 + 1), 0.6 * 0.5 + 0.4 * half],
        [0.4 * half, 0.6 * 0.2 + 0.4 * (2 / (1 + math.exp(-0.2)) - 1 + 1)],
    ]
    assert_allclose(found, expected, rtol=1e-12, atol=0)


def test_mixing_passes_the_first_nearest_over() -> None:
    relations = torch.tensor(
        [[9.0, 3.0, 2.0, 1.0], [1.0, 9.0, 3.0, 2.0], [2.0, 1.0, 9.0, 3.0], [3.0, 2.0, 1.0, 9.0]]
    )
    found = mixed_with_neighbours(torch.tensor([[1.0], [10.0], [100.0], [1000.0]]), relations)
    expected: list[list[float]] = [
        [0.7 + 20 + 100],
        [7 + 200 + 0.1],
        [70 + 0.2 + 1],
        [700.0 + 2 + 10],
    ]
    assert_allclose(found, expected, rtol=1e-6, atol=0)


def test_thresholds_are_those_of_all_pairs_or_of_the_nodes() -> None:
    view = made_view(20)
    direct = neighbours.fused_cosines(view.image.tolist(), view.text.tolist(), 0.6)
    for graph_nodes, nodes, n_kept in ((99, range(20), 8), (5, range(0, 20, 4), 2)):
        heads = made_heads(Cirh(CirhSettings(**SMALL, graph_nodes=graph_nodes)), view)
        ordered = [sorted((line[j] for j in nodes), reverse=True) for line in direct]
        expected = [(line[n_kept - 1] + line[n_kept]) / 2 for line in ordered]
        found = heads.auxiliary["thresholds"]
        assert isinstance(found, Thresholds)
        assert_allclose(found.values, expected, rtol=1e-12, atol=1e-12)


def test_the_network_learns_from_its_own_terms_and_the_heads_from_theirs() -> None:
    view = made_view()
    batch = view.batch(torch.arange(6))
    grown = []
    for changes in ({}, {"decode_weight": 0.0, "relation_weight": 0.0}):
        method = Cirh(CirhSettings(**SMALL | changes))
        heads = made_heads(method, view)
        learned = [one for part in (heads.image, heads.text) for one in part.parameters()]
        loss = method.batch_loss(heads, batch, Moment(0, 1)).total
        grown.append(torch.autograd.grad(loss, learned))
    for one, other in zip(*grown, strict=True):
        assert_close(one, other, rtol=0, atol=0)
    method = Cirh(CirhSettings(**SMALL))
    heads = made_heads(method, view)
    report = method.batch_loss(heads, batch, Moment(0, 1))
    of_heads = (report.values["follow"], report.values["head_relation"])
    reached = torch.autograd.grad(
        of_heads[0] + of_heads[1], list(heads.auxiliary.parameters()), allow_unused=True
    )
    assert set(reached) == {None}


def test_the_defaults_are_the_released_constants() -> None:
    method, training = make_method(Cirh, preset="paper")
    settings = method.settings
    assert (settings.image_weight, settings.direct_share, settings.keep_share) == (0.6, 0.6, 0.4)
    weights = (settings.decode_weight, settings.relation_weight, settings.head_relation_weight)
    assert weights == (10, 1, 0.01)
    assert (training.optimiser, training.learning_rate) == ("adam", 1e-3)
    assert (training.batch_size, training.epochs, training.weight_decay) == (512, 60, 0)
    assert (training.image_scaling, training.text_scaling) == ("centred_rms", "centred_rms")
    heads = Cirh().build_heads(FeatureShapes(4096, 1386, n_pairs=5000), 64)
    assert heads.image.spec()["widths"] == [4096, 4096, 64]
    assert heads.text.spec()["widths"] == [1386, 1386, 64]
    assert heads.image.spec()["dropout"] == heads.text.spec()["dropout"] == 0.3
    assert heads.rate_scales == {"image": 0.1, "text": 0.1}


def test_last_layers_start_with_deviation_one() -> None:
    torch.manual_seed(0)
    heads = Cirh().build_heads(FeatureShapes(8, 600, n_pairs=9), 64)
    for head in (heads.image, heads.text):
        assert isinstance(head, MlpHead)
        last = head.layers[-1]
        assert isinstance(last, nn.Linear)
        assert last.weight.std().item() == pytest.approx(1, abs=0.02)


def test_one_threshold_a_pair_is_all_that_is_kept_of_the_graph() -> None:
    heads = Cirh(CirhSettings(**SMALL)).build_heads(FeatureShapes(4, 6, n_pairs=1234), 8)
    buffers = [one for one in heads.auxiliary.buffers() if one.numel() > 100]
    assert [one.numel() for one in buffers] == [1234]


def test_the_suiting_preset() -> None:
    assert Cirh.preset_for(has_sparse_texts=True) == "paper"
    assert Cirh.preset_for(has_sparse_texts=False) == "dense"


@pytest.mark.parametrize("mode", ["contrastive", "same"])
def test_it_can_be_hugged(mode: str) -> None:
    changes = {
        "hidden_width": 16,
        "fusion_width": 8,
        "batch_size": 16,
        "epochs": 1,
        "hug_width": 8,
        "hug_concepts": 3,
        "hug_trunk_width": 8,
        "hug_trunk_heads": 2,
    }
    changes = changes | NO_REDUCTION
    of, training = configure_hugged_method(Cirh, mode, preset="dense", changes=changes)
    result = train_method(TrainingPlan(of, training, 12), made_pairs().data(n_items=64))
    assert result.hasher.n_bits == 12
    assert result.log[0]["hug"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"text_hidden_width": -1}, "text_hidden_width is -1, expected 0 or more"),
        ({"dropout": 1.0}, "dropout is 1.0, expected in [0, 1)"),
        ({"fusion_width": 0}, "fusion_width is 0, expected at least 1"),
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
        ({"keep_share": 0.0}, "keep_share is 0.0, expected in (0, 1]"),
        ({"graph_nodes": 0}, "graph_nodes is 0, expected at least 1"),
        ({"direct_share": -0.1}, "direct_share is -0.1, expected in [0, 1]"),
        ({"decode_weight": math.nan}, "decode_weight is nan, expected 0 or more"),
        ({"head_rate_scale": 0.0}, "head_rate_scale is 0.0, expected positive"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        CirhSettings(**changes)
