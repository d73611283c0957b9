"""Bag of words or tags: the text input of most cross-modal hashing papers.

A text becomes the 0/1 (or count) vector of the vocabulary's words in it. The vocabulary is fitted
to training texts and travels with the model. Words are runs of letters and digits, lower-cased;
scripts that write no spaces between words need another text tower.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalhash.encoders.base import Identity, TextTower, TowerOutput, require_texts
from modalhash.errors import DamagedArtifactError, FeatureError, InputError, SettingError

__all__ = ["BagOfWordsTower", "BowSettings", "words_of"]

WORD = re.compile(r"[^\W_]+")
# fmt: off
STOP_WORDS = frozenset((
    "a", "about", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at",
    "be", "because", "been", "before", "being", "between", "both", "but", "by", "can", "could",
    "did", "do", "does", "doing", "down", "during", "each", "few", "for", "from", "further", "had",
    "has", "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in",
    "into", "is", "it", "its", "itself", "just", "me", "more", "most", "my", "no", "nor", "not",
    "now", "of", "off", "on", "once", "only", "or", "other", "our", "out", "over", "own", "s",
    "same", "she", "should", "so", "some", "such", "t", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
    "up", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom",
    "why", "will", "with", "would", "you", "your",
))
# fmt: on


def words_of(text: str) -> list[str]:
    """List the counted words of a text, lower-cased, in their order.

    Example:
        >>> words_of("Two dogs run on the beach; two!")
        ['two', 'dogs', 'run', 'beach', 'two']
    """
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


@dataclass(frozen=True)
class BowSettings:
    """How a vocabulary is chosen and what a text's vector holds."""

    size: int = 2000
    """Words in the vocabulary at most."""
    min_count: int = 2
    """A word must occur this often in the training texts."""
    counts: bool = False
    """Count words instead of marking them with 1 (the papers mark them)."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SettingError: naming the setting, what came and what was expected.
        """
        for name in ("size", "min_count"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"{name} of the bow encoder is {getattr(self, name)}, expected at least 1"
                )

    @classmethod
    def from_options(cls, options: str) -> "BowSettings":
        """Read what stands behind `bow:`, parts divided by commas.

        Raises:
            SettingError: if a part isn't understood.

        Example:
            >>> BowSettings.from_options("500,min_count=1,counts")
            BowSettings(size=500, min_count=1, counts=True)
        """
        settings: dict[str, Any] = {}
        for part in filter(None, options.split(",")):
            name, has_value, value = part.partition("=")
            if part.isdecimal():
                settings["size"] = int(part)
            elif part == "counts":
                settings["counts"] = True
            elif has_value and name in ("size", "min_count") and value.isdecimal():
                settings[name] = int(value)
            else:
                raise SettingError(
                    f"option {part!r} of the bow encoder isn't known: expected a vocabulary size, "
                    "min_count=NUMBER or counts, as in 'bow:1000,min_count=5'"
                )
        return cls(**settings)


class BagOfWordsTower(TextTower):
    """Texts as marked or counted words of a fitted vocabulary.

    A text with none of these words gives zeros; extraction says how many there were.

    Args:
        settings: how the vocabulary is chosen.
        vocabulary: the words in the order of the vector; empty until `fit`.

    Example:
        >>> tower = BagOfWordsTower(BowSettings(min_count=1)).fit(["a dog runs", "a cat sleeps"])
        >>> tower.vocabulary
        ('cat', 'dog', 'runs', 'sleeps')
        >>> tower.encode(["the dog and the cat"]).pooled
        array([[1., 1., 0., 0.]], dtype=float32)
    """

    item_bytes = 64 << 10

    def __init__(self, settings: BowSettings | None = None, vocabulary: Sequence[str] = ()) -> None:
        self.settings = settings or BowSettings()
        self.vocabulary = tuple(vocabulary)
        self.width = len(self.vocabulary)
        self._places = {word: place for place, word in enumerate(self.vocabulary)}
        if len(self._places) != self.width:
            raise InputError("vocabulary has a word twice")

    @classmethod
    def from_state(cls, settings: BowSettings, state: Mapping[str, Any]) -> "BagOfWordsTower":
        """Rebuild the tower that `state` was exported from.

        Raises:
            DamagedArtifactError: if the state isn't one of this tower.
        """
        words, counts = state.get("vocabulary"), state.get("counts")
        is_valid = (
            isinstance(words, list | tuple)
            and all(isinstance(word, str) for word in words)
            and len(set(words)) == len(words) > 0
            and isinstance(counts, bool)
        )
        if not is_valid:
            raise DamagedArtifactError(
                "the saved state of the bow encoder is damaged: expected 'vocabulary', a list of "
                "distinct words, and 'counts', true or false"
            )
        chosen = BowSettings(settings.size, settings.min_count, bool(counts))
        return cls(chosen, tuple(words or ()))

    def identity(self) -> Identity:
        """Describe the tower: its name and whether words are counted; the state has the words."""
        return {"name": "bow", "version": 1, "counts": self.settings.counts, "width": self.width}

    def state(self) -> Mapping[str, Any]:
        """Export the vocabulary, as JSON; empty before `fit`."""
        if not self.vocabulary:
            return {}
        return {"vocabulary": list(self.vocabulary), "counts": self.settings.counts}

    def fit(self, texts: Sequence[str]) -> "BagOfWordsTower":
        """Make a tower with the most frequent words of some texts, in alphabetical order.

        Where the size cuts through words of the same frequency, the first in the alphabet stay.

        Raises:
            FeatureError: if no word is frequent enough.
        """
        frequencies = Counter(word for text in texts for word in words_of(text))
        frequent = [pair for pair in frequencies.items() if pair[1] >= self.settings.min_count]
        if not frequent:
            raise FeatureError(
                f"no word occurs {self.settings.min_count} times in the {len(texts)} training "
                "texts: lower it, as in 'bow:2000,min_count=1', or use another text encoder"
            )
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        words = sorted(word for word, _ in frequent[: self.settings.size])
        return BagOfWordsTower(self.settings, words)

    def knows(self, text: str) -> bool:
        """Tell whether a text has a word of the vocabulary."""
        return any(word in self._places for word in words_of(text))

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Mark or count the vocabulary's words of each text."""
        require_texts(texts)
        if not self.vocabulary:
            raise FeatureError("the bow encoder has no vocabulary yet: fit it to training texts")
        if with_tokens:
            raise FeatureError(
                "the bow encoder has no content tokens: take a text encoder that has them, such "
                "as 'offline' or 'clip'"
            )
        pooled = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(pooled, texts, strict=True):
            for word, count in Counter(words_of(text)).items():
                place = self._places.get(word)
                if place is not None:
                    row[place] = count if self.settings.counts else 1
        return TowerOutput(pooled)
