import math
import re
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import KernelHead, ModalityFeatures
from modalhash.methods.base import FeatureShapes, Moment
from modalhash.methods.code_lengths import code_lengths
from modalhash.methods.item_blocks import item_blocks
from modalhash.methods.nested import Nested
from modalhash.methods.nested_labelled import NestedLabelled, NestedLabelledSettings
from modalhash.methods.nested_memory import Memory
from modalhash.methods.nested_method import NestedHeads, NestedSettings
from modalhash.methods.shared_space import first_weights, principal_directions, row_moments
from tests.oracles.texts_view import IMAGE_WIDTH, N_ITEMS, N_TEXTS, TEXT_WIDTH, TextsView, unit

N_BITS = 6
SMALL: dict[str, Any] = {"hidden_width": 5, "dropout": 0.0, "shortest": 3, "target_width": 5}


def ready(method: Nested | NestedLabelled, view: TextsView, n_bits: int = N_BITS) -> NestedHeads:
    torch.manual_seed(0)
    shapes = FeatureShapes(
        IMAGE_WIDTH, TEXT_WIDTH, n_classes=4, n_pairs=view.n_pairs, n_items=view.n_pairs // N_TEXTS
    )
    heads = method.build_heads(shapes, n_bits)
    with torch.no_grad():
        method.before_training(heads, view)
    return heads


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_items_come_whole_and_once(size: int) -> None:
    view = TextsView(size=size)
    blocks = list(item_blocks(view.batches(0)))
    assert_close(torch.cat([one.image for one in blocks]), view.image, rtol=0, atol=0)
    assert_close(torch.cat([one.text for one in blocks]), view.text[::2], rtol=0, atol=0)
    means = unit((view.text[::2] + view.text[1::2]) / 2)
    assert_close(torch.cat([one.mean_text for one in blocks]), means, rtol=1e-6, atol=1e-6)
    labels = torch.cat([one.labels for one in blocks if one.labels is not None])
    assert_close(labels, view.labels, rtol=0, atol=0)
    assert torch.cat([one.n_texts for one in blocks]).tolist() == [N_TEXTS] * N_ITEMS


def test_directions_are_those_of_largest_variance() -> None:
    torch.manual_seed(0)
    covariance = torch.diag(torch.tensor([1.0, 9.0, 4.0])).double()
    found = principal_directions(covariance, 2)
    expected = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    assert_close(found.abs(), expected, rtol=1e-6, atol=1e-6)


def test_moments_of_blocks_are_those_of_all_rows() -> None:
    rows = torch.randn(11, 3)
    rows[:, 1] = 0
    mean, covariance = row_moments(iter([rows[:4], rows[4:]]))
    assert_close(mean, rows.double().mean(0), rtol=1e-6, atol=1e-6)
    assert_close(covariance, torch.cov(rows.double().T, correction=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_one_modality_alone_makes_items_alike(weight: float) -> None:
    view = TextsView()
    settings = NestedSettings(**{**SMALL, "target_width": 99}, image_weight=weight)
    memory = ready(Nested(settings), view).auxiliary["memory"]
    assert isinstance(memory, Memory)
    rows = view.image if weight else unit(view.text[::2] + view.text[1::2])
    centred = rows - rows.mean(0)
    assert_close(memory.targets @ memory.targets.T, centred @ centred.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("n_bits", [2, 3, 5])
def test_first_weights_keep_angles_and_make_sizes_of_one(n_bits: int, rotates: bool) -> None:
    points = torch.randn(50, 3)
    generator = torch.Generator().manual_seed(0)
    weights = first_weights(points, n_bits, generator, rotates=rotates)
    assert weights.shape == (3, n_bits)
    assert_close((points @ weights).abs().mean(), torch.tensor(1.0), rtol=1e-5, atol=1e-5)
    kept = min(n_bits, 3)
    gram = (weights @ weights.T)[:kept, :kept]
    assert_close(gram / gram[0, 0], torch.eye(kept), rtol=1e-5, atol=1e-5)


def test_first_weights_are_principal_directions_as_they_come() -> None:
    points = torch.tensor([[3.0, -1.0, 1.0], [-5.0, 1.0, 0.0]])
    weights = first_weights(points, 2, torch.Generator())
    size = (3 + 5 + 1 + 1) / 4
    expected = torch.tensor([[1 / size, 0.0], [0.0, 1 / size], [0.0, 0.0]])
    assert_close(weights, expected, rtol=1e-6, atol=0)


def test_what_is_kept_of_training_items() -> None:
    view = TextsView()
    method = Nested(NestedSettings(**{**SMALL, "target_width": 99}))
    memory = ready(method, view).auxiliary["memory"]
    assert isinstance(memory, Memory)
    assert memory.owners.tolist() == [item for item in range(N_ITEMS) for _ in range(N_TEXTS)]
    rows = torch.cat(
        [math.sqrt(0.2) * view.image, math.sqrt(0.8) * unit(view.text[::2] + view.text[1::2])], 1
    )
    centred = rows - rows.mean(0)
    assert_close(memory.targets @ memory.targets.T, centred @ centred.T, rtol=1e-4, atol=1e-5)
    # Stored pictures are fitted ones, unseen pictures what all others predict (see layers' tests).
    kernel = torch.exp(-(torch.cdist(view.image, view.image) ** 2))
    inverse = torch.linalg.inv(kernel + 0.1 * torch.eye(N_ITEMS))
    fitted = kernel @ inverse @ memory.targets
    assert_close(memory.points[1], fitted, rtol=1e-3, atol=1e-4)
    left_out = memory.targets - (inverse @ memory.targets) / inverse.diagonal()[:, None]
    assert_close(memory.points[0], left_out, rtol=1e-3, atol=1e-4)
    # Each text is met as by a regression of the first texts of all other items.
    first = view.text[::2]
    for text in range(N_ITEMS * N_TEXTS):
        others = torch.arange(N_ITEMS) != text // N_TEXTS
        kernel = torch.exp(-(torch.cdist(first[others], first[others]) ** 2))
        solved = torch.linalg.solve(kernel + 0.1 * torch.eye(N_ITEMS - 1), memory.targets[others])
        across = torch.exp(-((view.text[text] - first[others]).square().sum(dim=1)))
        assert_close(memory.texts[text], across @ solved, rtol=1e-3, atol=1e-4)


def test_a_batch_meets_each_of_its_items_once() -> None:
    view = TextsView()
    memory = ready(Nested(NestedSettings(**SMALL)), view).auxiliary["memory"]
    assert isinstance(memory, Memory)
    targets, points = memory(torch.tensor([5, 4, 0, 1]))
    assert_close(targets, memory.targets[[0, 2]], rtol=0, atol=0)
    assert_close(points[[0, 2, 3]], memory.points[:, [0, 2]], rtol=0, atol=0)
    assert_close(points[1], memory.texts[[0, 4]], rtol=0, atol=0)


def dot(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


def plain_terms(
    method: Nested, heads: NestedHeads, texts: list[int], done: float, *, queries_are_codes: bool
) -> dict[str, float]:
    """The objective as the module's docstring writes it, pair by pair."""
    settings, memory, head = method.settings, heads.auxiliary["memory"], heads.image
    assert isinstance(memory, Memory)
    assert isinstance(head, KernelHead)
    items = [text // N_TEXTS for text in texts]
    rows = (memory.points[0, items], memory.texts[texts], *memory.points[1:, items])
    linear = [head.bits(one).tolist() for one in rows]
    factor = 1 + settings.sharpening * done
    if queries_are_codes:
        linear = [[[math.tanh(factor * bit) for bit in row] for row in part] for part in linear]
        stored = linear
    else:
        stored = [[[math.copysign(1, bit) for bit in row] for row in part] for part in linear]
    targets = memory.targets[items].tolist()
    n = len(items)
    alike = [[dot(one, other) for other in targets] for one in targets]
    totals = dict.fromkeys(("pairs", "neighbours", "similarities"), 0.0)
    for length, share in ((3, 0.5), (6, 0.5)):
        image_query, text_query, *_ = ([row[:length] for row in part] for part in linear)
        image, text, stored_image, stored_text = ([row[:length] for row in part] for part in stored)

        def cosine(one: list[float], other: list[float]) -> float:
            return dot(one, other) / math.hypot(*one) / math.hypot(*other)

        def shares(values: list[float]) -> list[float]:
            return [math.exp(value) / sum(map(math.exp, values)) for value in values]

        for asking, found in ((image_query, text), (text_query, image)):
            for i in range(n):
                row = shares([cosine(asking[i], one) / 0.15 for one in found])
                totals["pairs"] -= share * math.log(row[i]) / n / 2
        cosines, truths = [], []
        for asking, found in ((image_query, stored_text), (text_query, stored_image)):
            for i in range(n):
                wanted = shares([value / 0.15 for value in alike[i]])
                given = shares([cosine(asking[i], one) / 0.2 for one in found])
                for j in range(n):
                    totals["neighbours"] -= share * wanted[j] * math.log(given[j]) / n / 2
                    cosines.append(cosine(asking[i], found[j]))
                    truths.append(alike[i][j])
        multiple = max(0.0, dot(cosines, truths) / dot(cosines, cosines))  # least squares
        gaps = [multiple * one - truth for one, truth in zip(cosines, truths, strict=True)]
        totals["similarities"] += share * dot(gaps, gaps) / n / n / 2
    return totals


@pytest.mark.parametrize("hamming_share", [0.0, 0.25, 1.0])
def test_the_objective_is_that_of_plain_loops(hamming_share: float) -> None:
    view = TextsView()
    method = Nested(NestedSettings(**SMALL, pair_emphasis=0.3, hamming_share=hamming_share))
    heads = ready(method, view)
    report = method.batch_loss(heads, view.batch(torch.tensor([8, 3, 0, 13])), Moment(1, 4, 1, 2))
    numbers, codes = (
        plain_terms(method, heads, [0, 3, 8, 13], 1.5 / 4, queries_are_codes=are_codes)
        for are_codes in (False, True)
    )
    expected = {
        name: (1 - hamming_share) * value + hamming_share * codes[name]
        for name, value in numbers.items()
    }
    for name, value in expected.items():
        assert report.values[name].item() == pytest.approx(value, rel=1e-4, abs=1e-5)
    kind = expected["neighbours"] + 20 * expected["similarities"]
    total = 0.3 * expected["pairs"] + 0.7 * kind
    assert report.total.item() == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_gradients_reach_the_bits_alone() -> None:
    view, method = TextsView(), Nested(NestedSettings(**SMALL))
    heads = ready(method, view)
    total = method.batch_loss(heads, view.batch(torch.arange(12)), Moment(0, 1)).total
    torch.autograd.backward(total)
    learned = [name for name, one in heads.modules().named_parameters() if one.grad is not None]
    assert learned
    assert all(".bits." in name for name in learned)
    assert heads.image.bits is heads.text.bits


def test_a_batch_of_one_item_is_finite() -> None:
    view, method = TextsView(), Nested(NestedSettings(**SMALL))
    report = method.batch_loss(ready(method, view), view.batch(torch.tensor([4, 5])), Moment(0, 1))
    assert math.isfinite(report.total.item())


def test_fitted_items_can_stand_for_left_out_ones() -> None:
    view = TextsView()
    memory = ready(Nested(NestedSettings(**SMALL, left_out=False)), view).auxiliary["memory"]
    assert isinstance(memory, Memory)
    assert_close(memory.points[0], memory.points[1], rtol=0, atol=0)
    assert_close(memory.texts, memory.points[2].repeat_interleave(2, dim=0), rtol=0, atol=0)


def test_a_loss_without_any_weight_is_refused() -> None:
    view = TextsView()
    settings = NestedSettings(
        **SMALL, pair_emphasis=0.0, neighbour_weight=0.0, similarity_weight=0.0
    )
    method = Nested(settings)
    report = method.batch_loss(ready(method, view), view.batch(torch.arange(6)), Moment(0, 1))
    message = "the weights of pairs, neighbours, similarities are all 0: nothing teaches the codes"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        _ = report.total


def test_labels_are_a_part_of_what_makes_items_alike() -> None:
    view = TextsView()
    settings = NestedLabelledSettings(**{**SMALL, "target_width": 99}, label_weight=0.3)
    memory = ready(NestedLabelled(settings), view).auxiliary["memory"]
    assert isinstance(memory, Memory)
    labels = view.labels / view.labels.norm(dim=1, keepdim=True).clamp_min(1e-9)
    rows = torch.cat(
        [
            math.sqrt(0.7 * 0.2) * view.image,
            math.sqrt(0.7 * 0.8) * unit(view.text[::2] + view.text[1::2]),
            math.sqrt(0.3) * labels,
        ],
        1,
    )
    centred = rows - rows.mean(0)
    assert_close(memory.targets @ memory.targets.T, centred @ centred.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_weight": 1.5}, "image_weight is 1.5, expected in [0, 1]"),
        ({"ridge": 0.0}, "ridge is 0.0, expected positive"),
        ({"pair_emphasis": 1.5}, "pair_emphasis is 1.5, expected in [0, 1]"),
        ({"target_width": 0}, "target_width is 0, expected at least 1"),
        ({"shortest": -1}, "shortest is -1, expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        NestedSettings(**change)
    with pytest.raises(SettingError, match=re.escape(message)):
        NestedLabelledSettings(**change)


def test_lengths() -> None:
    assert code_lengths(128, 16) == [16, 32, 64, 128]
    assert code_lengths(13, 16) == [13]


class ExchangedView(TextsView):
    """Items whose texts tell the picture, but for a share of them, which have those of others."""

    def __init__(self, n_items: int, share: float) -> None:
        super().__init__(n_items, size=64)
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(n_items * N_TEXTS, TEXT_WIDTH, generator=generator)
        owners = torch.arange(n_items)
        n_wrong = round(share * n_items)
        owners[:n_wrong] = owners[:n_wrong].roll(1)
        self.image = unit(torch.randn(n_items, IMAGE_WIDTH, generator=generator))
        # A picture's first numbers are known from its texts.
        told = self.image[:, :TEXT_WIDTH][owners].repeat_interleave(N_TEXTS, dim=0)
        self.text = unit(told + 0.05 * noise)
        self.n_wrong = n_wrong


def test_wrong_pairs_take_no_part_and_right_ones_stay() -> None:
    view = ExchangedView(400, 0.3)
    memory = ready(Nested(NestedSettings(**SMALL)), view).memory
    assert isinstance(memory, Memory)
    is_wrong = torch.arange(400) < view.n_wrong
    assert float(memory.is_trusted[is_wrong].float().mean()) < 0.2
    assert float(memory.is_trusted[~is_wrong].float().mean()) > 0.9
    targets, points = memory(torch.arange(view.n_pairs))
    assert len(targets) == points.shape[1] == int(memory.is_trusted.sum())
    # Where hardly an item is trusted, none is left out.
    suspect = int((~memory.is_trusted).nonzero()[0])
    assert len(memory(torch.tensor([N_TEXTS * suspect]))[0]) == 1


def test_regressions_of_weighed_pairs_are_nearer_to_those_of_right_pairs() -> None:
    view, right = ExchangedView(400, 0.3), ExchangedView(400, 0.0)
    errors = []
    for weighs_pairs in (False, True):
        heads = ready(Nested(NestedSettings(**SMALL, weighs_pairs=weighs_pairs)), view)
        with torch.no_grad():
            image = heads.image.common(ModalityFeatures(right.image))
            text = heads.text.common(ModalityFeatures(right.text[::N_TEXTS]))
        errors.append(float(1 - torch.cosine_similarity(image, text).mean()))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("n_items", [60, 400])
def test_clean_pairs_change_nothing(n_items: int) -> None:
    view = ExchangedView(n_items, 0.0)
    trusting, weighing = (
        ready(Nested(NestedSettings(**SMALL, weighs_pairs=weighs_pairs)), view)
        for weighs_pairs in (False, True)
    )
    assert isinstance(weighing.memory, Memory)
    assert bool(weighing.memory.is_trusted.all())
    for mine, other in zip(
        trusting.modules().state_dict().values(),
        weighing.modules().state_dict().values(),
        strict=True,
    ):
        assert_close(mine, other, rtol=0, atol=0)
