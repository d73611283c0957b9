import re

import numpy as np
import pytest

from modalhash.encoders.bow import BagOfWordsTower, BowSettings, words_of
from modalhash.errors import DamagedArtifactError, FeatureError, InputError, SettingError

TEXTS = ["A red dog, a red ball", "the dog and the cat", "Cat! CAT? zebra", "ball"]
# Frequencies by hand: red 2, dog 2, ball 2, cat 3, zebra 1; "a", "the", "and" are stop words.


def test_words_are_lower_case_runs_of_letters_and_digits_without_stop_words() -> None:
    assert words_of("The Über-dog's 2 balls; naïve_test") == [
        "über", "dog", "2", "balls", "naïve", "test",
    ]  # fmt: skip


def test_the_most_frequent_words_stay_and_ties_go_by_the_alphabet() -> None:
    tower = BagOfWordsTower(BowSettings(size=3)).fit(TEXTS)
    assert tower.vocabulary == ("ball", "cat", "dog")  # "red" loses its tie
    assert tower.width == 3


def test_rare_words_are_left_out() -> None:
    assert "zebra" not in BagOfWordsTower(BowSettings(min_count=2)).fit(TEXTS).vocabulary
    assert "zebra" in BagOfWordsTower(BowSettings(min_count=1)).fit(TEXTS).vocabulary


def test_words_are_marked_or_counted() -> None:
    texts = ["cat cat dog", "a zebra"]
    marked = BagOfWordsTower(BowSettings()).fit(TEXTS).encode(texts).pooled
    counted = BagOfWordsTower(BowSettings(counts=True)).fit(TEXTS).encode(texts).pooled
    # columns: ball, cat, dog, red
    np.testing.assert_array_equal(marked, np.array([[0, 1, 1, 0], [0, 0, 0, 0]], np.float32))
    np.testing.assert_array_equal(counted, np.array([[0, 2, 1, 0], [0, 0, 0, 0]], np.float32))
    assert marked.dtype == np.float32


def test_fitting_leaves_the_tower_it_was_asked_of_alone() -> None:
    tower = BagOfWordsTower()
    tower.fit(TEXTS)
    assert tower.vocabulary == ()
    assert tower.state() == {}


def test_a_tower_comes_back_from_its_state() -> None:
    tower = BagOfWordsTower(BowSettings(counts=True)).fit(TEXTS)
    again = BagOfWordsTower.from_state(BowSettings(), tower.state())
    assert again.fingerprint() == tower.fingerprint()
    np.testing.assert_array_equal(again.encode(TEXTS).pooled, tower.encode(TEXTS).pooled)


def test_the_vocabulary_decides_the_fingerprint() -> None:
    first = BagOfWordsTower(vocabulary=["a", "b"])
    assert first.fingerprint() == BagOfWordsTower(vocabulary=["a", "b"]).fingerprint()
    assert first.fingerprint() != BagOfWordsTower(vocabulary=["a", "c"]).fingerprint()


@pytest.mark.parametrize(
    "state",
    [
        {"vocabulary": []},
        {"vocabulary": ["a", "a"], "counts": False},
        {"vocabulary": ["a", 3], "counts": False},
        {"vocabulary": "words", "counts": False},
        {"vocabulary": ["a"], "counts": 1},
    ],
)
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    message = (
        "the saved state of the bow encoder is damaged: expected 'vocabulary', a list of distinct "
        "words, and 'counts', true or false"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        BagOfWordsTower.from_state(BowSettings(), state)


def test_no_frequent_word_is_an_error_with_a_way_out() -> None:
    message = (
        "no word occurs 2 times in the 2 training texts: lower it, as in 'bow:2000,min_count=1', "
        "or use another text encoder"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        BagOfWordsTower().fit(["one", "two"])


def test_what_it_cannot_do_is_said() -> None:
    message = "the bow encoder has no vocabulary yet: fit it to training texts"
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        BagOfWordsTower().encode(["a dog"])
    message = (
        "the bow encoder has no content tokens: take a text encoder that has them, such as "
        "'offline' or 'clip'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        BagOfWordsTower(vocabulary=["dog"]).encode(["a dog"], with_tokens=True)
    with pytest.raises(InputError, match=re.escape("texts[0] is empty: give at least one word")):
        BagOfWordsTower(vocabulary=["dog"]).encode([" "])
    with pytest.raises(InputError, match=r"^vocabulary has a word twice$"):
        BagOfWordsTower(vocabulary=["dog", "dog"])


def test_options_are_read_or_refused() -> None:
    assert BowSettings.from_options("") == BowSettings(2000, 2, counts=False)
    assert BowSettings.from_options("size=10,counts") == BowSettings(10, 2, counts=True)
    message = (
        "option 'many' of the bow encoder isn't known: expected a vocabulary size, "
        "min_count=NUMBER or counts, as in 'bow:1000,min_count=5'"
    )
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        BowSettings.from_options("many")
    message = "size of the bow encoder is 0, expected at least 1"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        BowSettings.from_options("0")
