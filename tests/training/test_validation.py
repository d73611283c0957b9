import logging

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modalhash.layers import FeatureScaling, LinearHead, ScalingRule
from modalhash.methods.base import TrainingSettings
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.training.pairs import TrainingData
from modalhash.training.validation import constant_bits, pair_recall, warn_of_collapse
from tests.oracles.paired_features import PlainTable
from tests.oracles.plain_search import plain_distance

Floats = NDArray[np.float32]


def sign_hasher(n_bits: int) -> Hasher:
    """A hasher whose codes are the signs of the features."""

    def tower() -> HashTower:
        head = LinearHead(n_bits, n_bits)
        with torch.no_grad():
            head.map.weight.copy_(torch.eye(n_bits))
            head.map.bias.zero_()
        return HashTower(FeatureScaling(ScalingRule.NONE, n_bits), head)

    return Hasher(tower(), tower())


def data_of(image: Floats, text: Floats, *, per_item: int = 1) -> TrainingData:
    """Items whose first caption has the features given; the others have its opposite."""
    n = len(image)
    texts = np.repeat(text, per_item, axis=0)
    texts[np.arange(len(texts)) % per_item > 0] *= -1
    starts = np.arange(n + 1) * per_item
    return TrainingData(PlainTable(image), PlainTable(texts), starts, np.arange(n))


def signs(n: int, n_bits: int, seed: int) -> Floats:
    drawn = np.random.default_rng(seed).integers(0, 2, (n, n_bits)) * 2 - 1
    return drawn.astype(np.float32)


def plain_recall(queries: Floats, database: Floats) -> float:
    """Probability that a random order of ties puts the partner among the first ten, averaged."""
    packed_queries, packed_database = (
        np.packbits(one > 0, axis=1, bitorder="little") for one in (queries, database)
    )
    chances = []
    for place, query in enumerate(packed_queries):
        distances = [plain_distance(query, code) for code in packed_database]
        nearer = sum(one < distances[place] for one in distances)
        tied = sum(one == distances[place] for one in distances)
        chances.append(min(max((10 - nearer) / tied, 0), 1))
    return sum(chances) / len(chances)


@pytest.mark.parametrize("n_bits", [4, 8, 13])
def test_recall_against_loops(n_bits: int) -> None:
    image, noise = signs(40, n_bits, 0), signs(40, n_bits, 1)
    text = np.where(np.random.default_rng(2).random((40, n_bits)) < 0.3, noise, image)
    items = np.random.default_rng(3).permutation(40)[:25]
    found = pair_recall(sign_hasher(n_bits), data_of(image, text, per_item=2), items)
    one, other = image[items], text[items]
    expected = (plain_recall(one, other) + plain_recall(other, one)) / 2
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.3 < found < 1


def test_recall_of_perfect_and_of_empty_codes() -> None:
    distinct = np.array(
        [[1 if place >> bit & 1 else -1 for bit in range(5)] for place in range(32)]
    )
    image = distinct.astype(np.float32)
    assert pair_recall(sign_hasher(5), data_of(image, image), np.arange(32)) == 1
    same = np.ones((32, 5), np.float32)
    found = pair_recall(sign_hasher(5), data_of(same, same), np.arange(32))
    assert found == pytest.approx(10 / 32)


def test_constant_bits_are_counted_by_modality() -> None:
    image, text = signs(50, 6, 0), signs(50, 6, 1)
    image[:, 2] = 1
    text[:, [0, 4, 5]] = -1
    assert constant_bits(sign_hasher(6), data_of(image, text)) == (1, 3)
    one = data_of(image[:1], text[:1])
    assert constant_bits(sign_hasher(6), one) == (6, 6)


def test_large_sets_are_sampled_and_read_in_parts() -> None:
    image, text = signs(9_000, 6, 0), signs(9_000, 6, 1)
    data = data_of(image, text)
    constant_bits(sign_hasher(6), data)
    pair_recall(sign_hasher(6), data, np.arange(3_000))
    for table in (data.image, data.text):
        assert isinstance(table, PlainTable)
        assert table.most_rows <= 1_024


def test_the_advice_leaves_out_what_is_set_already(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        settings = TrainingSettings(image_scaling=ScalingRule.CENTRED_UNIT)
        warn_of_collapse((5, 0), 16, 2, settings)
    message = (
        "after epoch 3, 5 of 16 image bits are the same for every training item: codes are "
        "collapsing; lower learning_rate, or raise batch_size, choose another --preset, or look "
        "for image features that are all alike"
    )
    assert caplog.messages == [message]


def test_a_collapse_is_told_with_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="modalhash"):
        warn_of_collapse((4, 5), 16, 2, TrainingSettings())
    message = (
        "after epoch 3, 5 of 16 text bits are the same for every training item: codes are "
        "collapsing; lower learning_rate, or scale the features (--set text_scaling=centred_unit)"
    )
    assert [record.getMessage() for record in caplog.records] == [message]
    assert caplog.records[0].name == "modalhash.training.validation"
