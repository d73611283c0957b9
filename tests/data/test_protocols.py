"""Protocols: sizes as the papers state them, draws that keep their rule, splits that come back."""

# ruff: noqa: NPY002
# Programs seed NumPy's legacy generator; so do the tests.

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.data import (
    PROTOCOLS,
    Collection,
    apply_protocol,
    load_collection,
    read_split_file,
    split_fingerprint,
    write_split_file,
    write_splits,
)
from modalhash.errors import CollectionError, DamagedArtifactError, InputError, UnknownNameError
from modalhash.metrics import Convention


def collection_of(
    name: str,
    labels: NDArray[np.uint8] | None,
    *,
    n_items: int = 0,
    note: str = "made by modalhash",
) -> Collection:
    """Return items of one text each."""
    n_items = n_items if labels is None else len(labels)
    ids = tuple(f"item-{number}" for number in range(n_items))
    return Collection(
        name,
        ids,
        ids,
        np.arange(n_items),
        captions=ids,
        labels=labels,
        label_names=() if labels is None else tuple(map(str, range(labels.shape[1]))),
        splits={"train": np.arange(n_items - 2), "test": np.arange(n_items - 2, n_items)},
        split_note=note,
    )


def random_labels(n_items: int, n_labels: int, seed: int = 0) -> NDArray[np.uint8]:
    return (np.random.default_rng(seed).random((n_items, n_labels)) < 0.1).astype(np.uint8)


def sizes_of(collection: Collection) -> dict[str, int]:
    return {name: len(items) for name, items in collection.splits.items()}


@pytest.mark.parametrize(
    ("name", "n_items", "n_labels", "protocol", "sizes"),
    [
        ("mirflickr", 20015, 24, "djsrh", (2000, 5000, 18015)),
        ("mirflickr", 20015, 24, "ucch", (2000, 18015, 18015)),
        ("mirflickr", 20015, 24, "dcmh", (2000, 10000, 18015)),
        ("mirflickr", 20015, 24, "vtm-uch", (2000, 5000, 18015)),
        ("mirflickr-all", 24600, 24, "dchmt", (5120, 10240, 19480)),
        ("mirflickr-all", 24600, 24, "dchmt-toolkits", (5000, 10000, 19600)),
        ("mirflickr", 20015, 24, "dcmh-python", (2000, 10000, 18015)),
        ("mirflickr", 20015, 24, "torchcmh", (2000, 10000, 18015)),
        ("nuswide-10", 30000, 10, "djsrh", (2000, 5000, 28000)),
        ("nuswide-10", 30000, 10, "ucch", (2100, 27900, 27900)),
        ("nuswide-21", 30000, 21, "dcmh", (2100, 10500, 27900)),
        ("coco", 122218, 80, "ucch", (5000, 117218, 117218)),
        ("coco", 122218, 80, "dcmh", (5000, 10000, 117218)),
        ("iapr-tc12", 20000, 255, "ucch", (2000, 18000, 18000)),
        ("anything", 16000, 5, "dchmt", (5120, 10240, 10880)),
    ],
)
def test_sizes_are_those_of_the_papers(
    name: str, n_items: int, n_labels: int, protocol: str, sizes: tuple[int, int, int]
) -> None:
    divided = apply_protocol(collection_of(name, random_labels(n_items, n_labels)), protocol)
    assert sizes_of(divided) == dict(zip(("test", "train", "database"), sizes, strict=True))


@pytest.mark.parametrize("protocol", ["djsrh", "dcmh", "ucch"])
def test_queries_are_in_no_other_split_and_training_is_in_the_database(protocol: str) -> None:
    collection = collection_of("mirflickr", random_labels(900, 24))
    splits = apply_protocol(collection, f"{protocol}:queries=100,train=300").splits
    queries, train, database = (set(splits[n].tolist()) for n in ("test", "train", "database"))
    assert queries | database == set(range(900))
    assert not queries & database
    assert train <= database


def test_the_draw_by_label_takes_each_labels_share() -> None:
    """One label an item: the shares of 24 labels, two of the first, can be counted."""
    labels = np.zeros((20015, 24), np.uint8)
    labels[np.arange(20015), np.arange(20015) % 24] = 1
    splits = apply_protocol(collection_of("mirflickr", labels), "djsrh").splits
    assert labels[splits["test"]].sum(axis=0).tolist() == [160, *[80] * 23]
    assert labels[splits["train"]].sum(axis=0).tolist() == [400, *[200] * 23]
    labels = np.zeros((8000, 10), np.uint8)
    labels[np.arange(8000), np.arange(8000) % 10] = 1
    splits = apply_protocol(collection_of("nus-wide-tc10", labels), "djsrh").splits
    assert labels[splits["test"]].sum(axis=0).tolist() == [200] * 10
    assert labels[splits["train"]].sum(axis=0).tolist() == [500] * 10


def test_a_rare_label_gives_fewer_queries_and_training_is_topped_up() -> None:
    labels = np.zeros((100, 2), np.uint8)
    labels[:3, 0], labels[3:, 1] = 1, 1
    divided = apply_protocol(collection_of("x", labels), "djsrh:queries=20,train=30")
    assert sizes_of(divided) == {"test": 13, "train": 30, "database": 87}
    assert divided.split_note == "protocol djsrh, seed 0: 13 test, 30 train, 87 database"


def test_seeds_decide_the_draw() -> None:
    collection = collection_of("mirflickr", random_labels(900, 24))
    for protocol in ("djsrh:queries=100,train=300", "dcmh:queries=100,train=300"):
        first, again, other = (apply_protocol(collection, protocol, seed=s) for s in (0, 0, 1))
        assert split_fingerprint(first) == split_fingerprint(again)
        assert split_fingerprint(first) != split_fingerprint(other)
    assert "seed 1814" in apply_protocol(collection, "dchmt:queries=9,train=9").split_note


def permuted_by_numpy(n_items: int, seed: int) -> list[int]:
    """Draw as the programs do: with the seed of NumPy's global legacy generator."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        return [int(row) for row in np.random.permutation(range(n_items))]
    finally:
        np.random.set_state(state)


@pytest.mark.parametrize(
    ("protocol", "name", "n_labels", "seed", "n_queries", "n_train"),
    [
        ("dchmt", "mirflickr", 24, 1814, 5120, 10240),
        ("dchmt-toolkits", "mirflickr", 24, 1814, 5000, 10000),
        ("torchcmh", "mirflickr", 24, 6, 2000, 10000),
        ("torchcmh", "nuswide-21", 21, 7, 2100, 10500),
        ("torchcmh", "coco", 80, 8, 5000, 10000),
        ("torchcmh", "iapr-tc12", 255, 8, 2000, 10000),
        ("vtm-uch", "mirflickr", 24, 1, 2000, 5000),
        ("vtm-uch", "nuswide-21", 21, 1, 2000, 5000),
    ],
)
def test_programs_that_seed_numpy_are_followed_row_for_row(
    protocol: str, name: str, n_labels: int, seed: int, n_queries: int, n_train: int
) -> None:
    divided = apply_protocol(collection_of(name, random_labels(20015, n_labels)), protocol)
    rows = permuted_by_numpy(20015, seed)
    assert divided.split("test").tolist() == rows[:n_queries]
    assert divided.split("train").tolist() == rows[n_queries : n_queries + n_train]
    assert divided.split("database").tolist() == rows[n_queries:]
    assert f"protocol {protocol}, seed {seed}: " in divided.split_note


def test_dcmhs_python_takes_the_first_rows() -> None:
    collection = collection_of("mirflickr", random_labels(20015, 24))
    divided = apply_protocol(collection, "dcmh-python")
    assert divided.split("test").tolist() == list(range(2000))
    assert divided.split("train").tolist() == list(range(2000, 12000))
    assert divided.split("database").tolist() == list(range(2000, 20015))
    assert divided.split_note == ("protocol dcmh-python: 2,000 test, 10,000 train, 18,015 database")


@pytest.mark.parametrize("protocol", ["dchmt:queries=10,train=10", "dcmh:queries=10,train=10"])
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_protocols_take_no_seed_out_of_the_range(protocol: str, seed: int) -> None:
    with pytest.raises(InputError, match=f"^seed is {seed}, expected 0 to 4294967295$"):
        apply_protocol(collection_of("x", None, n_items=50), protocol, seed=seed)


def test_ucch_takes_the_last_rows() -> None:
    collection = collection_of("x", None, n_items=50)
    splits = apply_protocol(collection, "ucch:queries=10").splits
    assert splits["test"].tolist() == list(range(40, 50))
    assert splits["train"].tolist() == splits["database"].tolist() == list(range(40))


def test_official_splits_stay_and_made_ones_are_refused() -> None:
    collection = collection_of("flickr8k", None, n_items=9, note="official: train, test")
    divided = apply_protocol(collection, "official")
    assert sizes_of(divided) == {"test": 2, "train": 7, "database": 7}
    assert divided.split_note == (
        "protocol official: 2 test, 7 train, 7 database (official: train, test)"
    )
    made = "made by modalhash: seed 0, 80/10/10"
    expected = (
        "protocol 'official' takes the splits that come with 'flickr8k', but it brought no test "
        f"split (its splits: {made})"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        apply_protocol(replace(collection, split_note=made), "official")


def test_wiki_as_dgcpn_divides_it() -> None:
    ids = tuple(map(str, range(2866)))
    wiki = Collection(
        "wiki", ids, ids, np.arange(2866), captions=ids, split_note="given",
        splits={"train": np.arange(2173), "test": np.arange(2173, 2866)},
    )  # fmt: skip
    divided = apply_protocol(wiki, "wiki-dgcpn")
    assert sizes_of(divided) == {"test": 462, "dev": 231, "train": 2173, "database": 2173}
    assert divided.split("dev").tolist() == list(range(2173, 2173 + 231))
    assert divided.split("test").tolist() == list(range(2173 + 231, 2866))
    assert sizes_of(apply_protocol(wiki, "djsrh")) == {"test": 693, "train": 2173, "database": 2173}


def test_coco_87k_keeps_its_queries_and_draws_training() -> None:
    collection = collection_of("coco-87k", random_labels(12000, 91), note="given in the file")
    splits = replace(
        collection, splits={"test": np.arange(1000), "database": np.arange(1000, 12000)}
    )
    divided = apply_protocol(splits, "djsrh", seed=3)
    assert sizes_of(divided) == {"test": 1000, "train": 10000, "database": 11000}
    assert divided.split("test").tolist() == list(range(1000))
    assert divided.split("train").min() >= 1000


NO_SIZES = (
    "protocol 'dcmh' has no sizes for 'photos' (3 labels), only for mirflickr, nuswide-10, "
    "nuswide-21, coco, iapr: state them, as in dcmh:queries=2000,train=5000"
)
TOO_MANY = (
    "protocol 'dchmt' takes 5,120 queries and 10,240 training items at least, but photos has 40 "
    "items: state sizes that fit, as in dchmt:queries=4,train=10"
)
UNREADABLE = "'queries=ten' behind protocol 'dcmh' isn't queries=NUMBER or train=NUMBER"


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("dcmh", NO_SIZES),
        ("dchmt", TOO_MANY),
        ("dcmh:queries=ten", UNREADABLE),
    ],
)
def test_sizes_that_do_not_fit_are_named(protocol: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        apply_protocol(collection_of("photos", random_labels(40, 3)), protocol)


def test_a_draw_by_label_needs_labels() -> None:
    with pytest.raises(InputError, match="a draw by label needs labels, but 'x' has none: choose"):
        apply_protocol(collection_of("x", None, n_items=40), "djsrh:queries=4,train=9")
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'djsr': did you mean 'djsrh'\?"):
        apply_protocol(collection_of("x", None, n_items=40), "djsr")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_names_a_measure_that_there_is(name: str) -> None:
    assert PROTOCOLS[name].name == name
    assert PROTOCOLS[name].convention in set(Convention)
    assert all(k is None or k > 0 for k in PROTOCOLS[name].top_k)


def test_loading_takes_a_protocol_or_a_file(tmp_path: Path) -> None:
    divided = load_collection("scenes:40", protocol="dcmh:queries=8,train=20", split_seed=2)
    assert sizes_of(divided) == {"test": 8, "train": 20, "database": 32}
    path = tmp_path / "splits.json"
    fingerprint = write_split_file(divided, path)
    again = load_collection("scenes:40", split_file=path)
    assert split_fingerprint(again) == fingerprint
    assert again.split_note == "protocol dcmh, seed 2: 8 test, 20 train, 32 database"
    problem = "protocol and split_file both divide the collection: give one of them"
    with pytest.raises(InputError, match=f"^{re.escape(problem)}$"):
        load_collection("scenes:40", split_file=path, protocol="ucch")


def test_a_run_folders_splits_are_a_split_file(tmp_path: Path) -> None:
    divided = load_collection("scenes:40", protocol="dcmh:queries=8,train=20")
    write_splits(divided, tmp_path)
    again = load_collection("scenes:40", split_file=tmp_path)
    assert split_fingerprint(again) == split_fingerprint(divided)


def test_the_fingerprint_of_splits_goes_by_ids_not_by_order() -> None:
    scenes = load_collection("scenes:40")
    turned = scenes.subset(np.arange(39, -1, -1))
    assert split_fingerprint(turned) == split_fingerprint(scenes)
    moved = {**scenes.splits, "test": scenes.split("test")[1:]}
    assert split_fingerprint(replace(scenes, splits=moved)) != split_fingerprint(scenes)


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (
            lambda path: edited(path, '"test": [', '"test": [1, 1, '),
            InputError,
            "split 'test' of {path} isn't a list of distinct positions from 0 to 39",
        ),
        (
            lambda path: edited(path, '"test": [', '"test": [40, '),
            InputError,
            "split 'test' of {path} isn't a list of distinct positions from 0 to 39",
        ),
        (
            lambda path: edited(path, '"test"', '"exam"'),
            InputError,
            "{path} was changed: its splits don't match their fingerprint",
        ),
        (
            lambda path: path.write_text("[]"),
            DamagedArtifactError,
            "{path} is damaged: it states no format number",
        ),
    ],
)
def test_a_changed_split_file_is_refused(
    edit: Callable[[Path], object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    scenes = load_collection("scenes:40")
    path = tmp_path / "splits.json"
    write_split_file(scenes, path)
    edit(path)
    with pytest.raises(error, match=f"^{re.escape(message.format(path=path))}$"):
        read_split_file(scenes, path)


def test_a_split_file_of_another_collection_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    write_split_file(load_collection("scenes:40"), path)
    message = (
        f"{path} divides another collection: 'scenes' with 40 items, and this is 'scenes' with 41 "
        "(or their texts or labels differ)"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_collection("scenes:41", split_file=path)
    write_splits(load_collection("scenes:40"), tmp_path / "splits")
    with pytest.raises(CollectionError, match="is no item of this collection; delete the line"):
        load_collection("scenes:20", split_file=tmp_path / "splits")
