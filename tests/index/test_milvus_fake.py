"""The index on Milvus against a server in memory, which gives ties in an order of its own."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modalhash.codes import Codes, pack
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    FilterError,
    IndexServerError,
    InputError,
    MissingExtraError,
    NewerFormatError,
    SettingError,
    ShapeError,
)
from modalhash.index import IdKind, milvus, milvus_collection, milvus_rows, milvus_searching
from modalhash.index import build_index as build_embedded
from modalhash.index.filters import parse_filter
from modalhash.index.milvus import MilvusIndex
from modalhash.index.milvus_collection import check_url, reason_of
from modalhash.index.milvus_filters import compile_filter, literal
from tests.oracles.fake_milvus import FakeMilvus, MilvusException
from tests.oracles.plain_filter import plain_holds
from tests.oracles.plain_search import plain_search, plain_search_radius

URL = "http://cluster:19530"
TEXTS = ["a", "", "Straße", "犬", "🐕 dog", "a\x00b", 'q"u', "b\\s", "'", "{x}", "%"]


@pytest.fixture(autouse=True)
def without_pymilvus(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {name: SimpleNamespace(name=name) for name in ("VARCHAR", "INT64", "BINARY_VECTOR")}
    module = SimpleNamespace(DataType=SimpleNamespace(JSON=SimpleNamespace(name="JSON"), **kinds))
    monkeypatch.setattr(milvus_collection, "import_optional", lambda *_, **__: module)
    monkeypatch.setattr("time.sleep", lambda _: None)


def random_codes(n: int, n_bits: int, seed: int, n_distinct: int | None = None) -> Codes:
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1, 1], np.int8), size=(n_distinct or n, n_bits))
    return pack(signs if n_distinct is None else signs[generator.integers(0, n_distinct, n)])


def build(ids: Any, codes: Codes, n_bits: int, **given: Any) -> MilvusIndex:
    given.setdefault("client", FakeMilvus())
    return MilvusIndex.build(ids, codes, n_bits, url=URL, **given)


def fake(index: MilvusIndex) -> FakeMilvus:
    client = index.collection.client
    assert isinstance(client, FakeMilvus)
    return client


def positions(found: Any) -> list[list[tuple[int, int]]]:
    return [
        [(int(d), int(i)) for d, i in zip(one.distances, one.ids, strict=True)]
        for one in (found[query] for query in range(len(found)))
    ]


# --- answers -----------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(
    n=st.integers(1, 40),
    n_bits=st.sampled_from([1, 7, 8, 9, 16, 31, 64, 65, 128]),
    n_distinct=st.sampled_from([None, 1, 3]),
    k=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_plain_search_ties_included(
    n: int, n_bits: int, n_distinct: int | None, k: int, seed: int
) -> None:
    codes = random_codes(n, n_bits, seed, n_distinct)
    queries = np.concatenate([random_codes(3, n_bits, seed + 1), codes[:1]])
    index = build(np.arange(n), codes, n_bits)
    hits = index.search(queries, k)
    assert hits.distances.shape == hits.ids.shape == (4, min(k, n))
    assert hits.distances.dtype == np.int32
    assert positions(hits) == plain_search(queries, codes, k)
    for radius in (0, n_bits // 3, n_bits, n_bits + 1):
        near = index.search_radius(queries, radius)
        assert positions(near) == plain_search_radius(queries, codes, radius)


def test_relaxed_queries_are_answered_by_a_shortlist_scored_here(tmp_path: Path) -> None:
    codes = random_codes(300, 32, 1)
    queries = np.random.default_rng(2).standard_normal((5, 32)).astype(np.float32)
    metadata = [{"row": row} for row in range(300)]
    index = build(np.arange(300), codes, 32, metadata=metadata)
    exact = build_embedded(np.arange(300), codes, 32, metadata=metadata, kind="exact")
    for where in (None, "row >= 100"):
        hits, expected = (
            one.search(queries, 10, where, with_metadata=True) for one in (index, exact)
        )
        np.testing.assert_array_equal(hits.ids, expected.ids)
        np.testing.assert_array_equal(hits.distances, expected.distances)
        np.testing.assert_array_equal(hits.scores, expected.scores)
        assert hits.metadata == expected.metadata
        near, expected_near = (
            one.search_radius(queries, where=where, min_score=0.3) for one in (index, exact)
        )
        np.testing.assert_array_equal(near.ids, expected_near.ids)
    assert not index.is_exact_relaxed
    # 12 items by Hamming distance hold the best of some queries and not of others.
    short = build(np.arange(300), codes, 32, parameters={"shortlist": 12})
    assert short.searcher_parameters["relaxed_queries"]["shortlist"] == 12
    nearest = short.search(codes[:1], 12)
    signs = np.unpackbits(codes[:1], axis=1, bitorder="little").astype(np.float32) * 2 - 1
    generator = np.random.default_rng(3)
    relaxed = signs * np.abs(generator.standard_normal(32)).astype(np.float32)
    assert set(short.search(relaxed, 10).ids[0]) <= set(nearest.ids[0])
    with pytest.raises(SettingError, match=re.escape("shortlist")):
        build(np.arange(300), codes, 32, parameters={"shortlist": 16_384})


@pytest.mark.parametrize("most", [40, 100])
def test_ties_beyond_what_the_server_gives_are_settled_here(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 items at one distance; the server gives 40 or 100 of them in any order."""
    monkeypatch.setattr(milvus_searching, "MOST_HITS", most)
    monkeypatch.setattr(milvus_rows, "BLOCK_ROWS", 16)
    codes = pack([[1] * 8] * 200 + [[-1] * 8])
    index = build(np.arange(201), codes, 8)
    assert index.search(codes[:1], 10).ids.tolist() == [list(range(10))]
    assert index.search(codes[:1], 150).ids.tolist() == [list(range(150))]
    assert index.search_radius(codes[:1], 0).ids.tolist() == list(range(200))


def test_cells_are_looked_into_until_there_are_k_hits() -> None:
    """Two of ten cells hold a fifth of the items; 30 hits of 40 need all cells."""
    codes = random_codes(40, 16, 3)
    cells = {"index": "ivf", "n_cells": 10, "n_probes": 2}
    index = build(np.arange(40), codes, 16, parameters=cells)
    assert not index.is_exact
    hits = index.search(codes[:3], 30)
    assert positions(hits) == plain_search(codes[:3], codes, 30)
    near = index.search_radius(codes[:3], 6)
    assert positions(near) == plain_search_radius(codes[:3], codes, 6)


def test_probes_grow_as_fewer_items_pass() -> None:
    codes = random_codes(400, 16, 4)
    metadata = [{"row": row} for row in range(400)]
    cells = {"index": "ivf", "n_cells": 100, "n_probes": 4}
    index = build(np.arange(400), codes, 16, metadata=metadata, parameters=cells)

    def probes(where: str | None) -> int:
        fake(index).calls.clear()
        index.search(codes[:1], 1, where)
        searches = [named for name, named in fake(index).calls if name == "search"]
        return int(searches[0]["search_params"]["params"]["nprobe"])

    assert probes(None) == 4
    assert probes("row >= 200") == 8
    assert probes("row >= 360") == 40
    assert probes("row >= 399") == 100


VALUES: list[Any] = [None, True, False, 0, 1, 7.5, 2**70, "a", "ab", 'q"', ["a", 1], [], {"b": 1}]
FILTERS = [
    "a == 1", "a != 1", "a == true", "a < true", "a >= false", 'a == "a"', 'a > "a"', "a >= 0.5",
    'a in ("a", 1, true)', 'a not in ("a", 1)', '"a" in a', '"a" not in a', "1 in a", "a is null",
    "a is not null", "a.b == 1", "not a.b == 1", 'a like "a%"', 'a not like "a%"', 'a like "_b"',
    'not a like "%b"', 'a == "q\\""', "not (a == 1 or a is null)", f"a >= {2**53 + 1}",
    "a == 1 and not `a[0]` == 2", 'a == 1 or `it\'s` is null', "not (a == 1 and a like '%')",
]  # fmt: skip


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("field", ["", "a"], ids=["", "partitions"])
def test_filters_mean_what_they_say(where: str, field: str) -> None:
    metadata = [{"a": value} for value in VALUES] + [{}, {"it's": 1}]
    n = len(metadata)
    codes = random_codes(n, 16, 5, n_distinct=3)
    index = build(np.arange(n), codes, 16, metadata=metadata, parameters={"partition_field": field})
    tree = parse_filter(where)
    rows = [row for row, one in enumerate(metadata) if plain_holds(tree, one)]
    assert index.select(where).tolist() == rows
    hits = index.search(codes[:2], 5, where, with_metadata=True)
    expected = plain_search(codes[:2], codes[rows], 5)
    assert positions(hits) == [[(d, rows[place]) for d, place in one] for one in expected]
    assert hits.metadata is not None
    assert [one.get("a") for one in hits.metadata[0]] == [
        metadata[row].get("a") for row in hits.ids[0].tolist()
    ]
    counts = index.distance_histogram(codes[:2], where)
    assert counts.sum(1).tolist() == [len(rows)] * 2
    assert index.delete_where(where) == len(rows)
    assert len(index) == n - len(rows)


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_no_text_ends_its_literal(text: str) -> None:
    """Read as JSON, whose escapes are among Milvus's, a literal is the text again."""
    made = literal(text)
    assert re.fullmatch(r'"(?:[^"\\\x00-\x1f]|\\["\\]|\\u00[0-9a-f]{2})*"', made)
    found = re.sub(r"\\u(....)", lambda match: chr(int(match[1], 16)), made[1:-1])
    assert re.sub(r'\\(["\\])', r"\1", found) == text or "\\u" in text


@pytest.mark.parametrize(
    ("where", "text", "is_exact"),
    [
        ('tag == "x\\" or 1 == 1"', 'fields["tag"] == "x\\" or 1 == 1"', True),
        ("not year >= 7", '(not (fields["year"] >= 7)) or (not exists fields["year"])', True),
        ('a.b in ("x", 1)', '(fields["a"]["b"] == 1) or (fields["a"]["b"] in ["x"])', True),
        ('`x"] or (1` == 1', None, False),
        ('`x[0` == 1 and year == 2', 'fields["year"] == 2', False),
        ('place like "N%y"', 'fields["place"] like "N%"', False),
        ('place like "50\\%"', 'fields["place"] == "50%"', True),
        ('place like "50\\\\%%"', "", False),
        ('not place like "N%y"', "", False),
    ],
)  # fmt: skip
def test_expressions(where: str, text: str | None, is_exact: bool) -> None:
    if text is None:
        with pytest.raises(FilterError):
            parse_filter(where)
        return
    found = compile_filter(parse_filter(where))
    assert (found.text, found.is_exact) == (text, is_exact)


def test_a_filter_on_the_partition_field_names_the_partition() -> None:
    found = compile_filter(parse_filter('owner == "x" and year > 1'), partition_field="owner").text
    assert found == (
        '(partition in ["text x"]) and ((fields["owner"] == "x") and (fields["year"] > 1))'
    )
    other = compile_filter(parse_filter('owner == "x" or year > 1'), partition_field="owner").text
    assert "partition" not in other


# --- changes -----------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), is_text=st.booleans(), field=st.sampled_from(["", "tag"]))
def test_changes_answer_as_the_embedded_index(seed: int, is_text: bool, field: str) -> None:
    generator = np.random.default_rng(seed)
    codes = random_codes(60, 13, seed, n_distinct=6)
    ids: list[Any] = [f"{row}犬" if is_text else row * 7 - 90 for row in range(40)]
    given: dict[str, Any] = {"metadata": [{"tag": row % 3, "row": row} for row in range(20)]}
    parameters = {"batch_rows": 7, "partition_field": field}
    mine = build(ids[:20], codes[:20], 13, parameters=parameters, **given)
    plain = build_embedded(ids[:20], codes[:20], 13, kind="exact", **given)
    for step in range(4):
        some = generator.permutation(40)[:9]
        chosen = [ids[row] for row in some]
        metadata = [{"tag": int(row) % 2, "step": step} for row in some]
        for index in (mine, plain):
            index.upsert(chosen, codes[some], metadata)
        gone = [ids[row] for row in generator.permutation(40)[:5]]
        assert mine.delete(gone, missing="ignore") == plain.delete(gone, missing="ignore")
        assert mine.ids.tolist() == plain.ids.tolist()
        assert len(mine) == len(plain)
        for where in (None, "tag == 1"):
            one, other = mine.search(codes[:3], 12, where), plain.search(codes[:3], 12, where)
            np.testing.assert_array_equal(one.distances, other.distances)
            np.testing.assert_array_equal(one.ids, other.ids)
        assert mine.metadata(mine.ids) == plain.metadata(plain.ids)
        np.testing.assert_array_equal(mine.reconstruct(mine.ids), plain.reconstruct(plain.ids))


def test_ids_and_metadata_come_back(tmp_path: Path) -> None:
    codes = random_codes(len(TEXTS), 16, 6)
    metadata: list[dict[str, Any]] = [{"id": value, "n": None, "large": 2**70} for value in TEXTS]
    index = build(TEXTS, codes, 16, metadata=metadata, folder=tmp_path)
    again = MilvusIndex.open(tmp_path, client=fake(index))
    for one in (index, again):
        assert one.ids.tolist() == TEXTS
        assert one.id_kind is IdKind.TEXT
        assert one.metadata(TEXTS[::-1]) == metadata[::-1]
        np.testing.assert_array_equal(one.reconstruct(TEXTS[::-1]), codes[::-1])
        assert one.contains(["犬", "nope"]).tolist() == [True, False]
    again.delete(TEXTS[::2])
    assert index.ids.tolist() == TEXTS[1::2]


def test_numbers_go_on_after_those_of_another_writer(tmp_path: Path) -> None:
    codes = pack([[1] * 8] * 30)
    index = build(np.arange(10), codes[:10], 8, folder=tmp_path)
    other = MilvusIndex.open(tmp_path, client=fake(index))
    index.add(np.arange(10, 25), codes[:15])
    other.add([25], codes[:1])  # its manifest said 10
    assert index.search(codes[:1], 30).ids.tolist() == [list(range(26))]
    assert other.ids.tolist() == list(range(26))


def test_an_empty_index_has_no_collection_until_the_first_items(tmp_path: Path) -> None:
    index = build([], np.empty((0, 2), np.uint8), 12, folder=tmp_path)
    other = MilvusIndex.open(tmp_path, client=fake(index))
    assert not fake(index).collections
    for one in (index, other):
        assert (len(one), one.id_kind, one.ids.tolist()) == (0, None, [])
        assert one.search(np.zeros((3, 2), np.uint8), 5).distances.shape == (3, 0)
        assert one.search_radius(np.zeros((3, 2), np.uint8), 5).starts.tolist() == [0, 0, 0, 0]
        assert one.reconstruct([]).shape == (0, 2)
        assert one.distance_histogram(np.zeros((1, 2), np.uint8)).sum() == 0
    index.add([7], np.zeros((1, 2), np.uint8))
    assert other.search(np.zeros((1, 2), np.uint8), 5).ids.tolist() == [[7]]
    assert index.search(np.empty((0, 2), np.uint8), 5).ids.shape == (0, 1)


# --- a server that fails -----------------------------------------------------------------------


def failing(names: str, error: Exception, times: Iterator[int], calls: range) -> Any:
    """Return what raises in some of the calls of a name, counted from 0."""

    def fail(name: str) -> None:
        if name == names and next(times) in calls:
            raise error

    return fail


GONE = MilvusException("[upsert] Retry timeout: 30s, StatusCode.UNAVAILABLE, failed to connect")


def test_a_lost_answer_is_asked_for_again_and_nothing_comes_twice() -> None:
    codes = random_codes(20, 16, 7)
    index = build([], codes[:0], 16, parameters={"batch_rows": 5})
    fake(index).after = failing("upsert", GONE, count(), range(1, 3))
    index.add(np.arange(20), codes)
    assert index.ids.tolist() == list(range(20))
    assert [name for name, _ in fake(index).calls].count("upsert") == 6


def test_a_server_gone_in_mid_load_says_what_is_there_and_the_load_goes_on(
    tmp_path: Path,
) -> None:
    codes = random_codes(20, 16, 8)
    client = FakeMilvus()
    client.failing = failing("upsert", GONE, count(), range(2, 10**9))
    with pytest.raises(IndexServerError) as caught:
        build(
            np.arange(20), codes, 16, client=client, folder=tmp_path,
            parameters={"batch_rows": 5, "patience": 0.01},
        )  # fmt: skip
    assert caught.value.n_acknowledged == 10
    message = (
        f"the Milvus server at {URL} didn't take items: [upsert] Retry timeout: 30s, "
        "StatusCode.UNAVAILABLE, failed to connect; look whether it runs, then try again. 10 of 20 "
        "items, up to 9, were acknowledged and are kept; whether the 5 after them were written "
        "isn't known: upsert the items from number 10 on (counted from 0), or all of them again"
    )
    assert str(caught.value) == message
    client.failing = lambda name: None
    index = MilvusIndex.open(tmp_path, client=client)
    assert index.ids.tolist() == list(range(10))
    index.upsert(np.arange(10, 20), codes[10:])
    assert positions(index.search(codes[:2], 20)) == plain_search(codes[:2], codes, 20)


def test_an_error_that_stays_is_not_asked_again() -> None:
    index = build([1, 2], random_codes(2, 8, 9), 8)
    error = MilvusException("cannot parse expression: x\n/a/b/c.go:51 github.com/x.Y")
    fake(index).failing = failing("search", error, count(), range(10**9))
    message = f"the Milvus server at {URL} didn't search: cannot parse expression: x"
    with pytest.raises(IndexServerError, match=f"^{re.escape(message)}$"):
        index.search(np.zeros((1, 1), np.uint8), 1)
    assert [name for name, _ in fake(index).calls].count("search") == 1


def test_reads_that_must_follow_a_write_are_strong() -> None:
    codes = random_codes(4, 8, 10)
    index = build([1, 2], codes[:2], 8, parameters={"consistency": "Bounded"})
    fake(index).calls.clear()
    index.add([3], codes[2:3])
    index.delete_where("x == 1")
    levels = {named["consistency_level"] for name, named in fake(index).calls if name == "query"}
    assert levels == {"Strong"}
    fake(index).calls.clear()
    index.search(codes, 2)
    assert [named["consistency_level"] for _, named in fake(index).calls] == ["Bounded"]


# --- what is refused ---------------------------------------------------------------------------


def test_another_model_another_width_and_newer_formats_are_refused(tmp_path: Path) -> None:
    codes = random_codes(2, 8, 11)
    index = build([1, 2], codes, 8, model_fingerprint="abc", folder=tmp_path, collection="mine")
    assert len(MilvusIndex.open(tmp_path, expect_model="abc", client=fake(index))) == 2
    with pytest.raises(ArtifactError, match=re.escape("were made by model abc, the queries come")):
        MilvusIndex.open(tmp_path, expect_model="xyz", client=fake(index))
    message = (
        f"the collection mine at {URL} has model_fingerprint 'abc', expected 'xyz': its codes are "
        "of another model or index; build an index with this one"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        MilvusIndex(URL, "mine", 8, model_fingerprint="xyz", client=fake(index))
    with pytest.raises(ArtifactError, match="has n_bits 8, expected 16"):
        MilvusIndex(URL, "mine", 16, model_fingerprint="abc", client=fake(index))
    with pytest.raises(InputError, match="has a collection mine already"):
        build([1], codes[:1], 8, model_fingerprint="abc", collection="mine", client=fake(index))
    schema = fake(index).collections["mine"]["schema"]
    ours = schema.description
    for said, error in (
        (ours.replace('"format": 1', '"format": 9'), NewerFormatError),
        ("a collection of somebody", ArtifactError),
        ("{}", ArtifactError),
    ):
        schema.description = said
        with pytest.raises(error, match="the collection mine"):
            MilvusIndex.open(tmp_path, client=fake(index))
    schema.description = ours
    del schema.fields[-1]
    with pytest.raises(ArtifactError, match="another schema than modalhash gives: no field docu"):
        MilvusIndex.open(tmp_path, client=fake(index))
    with pytest.raises(ArtifactError, match="has no collection mine, which holds the codes of"):
        MilvusIndex.open(tmp_path, client=FakeMilvus())
    path = tmp_path / milvus.MANIFEST
    path.write_text(path.read_text().replace("mine", "thine"))
    with pytest.raises(DamagedArtifactError, match=re.escape(str(path))):
        MilvusIndex.open(tmp_path, client=fake(index))


def test_bad_changes_change_nothing() -> None:
    codes = random_codes(3, 16, 12)
    index = build(["a", "b", "c"], codes, 16)
    bad: list[tuple[Any, Codes, Any, type[Exception], str]] = [
        (["d", "a"], codes[:2], None, InputError, "the index already has 'a': nothing was added"),
        (["d", "d"], codes[:2], None, InputError, "ids holds 'd' more than once"),
        ([1], codes[:1], None, InputError, "ids are of kind integer, the index has text ids"),
        (["d"], codes[:1, :1], None, ShapeError, "codes has 1 bytes per row"),
        (["d" * 70_000], codes[:1], None, InputError, "an id has 70000 bytes"),
        (["d"], codes[:1], [{"x": "y" * 70_000}], InputError, "metadata of item 'd' has 70009 byt"),
    ]
    for ids, given_codes, metadata, error, message in bad:
        with pytest.raises(error, match=re.escape(message)):
            index.add(ids, given_codes, metadata)
        assert index.ids.tolist() == ["a", "b", "c"]
    with pytest.raises(InputError, match=re.escape("the index has no item 'x': nothing was del")):
        index.delete(["a", "x"])
    with pytest.raises(InputError, match=re.escape("the index has no item 'x'")):
        index.metadata(["x"])
    with pytest.raises(FilterError):
        index.search(codes, 1, "year >=")
    with pytest.raises(ShapeError):
        index.search(codes[:, :1], 1)
    with pytest.raises(InputError, match="k is 0"):
        index.search(codes, 0)
    assert len(index) == 3
    index.close()
    assert fake(index).is_closed
    with pytest.raises(InputError, match="the index is closed"):
        index.search(codes, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"recall": 0.9}, "an index of kind 'milvus' takes index, n_cells, n_probes, consistency"),
        ({"index": "hnsw"}, "index is 'hnsw', expected auto, flat or ivf"),
        ({"consistency": "strong"}, "consistency is 'strong', expected Strong, Session, Bounded"),
        ({"timeout": 0}, "timeout is 0, expected seconds above 0"),
        ({"batch_rows": 0}, "batch_rows is 0, expected an integer from 1 to 10000"),
    ],
)
def test_settings_out_of_range(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        build([1], np.zeros((1, 1), np.uint8), 8, parameters=parameters)


@pytest.mark.parametrize("url", ["cluster:19530", "", "ftp://x", "http://", "http://x:y", 7])
def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(SettingError, match="expected http://HOST:PORT or https://HOST:PORT"):
        check_url(url)


def test_a_password_is_not_written_down() -> None:
    with pytest.raises(SettingError, match="url holds a user or a password"):
        check_url("http://root:secret@cluster:19530")


def test_reasons_are_short() -> None:
    trace = "stack trace: /x/y.go:51 a.B\n/x/z.go:1 c.D\n/p/q.go:9 P: attempt #0: rpc error: gone"
    assert reason_of(MilvusException(trace)) == "#0: rpc error: gone"
    assert len(reason_of(MilvusException("x" * 1000))) == 303


def test_the_error_without_pymilvus_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, extra: str, feature: str) -> ModuleType:
        raise MissingExtraError(module, extra, feature)

    monkeypatch.setattr(milvus_collection, "import_optional", missing)
    message = "an index on Milvus needs the package 'pymilvus': pip install 'modalhash[milvus]'"
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        MilvusIndex(URL, "mine", 8)
