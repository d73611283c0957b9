"""Learning against the codes of a former model, so that both models' codes may be mixed."""

import torch

from modalhash.errors import SettingError
from modalhash.losses import former_agreement
from modalhash.methods.base import (
    Batch,
    GradientMethod,
    Heads,
    LossReport,
    Method,
    Moment,
    Term,
)

__all__ = ["add_former_terms", "check_compatible_method"]

LARGEST_SHARPNESS = 4.0
"""Factor on the numbers that learn at the end of training; it begins at 1."""


def check_compatible_method(method: Method) -> None:
    """Refuse methods that can't learn against the codes of a former model.

    Raises:
        SettingError: naming the way out.
    """
    if not isinstance(method, GradientMethod):
        raise SettingError(
            f"compatible_with is given, but {method.title} solves for its heads and can't learn "
            "against another model's codes: choose a method that learns by gradient, such as nested"
        )


def add_former_terms(
    report: LossReport,
    method: GradientMethod[Heads],
    heads: Heads,
    batch: Batch,
    moment: Moment,
    *,
    weight: float,
) -> LossReport:
    """Add to a loss what keeps codes near a former model's, where a batch brings such codes.

    Losses of methods are of very different sizes: the weight is a multiple of the method's own, at
    this batch, or of 1 where that is smaller.
    """
    if batch.former is None or not weight:
        return report
    image, text = method.relaxed_pairs(heads, batch)
    sharpness = 1 + (LARGEST_SHARPNESS - 1) * moment.progress
    agreement = former_agreement(
        torch.cat([image, text]),
        torch.cat([batch.former.image, batch.former.text]),
        sharpness=sharpness,
    )
    size = max(1.0, abs(report.total.item()))
    terms = {**report.terms, "former": Term(agreement, weight * size)}
    return LossReport(terms, report.watched)
