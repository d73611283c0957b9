"""The table of protocols: whose rule, which sizes, and how results are measured under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["PROTOCOLS", "Protocol", "Rule", "Sizes"]

WHOLE_LIST: Final = (None,)


class Rule(StrEnum):
    """How items are chosen; `LEGACY_PERMUTATION` is that of `np.random.seed` and its functions."""

    BY_LABEL = "by_label"
    PERMUTATION = "permutation"
    LEGACY_PERMUTATION = "legacy_permutation"
    FIRST_ROWS = "first_rows"
    LAST_ROWS = "last_rows"
    GIVEN = "given"
    GIVEN_TEST_DIVIDED = "given_test_divided"


@dataclass(frozen=True)
class Sizes:
    """How many items a protocol takes.

    Attributes:
        queries: items of `test`; 0 for those the collection's own split has.
        train: items of `train`; 0 for the whole database.
    """

    queries: int
    train: int = 0


@dataclass(frozen=True)
class Protocol:
    """A named way to divide a collection and to measure on it.

    Attributes:
        name: of the protocol.
        summary: whose habit it is, in a line.
        rule: how items are chosen.
        sizes: family of data set (see `family_of`) to sizes.
        any_sizes: sizes for every other collection, if the protocol has some.
        convention: formula of average precision that goes with it.
        top_k: its cut-offs; None is the whole list.
        seed: of the draw, if none is given.
        seeds: family of data set to its seed, where a program has one for each.
    """

    name: str
    summary: str
    rule: Rule
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    any_sizes: Sizes | None = None
    convention: str = "truncated"
    top_k: tuple[int | None, ...] = (50,)
    seed: int = 0
    seeds: Mapping[str, int] = field(default_factory=dict)


_UNSUPERVISED: Final = {
    "mirflickr": Sizes(2000, 5000), "nuswide-10": Sizes(2000, 5000), "coco-87k": Sizes(0, 10000),
    "wiki": Sizes(0),
}  # fmt: skip
_SUPERVISED: Final = {
    "mirflickr": Sizes(2000, 10000), "nuswide-10": Sizes(2100, 10500),
    "nuswide-21": Sizes(2100, 10500), "coco": Sizes(5000, 10000), "iapr": Sizes(2000, 10000),
}  # fmt: skip
PROTOCOLS: Final[Mapping[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "cagan",
            "CAGAN: DJSRH's rule (never seeded, so the draw is ours), MAP@5000",
            Rule.BY_LABEL,
            _UNSUPERVISED,
            top_k=(5000,),
        ),
        Protocol(
            "dchmt",
            "DCHMT's repository: NumPy's legacy permutation, seed 1814, 5,120 queries, 10,240 to "
            "train",
            Rule.LEGACY_PERMUTATION,
            any_sizes=Sizes(5120, 10240),
            convention="first_k_relevant",
            top_k=WHOLE_LIST,
            seed=1814,
        ),
        Protocol(
            "dchmt-toolkits",
            "the toolkits after DCHMT: the same draw, seed 1814, 5,000 queries, 10,000 to train",
            Rule.LEGACY_PERMUTATION,
            any_sizes=Sizes(5000, 10000),
            convention="first_k_relevant",
            top_k=WHOLE_LIST,
            seed=1814,
        ),
        Protocol(
            "dcmh",
            "DCMH's paper, supervised: its sizes, 10,000 to train (10,500 of NUS-WIDE); the random "
            "draw is ours",
            Rule.PERMUTATION,
            _SUPERVISED,
            convention="first_k_relevant",
            top_k=WHOLE_LIST,
        ),
        Protocol(
            "dcmh-python",
            "DCMH's own Python: the first 2,000 rows are the queries, the next 10,000 train",
            Rule.FIRST_ROWS,
            {"mirflickr": Sizes(2000, 10000)},
            convention="first_k_relevant",
            top_k=WHOLE_LIST,
        ),
        Protocol(
            "djsrh",
            "DJSRH, JDSH, DSAH, CCAH, CFRH: drawn label by label (never seeded, so the draw is "
            "ours), 5,000 to train, MAP@50",
            Rule.BY_LABEL,
            _UNSUPERVISED,
        ),
        Protocol(
            "official",
            "the splits that come with the data set",
            Rule.GIVEN,
            any_sizes=Sizes(0),
            top_k=(50, None),
        ),
        Protocol(
            "torchcmh",
            "torchcmh: NumPy's legacy permutation, seed 6 of MIRFlickr, 7 of NUS-WIDE, 8 of COCO "
            "and IAPR",
            Rule.LEGACY_PERMUTATION,
            {family: sizes for family, sizes in _SUPERVISED.items() if family != "nuswide-10"},
            convention="first_k_relevant",
            top_k=WHOLE_LIST,
            seeds={"mirflickr": 6, "nuswide-21": 7, "coco": 8, "iapr": 8},
        ),
        Protocol(
            "ucch",
            "UCCH: the last rows of shuffled files are the queries, all others train, whole list",
            Rule.LAST_ROWS,
            {
                "mirflickr": Sizes(2000), "nuswide-10": Sizes(2100), "coco": Sizes(5000),
                "iapr": Sizes(2000),
            },
            convention="answerable",
            top_k=WHOLE_LIST,
        ),
        Protocol(
            "vtm-uch",
            "VTM-UCH: NumPy's legacy permutation, seed 1, 2,000 queries and 5,000 to train, whole "
            "list",
            Rule.LEGACY_PERMUTATION,
            {"mirflickr": Sizes(2000, 5000), "nuswide-21": Sizes(2000, 5000)},
            convention="first_k_relevant",
            top_k=(50, None),
            seed=1,
        ),
        Protocol(
            "wiki-dgcpn",
            "DGCPN on Wiki: of the official 693 test items the first 231 are `dev`, the other 462 "
            "the queries",
            Rule.GIVEN_TEST_DIVIDED,
            {"wiki": Sizes(462)},
            top_k=(50, 5, None),
        ),
    )
}  # fmt: skip
"""Name to protocol."""
