"""Print MAP in four formulas under four tie rules for one set of codes, beside a plain oracle.

The oracle (`tests/oracles/ranking.py`) ranks by a loop over the bits, tries every order of the tied
items, and applies each formula to each order by a loop over the ranks. Nothing is shared with the
code it checks but the codes.

Run it: `python -m benchmarks.metrics.conventions`
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from modalhash.codes import pack
from modalhash.metrics import Convention, Ties, evaluate_direction
from tests.oracles import ranking

TOP_K = (3, 7, None)
N_QUERIES, N_ITEMS, N_BITS, N_CLASSES = 12, 9, 6, 5
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Row:
    """One number, twice.

    Attributes:
        k: cut-off; None is the whole list.
        convention: the formula.
        ties: the tie rule.
        value: ours.
        oracle: the plain loops'.
    """

    k: int | None
    convention: Convention
    ties: Ties
    value: float
    oracle: float


def compare(seed: int) -> Iterator[Row]:
    """Yield every formula under every tie rule at every cut-off."""
    generator = np.random.default_rng(seed)
    # Bits that are mostly +1 make more ties than fair ones.
    query_signs, database_signs = (
        np.where(generator.random((n, N_BITS)) < 0.7, 1, -1) for n in (N_QUERIES, N_ITEMS)
    )
    query_labels, database_labels = (
        (generator.random((n, N_CLASSES)) < 0.25).astype(np.uint8) for n in (N_QUERIES, N_ITEMS)
    )
    query_labels[0] = 0
    for ties in Ties:
        report = evaluate_direction(
            pack(query_signs),
            pack(database_signs),
            N_BITS,
            direction="image_to_text",
            query_labels=query_labels,
            database_labels=database_labels,
            top_k=TOP_K,
            conventions=list(Convention),
            ties=ties,
            relevances=["shared_label"],
        )
        for k in TOP_K:
            for convention in Convention:
                values = [
                    oracle_value(
                        [
                            ranking.hamming(signs, other_signs)
                            for other_signs in database_signs.tolist()
                        ],
                        [
                            float(ranking.in_common(labels, other_labels) > 0)
                            for other_labels in database_labels.tolist()
                        ],
                        k,
                        convention,
                        ties,
                    )
                    for signs, labels in zip(
                        query_signs.tolist(), query_labels.tolist(), strict=True
                    )
                ]
                counted = [value for value in values if not isnan(value)]
                yield Row(
                    k,
                    convention,
                    ties,
                    report.find("map", k=k, convention=convention).value,
                    sum(counted) / len(counted),
                )


def oracle_value(
    distances: Sequence[int],
    relevant: Sequence[float],
    top_k: int | None,
    convention: Convention,
    ties: Ties,
) -> float:
    """Return one query's average precision by plain loops."""

    def measure(order: list[float]) -> float:
        return ranking.average_precision([item > 0 for item in order], top_k, convention.value)

    return ranking.under_ties(distances, relevant, ties.value, measure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(
        f"{N_QUERIES} queries, {N_ITEMS} items, {N_BITS} bits, relevant: shares a label, "
        f"seed {options.seed}\n"
    )
    print(f"{'k':>4}  {'convention':<18}{'ties':<16}{'ours':>14}{'oracle':>14}{'difference':>12}")
    largest = 0.0
    for row in compare(options.seed):
        difference = abs(row.value - row.oracle)
        largest = max(largest, difference)
        print(
            f"{row.k or 'all':>4}  {row.convention.value:<18}{row.ties.value:<16}"
            f"{row.value:>14.10f}{row.oracle:>14.10f}{difference:>12.1e}"
        )
    print(f"\nlargest difference {largest:.1e}")
    if largest > TOLERANCE:
        raise SystemExit(f"the two differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
