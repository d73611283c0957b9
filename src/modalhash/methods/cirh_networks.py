"""The network of CIRH that fuses both modalities of a batch and acts in training only."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

__all__ = ["FusedCodes", "FusionNetwork"]


@dataclass(frozen=True)
class FusedCodes:
    """What the network makes of n pairs.

    Attributes:
        image: (n, b) outputs of the image branch, unbounded.
        text: (n, b) outputs of the text branch, unbounded.
        joint: (n, b) in (-1, 1), from both branches and the collaborated graph.
        decoded_image: (n, d) image features, reconstructed.
        decoded_text: (n, e) text features, reconstructed.
    """

    image: Tensor
    text: Tensor
    joint: Tensor
    decoded_image: Tensor
    decoded_text: Tensor


class FusionNetwork(nn.Module):
    """Graph convolutions within each modality and over the nodes of both, then joint codes.

    The collaborated graph has 2 n nodes, the n pictures and n texts of a batch: pictures are linked
    as the pairs are, texts likewise, and each picture with its text by 1.

    Args:
        image_width: d.
        text_width: e.
        width: of everything between features and codes.
        n_bits: b.
    """

    def __init__(self, image_width: int, text_width: int, *, width: int, n_bits: int) -> None:
        super().__init__()
        self.image_encoder = normalised_layer(image_width, width)
        self.text_encoder = normalised_layer(text_width, width)
        self.image_graph = nn.Linear(width, width)
        self.text_graph = nn.Linear(width, width)
        self.joint_graph = nn.Linear(width, width)
        self.image_graph_norm = nn.BatchNorm1d(width)
        self.text_graph_norm = nn.BatchNorm1d(width)
        self.joint_graph_norm = nn.BatchNorm1d(width)
        self.image_codes = make_code_layer(2 * width, n_bits)
        self.text_codes = make_code_layer(2 * width, n_bits)
        self.graph_codes = make_code_layer(width, n_bits)
        self.joint_codes = make_code_layer(3 * n_bits, n_bits)
        self.image_decoder = decoder(n_bits, width, image_width)
        self.text_decoder = decoder(n_bits, width, text_width)

    def forward(self, image: Tensor, text: Tensor, edges: Tensor) -> FusedCodes:
        """Fuse n pairs.

        Args:
            image: (n, d) features.
            text: (n, e) features of the partners.
            edges: (n, n), how pairs are related.
        """
        image = normalize(self.image_encoder(image), dim=1)
        text = normalize(self.text_encoder(text), dim=1)
        image_graph = torch.relu(self.image_graph_norm(edges @ self.image_graph(image)))
        text_graph = torch.relu(self.text_graph_norm(edges @ self.text_graph(text)))
        joint_graph = self.collaborated(image, text, edges)
        image_codes = self.image_codes(torch.cat([image_graph, joint_graph], dim=1))
        text_codes = self.text_codes(torch.cat([joint_graph, text_graph], dim=1))
        branches = [image_codes, self.graph_codes(joint_graph), text_codes]
        joint = torch.tanh(self.joint_codes(torch.cat(branches, dim=1)))
        return FusedCodes(
            image_codes,
            text_codes,
            joint,
            self.image_decoder(joint + torch.tanh(image_codes)),
            self.text_decoder(joint + torch.tanh(text_codes)),
        )

    def collaborated(self, image: Tensor, text: Tensor, edges: Tensor) -> Tensor:
        """Compute (n, w) of a convolution over both modalities' nodes, those of a pair summed."""
        mapped_image, mapped_text = self.joint_graph(image), self.joint_graph(text)
        # The product with [[edges, I], [I, edges]], without making that matrix.
        nodes = torch.cat([edges @ mapped_image + mapped_text, mapped_image + edges @ mapped_text])
        image_nodes, text_nodes = self.joint_graph_norm(nodes).chunk(2)
        return torch.relu(image_nodes + text_nodes)


def normalised_layer(in_width: int, out_width: int) -> nn.Sequential:
    """Make an affine map, batch normalisation and ReLU."""
    return nn.Sequential(nn.Linear(in_width, out_width), nn.BatchNorm1d(out_width), nn.ReLU())


def make_code_layer(in_width: int, n_bits: int) -> nn.Sequential:
    """Make an affine map to codes and batch normalisation, which balances bits."""
    return nn.Sequential(nn.Linear(in_width, n_bits), nn.BatchNorm1d(n_bits))


def decoder(n_bits: int, width: int, out_width: int) -> nn.Sequential:
    """Make a decoder of one hidden layer."""
    return nn.Sequential(
        *normalised_layer(n_bits, width), nn.Linear(width, out_width), nn.BatchNorm1d(out_width)
    )
