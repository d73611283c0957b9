import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from torch import Tensor

from modalhash.codes import pack
from modalhash.errors import ArtifactError, FeatureError
from modalhash.layers import (
    FeatureScaling,
    HashHead,
    LinearHead,
    MlpHead,
    ModalityFeatures,
    ScalingRule,
)
from modalhash.methods.hasher import CHUNK, Hasher, HashTower

Floats = NDArray[np.float32]


def made_features(n: int, width: int = 12, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def made_tower(
    n_bits: int = 16, width: int = 12, rule: ScalingRule = ScalingRule.STANDARDISED
) -> HashTower:
    torch.manual_seed(n_bits)
    scaling = FeatureScaling(rule, width).fit([torch.from_numpy(made_features(100, width, seed=5))])
    return HashTower(scaling, MlpHead((width, 33, n_bits), dropout=0.5))


def made_hasher(n_bits: int = 16) -> Hasher:
    return Hasher(made_tower(n_bits), made_tower(n_bits, width=7))


class TokenHead(HashHead):
    """The mean of an item's real tokens."""

    reads_tokens = True

    def forward(self, features: ModalityFeatures) -> Tensor:
        assert features.tokens is not None
        assert features.token_mask is not None
        weights = features.token_mask[:, :, None].float()
        return (features.tokens * weights).sum(dim=1) / weights.sum(dim=1)

    @property
    def n_bits(self) -> int:
        return 3

    def spec(self) -> dict[str, Any]:
        return {"kind": "mean-token"}


class WaveHead(HashHead):
    """Waves of running sums, whose kernels nobody promises anything of."""

    def forward(self, features: ModalityFeatures) -> Tensor:
        return torch.sin(features.pooled.cumsum(dim=1))[:, :5]

    @property
    def n_bits(self) -> int:
        return 5

    def spec(self) -> dict[str, Any]:
        return {"kind": "wave"}


@pytest.mark.parametrize("rule", list(ScalingRule))
def test_a_head_of_unknown_operations_is_computed_row_by_row(rule: ScalingRule) -> None:
    tower, rows = HashTower(FeatureScaling(rule, 12), WaveHead()), made_features(70)
    with torch.no_grad():
        expected = tower(ModalityFeatures(torch.from_numpy(rows))).numpy()
    whole = tower.relaxed(rows)
    assert_allclose(whole, expected, rtol=0, atol=1e-5)
    for size in (1, 3, 69):
        parts = [tower.relaxed(rows[start : start + size]) for start in range(0, 70, size)]
        assert_array_equal(np.concatenate(parts), whole)


def test_codes_by_hand() -> None:
    head = LinearHead(2, 10)
    with torch.no_grad():
        head.map.weight.zero_()
        head.map.weight[0, 0], head.map.weight[9, 1] = 1.0, -1.0
        head.map.bias.fill_(-1.0)
        head.map.bias[0] = head.map.bias[9] = 0.0
    tower = HashTower(FeatureScaling(ScalingRule.NONE, 2), head)
    rows = np.array([[2, 3], [-2, -3], [0, 0]], np.float32)
    assert_allclose(tower.relaxed(rows)[:, [0, 9]], [[2, -3], [-2, 3], [0, 0]], rtol=0, atol=0)
    # Bit 0 is 1 in byte 0, bit 9 is 2 in byte 1; zero counts as +1.
    assert_array_equal(tower.encode(rows), [[1, 0], [0, 2], [1, 2]])


@pytest.mark.parametrize("n_bits", [1, 16, 20])
@pytest.mark.parametrize("n", [1, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77])
def test_a_row_has_one_code_alone_among_others_and_in_any_order(n: int, n_bits: int) -> None:
    tower = Hasher(made_tower(n_bits), made_tower(n_bits)).image
    rows = made_features(n)
    relaxed = tower.relaxed(rows)
    assert relaxed.shape == (n, n_bits)
    order = np.random.default_rng(1).permutation(n)
    assert_array_equal(tower.relaxed(rows[order]), relaxed[order])
    for place in {0, n // 2, n - 1}:
        assert_array_equal(tower.relaxed(rows[place : place + 1]), relaxed[place : place + 1])
    assert_array_equal(tower.encode(rows), pack(np.where(relaxed >= 0, 1, -1)))


def test_a_wide_head_keeps_rows_apart_to_the_last_bit_of_the_float() -> None:
    torch.manual_seed(0)
    head = MlpHead((1280, 4096, 16))
    tower = Hasher(
        HashTower(FeatureScaling(ScalingRule.UNIT, 1280), head), made_tower()
    ).image  # fmt: skip
    rows = made_features(40, 1280)
    relaxed = tower.relaxed(rows)
    order = np.random.default_rng(1).permutation(40)
    assert_array_equal(tower.relaxed(rows[order]), relaxed[order])
    assert_array_equal(tower.relaxed(rows[7:8]), relaxed[7:8])


def test_batch_mates_of_any_size_change_nothing() -> None:
    tower = made_hasher().image
    rows = made_features(9)
    huge = np.concatenate([np.full((4, 12), 1e30, np.float32), rows, np.zeros((3, 12), np.float32)])
    assert_array_equal(tower.relaxed(huge)[4:13], tower.relaxed(rows))


def test_relaxed_codes_are_the_head_s_output_on_scaled_features() -> None:
    tower = made_hasher().image
    rows = made_features(300)
    reference = made_features(100, seed=5)
    scaled = (rows - reference.mean(axis=0)) / reference.std(axis=0)
    first, last = (part for part in tower.head.modules() if isinstance(part, torch.nn.Linear))
    hidden = np.maximum(scaled @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0)
    expected = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    assert_allclose(tower.relaxed(rows), expected, rtol=0, atol=1e-5)


def test_no_rows_give_no_codes() -> None:
    tower = made_tower(20)
    assert tower.relaxed(made_features(0)).shape == (0, 20)
    assert tower.encode(made_features(0)).shape == (0, 3)


def test_dropout_never_acts_in_a_hasher() -> None:
    hasher = made_hasher()
    rows = made_features(5)
    assert_array_equal(hasher.image.relaxed(rows), hasher.image.relaxed(rows))
    assert not hasher.training


def test_tokens_reach_the_head_row_by_row() -> None:
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, 4), TokenHead())
    n = CHUNK + 3
    tokens = np.random.default_rng(0).normal(size=(n, 5, 3)).astype(np.float32)
    mask = np.arange(5) < np.random.default_rng(1).integers(1, 6, n)[:, None]
    found = tower.relaxed(made_features(n, 4), tokens, mask)
    expected = [row[kept].mean(axis=0) for row, kept in zip(tokens, mask, strict=True)]
    assert_allclose(found, expected, rtol=0, atol=1e-6)
    alone = tower.relaxed(made_features(n, 4)[-1:], tokens[-1:], mask[-1:])
    assert_array_equal(alone, found[-1:])


def test_inputs_stay_as_they_are() -> None:
    rows = made_features(10)
    rows.flags.writeable = False
    made_hasher().image.encode(rows)


@pytest.mark.parametrize("shape", [(3, 11), (3, 13), (12,), (2, 3, 12)])
def test_a_wrong_width_is_refused(shape: tuple[int, ...]) -> None:
    message = (
        f"features have shape {shape}, the model takes (n, 12): use the encoder it was trained with"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        made_tower().relaxed(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    rows = made_features(300)
    rows[270, 3] = rows[280, 0] = value
    with pytest.raises(FeatureError, match=r"^features hold NaN or infinity, first in row 270$"):
        made_tower().encode(rows)


@pytest.mark.parametrize("rule", ScalingRule)
def test_a_spec_and_weights_make_the_same_hasher(rule: ScalingRule) -> None:
    hasher = Hasher(made_tower(20, rule=rule), made_tower(20, 7, rule))
    assert hasher.n_bits == 20
    again = Hasher.from_spec(json.loads(json.dumps(hasher.spec())))
    again.load_state_dict(hasher.state_dict())
    assert again.spec() == hasher.spec()
    assert_array_equal(
        again.image.relaxed(made_features(5)), hasher.image.relaxed(made_features(5))
    )
    rows = made_features(5, 7)
    assert_array_equal(again.text.encode(rows), hasher.text.encode(rows))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": "minmax"}, "the model describes an unknown scaling 'minmax'"),
        ({"width": "12"}, "the model describes a tower this version can't build: {tower}"),
        ({"head": None}, "the model describes a tower this version can't build: {tower}"),
        (
            {"head": {"kind": "conv"}},
            "the model describes a hash head this version can't build: {{'kind': 'conv'}}",
        ),
    ],
)
def test_damaged_towers_are_refused(changes: dict[str, Any], message: str) -> None:
    tower = made_tower().spec() | changes
    with pytest.raises(ArtifactError, match=f"^{re.escape(message.format(tower=tower))}$"):
        HashTower.from_spec(tower)


def test_a_damaged_hasher_is_refused() -> None:
    spec = {"image": made_tower().spec()}
    message = f"the model describes towers this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        Hasher.from_spec(spec)


def test_padding_and_longer_batch_mates_change_no_row() -> None:
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, 4), TokenHead())
    pooled = made_features(6, 4)
    tokens = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    mask = np.arange(5) < np.array([5, 1, 3, 2, 4, 5])[:, None]
    expected = tower.relaxed(pooled, tokens, mask)
    # Longer batch mates, and rubbish where no token is.
    longer = np.full((7, 40, 3), 1e9, np.float32)
    longer[:6, :5], longer[6] = tokens, 1.0
    longer_mask = np.zeros((7, 40), np.bool_)
    longer_mask[:6, :5], longer_mask[6] = mask, True
    found = tower.relaxed(np.concatenate([pooled, pooled[:1]]), longer, longer_mask)
    assert_array_equal(found[:6], expected)
    assert_allclose(found[6], np.ones(3), rtol=0, atol=1e-6)


def test_a_head_of_tokens_refuses_pooled_features_alone() -> None:
    tower = HashTower(FeatureScaling(ScalingRule.UNIT, 4), TokenHead())
    message = (
        "the model reads content tokens, but only pooled features are given: extract them with "
        "tokens, and give `tokens` and `token_mask` too"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        tower.relaxed(made_features(2, 4))
