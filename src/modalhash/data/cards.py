"""Cards of the public data sets: what they hold, under which terms, and what goes wrong with them.

The cards are in `cards.toml`. A card says what we know; what we don't know it says we don't. Counts
are those that the papers use, so `modalhash data check` compares with them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

from modalhash.data.collection import Collection
from modalhash.data.protocols import family_of
from modalhash.errors import UnknownNameError

__all__ = ["CARDS", "DatasetCard", "Expected", "card_named", "card_of"]


@dataclass(frozen=True)
class Expected:
    """What a collection of a data set should hold; empty where it isn't known.

    Attributes:
        items: numbers of items in circulation.
        texts: numbers of texts.
        labels: numbers of labels.
        splits: split name to numbers of items in circulation, where there are official splits.
    """

    items: tuple[int, ...] = ()
    texts: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetCard:
    """What there is to know about a data set before using it.

    Attributes:
        name: of the card.
        title: the data set's full name.
        about: what it holds.
        expected: source (or family, see `family_of`) to what it should hold.
        layouts: how to write it on the command line, each with what it reads.
        terms: licence or terms of use.
        where: where to get it.
        checksums: file to its checksum and who says so, of those that are published.
        protocols: names of the protocols that papers use on it.
        traps: what goes wrong.
        citation: the paper that introduced it.
    """

    name: str
    title: str
    about: str
    expected: Mapping[str, Expected]
    layouts: Mapping[str, str]
    terms: str
    where: str
    protocols: tuple[str, ...]
    traps: tuple[str, ...]
    citation: str
    checksums: Mapping[str, str] = field(default_factory=dict)


def read_cards(text: str) -> dict[str, DatasetCard]:
    """Make cards of a TOML document: a table a card, with the attributes of `DatasetCard`.

    Raises:
        TypeError: if an entry is unknown or missing.
    """
    return {name: make_card(name, entry) for name, entry in tomllib.loads(text).items()}


def make_card(name: str, entry: dict[str, Any]) -> DatasetCard:
    """Make a card of its entries."""
    lists: dict[str, Any] = {key: tuple(entry.pop(key)) for key in ("protocols", "traps")}
    expected = {key: make_expected(counts) for key, counts in entry.pop("expected").items()}
    return DatasetCard(name, expected=expected, **lists, **entry)


def make_expected(counts: dict[str, Any]) -> Expected:
    """Make what a collection should hold of its entries."""
    splits = {
        name: tuple(number) if isinstance(number, list) else (number,)
        for name, number in counts.pop("splits", {}).items()
    }
    return Expected(**{key: tuple(numbers) for key, numbers in counts.items()}, splits=splits)


CARDS: Final[Mapping[str, DatasetCard]] = read_cards(
    files("modalhash.data").joinpath("cards.toml").read_text(encoding="utf-8")
)
"""Name to card."""


def card_named(name: str) -> DatasetCard:
    """Find the card of a name or of a source ("nuswide", "nuswide-21", "nuswide-21:PATH").

    Raises:
        UnknownNameError: if there is none, listing those there are.

    Example:
        >>> card_named("nuswide-21").title
        'NUS-WIDE'
    """
    name = name.partition(":")[0]
    for card in CARDS.values():
        if name == card.name or name in card.expected:
            return card
    raise UnknownNameError("data set card", name, CARDS)


def card_of(collection: Collection) -> tuple[DatasetCard, Expected] | None:
    """Find the card of a collection and its stated counts; None if it is no known data set.

    Its source says which it is, or else its name or number of labels, as for protocols.
    """
    source = collection.source.partition(":")[0]
    for key in (source, collection.name, family_of(collection)):
        for card in CARDS.values():
            if key in card.expected:
                return card, card.expected[key]
    return None
