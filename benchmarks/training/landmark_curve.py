"""Measure what landmarks and fitted items are worth to the common space of nested codes.

Run it: `python -m benchmarks.training.landmark_curve --runs 1024:20000 1024:100000 4096:50000`

Both regressions of `nested` are fitted on made pairs; held-out pairs are then searched by the
cosines of their points in the common space, as floats, before there are bits.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.result_files import RESULTS, write_result
from benchmarks.training.made_pairs import BLOCK, WIDTH, MadePairs
from modalhash.layers import FeatureScaling, ScalingRule, gaussian_kernel, kernel_weights
from modalhash.layers.feature_scaling import unit_rows
from modalhash.methods.nested_method import NestedSettings
from modalhash.methods.shared_space import principal_directions, row_moments

N_HELD_OUT, N_QUERIES, N_MOMENTS = 5_000, 1_000, 20_000
RECALL_AT, TOP_K = 10, 50
PART = 2_000
"""Rows at a time."""


class ScaledPairs:
    """Made pairs in memory as halves, scaled as they are read.

    Args:
        n_pairs: that regressions may be fitted on; held-out pairs follow in the next blocks.
        seed: of the pairs.
    """

    def __init__(self, n_pairs: int, seed: int) -> None:
        made = MadePairs(seed)
        n_rows = -(-n_pairs // BLOCK) * BLOCK + N_HELD_OUT
        self.rows = torch.empty(2, n_rows, WIDTH, dtype=torch.float16)
        for start, *parts in made.blocks(n_rows):
            for rows, part in zip(self.rows, parts, strict=True):
                rows[start : start + len(part)] = torch.from_numpy(part)
        self.labels = torch.from_numpy(made.labels(n_rows)[-N_HELD_OUT:]).float()
        self.scalings = [
            FeatureScaling(ScalingRule.CENTRED_UNIT, WIDTH).fit([rows[:N_MOMENTS].float()])
            for rows in self.rows
        ]
        share = NestedSettings().image_weight
        self.weights = share**0.5, (1 - share) ** 0.5
        self.mean, covariance = row_moments([self.likeness(0, N_MOMENTS)])
        self.directions = principal_directions(covariance, NestedSettings().target_width).float()

    def read(self, modality: int, places: "slice | Tensor") -> Tensor:
        """Read scaled features of one modality, 0 pictures and 1 texts."""
        return self.scalings[modality].scale_pooled(self.rows[modality, places].float())

    def likeness(self, start: int, end: int) -> Tensor:
        """Compute what makes pairs alike, both modalities side by side."""
        parts = [
            weight * self.read(modality, slice(start, end))
            for modality, weight in enumerate(self.weights)
        ]
        return torch.cat(parts, dim=1)

    def blocks(self, modality: int, n_fitted: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the features and the targets of the first pairs."""
        for start in range(0, n_fitted, PART):
            end = min(n_fitted, start + PART)
            targets = (self.likeness(start, end) - self.mean.float()) @ self.directions
            yield self.read(modality, slice(start, end)), targets


def fit_and_measure(pairs: ScaledPairs, n_landmarks: int, n_fitted: int) -> dict[str, Any]:
    """Fit both regressions, and measure the held-out pairs' points."""
    settings, started, points = NestedSettings(), time.process_time(), []
    for modality in (0, 1):
        landmarks = pairs.read(modality, torch.arange(n_landmarks) * n_fitted // n_landmarks)
        weights = kernel_weights(
            pairs.blocks(modality, n_fitted),
            landmarks,
            sharpness=settings.sharpness,
            ridge=settings.ridge,
        )
        held_out = pairs.read(modality, slice(-N_HELD_OUT, None))
        points.append(unit_rows(gaussian_kernel(held_out, landmarks, settings.sharpness) @ weights))
    row: dict[str, Any] = {"landmarks": n_landmarks, "fitted": n_fitted}
    row["cpu_seconds"] = round(time.process_time() - started, 1)
    relevant = pairs.labels[:N_QUERIES] @ pairs.labels.T > 0
    for direction, queries, database in (
        ("image_to_text", points[0], points[1]),
        ("text_to_image", points[1], points[0]),
    ):
        scores = queries[:N_QUERIES] @ database.T
        ranks = (scores > scores.diagonal()[:, None]).sum(dim=1)
        hits = relevant.gather(1, scores.topk(TOP_K).indices).float()
        precisions = hits.cumsum(dim=1) / torch.arange(1, TOP_K + 1)
        average = (precisions * hits).sum(dim=1) / hits.sum(dim=1).clamp_min(1)
        row[f"{direction}_recall_at_{RECALL_AT}"] = round(float((ranks < 10).float().mean()), 3)
        row[f"{direction}_map_at_{TOP_K}"] = round(float(average.mean()), 3)
    return row


def main() -> None:
    """Measure each pair of numbers and write the result."""
    parser = argparse.ArgumentParser(description="What landmarks and fitted items are worth.")
    parser.add_argument("--runs", nargs="+", default=["1024:20000"], metavar="LANDMARKS:FITTED")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = [tuple(map(int, text.split(":"))) for text in options.runs]
    pairs = ScaledPairs(max(n_fitted for _, n_fitted in runs), options.seed)
    rows = []
    for n_landmarks, n_fitted in runs:
        rows.append(fit_and_measure(pairs, n_landmarks, n_fitted))
        print(rows[-1], flush=True)
    path = RESULTS / "training-landmark-curve.json"
    write_result(path, "training.landmark_curve", vars(options), rows)


if __name__ == "__main__":
    main()
