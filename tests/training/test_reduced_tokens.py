import logging

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from modalhash.layers import ModalityFeatures, TokenReduction
from modalhash.methods.base import CaptionChoice
from modalhash.methods.hasher import HashTower
from modalhash.methods.hugging_hash import HuggingHash
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, TrainingResult, train_method
from modalhash.training.reduced_tokens import ReducedTable, fit_reduction
from tests.oracles.paired_features import MadePairs, PlainTable, made_pairs

Rows = NDArray[np.int64]
EVERY = np.arange(40)


def grid_table(n: int = 40, side: int = 3, width: int = 6) -> PlainTable:
    generator = np.random.default_rng(0)
    tokens = generator.normal(size=(n, side * side, width)).astype(np.float32)
    mask = np.ones((n, side * side), np.bool_)
    return PlainTable(generator.normal(size=(n, 5)).astype(np.float32), tokens, mask)


def ragged_table(n: int = 40, length: int = 5, width: int = 6) -> PlainTable:
    made = grid_table(n, 3, width)
    assert made.all_tokens is not None
    mask = np.arange(length) < np.arange(n)[:, None] % (length + 1)
    return PlainTable(made.all_pooled, made.all_tokens[:, :length], mask)


def reduction_of(table: PlainTable, *, width: int = 2, grid: int = 0) -> TokenReduction | None:
    return fit_reduction(table, EVERY, width=width, grid=grid, modality="image")


def reduced_by_hand(reduction: TokenReduction, table: PlainTable, row: int) -> NDArray[np.float32]:
    """An item's reduced real tokens, alone."""
    tokens, mask = table.tokens(np.array([row]))
    made = reduction(
        ModalityFeatures(torch.zeros(1, 1), torch.from_numpy(tokens), torch.from_numpy(mask))
    )
    assert made.tokens is not None
    assert made.token_mask is not None
    rows: NDArray[np.float32] = made.tokens[made.token_mask].numpy()
    return rows


@pytest.mark.parametrize("memory", [1 << 20, 120, 0])
@pytest.mark.parametrize("table", [grid_table(), ragged_table()])
def test_tokens_are_the_same_kept_or_read_anew(table: PlainTable, memory: int) -> None:
    grid = 2 if table.token_shape == (9, 6) else 0
    reduction = reduction_of(table, grid=grid)
    assert reduction is not None
    reduced = ReducedTable(table, reduction, EVERY[5:], memory=memory)
    for rows in (EVERY[30:], EVERY[[7, 39, 8, 7]], EVERY[:9], EVERY[[5]]):
        tokens, mask = reduced.tokens(rows)
        assert tokens.dtype == np.float32
        for place, row in enumerate(rows):
            assert_allclose(
                tokens[place][mask[place]],
                reduced_by_hand(reduction, table, int(row)),
                rtol=2e-3,
                atol=2e-3,
            )
        assert not tokens[~mask].any()
    assert_array_equal(reduced.pooled(EVERY), table.pooled(EVERY))
    assert (reduced.width, reduced.dtype, len(reduced)) == (5, "float32", 40)
    assert reduced.token_shape[1] == 2


def test_kept_tokens_are_read_once() -> None:
    table = ragged_table()
    reduction = reduction_of(table)
    assert reduction is not None
    reduced = ReducedTable(table, reduction, EVERY)
    table.all_tokens = None  # reading again would fail
    reduced.tokens(EVERY)


def test_what_does_not_fit_in_memory_is_said(caplog: pytest.LogCaptureFixture) -> None:
    table = ragged_table()
    reduction = reduction_of(table)
    assert reduction is not None
    with caplog.at_level(logging.INFO):
        ReducedTable(table, reduction, EVERY, memory=10)
    said = (
        "reduced tokens of 40 rows take more than 0 MiB: the others are reduced whenever they are "
        "read"
    )
    assert caplog.messages == [said]


def test_what_is_done_to_tokens_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        reduction = reduction_of(grid_table(), width=2, grid=2)
    assert caplog.messages == ["image tokens: 3 x 3 pooled to 2 x 2, width 6 projected to 2"]
    assert reduction is not None
    assert reduction.spec() == {"token_width": 6, "width": 2, "side": 3, "grid": 2}


@pytest.mark.parametrize(
    ("table", "width", "grid"),
    [
        (grid_table(), 6, 3),
        (grid_table(), 9, 4),
        (grid_table(), 0, 0),
        (ragged_table(length=4), 6, 1),  # not every item has the whole square
        (ragged_table(length=5), 7, 2),
    ],
)
def test_tokens_that_are_small_enough_stay(table: PlainTable, width: int, grid: int) -> None:
    assert reduction_of(table, width=width, grid=grid) is None


def trained(made: MadePairs, **changes: object) -> TrainingResult:
    method, training = make_method(
        HuggingHash,
        changes={
            "hidden_width": 16,
            "hug_width": 8,
            "hug_trunk_width": 8,
            "hug_trunk_heads": 2,
            "epochs": 2,
            "batch_size": 32,
            "image_token_width": 6,
            "text_token_width": 5,
        }
        | changes,
    )
    return train_method(TrainingPlan(method, training, 8), made.data())


@pytest.mark.parametrize("captions", [one for one in CaptionChoice if one != CaptionChoice.MEAN])
def test_each_epoch_reads_tokens_from_memory_and_the_model_from_what_comes(
    captions: CaptionChoice,
) -> None:
    made = made_pairs(80, 30)
    hasher = trained(made, captions=captions, validation_share=0.25).hasher
    assert hasher.image.reduction is not None
    assert hasher.text.reduction is not None
    assert hasher.image.reduction.spec() == {"token_width": 12, "width": 6, "side": 0, "grid": 0}
    rows = made.unseen
    codes = hasher.image.encode(made.image.pooled(rows), *made.image.tokens(rows))
    assert codes.shape == (30, 1)


def test_a_tower_with_a_reduction_is_rebuilt_from_its_description() -> None:
    made = made_pairs(80, 30)
    tower = trained(made).hasher.image
    again = HashTower.from_spec(tower.spec())
    again.load_state_dict(tower.state_dict())
    again.eval()
    rows = made.unseen
    features = (made.image.pooled(rows), *made.image.tokens(rows))
    assert_array_equal(again.relaxed(*features), tower.relaxed(*features))


def test_a_tower_without_a_reduction_says_nothing_of_it() -> None:
    """Models of older versions have no such entry."""
    tower = trained(made_pairs(80, 30), image_token_width=0).hasher.image
    assert set(tower.spec()) == {"width", "scaling", "head"}
    assert tower.reduction is None
