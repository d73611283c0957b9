"""Making splits: sizes, repeatability and what they don't depend on."""

import hashlib

import pytest

from modalhash.data.splits import make_splits, stable_fraction


def test_stable_fraction_is_the_first_six_bytes_of_a_sha256() -> None:
    digits = hashlib.sha256(b"dog").hexdigest()[:12]
    assert stable_fraction("dog") == int(digits, 16) / 16**12


@pytest.mark.parametrize(
    ("n_items", "sizes"),
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (10, (8, 1, 1)), (1000, (800, 100, 100))],
)
def test_sizes(n_items: int, sizes: tuple[int, int, int]) -> None:
    splits, _ = make_splits([str(number) for number in range(n_items)], seed=0)
    assert tuple(len(splits[name]) for name in ("train", "dev", "test")) == sizes
    everything = sorted(item for items in splits.values() for item in items.tolist())
    assert everything == list(range(n_items))


def named(ids: list[str], seed: int) -> dict[str, set[str]]:
    splits, _ = make_splits(ids, seed=seed)
    return {name: {ids[item] for item in items} for name, items in splits.items()}


def test_the_order_of_items_does_not_matter_and_the_seed_does() -> None:
    ids = [f"photo-{number}" for number in range(200)]
    assert named(ids, 3) == named(ids[::-1], 3)
    assert named(ids, 3) != named(ids, 4)


def test_an_added_item_moves_at_most_one_other_per_border() -> None:
    ids = [f"photo-{number}" for number in range(200)]
    before, after = named(ids, 0), named([*ids, "new"], 0)
    moved = sum(len(before[name] - after[name]) for name in before)
    assert moved <= 2
