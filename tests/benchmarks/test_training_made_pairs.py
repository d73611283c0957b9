import numpy as np

from benchmarks.training.cost import measure
from benchmarks.training.made_pairs import BLOCK, N_TOPICS, WIDTH, MadePairs
from modalhash.codes import pack


def test_the_first_pairs_are_the_same_however_many_are_made() -> None:
    few = next(MadePairs(3).blocks(7))
    many = list(MadePairs(3).blocks(BLOCK + 2))
    assert [start for start, *_ in many] == [0, BLOCK]
    assert [len(image) for _, image, _ in many] == [BLOCK, 2]
    for part, whole in zip(few[1:], many[0][1:], strict=True):
        np.testing.assert_array_equal(part, whole[:7])
    labels = MadePairs(3).labels(BLOCK + 2)
    np.testing.assert_array_equal(MadePairs(3).labels(7), labels[:7])
    assert labels.shape == (BLOCK + 2, N_TOPICS)
    assert set(labels.sum(axis=1).tolist()) == {1, 2}


def test_pairs_of_the_same_topics_are_alike_beyond_chance() -> None:
    _, image, text = next(MadePairs().blocks(4000))
    labels = MadePairs().labels(4000).astype(int)
    assert image.shape == text.shape == (4000, WIDTH)
    same = labels @ labels.T >= 2
    np.fill_diagonal(same, val=False)
    for rows in (image, text):
        cosines = np.asarray(np.corrcoef(rows))
        assert cosines[same].mean() > np.median(cosines) + 0.05


def test_measures_of_perfect_codes_are_one() -> None:
    generator = np.random.default_rng(0)
    codes = pack(generator.choice(np.array([-1, 1], np.int8), (60, 64)))
    labels = np.eye(60, dtype=np.uint8)
    figures = measure(codes, codes, labels, 64)
    assert set(figures.values()) == {1.0}
