from collections import Counter

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from modalhash.layers import FeatureScaling, ScalingRule
from modalhash.methods.base import Batch, CaptionChoice
from modalhash.training.pairs import Pairs, TrainingData
from tests.oracles.paired_features import PlainTable

# Six items with 2, 1, 3, 1, 2, 4 captions; an item's picture is its number, a caption's feature
# says its row. Item 3 is no training item, and the order of the items is theirs to choose.
STARTS = np.array([0, 2, 3, 6, 7, 9, 13])
ITEMS = np.array([4, 0, 1, 5, 2])
LABELS = np.eye(6, dtype=np.uint8)
IMAGE = PlainTable(np.arange(6, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32))
TEXT = PlainTable(np.arange(13, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32))
CAPTIONS_OF = {item: set(range(STARTS[item], STARTS[item + 1])) for item in range(6)}
CPU = torch.device("cpu")


def made_data() -> TrainingData:
    return TrainingData(IMAGE, TEXT, STARTS, ITEMS, LABELS)


def made_view(choice: CaptionChoice, data: TrainingData | None = None) -> Pairs:
    image, text = (FeatureScaling(ScalingRule.NONE, width) for width in (3, 2))
    return Pairs(data or made_data(), choice, image, text, CPU)


def numbers(features: Tensor) -> list[float]:
    assert bool((features == features[:, :1]).all())
    return [float(value) for value in features[:, 0]]


def joined(batches: list[Batch]) -> list[tuple[int, float, float]]:
    """Position, item and caption row (or its mean) of each pair, in the order they came."""
    return [
        (position, item, caption)
        for batch in batches
        for position, item, caption in zip(
            batch.positions.tolist(),
            numbers(batch.image.pooled),
            numbers(batch.text.pooled),
            strict=True,
        )
    ]


def epoch_of(
    view: Pairs, epoch: int, *, seed: int = 0, batch_size: int = 2, drop_last: bool = False
) -> list[Batch]:
    return list(view.epoch(epoch, seed, batch_size, drop_last=drop_last))


@pytest.mark.parametrize("choice", [CaptionChoice.FIRST, CaptionChoice.RANDOM])
def test_all_pairs_in_order_with_their_first_captions(choice: CaptionChoice) -> None:
    found = joined(list(made_view(choice).batches(2)))
    assert found == [(0, 4, 7), (1, 0, 0), (2, 1, 2), (3, 5, 9), (4, 2, 3)]


def test_every_caption_is_a_pair() -> None:
    view = made_view(CaptionChoice.ALL)
    assert view.n_pairs == 12
    expected = [(item, caption) for item in ITEMS.tolist() for caption in sorted(CAPTIONS_OF[item])]
    for batch_size in (1, 5, 12, 100):
        found = joined(list(view.batches(batch_size)))
        assert [row[0] for row in found] == list(range(12))
        assert [row[1:] for row in found] == expected


def test_the_mean_of_an_item_s_captions() -> None:
    expected = [float(np.mean(list(CAPTIONS_OF[item]))) for item in ITEMS.tolist()]
    view = made_view(CaptionChoice.MEAN)
    assert_allclose([row[2] for row in joined(list(view.batches(3)))], expected, rtol=1e-6)
    by_item = dict(zip(ITEMS.tolist(), expected, strict=True))
    for _, item, caption in joined(epoch_of(view, 0)):
        assert caption == pytest.approx(by_item[int(item)])


@pytest.mark.parametrize("choice", CaptionChoice)
def test_each_epoch_is_a_permutation_of_the_pairs(choice: CaptionChoice) -> None:
    view = made_view(choice)
    orders = set()
    for epoch in range(5):
        rows = joined(epoch_of(view, epoch))
        assert sorted(row[0] for row in rows) == list(range(view.n_pairs))
        orders.add(tuple(row[0] for row in rows))
        for position, item, _ in rows:
            assert item == ITEMS[view.owner[position]]
    assert len(orders) == 5


def test_a_drawn_caption_belongs_to_its_item_and_each_is_drawn_at_times() -> None:
    view = made_view(CaptionChoice.RANDOM)
    drawn: Counter[int] = Counter()
    for epoch in range(200):
        for _, item, caption in joined(epoch_of(view, epoch)):
            assert caption in CAPTIONS_OF[int(item)]
            drawn[int(caption)] += 1
    for item in ITEMS.tolist():
        expected = 200 / len(CAPTIONS_OF[item])
        for caption in CAPTIONS_OF[item]:
            # five standard deviations of a binomial count
            assert abs(drawn[caption] - expected) <= 5 * (200 * 0.25) ** 0.5


@pytest.mark.parametrize("choice", CaptionChoice)
def test_an_epoch_depends_on_seed_and_epoch_alone(choice: CaptionChoice) -> None:
    expected = joined(epoch_of(made_view(choice), 3, seed=7))
    other = made_view(choice)
    for epoch in range(3):
        epoch_of(other, epoch, seed=7)
    torch.manual_seed(5)
    assert joined(epoch_of(other, 3, seed=7)) == expected
    assert joined(epoch_of(other, 3, seed=8)) != expected
    assert joined(epoch_of(other, 4, seed=7)) != expected


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (2, False, [2, 2, 1]), (2, True, [2, 2]), (5, True, [5]), (5, False, [5]),
        (8, True, [5]), (8, False, [5]), (1, True, [1] * 5), (4, True, [4]), (4, False, [4, 1]),
    ],
)  # fmt: skip
def test_batch_sizes(batch_size: int, drop_last: bool, sizes: list[int]) -> None:
    view = made_view(CaptionChoice.FIRST)
    batches = epoch_of(view, 0, batch_size=batch_size, drop_last=drop_last)
    assert [len(batch) for batch in batches] == sizes
    assert view.n_steps(batch_size, drop_last=drop_last) == len(sizes)
    assert [len(batch) for batch in view.batches(batch_size)][-1] in (5 % batch_size, batch_size, 5)


def test_what_is_left_out_changes_from_epoch_to_epoch() -> None:
    view = made_view(CaptionChoice.FIRST)
    seen = {row[0] for epoch in range(20) for row in joined(epoch_of(view, epoch, drop_last=True))}
    assert seen == set(range(5))


@pytest.mark.parametrize("choice", CaptionChoice)
def test_labels_follow_the_items(choice: CaptionChoice) -> None:
    view = made_view(choice)
    for batch in [*epoch_of(view, 0), *view.batches(4)]:
        assert batch.labels is not None
        assert batch.labels.dtype == torch.float32
        assert_array_equal(batch.labels.argmax(dim=1), batch.image.pooled[:, 0])
        assert_array_equal(batch.labels.sum(dim=1), np.ones(len(batch)))


def test_no_labels_and_no_tokens_unless_asked_for() -> None:
    data = TrainingData(IMAGE, TEXT, STARTS, ITEMS)
    for batch in made_view(CaptionChoice.FIRST, data).batches(3):
        assert batch.labels is None
        assert batch.image.tokens is batch.text.tokens is None
        assert batch.image.token_mask is batch.text.token_mask is None


@pytest.mark.parametrize("choice", [CaptionChoice.FIRST, CaptionChoice.ALL, CaptionChoice.RANDOM])
def test_tokens_follow_the_rows(choice: CaptionChoice) -> None:
    image, text = (
        PlainTable(
            table.all_pooled,
            np.repeat(table.all_pooled[:, None, :], 4, axis=1),
            np.arange(4) <= np.arange(len(table))[:, None] % 4,
        )
        for table in (IMAGE, TEXT)
    )
    data = TrainingData(image, text, STARTS, ITEMS, with_tokens=True)
    for batch in epoch_of(made_view(choice, data), 0):
        for features in (batch.image, batch.text):
            assert features.tokens is not None
            assert features.token_mask is not None
            assert_array_equal(features.tokens[:, 2], features.pooled)
            assert_array_equal(features.token_mask.sum(dim=1), features.pooled[:, 0] % 4 + 1)


def test_pooled_features_are_scaled_and_tokens_are_not() -> None:
    scaling = FeatureScaling(ScalingRule.UNIT, 3)
    view = Pairs(
        made_data(), CaptionChoice.FIRST, scaling, FeatureScaling(ScalingRule.NONE, 2), CPU
    )
    (batch,) = view.batches(10)
    lengths = batch.image.pooled.norm(dim=1)
    assert_allclose(lengths, [1, 0, 1, 1, 1], rtol=1e-6)  # item 0 is all zero
    assert_array_equal(batch.text.pooled[:, 0], [7, 0, 2, 9, 3])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.33, 0.5])
def test_held_out_items_are_seeded_and_disjoint(share: float) -> None:
    items = np.random.default_rng(0).permutation(300)[:100]
    data = TrainingData(IMAGE, TEXT, STARTS, items, LABELS, with_tokens=True)
    kept, held = data.without(share, seed=4)
    assert len(held) == round(share * 100)
    assert set(kept.items) | set(held) == set(items)
    assert not set(kept.items) & set(held)
    # the order of the items stays theirs
    order = {item: place for place, item in enumerate(items.tolist())}
    assert sorted(kept.items.tolist(), key=order.__getitem__) == kept.items.tolist()
    assert_array_equal(data.without(share, seed=4)[1], held)
    if share:
        assert set(data.without(share, seed=5)[1]) != set(held)
    assert (kept.image, kept.text, kept.labels, kept.with_tokens) == (IMAGE, TEXT, LABELS, True)
    assert len(data.items) == 100
