"""Which pairs look wrong: how well pictures and texts agree about what is left out of a regression.

A picture and its text are each mapped to the common space by a regression that was fitted without
them. Both predictions of a right pair are near to each other, compared with other predictions
around them; those of a wrong pair are no nearer than the predictions of two items at random. So the
share of random pairs that agree at least as well is small for right pairs, and any number between 0
and 1, equally often, for wrong ones: how often it is large tells how many pairs are wrong (the
estimate of J. Storey: "A direct approach to false discovery rates", 2002).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from modalhash.layers import evenly_spaced, kernel_ridge
from modalhash.methods.shared_space import principal_directions, row_moments

__all__ = ["SMOOTH_RIDGE", "PairAgreement", "agree_without_own_pair", "measure_agreement"]

IMAGE_WEIGHT, WIDTH, N_LANDMARKS, SHARPNESS = 0.2, 256, 4096, 1.0
"""Of regressions that pairs are judged by: as in `nested`."""
SMOOTH_RIDGE = 0.5
"""Penalty of regressions that pairs are judged by, smoother than those that codes are learned of:
with wrong pairs in them they are nearer to what right pairs say."""

N_NEIGHBOURS = 10
"""Nearest predictions of the other modality that a pair is compared with."""
MOST_COMPARED = 2048
"""Items, evenly spaced, that others are compared with."""
BLOCK = 1024
"""Items that a regression reads at a time."""
COMPARED_BLOCK = 128
"""Items compared at a time, with as many as `MOST_COMPARED` others."""
FLAT_FROM = 0.4
"""Chance levels from here on are those of wrong pairs, but for few right ones."""
LEVELS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0)
"""Where chance levels are divided to count pairs."""
FIRST_LEVEL = 0.02
"""Pairs agree well up to this chance level."""
CLEAR_PEAK = 0.25
"""Share of the right pairs that agree well, at least, where features can tell wrong pairs."""


@dataclass(frozen=True)
class PairAgreement:
    """How well the two sides of n pairs agree.

    Attributes:
        scores: (n,) float32, twice the pair's cosine less the mean cosine of each side with its
            nearest; larger is better.
        chance_levels: (n,) float32 in [0, 1], share of random pairs that agree at least as well.
        wrong_share: estimated share of the pairs that are wrong.
        probabilities: (n,) float32, estimated probability that a pair is wrong.
    """

    scores: Tensor
    chance_levels: Tensor
    wrong_share: float
    probabilities: Tensor

    @property
    def weights(self) -> Tensor:
        """How much each pair should count, (n,): the square of its probability of being right.

        Squared, as a wrong pair that counts costs more than a right one that doesn't.
        """
        return (1 - self.probabilities).square()

    @property
    def is_clear(self) -> bool:
        """Whether right pairs agree so well that wrong ones can be told from them at all."""
        n_well = float((self.chance_levels <= FIRST_LEVEL).float().mean())
        right_share = 1 - self.wrong_share
        return n_well - FIRST_LEVEL * self.wrong_share >= CLEAR_PEAK * right_share > 0


def measure_agreement(image_points: Tensor, text_points: Tensor) -> PairAgreement:
    """Measure how well the two sides of each pair agree, relative to others.

    Args:
        image_points: (n, k) predictions of pictures that were left out.
        text_points: (n, k) predictions of their texts that were left out.

    Example:
        >>> points = torch.eye(40)
        >>> agreement = measure_agreement(points, points[[1, 0, *range(2, 40)]])  # two exchanged
        >>> agreement.scores.argsort()[:2].sort().values
        tensor([0, 1])
        >>> round(agreement.wrong_share, 2)  # 2 of 40 in the 60 % of levels that right pairs lack
        0.08
    """
    image, text = normalize(image_points.float(), dim=1), normalize(text_points.float(), dim=1)
    places = evenly_spaced(len(image), MOST_COMPARED)
    cosines = (image * text).sum(dim=1)
    image_near = torch.cat([*nearest_means(image, text[places], cosines, places)])
    text_near = torch.cat([*nearest_means(text, image[places], cosines, places)])
    scores = 2 * cosines - image_near - text_near
    levels = chance_levels(
        scores, (image[places], text[places]), (image_near[places], text_near[places])
    )
    wrong_share = min(1.0, float((levels > FLAT_FROM).float().mean()) / (1 - FLAT_FROM))
    return PairAgreement(scores, levels, wrong_share, estimate_probabilities(levels, wrong_share))


def chance_levels(
    scores: Tensor, compared: tuple[Tensor, Tensor], near: tuple[Tensor, Tensor]
) -> Tensor:
    """Compute which share of random pairs of items scores at least as high as each pair.

    Args:
        scores: (n,) of the pairs.
        compared: (m, k) points of pictures and of texts, of length 1; each picture with every text
            but its own is a random pair.
        near: (m,) mean cosines of these with the nearest.
    """
    (image, text), (image_near, text_near) = compared, near
    n_below = torch.zeros_like(scores, dtype=torch.int64)
    for start in range(0, len(image), COMPARED_BLOCK):
        rows = slice(start, start + COMPARED_BLOCK)
        random_scores = 2 * image[rows] @ text.T - image_near[rows, None] - text_near
        is_own = torch.zeros_like(random_scores, dtype=torch.bool)
        is_own.diagonal(start).fill_(True)
        n_below += torch.searchsorted(random_scores[~is_own].sort().values, scores)
    return 1 - n_below / max(1, len(image) * (len(image) - 1))


def agree_without_own_pair(image: Tensor, text: Tensor) -> PairAgreement:
    """Measure how well pairs agree about what is predicted of each side without the pair itself.

    Regressions are solved twice, the second time with less weight on pairs that look wrong.

    Args:
        image: (n, d_v) picture features, centred and of length 1.
        text: (n, d_t) features of the same items' texts, likewise.
    """
    likeness = torch.cat([IMAGE_WEIGHT**0.5 * image, (1 - IMAGE_WEIGHT) ** 0.5 * text], dim=1)
    mean, covariance = row_moments([likeness])
    directions = principal_directions(covariance, min(WIDTH, likeness.shape[1])).float()
    targets = (likeness - mean.float()) @ directions

    def predict(rows: Tensor, weights: Tensor | None) -> Tensor:
        return kernel_ridge(
            lambda: [
                (rows[start : start + BLOCK], targets[start : start + BLOCK])
                for start in range(0, len(rows), BLOCK)
            ],
            len(rows),
            n_landmarks=N_LANDMARKS,
            sharpness=SHARPNESS,
            ridge=SMOOTH_RIDGE,
            item_weights=weights,
        ).left_out

    first = measure_agreement(predict(image, None), predict(text, None))
    return measure_agreement(predict(image, first.weights), predict(text, first.weights))


def nearest_means(
    rows: Tensor, others: Tensor, own_cosines: Tensor, places: Tensor
) -> Iterator[Tensor]:
    """Yield, block by block, the mean cosine of rows with the nearest of others and their own.

    Args:
        rows: (n, k) of length 1.
        others: (m, k) of length 1, partners of the rows at `places`.
        own_cosines: (n,) of each row with its partner.
        places: (m,) int64.
    """
    n_nearest = min(N_NEIGHBOURS, len(others))
    columns = torch.full((len(rows),), -1)
    columns[places] = torch.arange(len(places))
    for start in range(0, len(rows), COMPARED_BLOCK):
        end = min(start + COMPARED_BLOCK, len(rows))
        cosines = rows[start:end] @ others.T
        partners = columns[start:end]
        # A row whose partner isn't among the others is compared with it too.
        own = own_cosines[start:end].masked_fill(partners >= 0, -torch.inf)
        yield torch.cat([cosines, own[:, None]], dim=1).topk(n_nearest).values.mean(dim=1)


def estimate_probabilities(levels: Tensor, wrong_share: float) -> Tensor:
    """Estimate how probably each pair is wrong, which grows with its chance level.

    Wrong pairs are equally frequent at all levels, so that it is their share divided by the
    frequency of pairs at the level, which is counted between `LEVELS` and never grows.

    Args:
        levels: (n,) float32 in [0, 1].
        wrong_share: of all pairs.
    """
    borders = torch.tensor(LEVELS)
    bins = torch.bucketize(levels.cpu(), borders[1:-1])
    counts = torch.bincount(bins, minlength=len(borders) - 1)
    densities = torch.cummin(counts / len(levels) / borders.diff(), dim=0).values
    tiny = torch.finfo(densities.dtype).tiny
    probabilities: Tensor = (wrong_share / densities.clamp_min(tiny)).clamp_max(1)[bins]
    return probabilities if wrong_share else torch.zeros_like(probabilities)
