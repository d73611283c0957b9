import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers import HashHead, LinearHead, MlpHead, ModalityFeatures, build_head


def features(rows: list[list[float]]) -> ModalityFeatures:
    return ModalityFeatures(torch.tensor(rows, dtype=torch.float32))


def test_a_linear_head_by_hand() -> None:
    head = LinearHead(2, 3)
    with torch.no_grad():
        head.map.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]))
        head.map.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    assert_allclose(
        head(features([[1, 1], [2, -1]])).detach(), [[3.5, -1, 2], [0.5, 1, 5]], rtol=0, atol=0
    )


def test_an_mlp_head_by_hand() -> None:
    head = MlpHead((1, 2, 1))
    first, relu, last = head.layers
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(relu, torch.nn.ReLU)
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        first.bias.zero_()
        last.weight.copy_(torch.tensor([[2.0, 3.0]]))
        last.bias.copy_(torch.tensor([-4.0]))
    # 2 relu(x) + 3 relu(-x) - 4
    assert_allclose(head(features([[5], [-5], [0]])).detach(), [[6], [11], [-4]], rtol=0, atol=0)


def test_a_deep_head_has_no_squashing_after_its_last_map() -> None:
    torch.manual_seed(0)
    head = MlpHead((4, 8, 6, 3))
    assert [type(part).__name__ for part in head.layers] == [
        "Linear", "ReLU", "Linear", "ReLU", "Linear",
    ]  # fmt: skip
    relaxed = head(ModalityFeatures(1e4 * torch.randn(20, 4))).detach()
    assert relaxed.shape == (20, 3)
    assert float(relaxed.abs().max()) > 1


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = MlpHead((3, 400, 2), dropout=0.5)
    rows = features([[1, 2, 3]])
    assert not torch.equal(head(rows), head(rows))
    head.eval()
    assert torch.equal(head(rows), head(rows))


@pytest.mark.parametrize(
    "head", [LinearHead(5, 12), MlpHead((5, 12)), MlpHead((5, 9, 8, 12), dropout=0.25)]
)
def test_a_spec_rebuilds_the_shape(head: HashHead) -> None:
    spec = json.loads(json.dumps(head.spec()))
    again = build_head(spec)
    assert type(again) is type(head)
    assert again.spec() == head.spec()
    assert head.n_bits == again.n_bits == 12
    again.load_state_dict(head.state_dict())
    rows = ModalityFeatures(torch.from_numpy(np.eye(5, dtype=np.float32)))
    assert_close(again.eval()(rows), head.eval()(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("widths", "dropout"), [((4,), 0.0), ((), 0.0), ((4, 0, 2), 0.0), ((4, 2), 1.0), ((4, 2), -0.1)]
)
def test_impossible_heads_are_refused(widths: tuple[int, ...], dropout: float) -> None:
    message = (
        "a hash head needs at least two positive widths and a dropout in [0, 1), got widths "
        f"{widths} and dropout {dropout}"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        MlpHead(widths, dropout=dropout)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"kind": "conv", "in_width": 4, "n_bits": 8},
        {"kind": "linear", "in_width": 4},
        {"kind": "linear", "in_width": "4", "n_bits": 8},
        {"kind": "linear", "in_width": 4, "n_bits": -8},
        {"kind": "mlp", "widths": [4, 8]},
        {"kind": "mlp", "widths": [4], "dropout": 0.0},
        {"kind": "mlp", "widths": [4, "8"], "dropout": 0.0},
        {"kind": "mlp", "widths": [4, 0], "dropout": 0.0},
        {"kind": "mlp", "widths": [4, 8], "dropout": 1.0},
        {"kind": "mlp", "widths": 4, "dropout": 0.0},
    ],
)
def test_damaged_specs_are_refused(spec: dict[str, Any]) -> None:
    message = f"the model describes a hash head this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        build_head(spec)


def test_a_head_must_fill_in_the_contract() -> None:
    class Half(HashHead):
        def spec(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_features_know_their_length() -> None:
    assert len(features([[1, 2], [3, 4], [5, 6]])) == 3
