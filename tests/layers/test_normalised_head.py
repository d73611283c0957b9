import json
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers import GraphAttention, ModalityFeatures, NormalisedHead, build_head

WIDTHS = (5, 6, 4, 3)


def made_head(n_attention_heads: int = 0, **dropouts: float) -> NormalisedHead:
    torch.manual_seed(0)
    return NormalisedHead(WIDTHS, n_attention_heads=n_attention_heads, **dropouts)


def made_rows(n: int = 8, seed: int = 0) -> ModalityFeatures:
    return ModalityFeatures(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)))


def test_a_small_head_by_hand() -> None:
    """Column (2, 6) has mean 4 and variance 4: -1 and 1, then leaky -0.2 and 1."""
    head = NormalisedHead((1, 1, 1))
    linear, norm = head.trunk[1], head.trunk[2]
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        linear.weight.fill_(2.0)
        linear.bias.fill_(0.0)
        head.last.weight.fill_(10.0)
        head.last.bias.fill_(1.0)
    found = head(ModalityFeatures(torch.tensor([[1.0], [3.0]])))
    one = 2 / math.sqrt(4 + 1e-5)
    assert_close(found, torch.tensor([[1 - 2 * one], [1 + 10 * one]]), rtol=1e-6, atol=0)


def test_its_layers() -> None:
    kinds = [type(part).__name__ for part in made_head().trunk]
    assert kinds == ["Dropout", *(["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"] * 2)]
    attention = made_head(2).attention
    assert attention is not None
    assert [one.near.shape for one in attention.layers if isinstance(one, GraphAttention)] == [
        (2, 2), (1, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("n_attention_heads", [0, 2])
def test_in_evaluation_an_item_depends_on_itself_alone(n_attention_heads: int) -> None:
    head, rows = made_head(n_attention_heads, dropout=0.5), made_rows()
    for seed in range(5):
        head(made_rows(seed=seed))  # moves the running statistics
    head.eval()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    whole = head(rows)
    order = torch.tensor([3, 1, 4, 0, 7, 5, 6, 2])
    assert_close(head(ModalityFeatures(rows.pooled[order])), whole[order], rtol=1e-5, atol=1e-6)
    for place in range(len(rows)):
        alone = head(ModalityFeatures(rows.pooled[place : place + 1]))
        assert_close(alone, whole[place : place + 1], rtol=1e-5, atol=1e-6)
    for key, value in head.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_edges_reach_the_feature_in_training() -> None:
    head = made_head(2)
    hidden = head.trunk(made_rows(3).pooled)
    edges = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    alone, linked = head.attended(hidden), head.attended(hidden, edges)
    assert not torch.allclose(alone[:2], linked[:2], rtol=1e-3, atol=1e-3)
    assert_close(alone[2], linked[2], rtol=1e-6, atol=1e-6)
    assert torch.equal(made_head().attended(hidden, edges), hidden)


def test_dropouts_act_where_they_are_named() -> None:
    rows = ModalityFeatures(torch.ones(2, 5))

    def is_changed(**dropouts: float) -> bool:
        head = made_head(2, **dropouts)
        outputs = []
        for part in head.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.eval()
        for _ in range(8):
            outputs.append(head(rows))
        return any(not torch.equal(one, outputs[0]) for one in outputs)

    assert not is_changed()
    assert is_changed(input_dropout=0.5)
    assert is_changed(dropout=0.5)
    assert is_changed(attention_dropout=0.5)


@pytest.mark.parametrize("n_attention_heads", [0, 4])
def test_a_spec_rebuilds_the_shape(n_attention_heads: int) -> None:
    head = made_head(n_attention_heads, dropout=0.25, input_dropout=0.5)
    head(made_rows())
    again = build_head(json.loads(json.dumps(head.spec())))
    assert isinstance(again, NormalisedHead)
    assert again.spec() == head.spec()
    assert head.n_bits == again.n_bits == 3
    again.load_state_dict(head.state_dict())
    assert_close(again.eval()(made_rows()), head.eval()(made_rows()), rtol=0, atol=0)


def whole_spec(**changes: Any) -> dict[str, Any]:
    return {"kind": "normalised", "widths": [4, 6, 8], "n_attention_heads": 0, **changes}


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "normalised", "widths": [4, 6, 8]},
        whole_spec(widths=[4, 8]),
        whole_spec(widths=[4, 0, 8]),
        whole_spec(widths=[4, "6", 8]),
        whole_spec(n_attention_heads=4),
        whole_spec(n_attention_heads=-1),
        whole_spec(n_attention_heads="2"),
    ],
)
def test_damaged_specs_are_refused(spec: dict[str, Any]) -> None:
    message = f"the model describes a hash head this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        build_head(spec)


@pytest.mark.parametrize(
    ("widths", "dropouts"),
    [
        ((4, 2), {}),
        ((4, 0, 2), {}),
        ((4, 3, 2), {"dropout": 1.0}),
        ((4, 3, 2), {"input_dropout": -0.1}),
        ((4, 3, 2), {"attention_dropout": 1.5}),
    ],
)
def test_impossible_heads_are_refused(widths: tuple[int, ...], dropouts: dict[str, float]) -> None:
    shares = tuple(
        dropouts.get(name, 0.0) for name in ("input_dropout", "dropout", "attention_dropout")
    )
    message = (
        "a normalised hash head needs at least three positive widths and dropouts in [0, 1), got "
        f"widths {widths} and dropouts {shares}"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        NormalisedHead(widths, **dropouts)  # type: ignore[arg-type]


def test_attention_heads_must_share_the_feature_evenly() -> None:
    with pytest.raises(SettingError, match=r"^width is 4, expected a multiple of the 3 heads$"):
        NormalisedHead((5, 4, 8), n_attention_heads=3)


def test_gradients_reach_every_part() -> None:
    head = made_head(2)
    loss: Tensor = (
        head.last(head.attended(head.trunk(made_rows().pooled), torch.ones(8, 8, dtype=torch.bool)))
        .square()
        .sum()
    )
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
