"""Random rotations: orthonormal, and their scores estimate cosines."""

import numpy as np
import pytest

from modalhash.codes import asymmetric_scores, binarise, pack
from modalhash.errors import InputError, ShapeError
from modalhash.retrievers import RandomRotation
from modalhash.retrievers.documents import choose_diverse


def test_rows_of_a_block_are_orthonormal() -> None:
    rows = RandomRotation.draw(12, 30, seed=3).rows
    assert rows.shape == (30, 12)
    for block in (rows[:12], rows[12:24], rows[24:]):
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), rtol=0, atol=1e-5)
    assert not np.allclose(rows[:12], rows[12:24])


def test_the_mean_score_is_the_cosine() -> None:
    generator = np.random.default_rng(0)
    query, item = generator.standard_normal((2, 8))
    cosine = query @ item / np.linalg.norm(query) / np.linalg.norm(item)
    scores = []
    for seed in range(300):
        rotation = RandomRotation.draw(8, 16, seed=seed)
        codes = pack(binarise(rotation.relax([item])))
        scores.append(asymmetric_scores(rotation.relax([query]), codes, 16)[0, 0])
    error = 4 * np.std(scores) / np.sqrt(len(scores))
    np.testing.assert_allclose(np.mean(scores), cosine, rtol=0, atol=error)


def test_wrong_numbers_are_refused() -> None:
    rotation = RandomRotation.draw(3, 8)
    with pytest.raises(ShapeError, match=r"embeddings have the shape \(1, 2\), expected \(n, 3\)"):
        rotation.relax([[1, 2]])
    with pytest.raises(InputError, match="n_dimensions is 0 and n_bits is 8: expected at least 1"):
        RandomRotation.draw(0, 8)


def test_diverse_items_are_those_of_a_plain_loop() -> None:
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 256, (12, 2), dtype=np.uint8)
    scores = sorted(generator.uniform(-1, 1, 12), reverse=True)
    bits = np.unpackbits(codes, axis=1).astype(int)
    for share in (0.0, 0.3, 0.5, 1.0):
        expected = [0]
        while len(expected) < 5:
            gains = {
                item: share * scores[item]
                - (1 - share)
                * max(1 - 2 * int((bits[item] != bits[other]).sum()) / 16 for other in expected)
                for item in range(12)
                if item not in expected
            }
            expected.append(max(gains, key=lambda item: (round(gains[item], 9), -item)))
        assert choose_diverse(scores, codes, 16, 5, relevance_share=share) == expected
    assert choose_diverse([], np.zeros((0, 2), np.uint8), 16, 3, relevance_share=0.5) == []
