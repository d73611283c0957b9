"""The evaluation of one direction: codes (or scores) and what is relevant in, every number out."""

from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modalhash.choices import Scoring
from modalhash.codes import BitOrder, Codes, check_codes, to_little
from modalhash.codes.asymmetric import Relaxed, WeightedQueries
from modalhash.errors import InputError, ShapeError
from modalhash.metrics.block_measures import measure_all
from modalhash.metrics.options import (
    MeasureChoices,
    MeasureSettings,
    RelevanceRule,
    read_choice,
)
from modalhash.metrics.ranked_measures import (
    gain_values,
)
from modalhash.metrics.rankings import ScoreBlocks, ScoreRanking, WeightedRanking
from modalhash.metrics.relevance import (
    LabelRelevance,
    check_labels,
    check_own_rows,
    check_targets,
)
from modalhash.metrics.results import DirectionReport
from modalhash.metrics.tallies import DistanceTally, ScoreTally, Truth
from modalhash.modalities import Direction

__all__ = ["evaluate_asymmetric", "evaluate_direction", "evaluate_scores"]

Floats = NDArray[np.float64]

OTHER_SCORES = "scores"
"""What a ranking by scores of any origin is called."""


def evaluate_direction(
    query_codes: Codes,
    database_codes: Codes,
    n_bits: int,
    *,
    direction: Direction | str,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    own_rows: ArrayLike | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    **choices: Unpack[MeasureChoices],
) -> DirectionReport:
    """Measure how well queries find what is relevant to them, by Hamming distance.

    Exact, in blocks: memory doesn't grow with the number of query-item pairs. How queries without
    relevant items count: average precision 0 (left out under `answerable`), precision and nDCG 0,
    recall, ranks and F1 left out. `Measure.n_queries` says how many count.

    Args:
        query_codes: (q, p) uint8, packed.
        database_codes: (m, p) uint8, packed.
        n_bits: bits of a code.
        direction: what asks and what is asked for; it names the numbers, nothing else.
        query_labels: (q, c) of 0 and 1, for relevance by labels.
        database_labels: (m, c) of 0 and 1, the same classes.
        query_targets: (q,) or (q, t) database rows that answer each query, -1 to fill up, for
            relevance by pair (see `match_items`). Recall by pair counts a query as found if any of
            its targets is inside the cut-off; its rank is the nearest target's.
        own_rows: (q,) the database row that is each query itself, and isn't ranked for it; None
            ranks all rows for all queries.
        bit_order: of the codes, "little" (ours) or "big".
        **choices: the fields of `MeasureSettings`: `top_k`, `conventions`, `ties`, `relevances`,
            `jaccard_threshold`, `gain`, `recall_at`, `radius`, `n_resamples`, `level`, `seed`,
            `n_threads`.

    Returns:
        The report: for labels MAP, precision, recall at each cut-off, hash lookup, nDCG; for pairs
        MAP, recall, mean and median rank; curves by rank and by radius.

    Raises:
        ShapeError: if codes, labels or targets have a wrong shape or dtype.
        InputError: if there are no queries or items, labels aren't 0 and 1, targets aren't rows of
            the database, or a rule of relevance lacks its labels or targets.
        SettingError: if a setting is out of its range.
        UnknownNameError: if a name isn't known.

    Example:
        >>> from modalhash.codes import pack
        >>> codes = pack([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]])
        >>> labels = [[1, 0], [0, 1], [1, 0]]
        >>> report = evaluate_direction(
        ...     codes[:1], codes, 4, direction="image_to_text", query_labels=labels[:1],
        ...     database_labels=labels, query_targets=[0], relevances=["shared_label", "pair"],
        ... )
        >>> round(report.find("map", relevance="shared_label").value, 4)  # (1 + 2/3) / 2
        0.8333
        >>> report.find("recall", k=1, relevance="pair").value
        1.0
    """
    settings = MeasureSettings.read(choices)
    query_codes = to_little(query_codes, bit_order)
    database_codes = to_little(database_codes, bit_order)
    check_codes(query_codes, n_bits, name="query_codes")
    check_codes(database_codes, n_bits, name="database_codes")
    shape = (len(query_codes), len(database_codes))
    truth = read_truth(shape, query_labels, database_labels, query_targets, settings)
    truth, own = leave_out_own_rows(truth, shape, own_rows)
    tally = DistanceTally(
        query_codes,
        database_codes,
        n_bits,
        truth=truth,
        gains=choose_gains(truth, settings),
        ties=settings.ties,
        own_rows=own,
    )
    return measure_all(
        tally,
        read_choice("direction", Direction, direction),
        n_bits,
        settings,
        Scoring.HAMMING.value,
    )


def evaluate_scores(
    scores: ScoreBlocks | ArrayLike,
    n_queries: int,
    n_database: int,
    *,
    direction: Direction | str,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    scoring: str = OTHER_SCORES,
    **choices: Unpack[MeasureChoices],
) -> DirectionReport:
    """Measure a ranking by real-valued scores, with the formulas of `evaluate_direction`.

    Equal scores are ties. Blocks are sorted, so this is slower than codes are. There is no hash
    lookup and no curve by radius.

    Args:
        scores: (q, m) array, or a function that takes a slice of the queries and returns their
            (rows, m) scores; larger is better. It may be called from several threads.
        n_queries: q.
        n_database: m.
        direction: what asks and what is asked for.
        query_labels: as for `evaluate_direction`.
        database_labels: as for `evaluate_direction`.
        query_targets: as for `evaluate_direction`.
        scoring: what the report calls the ranking; it changes no number.
        **choices: the fields of `MeasureSettings`.

    Returns:
        The report; its `n_bits` is None.

    Raises:
        ShapeError: if scores, labels or targets have a wrong shape or dtype.
        InputError: as for `evaluate_direction`, and if a score is NaN.
        SettingError: if a setting is out of its range.
        UnknownNameError: if a name isn't known.

    Example:
        >>> features = np.eye(3)
        >>> report = evaluate_scores(
        ...     lambda queries: features[queries] @ features.T, 3, 3,
        ...     direction="text_to_image", query_targets=[0, 1, 2],
        ... )
        >>> report.find("median_rank").value
        1.0
    """
    settings = MeasureSettings.read(choices)
    truth = read_truth(
        (n_queries, n_database), query_labels, database_labels, query_targets, settings
    )
    if callable(scores):
        score_block = scores
    else:
        table = np.asarray(scores)
        if table.shape != (n_queries, n_database):
            raise ShapeError(
                f"scores has shape {table.shape}, expected (n_queries, n_database), which is "
                f"{(n_queries, n_database)}"
            )

        def score_block(queries: slice) -> NDArray[np.floating]:
            return table[queries]

    tally = ScoreTally(
        ScoreRanking(score_block, n_queries, n_database),
        truth=truth,
        gains=choose_gains(truth, settings),
        ties=settings.ties,
    )
    return measure_all(
        tally, read_choice("direction", Direction, direction), None, settings, scoring
    )


def evaluate_asymmetric(
    relaxed_queries: Relaxed,
    database_codes: Codes,
    n_bits: int,
    *,
    direction: Direction | str,
    query_labels: ArrayLike | None = None,
    database_labels: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    own_rows: ArrayLike | None = None,
    bit_order: BitOrder | str = BitOrder.LITTLE,
    **choices: Unpack[MeasureChoices],
) -> DirectionReport:
    """Measure how well queries that keep their numbers find what is relevant to them.

    Items are ranked by `modalhash.codes.asymmetric_scores`, best first, with the formulas of
    `evaluate_direction`. Equal scores are ties, exactly. Blocks are sorted, so this is slower than
    the same by Hamming distance. There is no hash lookup and no curve by radius.

    Args:
        relaxed_queries: (q, n_bits) float32 or float64, finite; any scale.
        database_codes: (m, p) uint8, packed.
        n_bits: bits of a code.
        direction: as for `evaluate_direction`, as are the others.
        query_labels: (q, c) of 0 and 1.
        database_labels: (m, c) of 0 and 1.
        query_targets: (q,) or (q, t) database rows, -1 to fill up.
        own_rows: (q,) the database row that is each query itself, or None.
        bit_order: of the codes, "little" (ours) or "big".
        **choices: the fields of `MeasureSettings`.

    Returns:
        The report; its `scoring` is "asymmetric".

    Raises:
        ShapeError: if queries, codes, labels or targets have a wrong shape or dtype.
        InputError: as for `evaluate_direction`, and if a number of a query isn't finite.
        SettingError: if a setting is out of its range.
        UnknownNameError: if a name isn't known.

    Example:
        >>> from modalhash.codes import pack
        >>> codes = pack([[1, 1, -1], [1, -1, 1], [-1, 1, 1]])
        >>> report = evaluate_asymmetric(
        ...     np.array([[0.9, 0.1, 0.5]]), codes, 3, direction="text_to_image", query_targets=[1],
        ... )
        >>> report.find("recall", k=1).value, report.scoring
        (1.0, 'asymmetric')
    """
    settings = MeasureSettings.read(choices)
    database_codes = to_little(database_codes, bit_order)
    check_codes(database_codes, n_bits, name="database_codes")
    queries = WeightedQueries.of(relaxed_queries, n_bits, name="relaxed_queries")
    shape = (len(queries), len(database_codes))
    truth = read_truth(shape, query_labels, database_labels, query_targets, settings)
    truth, own = leave_out_own_rows(truth, shape, own_rows)
    tally = ScoreTally(
        WeightedRanking(queries, database_codes, own),
        truth=truth,
        gains=choose_gains(truth, settings),
        ties=settings.ties,
    )
    return measure_all(
        tally,
        read_choice("direction", Direction, direction),
        n_bits,
        settings,
        Scoring.ASYMMETRIC.value,
    )


def leave_out_own_rows(
    truth: Truth, shape: tuple[int, int], own_rows: ArrayLike | None
) -> tuple[Truth, NDArray[np.int64] | None]:
    """Check the rows that are queries themselves, and leave them out of what is relevant."""
    if own_rows is None:
        return truth, None
    own = check_own_rows(own_rows, *shape)
    return truth.without(own), own


def read_truth(
    shape: tuple[int, int],
    query_labels: ArrayLike | None,
    database_labels: ArrayLike | None,
    query_targets: ArrayLike | None,
    settings: MeasureSettings,
) -> Truth:
    """Check what was given to judge relevance by, and keep what the wanted rules need."""
    n_queries, n_items = shape
    if not n_queries or not n_items:
        raise InputError(
            f"there are {n_queries} queries and {n_items} database items, expected one of each "
            "at least"
        )
    if (query_labels is None) != (database_labels is None):
        present, missing = "query_labels", "database_labels"
        if query_labels is None:
            present, missing = missing, present
        raise InputError(f"{present} is given without {missing}: relevance by labels needs both")
    on_labels = (RelevanceRule.SHARED_LABEL, RelevanceRule.JACCARD, RelevanceRule.GRADED)
    possible = (on_labels if query_labels is not None else ()) + (
        (RelevanceRule.PAIR,) if query_targets is not None else ()
    )
    rules = possible if settings.relevances is None else settings.relevances
    for rule in rules:
        if rule not in possible:
            lacking = "query_targets" if rule is RelevanceRule.PAIR else "labels"
            raise InputError(f"relevance {rule.value!r} needs {lacking}, which aren't given")
    if not rules:
        raise InputError("nothing says what is relevant: give labels, or query_targets, or both")
    labels = None
    if any(rule in on_labels for rule in rules):
        assert query_labels is not None
        assert database_labels is not None
        is_jaccard = RelevanceRule.JACCARD in rules
        labels = LabelRelevance(
            check_labels(query_labels, n_queries, name="query_labels"),
            check_labels(database_labels, n_items, name="database_labels"),
            jaccard_threshold=settings.jaccard_threshold if is_jaccard else None,
            is_graded=RelevanceRule.GRADED in rules,
        )
    targets = None
    if RelevanceRule.PAIR in rules:
        assert query_targets is not None
        targets = check_targets(query_targets, n_queries, n_items)
    return Truth(tuple(dict.fromkeys(rules)), labels, targets)


def choose_gains(truth: Truth, settings: MeasureSettings) -> Floats | None:
    """Compute what each label state is worth, or None if nDCG isn't wanted."""
    if RelevanceRule.GRADED not in truth.rules:
        return None
    return gain_values(truth.grades, settings.gain)
