"""Queries of graded codes: words for scores, and stored items that ask with numbers."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

import modalhash as mh
from modalhash.codes import GradedBits, pack
from modalhash.metrics import last_level
from modalhash.search import Side
from modalhash.search.strength import direction_chances
from tests.oracles.official_layouts import draw

BITS = GradedBits((2, 1), (2.0, 1.0))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for item in range(6):
        draw(tmp_path / "photos" / f"{item}.png", item)
    return tmp_path / "photos"


def test_chances_are_those_of_random_directions() -> None:
    values = np.array([0.6, 0.8], np.float32)
    numbers = values[BITS.numbers] * BITS.weights  # 1.2, .8 and .6
    chances = direction_chances(numbers, BITS)
    assert len(chances) == last_level(3) + 1
    # The best score is that of a cosine of 2.6, and 256 directions make a deviation of 1 / 16.
    for level, cosine in ((0, 2.6), (last_level(3) // 2, 0.0), (last_level(3), -2.6)):
        expected = 1 - NormalDist().cdf(16 * cosine)
        np.testing.assert_allclose(chances[level], expected, rtol=1e-4, atol=1e-15)
    assert (np.diff(chances) >= 0).all()


@pytest.mark.usefixtures("own_cache")
def test_items_ask_with_what_their_codes_stand_for_and_pictures_find_themselves(
    photos: Path, tmp_path: Path
) -> None:
    with mh.build_index("offline-shared:384", photos, output=tmp_path / "index") as index:
        side = index.sides[Side.IMAGES]
        codes = side.reconstruct(list(side.ids))
        bits = index.model.graded_bits
        assert bits is not None
        values = bits.decode(codes)
        place = side.ids.tolist().index("2.png")
        order = np.argsort(-(values @ values[place]), kind="stable")
        ranked = [str(side.ids[row]) for row in order if row != place]
        hits = index.search(id="2.png", target="images", k=5).hits
        assert [hit.id for hit in hits] == ranked
        by_picture = index.search(image=photos / "2.png", target="images", k=1).hits[0]
        assert (by_picture.id, by_picture.distance) == ("2.png", 0)
        code = bytes(codes[place]).hex()
        by_code = [hit.id for hit in index.search(code=code, k=6).hits]
        assert [identity for identity in by_code if identity != "2.png"] == ranked


def test_codes_that_are_given_keep_their_code() -> None:
    signs: NDArray[np.int64] = np.array([[1, -1, -1]])
    numbers = BITS.query_numbers(pack(signs))
    # 2 - 1 and -1, each times what its bits stand for.
    assert numbers.tolist() == [[2.0, -1.0, 1.0]]
