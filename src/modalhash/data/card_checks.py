"""Compare a collection with the card of its data set, and count what can be wrong with values."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalhash.data.cards import card_of
from modalhash.data.collection import Collection

__all__ = ["Deviation", "compare_with_card", "count_values"]

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Deviation:
    """A count that differs from the card.

    Attributes:
        card: the card's name.
        quantity: what was counted ("items", "texts", "labels", "items of split test").
        count: how many there are.
        expected: how many there should be; several where several are in circulation.
    """

    card: str
    quantity: str
    count: int
    expected: tuple[int, ...]

    def __str__(self) -> str:
        expected = " or ".join(f"{count:,}" for count in self.expected)
        return f"{self.quantity}: found {self.count:,}, the card of {self.card} says {expected}"

    def to_json(self) -> dict[str, Any]:
        """Describe the deviation as `data check --json` prints it."""
        return {
            "card": self.card,
            "what": self.quantity,
            "found": self.count,
            "expected": list(self.expected),
        }


def compare_with_card(collection: Collection) -> tuple[Deviation, ...]:
    """List the counts that differ from the card; none if the collection has no card.

    Example:
        >>> from modalhash.data import load_collection
        >>> compare_with_card(load_collection("scenes:20"))
        ()
    """
    known = card_of(collection)
    if known is None:
        return ()
    card, expected = known
    counts = [
        ("items", collection.n_items, expected.items),
        ("texts", collection.n_captions, expected.texts),
        ("labels", len(collection.label_names), expected.labels),
    ]
    if not collection.split_note.startswith(("made by", "protocol ")):
        for split, count in expected.splits.items():
            n_members = len(collection.splits.get(split, ()))
            counts.append((f"items of split {split}", n_members, count))
    return tuple(
        Deviation(card.name, quantity, count, allowed)
        for quantity, count, allowed in counts
        if allowed and count not in allowed
    )


def count_values(collection: Collection) -> tuple[str, ...]:
    """Say what the values look like: ranges, label sums, and what comes twice.

    Returns:
        Lines for a reader. Pictures that are the same file byte by byte are found among files of
        the same size.

    Example:
        >>> from modalhash.data import load_collection
        >>> count_values(load_collection("scenes:20"))[-1]
        'texts: 100, 100 different'
    """
    return (*_features(collection), *_labels(collection), *_texts(collection), *_twins(collection))


def _features(collection: Collection) -> Iterator[str]:
    for side, array in collection.features.items():
        blocks = range(0, len(array), _ROWS_AT_ONCE)
        low = min(float(array[start : start + _ROWS_AT_ONCE].min()) for start in blocks)
        high = max(float(array[start : start + _ROWS_AT_ONCE].max()) for start in blocks)
        rows = Counter(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in array)
        twice = sum(count - 1 for count in rows.values())
        yield (
            f"{side} features: {array.shape[0]:,} x {array.shape[1]:,} from {low:g} to {high:g}, "
            f"{twice:,} rows repeat another"
        )


def _labels(collection: Collection) -> Iterator[str]:
    if collection.labels is None:
        return
    sums = collection.labels.sum(axis=0, dtype=np.int64)
    per_item = collection.labels.sum(axis=1, dtype=np.int64)
    yield (
        f"labels: {len(sums)}, each given to {sums.min():,} to {sums.max():,} items; an item has "
        f"{per_item.min()} to {per_item.max()}, {per_item.mean():.2f} on average"
    )
    if unlabelled := int((per_item == 0).sum()):
        yield f"labels: {unlabelled:,} items have none, so nothing is relevant to them"
    unused = [name for name, total in zip(collection.label_names, sums, strict=True) if not total]
    if unused:
        names = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        yield f"labels: no item has {names} ({len(unused)} of {len(sums)} columns are empty)"


def _texts(collection: Collection) -> Iterator[str]:
    if collection.captions:
        different = len(set(collection.captions))
        yield f"texts: {collection.n_captions:,}, {different:,} different"


def _twins(collection: Collection) -> Iterator[str]:
    """Name pictures that are the same file byte by byte."""
    pictures = collection.pictures
    if pictures is None:
        return
    by_size: dict[int, list[int]] = defaultdict(list)
    for position in range(collection.n_items):
        path = pictures.path(position)
        if path is not None and path.is_file():
            by_size[path.stat().st_size].append(position)
    by_content: dict[str, list[int]] = defaultdict(list)
    for positions in by_size.values():
        for position in positions if len(positions) > 1 else ():
            by_content[pictures.digest(position)].append(position)
    same = [positions for positions in by_content.values() if len(positions) > 1]
    if same:
        first = " and ".join(collection.item_ids[position] for position in same[0][:2])
        extra = sum(len(positions) - 1 for positions in same)
        yield f"pictures: {extra:,} are the same file as another, such as {first}"
