import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.testing import assert_close

from modalhash.errors import ArtifactError, FeatureError, SettingError
from modalhash.layers import ModalityFeatures, TokenReduction, grid_pooling


def features(tokens: Tensor, mask: Tensor) -> ModalityFeatures:
    return ModalityFeatures(torch.zeros(len(tokens), 3), tokens, mask)


def made_tokens(n: int = 30, length: int = 9, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 0.1, 2.0, 0.5, 1.0])[:width]
    return torch.randn(n, length, width, generator=generator) * spread + 7


@pytest.mark.parametrize(("side", "grid"), [(2, 1), (7, 4), (7, 7), (14, 4), (5, 3)])
def test_a_grid_is_pooled_as_torch_pools_pictures(side: int, grid: int) -> None:
    tokens = torch.randn(3, side * side, 6)
    picture = tokens.transpose(1, 2).reshape(3, 6, side, side)
    expected = adaptive_avg_pool2d(picture, grid).reshape(3, 6, grid * grid).transpose(1, 2)
    reduction = TokenReduction(6, side=side, grid=grid)
    found = reduction(features(tokens, torch.ones(3, side * side, dtype=torch.bool)))
    assert_close(found.tokens, expected, rtol=1e-5, atol=1e-6)
    assert_close(grid_pooling(side, grid).sum(dim=1), torch.ones(grid**2), rtol=1e-6, atol=0.0)
    assert found.token_mask is not None
    assert bool(found.token_mask.all())


def test_a_window_is_the_mean_of_its_real_tokens() -> None:
    tokens = torch.tensor([[[1.0], [2.0], [3.0], [100.0]], [[5.0], [100.0], [100.0], [100.0]]])
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    found = TokenReduction(1, side=2, grid=1)(features(tokens, mask))
    assert found.tokens is not None
    assert found.token_mask is not None
    assert found.token_mask.tolist() == [[True], [False]]
    assert_close(found.tokens[0], torch.tensor([[2.0]]), rtol=1e-6, atol=0.0)
    assert found.tokens[1].tolist() == [[0.0]]


def test_padding_beyond_the_grid_is_cut_off() -> None:
    tokens = torch.randn(2, 4, 3)
    padded = torch.cat([tokens, torch.full((2, 12, 3), torch.nan)], dim=1)
    mask = torch.arange(16)[None].expand(2, -1) < 4
    reduction = TokenReduction(3, side=2, grid=1)
    expected = reduction(features(tokens, mask[:, :4]))
    found = reduction(features(padded, mask))
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.token_mask, expected.token_mask)


def test_more_tokens_than_the_grid_are_refused() -> None:
    message = (
        "an item has 5 content tokens, the model pools a grid of 2 x 2: use the encoder it was "
        "trained with"
    )
    with pytest.raises(FeatureError, match=re.escape(message)):
        TokenReduction(3, side=2, grid=1)(
            features(torch.zeros(1, 5, 3), torch.ones(1, 5, dtype=torch.bool))
        )


def test_tokens_are_projected_on_their_principal_directions() -> None:
    """The same as an SVD of the centred tokens, but for the signs and one common factor."""
    tokens = made_tokens()
    mask = torch.arange(9) < torch.arange(30)[:, None] % 10
    blocks = [(tokens[:11], mask[:11]), (tokens[11:], mask[11:])]
    reduction = TokenReduction(5, 2).fit(blocks)
    found = reduction(features(tokens, mask))
    rows = tokens[mask].double().numpy()
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:2].T
    expected /= np.sqrt((expected**2).mean())
    assert found.tokens is not None
    assert reduction.out_width == 2
    assert_close(
        found.tokens[mask].abs().double(), torch.from_numpy(expected).abs(), rtol=1e-3, atol=1e-4
    )
    assert bool((found.tokens[~mask] == 0).all())
    assert torch.equal(found.pooled, torch.zeros(30, 3))


def test_pooling_comes_before_the_projection() -> None:
    tokens, mask = made_tokens(), torch.ones(30, 9, dtype=torch.bool)
    pooled = TokenReduction(5, side=3, grid=2)(features(tokens, mask)).tokens
    assert pooled is not None
    both = TokenReduction(5, 2, side=3, grid=2).fit([(tokens, mask)])
    apart = TokenReduction(5, 2).fit([(pooled, mask[:, :4])])
    assert_close(
        both(features(tokens, mask)).tokens,
        apart(features(pooled, mask[:, :4])).tokens,
        rtol=1e-4,
        atol=1e-5,
    )


def test_without_anything_to_do_tokens_stay() -> None:
    tokens, mask = made_tokens(), torch.ones(30, 9, dtype=torch.bool)
    reduction = TokenReduction(5).fit([(tokens, mask)])
    assert torch.equal(reduction(features(tokens, mask)).tokens, tokens)
    assert reduction.out_width == 5


def test_it_is_rebuilt_from_its_description_and_tensors() -> None:
    tokens, mask = made_tokens(), torch.ones(30, 9, dtype=torch.bool)
    reduction = TokenReduction(5, 2, side=3, grid=2).fit([(tokens, mask)])
    again = TokenReduction.from_spec(reduction.spec())
    again.load_state_dict(reduction.state_dict())
    given = features(tokens, mask)
    assert torch.equal(again(given).tokens, reduction(given).tokens)
    assert set(reduction.state_dict()) == {"mean", "map"}


@pytest.mark.parametrize(
    "changes", [{"width": 6}, {"grid": 4}, {"side": 0}, {"token_width": "5"}, {"grid": 0}]
)
def test_a_description_of_no_known_form_is_refused(changes: dict[str, Any]) -> None:
    spec = TokenReduction(5, 2, side=3, grid=2).spec() | changes
    message = f"the model describes a reduction of tokens this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=re.escape(message)):
        TokenReduction.from_spec(spec)


def test_what_tokens_do_not_have_is_refused() -> None:
    with pytest.raises(
        SettingError,
        match=re.escape(
            "tokens have a width of 5, which can't be reduced to 6: choose 0, to leave it, or less"
        ),
    ):
        TokenReduction(5, 6)
    with pytest.raises(
        SettingError,
        match=re.escape(
            "a grid of 3 x 3 tokens can't be pooled to 4 x 4: choose 0, to leave it, or less"
        ),
    ):
        TokenReduction(5, side=3, grid=4)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_tokens_that_are_all_the_same_are_refused(value: float) -> None:
    tokens, mask = torch.full((4, 3, 5), value), torch.ones(4, 3, dtype=torch.bool)
    message = "all 12 sampled content tokens are the same: check the encoder and its input"
    with pytest.raises(FeatureError, match=re.escape(message)):
        TokenReduction(5, 2).fit([(tokens, mask)])
