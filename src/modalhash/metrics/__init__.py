"""Ranking measures for binary codes: each formula by its name, exact under every tie rule."""

from modalhash.metrics.average_precisions import average_precision
from modalhash.metrics.bit_statistics import (
    COLLAPSED_SHARE,
    CodeStatistics,
    code_statistics,
    quantisation_error,
)
from modalhash.metrics.bootstrap import PairedComparison, bootstrap_interval, compare_runs
from modalhash.metrics.calibration import (
    DirectionCalibration,
    DistanceCounts,
    RelevanceCurve,
    Reliability,
    calibrate_direction,
    count_pairs,
    fit_relevance,
)
from modalhash.metrics.comparison import MeasureComparison, compare_reports
from modalhash.metrics.evaluation import (
    evaluate_asymmetric,
    evaluate_direction,
    evaluate_scores,
)
from modalhash.metrics.label_forms import read_labels
from modalhash.metrics.options import (
    Convention,
    Gain,
    MeasureChoices,
    MeasureSettings,
    RelevanceRule,
    Ties,
)
from modalhash.metrics.ranked_measures import (
    first_target,
    hash_lookup,
    precision_at,
    recall_at,
)
from modalhash.metrics.relevance import LabelRelevance, match_items
from modalhash.metrics.report import Report
from modalhash.metrics.report_table import csv_text
from modalhash.metrics.results import Curve, DirectionReport, Measure
from modalhash.metrics.score_levels import (
    count_scored_pairs,
    last_level,
    least_score,
    score_levels,
)
from modalhash.metrics.tie_groups import TieGroups
from modalhash.modalities import Direction

__all__ = [
    "COLLAPSED_SHARE",
    "CodeStatistics",
    "Convention",
    "Curve",
    "Direction",
    "DirectionCalibration",
    "DirectionReport",
    "DistanceCounts",
    "Gain",
    "LabelRelevance",
    "Measure",
    "MeasureChoices",
    "MeasureComparison",
    "MeasureSettings",
    "PairedComparison",
    "RelevanceCurve",
    "RelevanceRule",
    "Reliability",
    "Report",
    "TieGroups",
    "Ties",
    "average_precision",
    "bootstrap_interval",
    "calibrate_direction",
    "code_statistics",
    "compare_reports",
    "compare_runs",
    "count_pairs",
    "count_scored_pairs",
    "csv_text",
    "evaluate_asymmetric",
    "evaluate_direction",
    "evaluate_scores",
    "first_target",
    "fit_relevance",
    "hash_lookup",
    "last_level",
    "least_score",
    "match_items",
    "precision_at",
    "quantisation_error",
    "read_labels",
    "recall_at",
    "score_levels",
]
