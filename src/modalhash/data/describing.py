"""Count what is in a collection."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modalhash.data.collection import Collection, Modality

__all__ = ["CollectionSummary", "LabelCount", "describe"]


@dataclass(frozen=True)
class LabelCount:
    """How often a label is given.

    Attributes:
        name: the label.
        n_items: items that have it.
        share: their share of all items, in [0, 1].
    """

    name: str
    n_items: int
    share: float


@dataclass(frozen=True)
class CollectionSummary:
    """What is in a collection.

    Attributes:
        name: of the collection.
        source: how `load_collection` finds it.
        n_items: items (pictures).
        n_captions: texts.
        captions_per_item: the fewest, the mean and the most texts of an item.
        has_pictures: whether there are pictures, not only features.
        has_texts: whether there are texts, not only features.
        labels: every label, in the collection's order.
        n_unlabelled: items without any label; 0 if there are no labels at all.
        splits: split name to number of items.
        n_in_no_split: items that are in none.
        split_note: how the splits came to be.
        metadata: column name to the type of its values ("int", "float", "str", "bool").
        features: modality to the shape of the features that came with the collection.
    """

    name: str
    source: str
    n_items: int
    n_captions: int
    captions_per_item: tuple[int, float, int]
    has_pictures: bool
    has_texts: bool
    labels: tuple[LabelCount, ...]
    n_unlabelled: int
    splits: Mapping[str, int]
    n_in_no_split: int
    split_note: str
    metadata: Mapping[str, str]
    features: Mapping[Modality, tuple[int, int]]


def describe(collection: Collection) -> CollectionSummary:
    """Count what is in a collection.

    Example:
        >>> from modalhash.data.loading import load_collection
        >>> summary = describe(load_collection("scenes:20"))
        >>> summary.captions_per_item, summary.splits
        ((5, 5.0, 5), {'train': 16, 'dev': 2, 'test': 2})
    """
    counts = np.bincount(collection.caption_items, minlength=collection.n_items)
    labels = collection.labels
    totals = [] if labels is None else labels.sum(axis=0, dtype=np.int64).tolist()
    in_split = np.zeros(collection.n_items, bool)
    for items in collection.splits.values():
        in_split[items] = True
    return CollectionSummary(
        name=collection.name,
        source=collection.source,
        n_items=collection.n_items,
        n_captions=collection.n_captions,
        captions_per_item=(int(counts.min()), float(counts.mean()), int(counts.max())),
        has_pictures=collection.pictures is not None,
        has_texts=bool(collection.captions),
        labels=tuple(
            LabelCount(name, total, total / collection.n_items)
            for name, total in zip(collection.label_names, totals, strict=True)
        ),
        n_unlabelled=0 if labels is None else int((~labels.any(axis=1)).sum()),
        splits={name: len(items) for name, items in collection.splits.items()},
        n_in_no_split=int((~in_split).sum()),
        split_note=collection.split_note,
        metadata={
            column: next((type(value).__name__ for value in values if value is not None), "str")
            for column, values in collection.metadata.items()
        },
        features={
            modality: (array.shape[0], array.shape[1])
            for modality, array in collection.features.items()
        },
    )
