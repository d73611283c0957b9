"""Tests of the features of one modality of a batch."""

import torch
from torch.testing import assert_close

from modalhash.layers import ModalityFeatures


def test_some_rows_keep_all_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    pooled, tokens, untuned = (
        torch.randn(3, *shape, generator=generator) for shape in ((2,), (4, 5), (2,))
    )
    features = ModalityFeatures(pooled, tokens, torch.ones(3, 4).bool(), untuned)
    chosen = features.rows(torch.tensor([2, 0]))
    assert chosen.tokens is not None
    assert chosen.token_mask is not None
    for part, whole in (
        (chosen.pooled, pooled),
        (chosen.tokens, tokens),
        (chosen.reference, untuned),
    ):
        assert_close(part, torch.stack([whole[2], whole[0]]), rtol=0, atol=0)
    assert_close(features.row(1).reference, untuned[1:2], rtol=0, atol=0)
    assert ModalityFeatures(pooled).rows(torch.tensor([True, False, True])).untuned is None
