"""The choices behind every number: convention, tie rule, relevance, direction, gain."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from modalhash.choices import MeasureChoices, read_choice
from modalhash.errors import SettingError, UnknownNameError
from modalhash.seeds import check_seed

__all__ = [
    "Convention",
    "Gain",
    "MeasureChoices",
    "MeasureSettings",
    "RelevanceRule",
    "Ties",
    "read_choice",
]

LARGEST_CUTOFF: Final = 2**31 - 1
MOST_RESAMPLES: Final = 1_000_000
"""Bootstrap resamples behind an interval; their statistics are kept in memory together."""


class Convention(StrEnum):
    """What "average precision at K" means.

    With hits h(i) among the first i, R relevant items in the database, and P the sum of h(i) / i
    over the ranks i that hold a relevant item:

    - `truncated`: ranks up to K only, P / h(K); 0 without a hit. DJSRH, UCMFH, CIRH and most of
      the unsupervised literature. More hits late in the list can lower it.
    - `first_k_relevant`: the first K relevant items wherever they stand, P / min(K, R); 0 if R is
      0. DCMH, DCHMT and their descendants ("calc_map_k").
    - `standard`: ranks up to K only, P / min(K, R); 0 if R is 0. Information retrieval.
    - `answerable`: as `truncated`, and queries with R = 0 leave the mean. UCCH, with K = all.

    With K = all they differ only in what a query without relevant items counts.
    """

    TRUNCATED = "truncated"
    FIRST_K_RELEVANT = "first_k_relevant"
    STANDARD = "standard"
    ANSWERABLE = "answerable"


class Ties(StrEnum):
    """Which order items at the same distance have.

    - `expected`: every order is equally likely; the value is the exact mean over all of them.
    - `database_order`: the order of the database (a stable sort). Biased if that is by class.
    - `optimistic`, `pessimistic`: the largest and the smallest value that any order gives, for
      each query and each measure by itself.
    """

    EXPECTED = "expected"
    DATABASE_ORDER = "database_order"
    OPTIMISTIC = "optimistic"
    PESSIMISTIC = "pessimistic"


class RelevanceRule(StrEnum):
    """When a database item is relevant to a query.

    - `shared_label`: they have at least one label in common.
    - `jaccard`: labels in common / labels of either reaches a threshold; never without a common
      label.
    - `graded`: by the number of common labels, for nDCG.
    - `pair`: it is one of the query's own targets (its picture, its captions).
    """

    SHARED_LABEL = "shared_label"
    JACCARD = "jaccard"
    GRADED = "graded"
    PAIR = "pair"


class Gain(StrEnum):
    """What s common labels are worth in nDCG: 2**s - 1 (the hashing literature), or s."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"


@dataclass(frozen=True)
class MeasureSettings:
    """What to measure, and how."""

    top_k: tuple[int | None, ...] = (50, 5000, None)
    """Cut-offs of MAP, precision, recall and nDCG; None is the whole list. A cut-off beyond the
    database means the whole list."""
    conventions: tuple[Convention, ...] = (Convention.TRUNCATED,)
    """Formulas of average precision."""
    ties: Ties = Ties.EXPECTED
    """Order of items at equal distance."""
    relevances: tuple[RelevanceRule, ...] | None = None
    """Rules of relevance; None is every rule that the given labels and targets allow."""
    jaccard_threshold: float = 0.5
    """Smallest label Jaccard that counts under the rule `jaccard`."""
    gain: Gain = Gain.EXPONENTIAL
    """Worth of common labels in nDCG."""
    recall_at: tuple[int, ...] = (1, 5, 10)
    """Cut-offs of recall by pair."""
    radius: int = 2
    """Hamming radius of the hash lookup."""
    n_resamples: int = 0
    """Bootstrap resamples of the queries behind each interval; 0 gives none."""
    level: float = 0.95
    """Share of the bootstrap distribution inside an interval."""
    seed: int = 0
    """Seed of the bootstrap."""
    n_threads: int | None = None
    """Threads over blocks of queries; None is one for each usable core. Changes no value."""

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            SettingError: naming the setting, what came and what was expected.
        """
        cutoffs = f"{LARGEST_CUTOFF} at most, or None for the whole list"
        checks = (
            ("top_k", all(k is None or k >= 1 for k in self.top_k), "positive numbers or None"),
            ("top_k", all(k is None or k <= LARGEST_CUTOFF for k in self.top_k), cutoffs),
            ("jaccard_threshold", 0 < self.jaccard_threshold <= 1, "in (0, 1]"),
            ("recall_at", all(k >= 1 for k in self.recall_at), "positive numbers"),
            ("recall_at", all(k <= LARGEST_CUTOFF for k in self.recall_at), cutoffs),
            ("radius", self.radius >= 0, "0 or more"),
            ("n_resamples", 0 <= self.n_resamples <= MOST_RESAMPLES, f"0 to {MOST_RESAMPLES}"),
            ("level", 0 < self.level < 1, "in (0, 1)"),
            ("n_threads", self.n_threads is None or self.n_threads >= 1, "at least 1, or None"),
        )
        for name, is_good, expected in checks:
            if not is_good:
                raise SettingError(f"{name} is {getattr(self, name)}, expected {expected}")
        check_seed(self.seed)

    def intervals(self) -> dict[str, float | int]:
        """Describe how intervals are made; empty if there are none."""
        if not self.n_resamples:
            return {}
        return {"level": self.level, "n_resamples": self.n_resamples, "seed": self.seed}

    @classmethod
    def read(cls, choices: MeasureChoices) -> "MeasureSettings":
        """Build the settings from keywords, turning names into enums.

        Raises:
            SettingError: if a setting is unknown or out of its range.
            UnknownNameError: if a name isn't in its enum.

        Example:
            >>> MeasureSettings.read({"top_k": (10,), "ties": "optimistic"}).ties
            <Ties.OPTIMISTIC: 'optimistic'>
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in choices if name not in known]
        if unknown:
            raise UnknownNameError("measure setting", unknown[0], known)
        plain = cls()
        relevances = choices.get("relevances")
        return cls(
            top_k=tuple(choices.get("top_k", plain.top_k)),
            conventions=tuple(
                read_choice("convention", Convention, name)
                for name in choices.get("conventions", plain.conventions)
            ),
            ties=read_choice("tie rule", Ties, choices.get("ties", plain.ties)),
            relevances=None
            if relevances is None
            else tuple(read_choice("relevance rule", RelevanceRule, name) for name in relevances),
            jaccard_threshold=choices.get("jaccard_threshold", plain.jaccard_threshold),
            gain=read_choice("gain", Gain, choices.get("gain", plain.gain)),
            recall_at=tuple(choices.get("recall_at", plain.recall_at)),
            radius=choices.get("radius", plain.radius),
            n_resamples=choices.get("n_resamples", plain.n_resamples),
            level=choices.get("level", plain.level),
            seed=choices.get("seed", plain.seed),
            n_threads=choices.get("n_threads", plain.n_threads),
        )
