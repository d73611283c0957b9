import re
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from modalhash.errors import ArtifactError, SettingError
from modalhash.layers import (
    GeluHead,
    ModalityFeatures,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
    build_head,
    trunk_from_spec,
)

N, LENGTH, POOLED_WIDTH, TOKEN_WIDTH, WIDTH, N_BITS = 4, 5, 7, 6, 8, 3

every_kind = pytest.mark.parametrize("kind", list(TrunkKind))
meeting_kind = pytest.mark.parametrize("kind", [TrunkKind.ATTENTION, TrunkKind.TRANSFORMER])


def features(seed: int = 0) -> ModalityFeatures:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor(
        [[True] * 5, [True, True, False, False, False], [False] * 5, [True] + [False] * 4]
    )
    return ModalityFeatures(
        torch.randn(N, POOLED_WIDTH, generator=generator),
        torch.randn(N, LENGTH, TOKEN_WIDTH, generator=generator),
        mask,
    )


def trunk(kind: TrunkKind, **changes: Any) -> TokenTrunk:
    torch.manual_seed(0)
    made = TokenTrunk(
        kind, POOLED_WIDTH, TOKEN_WIDTH, **({"width": WIDTH, "n_heads": 2} | changes)
    ).eval()
    if kind is not TrunkKind.NONE:
        torch.nn.init.normal_(made.back.weight)  # as if trained: it starts at 0
    return made


@every_kind
def test_shapes_and_the_mask_come_out(kind: TrunkKind) -> None:
    given, made = features(), trunk(kind)
    assert given.token_mask is not None
    found = made(given)
    assert found.pooled.shape == (N, POOLED_WIDTH)
    assert found.tokens.shape == (N, LENGTH, made.content_width)
    assert made.content_width == (TOKEN_WIDTH if kind is TrunkKind.NONE else WIDTH)
    assert torch.equal(found.token_mask, given.token_mask)
    assert bool((found.tokens[~given.token_mask] == 0).all())


@every_kind
@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_values_at_masked_places_reach_nothing(kind: TrunkKind, value: float) -> None:
    given, made = features(), trunk(kind)
    expected = made(given)
    assert given.tokens is not None
    assert given.token_mask is not None
    given.tokens[~given.token_mask] = value
    found = made(given)
    assert torch.equal(found.pooled, expected.pooled)
    assert torch.equal(found.tokens, expected.tokens)


@every_kind
def test_padding_changes_nothing(kind: TrunkKind) -> None:
    given, made = features(), trunk(kind)
    assert given.tokens is not None
    assert given.token_mask is not None
    longer = ModalityFeatures(
        given.pooled,
        torch.cat([given.tokens, torch.randn(N, 4, TOKEN_WIDTH)], dim=1),
        torch.cat([given.token_mask, torch.zeros(N, 4, dtype=torch.bool)], dim=1),
    )
    expected, found = made(given), made(longer)
    assert_close(found.pooled, expected.pooled, rtol=1e-5, atol=1e-6)
    assert_close(found.tokens[:, :LENGTH], expected.tokens, rtol=1e-5, atol=1e-6)


@meeting_kind
def test_the_order_of_tokens_is_no_matter(kind: TrunkKind) -> None:
    """Positions come with the features, if at all."""
    given, made = features(), trunk(kind)
    assert given.tokens is not None
    assert given.token_mask is not None
    order = torch.tensor([3, 0, 4, 2, 1])
    turned = ModalityFeatures(given.pooled, given.tokens[:, order], given.token_mask[:, order])
    expected, found = made(given), made(turned)
    assert_close(found.pooled, expected.pooled, rtol=1e-5, atol=1e-6)
    assert_close(found.tokens, expected.tokens[:, order], rtol=1e-5, atol=1e-6)


@every_kind
def test_items_do_not_reach_each_other(kind: TrunkKind) -> None:
    given, made = features(), trunk(kind)
    assert given.tokens is not None
    assert given.token_mask is not None
    whole = made(given)
    for row in range(N):
        rows = slice(row, row + 1)
        alone = made(
            ModalityFeatures(given.pooled[rows], given.tokens[rows], given.token_mask[rows])
        )
        assert_close(alone.pooled, whole.pooled[rows], rtol=1e-5, atol=1e-6)
        assert_close(alone.tokens, whole.tokens[rows], rtol=1e-5, atol=1e-6)


@every_kind
def test_an_untrained_trunk_passes_pooled_features_on(kind: TrunkKind) -> None:
    given = features()
    torch.manual_seed(0)
    made = TokenTrunk(kind, POOLED_WIDTH, TOKEN_WIDTH, width=WIDTH)
    assert torch.equal(made(given).pooled, given.pooled)


@meeting_kind
def test_class_and_content_meet(kind: TrunkKind) -> None:
    """The class vector depends on the item's content, and its gradient reaches what they share."""
    given, made = features(), trunk(kind)
    assert given.tokens is not None
    moved = ModalityFeatures(given.pooled, given.tokens + 1, given.token_mask)
    difference = (made(moved).pooled - made(given).pooled).abs().sum(dim=1)
    assert bool((difference[[0, 1, 3]] > 1e-3).all())
    assert difference[2] == 0  # it has no content
    made(given).pooled.sum().backward()
    gradient = next(made.token_map.parameters()).grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0


def test_a_transformer_without_content_is_one_over_the_class_token_alone() -> None:
    """With nothing else to attend to, attention returns the token's own value."""
    made, given = trunk(TrunkKind.TRANSFORMER), features()
    layer: Any = made.layers[0]
    first = made.class_map(given.pooled[2])
    attention = layer.attention
    first = first + attention.last(attention.value(layer.attention_norm(first)))
    first = first + layer.feed_forward(layer.forward_norm(first))
    expected = given.pooled[2] + made.back(made.last_norm(first))
    assert_close(made(given).pooled[2], expected, rtol=1e-5, atol=1e-6)


@every_kind
def test_a_head_on_a_trunk_is_rebuilt_from_its_description(kind: TrunkKind) -> None:
    head = TrunkHead(trunk(kind, dropout=0.2), GeluHead((POOLED_WIDTH, 5, N_BITS), dropout=0.1))
    again = build_head(head.spec())
    assert isinstance(again, TrunkHead)
    again.load_state_dict(head.state_dict())
    assert again.spec() == head.spec()
    assert again.reads_tokens
    assert again.n_bits == N_BITS
    assert torch.equal(again.eval()(features()), head.eval()(features()))


def test_a_gelu_head_is_what_it_says() -> None:
    head = GeluHead((POOLED_WIDTH, 5, N_BITS), dropout=0.5, input_dropout=0.5).eval()
    first, norm, last = head.layers[1], head.layers[2], head.layers[5]
    hidden: Any = first(features().pooled)
    centred = hidden - hidden.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    normed = normed * norm.weight + norm.bias
    gelu = normed * (1 + torch.erf(normed / 2**0.5)) / 2
    assert_close(head(features()), last(gelu), rtol=1e-5, atol=1e-6)
    assert not head.reads_tokens


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "graph"), ("width", 0), ("n_heads", 3), ("dropout", 1.0), ("token_width", 2.5)],
)
def test_a_trunk_of_no_known_form_is_refused(name: str, value: object) -> None:
    spec = trunk(TrunkKind.TRANSFORMER).spec() | {name: value}
    message = f"the model describes a token trunk this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=re.escape(message)):
        trunk_from_spec(spec)


@pytest.mark.parametrize(
    "changes", [{"width": 0}, {"n_heads": 3}, {"dropout": 1.0}, {"n_layers": 0}]
)
def test_sizes_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {"width": 8, "n_heads": 2, "n_layers": 1, "dropout": 0.1} | changes
    message = (
        "a token trunk needs positive sizes, a width that is a multiple of its heads and a dropout "
        f"in [0, 1), got pooled_width 7, token_width 6, width {sizes['width']}, n_heads "
        f"{sizes['n_heads']}, n_layers {sizes['n_layers']} and dropout {sizes['dropout']}"
    )
    with pytest.raises(SettingError, match=re.escape(message)):
        TokenTrunk(TrunkKind.TRANSFORMER, POOLED_WIDTH, TOKEN_WIDTH, **sizes)


@pytest.mark.parametrize(("widths", "dropout"), [((4, 3), 0.0), ((4, 0, 3), 0.0), ((4, 3, 2), 1.0)])
def test_a_gelu_head_refuses_sizes_out_of_range(widths: tuple[int, ...], dropout: float) -> None:
    message = (
        "a GELU hash head needs three positive widths and dropouts in [0, 1), got widths "
        f"{widths}, dropout {dropout} and input_dropout 0.0"
    )
    with pytest.raises(SettingError, match=re.escape(message)):
        GeluHead(widths, dropout=dropout)
