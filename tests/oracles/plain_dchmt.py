"""The objective of DCHMT by loops over pairs, in plain Python numbers."""

import math

from tests.oracles.plain_label_graphs import similarity
from tests.oracles.plain_losses import Rows


def selections(differences: Rows) -> list[list[float]]:
    """Both probabilities of every bit, by the softmax of two scores with these differences."""
    rows = []
    for row in differences:
        line = []
        for difference in row:
            scores = (math.exp(-difference / 2), math.exp(difference / 2))
            line += [score / sum(scores) for score in scores]
        rows.append(line)
    return rows


def objective(
    image: Rows, text: Rows, labels: Rows, *, grading: float, unlike_share: float
) -> dict[str, float]:
    """The terms of a batch, of the differences of both scores of each bit."""
    wanted = similarity(labels, grading)
    n, n_bits = len(image), len(image[0])
    margin = math.sqrt(2 * n_bits * unlike_share)
    image_rows, text_rows = selections(image), selections(text)
    near = far = 0.0
    for rows, others in ((image_rows, text_rows), (image_rows, image_rows), (text_rows, text_rows)):
        for i, row in enumerate(rows):
            for j, other in enumerate(others):
                distance = math.dist(row, other)
                near += wanted[i][j] * distance**2 / n**2
                far += (1 - wanted[i][j]) * max(0.0, margin - distance) ** 2 / n**2
    undecided = 0.0
    for rows in (image_rows, text_rows):
        values = [(2 * value - 1) ** 2 for row in rows for value in row]
        undecided += (1 - sum(values) / len(values)) / 2
    return {"near": near, "far": far, "quantization": undecided}
