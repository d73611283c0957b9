"""Protocols: how the papers divide a data set, as named rules with a seed.

A protocol gives a collection the splits `test` (the queries), `train` and `database` (what is
ranked, everything but the queries), and says how results under it are usually measured. Names are
those of the program or the paper that set the habit. Programs that seed NumPy's legacy generator
(`torchcmh`, `dchmt`, `dchmt-toolkits`, `vtm-uch`), or that take rows as they come (`ucch`,
`dcmh-python`, `wiki-dgcpn`), are followed row for row and in their order, provided that the
collection has their rows in their order. Where a program didn't seed its draw (`djsrh`, `cagan`),
or only a paper states sizes (`dcmh`), the draw is ours, by seed, and the same on every machine.
"""

import hashlib
from dataclasses import replace
from typing import Final

import numpy as np

from modalhash.data.collection import Collection, Positions
from modalhash.data.protocol_table import PROTOCOLS, Protocol, Rule, Sizes
from modalhash.errors import InputError, UnknownNameError
from modalhash.seeds import check_seed

__all__ = ["apply_protocol", "family_of", "split_fingerprint"]

N_LABELS: Final = {24: "mirflickr", 10: "nuswide-10", 21: "nuswide-21", 80: "coco", 91: "coco-87k",
                   255: "iapr", 291: "iapr"}  # fmt: skip
"""What a collection is taken for by its number of labels, if its name says nothing."""
_NAMES: Final = (
    ("mirflickr", "mirflickr"), ("flickr25k", "mirflickr"), ("nuswide-10", "nuswide-10"),
    ("nuswide-21", "nuswide-21"), ("nus-wide-tc10", "nuswide-10"), ("nus-wide-tc21", "nuswide-21"),
    ("coco-87k", "coco-87k"), ("coco", "coco"), ("mscoco", "coco"), ("iapr", "iapr"),
    ("wiki", "wiki"), ("flickr8k", "captions"), ("flickr30k", "captions"), ("rsicd", "captions"),
    ("rsitmd", "captions"), ("sydney", "captions"), ("ucm", "captions"), ("msrvtt", "captions"),
    ("msvd", "captions"),
)  # fmt: skip
_WITHOUT_DRAW: Final = (Rule.FIRST_ROWS, Rule.LAST_ROWS, Rule.GIVEN_TEST_DIVIDED)


def apply_protocol(collection: Collection, protocol: str, *, seed: int | None = None) -> Collection:
    """Divide a collection as a protocol says.

    Args:
        collection: which.
        protocol: a name of `PROTOCOLS`, and sizes of your own behind it where the protocol's
            don't fit ("djsrh:queries=200,train=500"); `train=0` is the whole database.
        seed: of the draw; by default the protocol's.

    Returns:
        The collection with the splits `test`, `train`, `database` (and `dev`, where the protocol
        has one); `split_note` says protocol, seed and the sizes that came out.

    Raises:
        UnknownNameError: if there is no such protocol.
        InputError: if it has no sizes for this collection, needs labels or splits that aren't
            there, or takes more items than there are.

    Example:
        >>> from modalhash.data import load_collection
        >>> scenes = apply_protocol(load_collection("scenes:60"), "dcmh:queries=10,train=30")
        >>> {name: len(items) for name, items in scenes.splits.items()}
        {'test': 10, 'train': 30, 'database': 50}
        >>> scenes.split_note
        'protocol dcmh, seed 0: 10 test, 30 train, 50 database'
    """
    name, _, options = protocol.partition(":")
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    rule = PROTOCOLS[name]
    sizes = _sizes(rule, collection, options)
    if seed is None:
        seed = rule.seeds.get(family_of(collection), rule.seed)
    check_seed(seed)
    if rule.rule in (Rule.GIVEN, Rule.GIVEN_TEST_DIVIDED) or not sizes.queries:
        splits = _from_given(collection, rule, sizes, np.random.default_rng(seed))
    else:
        if not 0 < sizes.queries + max(sizes.train, 1) <= collection.n_items:
            needed = f"{sizes.queries:,} queries and {sizes.train or 1:,} training items at least"
            raise InputError(
                f"protocol {name!r} takes {needed}, but {collection.name} has "
                f"{collection.n_items:,} items: state sizes that fit, as in "
                f"{name}:queries={max(1, collection.n_items // 10)},"
                f"train={max(1, collection.n_items // 4)}"
            )
        splits = _draw(collection, rule.rule, sizes, seed)
    drawn = ", ".join(f"{len(items):,} {split}" for split, items in splits.items())
    note = f"protocol {name}, seed {seed}: {drawn}"
    if rule.rule == Rule.GIVEN:
        note = f"protocol {name}: {drawn} ({collection.split_note})"
    elif rule.rule in _WITHOUT_DRAW:
        note = f"protocol {name}: {drawn}"
    return replace(collection, splits=splits, split_note=note)


def family_of(collection: Collection) -> str:
    """Find which well-known data set a collection is; "" if none.

    Its name says so, or else its number of labels.
    """
    name = collection.name.lower().replace("_", "-")
    for start, family in _NAMES:
        if name.startswith(start):
            return family
    return N_LABELS.get(len(collection.label_names), "")


def split_fingerprint(collection: Collection) -> str:
    """Compute a SHA-256 of the ids in each split: the same for any order of the files."""
    digest = hashlib.sha256()
    for split in sorted(collection.splits):
        digest.update(f"{split}\n".encode())
        for item in sorted(collection.item_ids[place] for place in collection.splits[split]):
            digest.update(item.encode() + b"\0")
    return digest.hexdigest()


def _sizes(protocol: Protocol, collection: Collection, options: str) -> Sizes:
    """Choose the sizes for a collection: those stated, else those of its family.

    Raises:
        InputError: if there are none, or an option can't be read.
    """
    family = family_of(collection)
    sizes = protocol.sizes.get(family, protocol.any_sizes)
    stated = {}
    for option in options.split(",") if options else ():
        key, _, number = option.partition("=")
        if key not in ("queries", "train") or not number.isdecimal():
            raise InputError(
                f"{option!r} behind protocol {protocol.name!r} isn't queries=NUMBER or train=NUMBER"
            )
        stated[key] = int(number)
    if sizes is None and "queries" not in stated:
        known = ", ".join(protocol.sizes)
        raise InputError(
            f"protocol {protocol.name!r} has no sizes for {collection.name!r} "
            f"({len(collection.label_names)} labels), only for {known}: state them, as in "
            f"{protocol.name}:queries=2000,train=5000"
        )
    return replace(sizes or Sizes(stated["queries"]), **stated)


def _from_given(
    collection: Collection, protocol: Protocol, sizes: Sizes, random: np.random.Generator
) -> dict[str, Positions]:
    """Take the splits that came with the collection, and add what the protocol adds.

    Raises:
        InputError: if it brought none.
    """
    if collection.split_note.startswith("made by") or "test" not in collection.splits:
        raise InputError(
            f"protocol {protocol.name!r} takes the splits that come with {collection.name!r}, but "
            f"it brought no test split (its splits: {collection.split_note or 'none'})"
        )
    splits = dict(collection.splits)
    queries = splits["test"]
    if protocol.rule == Rule.GIVEN_TEST_DIVIDED:
        if sizes.queries >= len(queries):
            raise InputError(
                f"protocol {protocol.name!r} leaves {sizes.queries:,} queries of the test split, "
                f"but that has {len(queries):,} items: state how many, as in "
                f"{protocol.name}:queries={max(1, 2 * len(queries) // 3)}"
            )
        splits["dev"], splits["test"] = np.split(queries, [len(queries) - sizes.queries])
    outside = [splits[name] for name in ("test", "dev") if name in splits]
    if "database" not in splits:
        rest = np.setdiff1d(np.arange(collection.n_items), np.concatenate(outside))
        splits["database"] = splits.get("train", rest)
    if protocol.rule == Rule.BY_LABEL and sizes.train:
        if sizes.train > len(splits["database"]):
            raise InputError(
                f"protocol {protocol.name!r} draws {sizes.train:,} training items, but the "
                f"database has {len(splits['database']):,}: state how many, as in "
                f"{protocol.name}:train={max(1, len(splits['database']) // 4)}"
            )
        splits["train"] = np.sort(random.permutation(splits["database"])[: sizes.train])
    splits.setdefault("train", splits["database"])
    order = ("test", "dev", "train", "database")
    return {name: splits[name] for name in (*order, *splits) if name in splits}


def _draw(collection: Collection, rule: Rule, sizes: Sizes, seed: int) -> dict[str, Positions]:
    """Choose queries and training items; the database is everything but the queries.

    Programs that are followed row for row have the database behind the queries, in the order of
    their permutation; other splits are sorted.
    """
    everything = np.arange(collection.n_items, dtype=np.int64)
    match rule:
        case Rule.LEGACY_PERMUTATION | Rule.FIRST_ROWS:
            order = everything
            if rule == Rule.LEGACY_PERMUTATION:
                order = legacy_permutation(collection.n_items, seed)
            queries, database = np.split(order, [sizes.queries])
            train = database[: sizes.train] if sizes.train else database
            return {"test": queries, "train": train, "database": database}
        case Rule.BY_LABEL:
            queries, train = _by_label(collection, sizes, np.random.default_rng(seed))
        case Rule.PERMUTATION:
            order = np.random.default_rng(seed).permutation(everything)
            queries, train = np.split(order, [sizes.queries])
        case _:
            train, queries = np.split(everything, [collection.n_items - sizes.queries])
    database = np.setdiff1d(everything, queries)
    train = np.sort(train[: sizes.train]) if sizes.train else database
    return {"test": np.sort(queries), "train": train, "database": database}


def legacy_permutation(n_items: int, seed: int) -> Positions:
    """Permute as `np.random.seed(seed)` and `np.random.permutation(n_items)` do."""
    generator = np.random.RandomState(seed)
    return generator.permutation(n_items).astype(np.int64)


def _by_label(
    collection: Collection, sizes: Sizes, random: np.random.Generator
) -> tuple[Positions, Positions]:
    """Walk the labels in order and take of each its share of items that aren't taken yet.

    Of MIRFlickr, whose 24 labels don't divide the sizes, the first label gives two shares. The
    training items are topped up at random; a rare label gives fewer queries than its share.

    Returns:
        Queries and training items.

    Raises:
        InputError: if there are no labels.
    """
    if collection.labels is None:
        raise InputError(
            f"a draw by label needs labels, but {collection.name!r} has none: choose the protocol "
            "dcmh, ucch or official"
        )
    n_labels = collection.labels.shape[1]
    is_first_double = family_of(collection) == "mirflickr"
    limits = (sizes.queries, sizes.train)
    shares = [-(-limit // (n_labels + is_first_double)) for limit in limits]
    is_free = np.ones(collection.n_items, bool)
    chosen: tuple[list[int], list[int]] = [], []
    for label in range(n_labels):
        times = 2 if label == 0 and is_first_double else 1
        members = random.permutation(np.flatnonzero(collection.labels[:, label]))
        free = members[is_free[members]]
        start = 0
        for part, share, limit in zip(chosen, shares, limits, strict=True):
            own = free[start : start + min(times * share, limit - len(part))]
            part.extend(own.tolist())
            start += len(own)
        is_free[free[:start]] = False
    queries, train = (np.array(part, np.int64) for part in chosen)
    top_up = random.permutation(np.flatnonzero(is_free))[: max(0, sizes.train - len(train))]
    return queries, np.concatenate([train, top_up])
