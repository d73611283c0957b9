"""Cards: each source of a data set has one, and a collection that differs from it is told."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modalhash.data import CARDS, COLLECTIONS, PROTOCOLS, card_named, check_collection
from modalhash.data.card_checks import compare_with_card, count_values
from modalhash.data.cards import card_of
from modalhash.data.collection import Collection
from modalhash.errors import UnknownNameError
from tests.oracles.feature_layouts import write_dgcpn, write_ucch
from tests.oracles.official_layouts import draw, write_flickr8k_json, write_mirflickr

MADE_OR_ANY_DATA = {
    "features", "icons", "scenes", "clip-retrieval", "file-captions", "huggingface", "table",
    "text-files", "webdataset",
}  # fmt: skip


def test_every_public_source_is_on_a_card() -> None:
    layouts = " ".join(layout for card in CARDS.values() for layout in card.layouts)
    named = set(re.findall(r"([\w-]+):PATH", layouts))
    assert named == COLLECTIONS.keys() - MADE_OR_ANY_DATA


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_complete_and_its_numbers_agree(name: str) -> None:
    card = CARDS[name]
    assert card.name == name
    for text in (card.title, card.about, card.terms, card.where, card.citation, *card.traps):
        assert text.strip() == text
        assert text
    assert set(card.protocols) <= PROTOCOLS.keys()
    for expected in card.expected.values():
        if expected.splits and expected.items:
            counts = list(expected.splits.values())
            for division in range(max(map(len, counts))):  # several may be in circulation
                own = [numbers[min(division, len(numbers) - 1)] for numbers in counts]
                assert sum(own) in expected.items


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_protocol_sizes_fit_the_cards_counts(card: object) -> None:
    """Queries and training items of a protocol are fewer than the data set has items."""
    assert card in CARDS.values()
    for name in PROTOCOLS:
        for family, sizes in PROTOCOLS[name].sizes.items():
            expected = [one.expected[family] for one in CARDS.values() if family in one.expected]
            assert expected, family
            assert sizes.queries + sizes.train < min(expected[0].items)


def test_a_card_is_found_by_name_source_or_path() -> None:
    assert card_named("nuswide-10:data").name == card_named("nuswide").name == "nuswide"
    with pytest.raises(UnknownNameError, match="unknown data set card 'mirflick': did you mean"):
        card_named("mirflick")


def test_a_collection_that_differs_is_told_what_was_found_and_expected(tmp_path: Path) -> None:
    report = check_collection(f"mirflickr:{write_mirflickr(tmp_path)}")
    assert report.is_sound
    assert [str(deviation) for deviation in report.deviations] == [
        "items: found 24, the card of mirflickr says 20,015",
        "texts: found 24, the card of mirflickr says 20,015",
    ]
    report = check_collection(f"flickr8k:{write_flickr8k_json(tmp_path)}")
    assert [str(deviation) for deviation in report.deviations] == [
        "items: found 24, the card of flickr8k says 8,000 or 8,091",
        "texts: found 48, the card of flickr8k says 40,000 or 40,455",
        "items of split train: found 16, the card of flickr8k says 6,000",
        "items of split dev: found 4, the card of flickr8k says 1,000",
        "items of split test: found 4, the card of flickr8k says 1,000",
    ]


def test_features_find_their_card_by_the_files_name(tmp_path: Path) -> None:
    report = check_collection(f"ucch:{write_ucch(tmp_path)}")
    assert [(d.card, d.quantity, d.count) for d in report.deviations] == [
        ("mirflickr", "items", 2030),
        ("mirflickr", "texts", 2030),
        ("mirflickr", "labels", 3),
    ]
    report = check_collection(f"dgcpn:{write_dgcpn(tmp_path / 'w')}")
    assert {deviation.card for deviation in report.deviations} == {"wiki"}


def wiki_of(n_items: int) -> Collection:
    ids = tuple(map(str, range(n_items)))
    return Collection(
        "wiki", ids, ids, np.arange(n_items), captions=ids,
        labels=np.ones((n_items, 10), np.uint8), label_names=tuple("abcdefghij"),
        splits={"train": np.arange(2173), "test": np.arange(2173, n_items)}, split_note="given",
    )  # fmt: skip


def test_what_agrees_with_the_card_is_no_deviation() -> None:
    assert compare_with_card(wiki_of(2866)) == ()
    [items, texts, split] = compare_with_card(wiki_of(2865))
    assert (items.count, items.expected) == (2865, (2866,))
    assert (texts.quantity, split.quantity, split.count) == ("texts", "items of split test", 692)
    assert card_of(replace(wiki_of(2866), name="mine", label_names=tuple("klmnopqrst"))) is not None


def test_values_are_counted(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 0)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], np.uint8)
    features = np.array([[1, -2], [3, 0.5], [1, -2]], np.float32)
    ids = ("a", "b", "c")
    collection = Collection(
        "x", ids, ids, np.arange(3), captions=("one", "one", "two"), labels=labels,
        label_names=("sky", "dog", "sea"), features={"image": features},
    )  # fmt: skip
    assert count_values(collection) == (
        "image features: 3 x 2 from -2 to 3, 1 rows repeat another",
        "labels: 3, each given to 0 to 2 items; an item has 0 to 2, 1.00 on average",
        "labels: 1 items have none, so nothing is relevant to them",
        "labels: no item has sea (1 of 3 columns are empty)",
        "texts: 3, 2 different",
    )


def test_the_same_picture_twice_is_found(tmp_path: Path) -> None:
    source = f"flickr8k:{write_flickr8k_json(tmp_path)}"
    folder = tmp_path / "Flicker8k_Dataset"
    (folder / "dog_1.jpg").write_bytes((folder / "sky_0.jpg").read_bytes())
    values = check_collection(source).values
    assert values[-1] == "pictures: 1 are the same file as another, such as sky_0.jpg and dog_1.jpg"
