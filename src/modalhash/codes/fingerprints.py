"""Fingerprints of models: which codes may be compared with which.

A model's fingerprint is a hash of its weights. Codes compare if one model made them, or if one of
two models was trained to be compatible with the other. A model keeps the models that it is
compatible with as entries of `n_bits` and `fingerprint`, of the whole codes that were trained; of
codes that are cut to their first bits, the fingerprint follows from these.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["are_comparable", "compatible_fingerprints", "is_model_entry", "prefix_fingerprint"]


def prefix_fingerprint(fingerprint: str, n_bits: int) -> str:
    """Compute the fingerprint of a model whose codes are the first bits of another's.

    Args:
        fingerprint: of the model that was trained.
        n_bits: how many bits are kept.
    """
    return hashlib.sha256(f"{fingerprint}, first {n_bits} bits".encode()).hexdigest()


def compatible_fingerprints(entries: Iterable[Mapping[str, Any]], n_bits: int) -> tuple[str, ...]:
    """List the fingerprints of the models that codes of a length are compatible with.

    Args:
        entries: `n_bits` and `fingerprint` of models that were trained.
        n_bits: bits of the codes; of longer codes the first bits count, shorter ones don't compare.

    Example:
        >>> compatible_fingerprints([{"n_bits": 64, "fingerprint": "ab"}], 64)
        ('ab',)
        >>> compatible_fingerprints([{"n_bits": 64, "fingerprint": "ab"}], 128)
        ()
    """
    return tuple(
        entry["fingerprint"]
        if entry["n_bits"] == n_bits
        else prefix_fingerprint(entry["fingerprint"], n_bits)
        for entry in entries
        if entry["n_bits"] >= n_bits
    )


def are_comparable(
    first: str, second: str, *, first_compatible: Iterable[str], second_compatible: Iterable[str]
) -> bool:
    """Tell whether codes of two models may be compared.

    Two models that are both compatible with a third one needn't be so with each other.

    Args:
        first: fingerprint of one model; "" is unknown, which compares with everything.
        second: of the other.
        first_compatible: fingerprints that the first one is compatible with.
        second_compatible: that the second one is compatible with.

    Example:
        >>> are_comparable("new", "old", first_compatible=["old"], second_compatible=[])
        True
        >>> are_comparable("new", "newer", first_compatible=["old"], second_compatible=["old"])
        False
    """
    if first == second or not (first and second):
        return True
    return first in second_compatible or second in first_compatible


def is_model_entry(value: Any) -> bool:
    """Tell whether a value that was read from a file names a model by bits and fingerprint."""
    return (
        isinstance(value, dict)
        and type(value.get("n_bits")) is int
        and value["n_bits"] > 0
        and isinstance(value.get("fingerprint"), str)
    )
