import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modalhash.encoders.text_batches import chunks_by_length, encode_by_length

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(LENGTHS, st.integers(1, 100))
def test_chunks_hold_each_text_once_and_keep_the_limit(lengths: list[int], limit: int) -> None:
    chunks = list(chunks_by_length(np.array(lengths), limit))
    assert sorted(np.concatenate(chunks).tolist()) == list(range(len(lengths)))
    for places in chunks:
        padded = len(places) * max(lengths[place] for place in places)
        assert padded <= limit or len(places) == 1


def sums_of_pieces(
    pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Stand in for a tower: the sum of a text's pieces, and each piece as its own vector."""
    assert (pieces[~mask] == 7).all()
    pooled = (pieces * mask).sum(axis=1, keepdims=True).astype(np.float32)
    return pooled, pieces[:, :, None].astype(np.float32) if with_tokens else None


@given(st.lists(st.lists(st.integers(10, 99), min_size=2, max_size=9), min_size=1, max_size=12))
def test_features_come_back_in_order_and_tokens_stand_in_front(pieces: list[list[int]]) -> None:
    contents = [[False, *[True] * (len(row) - 2), False] for row in pieces]  # without the marks
    output = encode_by_length(
        pieces, contents, sums_of_pieces, limit=16, fill=7, pad_to=5, with_tokens=True
    )
    assert output.tokens is not None
    assert output.token_mask is not None
    assert output.pooled[:, 0].tolist() == [float(sum(row)) for row in pieces]
    assert output.tokens.shape[1] == max([1, *(len(row) - 2 for row in pieces)])
    for row, tokens, mask in zip(pieces, output.tokens, output.token_mask, strict=True):
        assert tokens[: len(row) - 2, 0].tolist() == row[1:-1]
        assert mask.tolist() == [place < len(row) - 2 for place in range(len(mask))]
        assert not tokens[~mask].any()
