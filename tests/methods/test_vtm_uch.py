import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import MlpHead
from modalhash.methods.base import Batch, FeatureShapes, Moment
from modalhash.methods.hugged_method import configure_hugged_method
from modalhash.methods.settings import make_method
from modalhash.methods.vtm_uch import (
    PairKnowledge,
    VtmUch,
    VtmUchHeads,
    VtmUchSettings,
    alignment_loss,
    code_products,
    cosine_threshold,
    quantised_similarity,
    stretched_similarity,
)
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_graphs as graphs
from tests.oracles import plain_losses as plain
from tests.oracles.paired_features import made_pairs
from tests.oracles.plain_statistics import code_statistics
from tests.oracles.view_of_pairs import MadeView

IMAGE_WIDTH, TEXT_WIDTH, N_BITS, N_PAIRS = 4, 6, 5, 9
SMALL: dict[str, Any] = {"hidden_width": 7, "n_guides": 3, "most_edges": 3, "image_weight": 0.7}


def made_heads(method: VtmUch, view: MadeView) -> VtmUchHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_pairs=view.n_pairs)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    with torch.no_grad():
        method.before_training(heads, view)
    return heads


def known(heads: VtmUchHeads) -> PairKnowledge:
    return heads.knowledge


def plain_codes(head: object, rows: Tensor) -> plain.Matrix:
    assert isinstance(head, MlpHead)
    values = rows.tolist()
    for part in head.layers:
        if isinstance(part, nn.Linear):
            values = plain.affine(values, part.weight.tolist(), part.bias.tolist())
        else:
            values = graphs.positive(values)
    return [[math.tanh(value) for value in row] for row in values]


def plain_guided_texts(settings: VtmUchSettings, view: MadeView) -> plain.Matrix:
    """Texts mixed with the mean of those of the nearest other pictures; all pairs are nodes."""
    images = plain.cosines(view.image.tolist(), view.image.tolist())
    texts = [plain.unit(row) for row in view.text.tolist()]
    shift = view.n_pairs // 2 if settings.shuffled_guides else 0
    mixed = []
    for i, own in enumerate(texts):
        j = (i - shift) % view.n_pairs
        others = [place for place in range(view.n_pairs) if place != j]
        near = sorted(others, key=lambda place: -images[j][place])[: settings.n_guides]
        mean = [sum(texts[place][k] for place in near) / len(near) for k in range(TEXT_WIDTH)]
        share = settings.guide_share
        mixed.append([(1 - share) * own[k] + share * mean[k] for k in range(TEXT_WIDTH)])
    return mixed


def plain_threshold(cosines: plain.Rows, deviations: float) -> float:
    values = [line[j] for i, line in enumerate(cosines) for j in range(len(line)) if i != j]
    return float(np.mean(values) + deviations * np.std(values))


def plain_target(settings: VtmUchSettings, view: MadeView, centres: list[int]) -> plain.Matrix:
    """Over all pairs, from the centres that the method found."""
    texts = plain_guided_texts(settings, view)
    among_texts = plain.cosines(texts, texts)
    among_images = plain.cosines(view.image.tolist(), view.image.tolist())
    image_limit = plain_threshold(among_images, settings.image_deviations)
    text_limit = plain_threshold(among_texts, settings.text_deviations)
    weights = (settings.image_weight, 1 - settings.image_weight)
    joined = plain.weighted_sum(weights, (among_images, among_texts))
    far, target = settings.far_target, []
    for i in range(view.n_pairs):
        row = []
        for j in range(view.n_pairs):
            low = min(joined[i])
            kept = far + (1 - far) * (joined[i][j] - low) / (1 - low)
            alike = i == j or among_images[i][j] > image_limit or among_texts[i][j] > text_limit
            same = centres[i] == centres[j] if settings.communities else alike
            quantised = (1.0 if alike else far) if alike == same else kept
            row.append((1 - settings.quantised_share) * kept + settings.quantised_share * quantised)
        target.append(row)
    return target


def products(rows: plain.Rows, others: plain.Rows) -> plain.Matrix:
    return [[plain.dot(row, other) / len(row) for other in others] for row in rows]


def values(method: VtmUch, heads: VtmUchHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(3, 20))
    return {"total": report.total.item()} | {
        name: term.item() for name, term in report.values.items()
    }


@pytest.mark.parametrize("times", [1.0, 100.0])
@pytest.mark.parametrize("chosen", [[4, 1], [8, 0, 3, 5, 2], list(range(N_PAIRS))])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"quantised_share": 0.3, "text_share": 0.5, "by_cosine": True},
        {"guide_share": 0.0, "image_deviations": 0.2, "far_target": -0.4},
        {"guide_share": 1.0, "text_deviations": 0.0, "image_weight": 0.0},
        {"communities": False, "alignment_weight": 0.0},
        {"shuffled_guides": True, "midpoints": False, "quantised_share": 0.0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], chosen: list[int], times: float
) -> None:
    method = VtmUch(VtmUchSettings(**SMALL | changes))
    settings, view = method.settings, MadeView(N_PAIRS, IMAGE_WIDTH, TEXT_WIDTH, times=times)
    heads, batch = made_heads(method, view), view.batch(torch.tensor(chosen))
    everywhere = plain_target(settings, view, known(heads).centres.tolist())
    target = [[everywhere[i][j] for j in chosen] for i in chosen]
    image, text = (
        plain_codes(head, part.pooled)
        for head, part in ((heads.image, batch.image), (heads.text, batch.text))
    )
    compare = plain.cosines if settings.by_cosine else products
    images, texts, across = compare(image, image), compare(text, text), compare(image, text)
    gap = plain.mean_square_gap
    expected = {
        "similarity": settings.text_share * gap(texts, target)
        + (1 - settings.text_share) * gap(images, target)
        + gap(across, target),
        "alignment": gap(images, texts) + gap(across, images) + gap(across, texts),
    }
    expected["total"] = expected["similarity"] + settings.alignment_weight * expected["alignment"]
    entries = [value for line in target for value in line]
    expected |= {"target_min": min(entries), "target_max": max(entries)}
    actual = values(method, heads, batch)
    for name, value in expected.items():
        assert_allclose(actual[name], value, rtol=1e-6, atol=1e-7, err_msg=name)
    assert set(actual) - set(expected) == {"target_mean", *code_statistics(image, text)}


def test_quantisation_of_four_items_by_hand() -> None:
    # 0 and 1 are alike, so are 1 and 2; 0 and 1 have one centre, 2 and 3 another.
    is_alike = torch.eye(4).bool()
    for first, second in ((0, 1), (1, 2)):
        is_alike[first, second] = is_alike[second, first] = True
    centres = torch.tensor([7, 7, 9, 9])
    undecided = torch.tensor(
        [[0.9, 0.8, 0.1, 0.0], [0.7, 0.9, 0.6, 0.2], [0.1, 0.5, 0.9, 0.4], [0.0, 0.2, 0.3, 0.9]]
    )
    expected = torch.tensor(
        [[1.0, 1.0, -0.5, -0.5], [1.0, 1.0, 0.6, -0.5], [-0.5, 0.5, 1.0, 0.4], [-0.5, -0.5, 0.3, 1]]
    )
    actual = quantised_similarity(undecided, is_alike, centres[:, None] == centres, -0.5)
    assert_close(actual, expected, rtol=0, atol=0)


def test_stretching_by_hand() -> None:
    cosines = torch.tensor([[1.0, 0.5, 0.75], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    least = torch.tensor([0.5, -1.0, 1.0])
    expected = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    assert_close(stretched_similarity(cosines, least, -1.0), expected, rtol=0, atol=1e-6)
    halfway = torch.tensor([0.3])  # from -0.4 to 1, halfway up
    assert_close(
        stretched_similarity(torch.tensor([[0.75]]), torch.tensor([0.5]), -0.4)[0],
        halfway,
        rtol=0,
        atol=1e-6,
    )


def test_thresholds_by_hand() -> None:
    # Cosines of three rows, two of them equal: 1, 0 and 0. Their mean is 1/3, their variance 2/9.
    rows = torch.eye(2)[[0, 0, 1]]
    expected = 1 / 3 + 1.5 * math.sqrt(2 / 9)
    assert float(cosine_threshold(rows, 1.5)) == pytest.approx(expected, rel=1e-12)
    assert float(cosine_threshold(rows[:1], 1.5)) == math.inf
    assert float(cosine_threshold(torch.zeros(3, 2), 1.5)) == 0


def test_terms_by_hand() -> None:
    relaxed = torch.tensor([[0.5, -1.0], [1.0, 1.0]])
    expected = torch.tensor([[1.25 / 2, -0.25], [-0.25, 1.0]])
    assert_close(code_products(relaxed, relaxed), expected, rtol=0, atol=1e-7)
    images, texts, across = torch.eye(2), torch.ones(2, 2), torch.zeros(2, 2)
    gaps = (0 + 1 + 1 + 0) + (1 + 0 + 0 + 1) + (1 + 1 + 1 + 1)
    assert alignment_loss(images, texts, across).item() == pytest.approx(gaps / 4)


class TwoTopics(MadeView):
    """Ten pairs: pictures of two kinds; texts say the kind, but for the last pair's."""

    def __init__(self) -> None:
        super().__init__(10, IMAGE_WIDTH, TEXT_WIDTH)
        small = 0.01 * torch.arange(1, 11).double()[:, None]
        kind = torch.arange(10) // 5
        self.image = torch.eye(IMAGE_WIDTH)[kind].double()
        self.image[:, 2:3] = small
        self.text = torch.eye(TEXT_WIDTH)[kind].double()
        self.text[9] = torch.eye(TEXT_WIDTH)[4]


def test_two_topics_are_two_communities_and_pictures_make_up_for_a_text() -> None:
    view = TwoTopics()
    settings = VtmUchSettings(hidden_width=7, n_guides=2, image_deviations=0.5, text_deviations=0.5)
    heads = made_heads(VtmUch(settings), view)
    centres = known(heads).centres.tolist()
    assert len(set(centres[:5])) == len(set(centres[5:])) == 1
    assert centres[0] != centres[9]
    # The last text is 1/2 its own word and 1/2 the word of its pictures' kind, scaled to length 1.
    guided = known(heads).guided_texts(view.text, torch.arange(10), 0.5)
    expected = torch.zeros(TEXT_WIDTH, dtype=torch.float64)
    expected[[1, 4]] = math.sqrt(0.5)
    assert_close(guided[9], expected, rtol=0, atol=1e-12)
    target = VtmUch(settings).target(known(heads), view.batch(torch.arange(10)))
    signs = torch.where(torch.arange(10)[:, None] // 5 == torch.arange(10) // 5, 1.0, -1.0)
    assert_close(target, signs.double(), rtol=0, atol=0)


def test_pairs_that_are_no_nodes_are_guided_by_nodes_and_have_centres() -> None:
    view = MadeView(20, IMAGE_WIDTH, TEXT_WIDTH)
    settings = VtmUchSettings(**SMALL, graph_nodes=5)
    knowledge = known(made_heads(VtmUch(settings), view))
    nodes = [0, 4, 8, 12, 16]
    assert_allclose(
        knowledge.node_texts, [plain.unit(view.text[node].tolist()) for node in nodes], rtol=1e-6
    )
    cosines = plain.cosines(view.image.tolist(), view.image.tolist())
    for i, line in enumerate(cosines):
        others = sorted((j for j in range(5) if nodes[j] != i), key=lambda j: -line[nodes[j]])
        assert knowledge.guides[i].tolist() == others[:3]
    assert set(knowledge.centres.tolist()) <= set(range(5))


@pytest.mark.parametrize("n_pairs", [1, 2])
def test_one_or_two_pairs_have_a_target(n_pairs: int) -> None:
    view = MadeView(n_pairs, IMAGE_WIDTH, TEXT_WIDTH)
    method = VtmUch(VtmUchSettings(**SMALL))
    heads = made_heads(method, view)
    target = method.target(known(heads), view.batch(torch.arange(n_pairs)))
    assert_close(target.diagonal(), torch.ones(n_pairs).double(), rtol=0, atol=1e-12)


def test_the_target_passes_no_gradient_to_features() -> None:
    method, view = VtmUch(VtmUchSettings(**SMALL)), MadeView(N_PAIRS, IMAGE_WIDTH, TEXT_WIDTH)
    heads = made_heads(method, view)
    with torch.no_grad():
        for parameter in heads.modules().parameters():
            parameter.zero_()
    view.image.requires_grad_()
    report = method.batch_loss(heads, view.batch(torch.arange(4)), Moment(0, 1))
    (gradient,) = torch.autograd.grad(report.total, [view.image])
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=0)


def test_the_defaults_are_the_released_constants() -> None:
    method, training = make_method(VtmUch, preset="paper")
    settings = method.settings
    assert (settings.text_share, settings.alignment_weight) == (0.1, 1.0)
    assert (settings.image_deviations, settings.far_target) == (1.1, -1.0)
    assert (settings.image_weight, settings.quantised_share) == (1.0, 1.0)
    assert (training.batch_size, training.learning_rate, training.epochs) == (128, 1e-4, 30)
    assert training.weight_decay == 0.01
    heads = VtmUch().build_heads(FeatureShapes(512, 512, n_pairs=5000), 64)
    assert heads.image.spec()["widths"] == [512, 2048, 64]
    assert heads.text.spec()["widths"] == [512, 2048, 64]


def test_the_suiting_preset() -> None:
    assert VtmUch.preset_for(has_sparse_texts=True) == "paper"
    assert VtmUch.preset_for(has_sparse_texts=False) == "dense"


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
        "image_token_grid": 0,
        "image_token_width": 0,
        "text_token_width": 0,
    }
    of, training = configure_hugged_method(VtmUch, mode, preset="dense", changes=changes)
    result = train_method(TrainingPlan(of, training, 12), made_pairs().data(n_items=64))
    assert result.hasher.n_bits == 12
    assert result.log[0]["hug"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"guide_share": 1.5}, "guide_share is 1.5, expected in [0, 1]"),
        ({"n_guides": 0}, "n_guides is 0, expected at least 1"),
        ({"image_deviations": -1.0}, "image_deviations is -1.0, expected 0 or more"),
        ({"text_deviations": math.nan}, "text_deviations is nan, expected 0 or more"),
        ({"image_weight": -0.1}, "image_weight is -0.1, expected in [0, 1]"),
        ({"graph_nodes": 1}, "graph_nodes is 1, expected at least 2"),
        ({"most_edges": 0}, "most_edges is 0, expected at least 1"),
        ({"resolution": 0.0}, "resolution is 0.0, expected positive"),
        ({"most_communities": 0}, "most_communities is 0, expected at least 1"),
        ({"community_seed": -1}, "community_seed is -1, expected 0 or more"),
        ({"far_target": 1.0}, "far_target is 1.0, expected in [-1, 1)"),
        ({"quantised_share": 1.1}, "quantised_share is 1.1, expected in [0, 1]"),
        ({"text_share": -0.5}, "text_share is -0.5, expected in [0, 1]"),
        ({"alignment_weight": -1.0}, "alignment_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        VtmUchSettings(**changes)
