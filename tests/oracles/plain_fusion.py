"""A network of graph convolutions that fuses two modalities, by loops in plain numbers."""

import math

from torch import nn

from tests.oracles.plain_graphs import positive, product
from tests.oracles.plain_losses import Matrix, Rows, affine, unit


def mapped(layer: nn.Linear, rows: Rows) -> Matrix:
    return affine(rows, layer.weight.tolist(), layer.bias.tolist())


def batch_normalised(norm: nn.BatchNorm1d, rows: Rows) -> Matrix:
    """By the mean and deviation of these rows, as in training."""
    columns = []
    for place, column in enumerate(zip(*rows, strict=True)):
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / len(column) + norm.eps)
        factor, offset = norm.weight[place].item(), norm.bias[place].item()
        columns.append([factor * (value - mean) / deviation + offset for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


def through(layers: nn.Sequential, rows: Rows) -> Matrix:
    found = [list(row) for row in rows]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            found = mapped(layer, found)
        elif isinstance(layer, nn.BatchNorm1d):
            found = batch_normalised(layer, found)
        else:
            found = positive(found)
    return found


def beside(*parts: Rows) -> Matrix:
    return [[value for row in rows for value in row] for rows in zip(*parts, strict=True)]


def squashed(rows: Rows) -> Matrix:
    return [[math.tanh(value) for value in row] for row in rows]


def summed(rows: Rows, other: Rows) -> Matrix:
    return [
        [one + two for one, two in zip(row, other_row, strict=True)]
        for row, other_row in zip(rows, other, strict=True)
    ]


def fused(network: nn.Module, image: Rows, text: Rows, edges: Rows) -> dict[str, Matrix]:
    """What the network makes of n pairs, with the matrix of the 2 n nodes written out."""
    parts = dict(network.named_children())

    def sequence(name: str) -> nn.Sequential:
        found = parts[name]
        assert isinstance(found, nn.Sequential)
        return found

    def convolved(name: str, rows: Rows, matrix: Rows) -> Matrix:
        layer, norm = parts[f"{name}_graph"], parts[f"{name}_graph_norm"]
        assert isinstance(layer, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        return batch_normalised(norm, product(matrix, mapped(layer, rows)))

    n = len(image)
    image = [unit(row) for row in through(sequence("image_encoder"), image)]
    text = [unit(row) for row in through(sequence("text_encoder"), text)]
    image_graph = positive(convolved("image", image, edges))
    text_graph = positive(convolved("text", text, edges))
    itself = [[float(i == j) for j in range(n)] for i in range(n)]
    both = beside(edges, itself) + beside(itself, edges)
    nodes = convolved("joint", [*image, *text], both)
    joint_graph = positive(summed(nodes[:n], nodes[n:]))
    image_codes = through(sequence("image_codes"), beside(image_graph, joint_graph))
    text_codes = through(sequence("text_codes"), beside(joint_graph, text_graph))
    graph_codes = through(sequence("graph_codes"), joint_graph)
    joint = squashed(through(sequence("joint_codes"), beside(image_codes, graph_codes, text_codes)))
    return {
        "image": image_codes,
        "text": text_codes,
        "joint": joint,
        "decoded_image": through(sequence("image_decoder"), summed(joint, squashed(image_codes))),
        "decoded_text": through(sequence("text_decoder"), summed(joint, squashed(text_codes))),
    }
