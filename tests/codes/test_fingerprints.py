import hashlib

import pytest

from modalhash.codes.fingerprints import (
    are_comparable,
    compatible_fingerprints,
    is_model_entry,
    prefix_fingerprint,
)


def test_the_fingerprint_of_first_bits_is_a_hash_of_both() -> None:
    expected = hashlib.sha256(b"abc, first 32 bits").hexdigest()
    assert prefix_fingerprint("abc", 32) == expected


def test_shorter_codes_are_compatible_with_shorter_codes() -> None:
    entries = [{"n_bits": 64, "fingerprint": "old"}, {"n_bits": 128, "fingerprint": "older"}]
    assert compatible_fingerprints(entries, 64) == ("old", prefix_fingerprint("older", 64))
    assert compatible_fingerprints(entries, 32) == (
        prefix_fingerprint("old", 32),
        prefix_fingerprint("older", 32),
    )
    assert compatible_fingerprints(entries, 128) == ("older",)
    assert compatible_fingerprints([], 64) == ()


@pytest.mark.parametrize(
    ("first", "second", "first_compatible", "second_compatible", "expected"),
    [
        ("a", "a", [], [], True),
        ("a", "b", [], [], False),
        ("", "b", [], [], True),  # nobody said who made the codes
        ("a", "b", ["b"], [], True),
        ("a", "b", [], ["a"], True),
        ("a", "b", ["c"], ["c"], False),
    ],
)
def test_codes_compare_if_one_model_is_compatible_with_the_other(
    first: str,
    second: str,
    first_compatible: list[str],
    second_compatible: list[str],
    *,
    expected: bool,
) -> None:
    result = are_comparable(
        first, second, first_compatible=first_compatible, second_compatible=second_compatible
    )
    assert result is expected


def test_what_names_a_model() -> None:
    assert is_model_entry({"n_bits": 8, "fingerprint": "a"})
    entries: tuple[object, ...] = (
        None,
        [],
        {"n_bits": 8},
        {"n_bits": True, "fingerprint": "a"},
        {"n_bits": 0, "fingerprint": "a"},
        {"n_bits": 8, "fingerprint": 1},
    )
    assert not any(is_model_entry(entry) for entry in entries)
