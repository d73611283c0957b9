import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers import (
    FusionHead,
    FusionTransformer,
    MlpHead,
    ModalityFeatures,
    build_head,
)
from tests.oracles import plain_losses as plain
from tests.oracles.plain_transformer import transformer_layer


def made_head() -> FusionHead:
    torch.manual_seed(0)
    transformer = FusionTransformer(6, n_heads=3, n_layers=2, dropout=0.1)
    return FusionHead(4, transformer, MlpHead((6, 7, 5), dropout=0.3))


@pytest.mark.parametrize("n_tokens", [1, 3])
def test_tokens_of_an_item_against_loops(n_tokens: int) -> None:
    transformer = made_head().transformer.double().eval()
    tokens = torch.randn(2, n_tokens, 6, dtype=torch.float64)
    with torch.no_grad():
        found = transformer(tokens)
    for item, one in zip(tokens.tolist(), found, strict=True):
        for layer in transformer.layers:
            state = {name: part.tolist() for name, part in layer.state_dict().items()}
            item = transformer_layer(item, state, 3)  # noqa: PLW2901
        assert_allclose(
            one,
            math.sqrt(6) * np.array([plain.unit(token) for token in item]),
            rtol=1e-10,
            atol=1e-12,
        )


def test_a_head_is_rebuilt_from_its_description() -> None:
    head = made_head().eval()
    spec = head.spec()
    assert spec == {
        "kind": "fusion",
        "in_width": 4,
        "transformer": {"width": 6, "n_heads": 3, "n_layers": 2, "dropout": 0.1},
        "head": {"kind": "mlp", "widths": [6, 7, 5], "dropout": 0.3},
    }
    again = build_head(spec)
    again.load_state_dict(head.state_dict())
    again.eval()
    features = ModalityFeatures(torch.randn(3, 4))
    assert (again.n_bits, again.reads_tokens) == (5, False)
    assert_close(again(features), head(features), rtol=0, atol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"in_width": 0},
        {"transformer": {}},
        {"transformer": {"width": 6, "n_heads": 4, "n_layers": 2, "dropout": 0.1}},
        {"transformer": {"width": 6, "n_heads": 0, "n_layers": 2, "dropout": 0.1}},
        {"transformer": {"width": 6, "n_heads": 3, "n_layers": 2, "dropout": 1.0}},
        {"head": {"kind": "mlp", "widths": [5, 7, 5], "dropout": 0.3}},
        {"head": {"kind": "mlp", "widths": [6], "dropout": 0.3}},
        {"head": {"kind": "linear", "in_width": 6, "n_bits": 5}},
    ],
)
def test_unknown_descriptions_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="head this version can't build"):
        build_head(made_head().spec() | changes)


@pytest.mark.parametrize(
    ("width", "n_heads", "n_layers", "dropout"),
    [(6, 4, 1, 0.0), (6, 3, 0, 0.0), (0, 1, 1, 0.0), (6, 0, 1, 0.0), (6, 3, 1, 1.0)],
)
def test_sizes_out_of_range(width: int, n_heads: int, n_layers: int, dropout: float) -> None:
    message = (
        "a fusion transformer needs positive sizes, a width that is a multiple of its heads and a "
        f"dropout in [0, 1), got width {width}, n_heads {n_heads}, n_layers {n_layers} and dropout "
        f"{dropout}"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        FusionTransformer(width, n_heads=n_heads, n_layers=n_layers, dropout=dropout)
