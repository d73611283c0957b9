"""The offline encoder of a shared space: pictures as mixtures of class names, texts as they are.

A picture is the mean of the embeddings of ImageNet's 1,000 class names, weighted by what
EfficientNet-Lite0's own classifier gives each class, softened. Texts are MiniLM's embeddings. Both
are centred by constants and have length 1, so their inner product is how alike they are, and
nothing is learned from pairs of pictures and texts.

M. Norouzi et al.: Zero-Shot Learning by Convex Combination of Semantic Embeddings, ICLR 2014
(https://arxiv.org/abs/1312.5650). Differs from the paper: all classes take part, not the ten most
probable, and the classifier is softened.

The constants, in `shared_space.safetensors`, are MiniLM's embeddings of a sentence on each class
and the mean of its embeddings of made captions; `benchmarks/quality/shared_space.py` writes them.
"""

from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from modalhash.encoders.base import Identity, ImageTower, TextTower, TowerOutput
from modalhash.encoders.devices import torch_device
from modalhash.encoders.offline_image import OfflineImageTower, load_lite0_weights
from modalhash.encoders.offline_text import OfflineTextTower
from modalhash.errors import FeatureError
from modalhash.extras import import_optional
from modalhash.files import sha256_of_file

__all__ = ["CONSTANTS_FILE", "OfflineSharedImageTower", "OfflineSharedTextTower"]

CONSTANTS_FILE = "shared_space.safetensors"
TEMPERATURE = 2.0
"""Divides the classifier's outputs before they become weights; chosen on Flickr8k's train split."""
WIDTH = 384


def load_constants() -> tuple[dict[str, Tensor], str]:
    """Load the constants of the shared space, and the SHA-256 of their file.

    Returns:
        `class_embeddings` (1000, 384) and `text_mean` (384,) as float32, and the hash.
    """
    safetensors = import_optional(
        "safetensors.torch", extra="offline", feature="the offline-shared encoder"
    )
    with as_file(files("modalhash.encoders") / CONSTANTS_FILE) as path:
        tensors = safetensors.load_file(path)
        digest = sha256_of_file(path)
    return {name: tensor.float() for name, tensor in tensors.items()}, digest


def refuse_tokens(with_tokens: bool) -> None:
    """Refuse to make content tokens.

    Raises:
        FeatureError: if they are asked for.
    """
    if with_tokens:
        raise FeatureError(
            "the offline-shared encoder has no content tokens: take an encoder that has them, such "
            "as 'offline' or 'clip'"
        )


class OfflineSharedImageTower(ImageTower):
    """Mixtures of class names, by EfficientNet-Lite0's classifier: pooled 384-d of length 1.

    Pictures are prepared as those of `OfflineImageTower`.

    Args:
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if a package it needs isn't installed.
        ModelUnavailableError: if the weights aren't the ones this version was made for.
        SettingError: if the device isn't there.
    """

    width = WIDTH
    item_bytes = OfflineImageTower.item_bytes

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._pictures = OfflineImageTower(device)
        self.picture_side = self._pictures.picture_side
        weights, on_device = load_lite0_weights(), torch_device(device)
        self._classifier = weights["_fc.weight"].float().to(on_device)
        self._bias = weights["_fc.bias"].float().to(on_device)
        constants, self._constants_sha256 = load_constants()
        embeddings = constants["class_embeddings"]
        self._classes = (embeddings - embeddings.mean(dim=0)).to(on_device)

    def identity(self) -> Identity:
        """Describe the network, the constants' hash and the temperature."""
        return {
            "name": "efficientnet-lite0-class-names",
            "version": 1,
            "pictures": dict(self._pictures.identity()),
            "constants": self._constants_sha256,
            "temperature": TEMPERATURE,
            "width": self.width,
        }

    def decode_in_full(self) -> None:
        """Have large JPEG files decoded in full from now on; the identity follows."""
        self._pictures.decode_in_full()
        super().decode_in_full()

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Prepare a picture as `OfflineImageTower` does."""
        return self._pictures.prepare(picture)

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode prepared pictures; there are no tokens."""
        refuse_tokens(with_tokens)
        return TowerOutput(self.mix_class_names(self._pictures.encode(prepared).pooled))

    @property
    def pictures(self) -> OfflineImageTower:
        """The tower whose pooled features are mixed."""
        return self._pictures

    @torch.inference_mode()
    def mix_class_names(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map pooled features of EfficientNet-Lite0 to mixtures of class names.

        Args:
            pooled: (n, 1280) float32, as `OfflineImageTower` makes them.

        Returns:
            (n, 384) float32, of length 1. A row depends on that row's features alone.
        """
        rows = torch.from_numpy(np.asarray(pooled, np.float32)).to(self._classes.device)
        # Row by row: the kernel of a product could depend on the number of rows.
        mixtures = [self.mix(row[None]) for row in rows]
        return torch.cat(mixtures).cpu().numpy()

    def mix(self, pooled: Tensor) -> Tensor:
        """Map (n, 1280) pooled features to their (n, 384) mixtures."""
        scores = functional.linear(pooled, self._classifier, self._bias)
        weights = functional.softmax(scores / TEMPERATURE, dim=1)
        return functional.normalize(weights @ self._classes, dim=1)


class OfflineSharedTextTower(TextTower):
    """MiniLM's sentence vectors less the mean of captions: pooled 384-d of length 1.

    Args:
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if a package it needs isn't installed.
        ModelUnavailableError: if the weights aren't the ones this version was made for.
        SettingError: if the device isn't there.
    """

    width = WIDTH
    item_bytes = OfflineTextTower.item_bytes

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._texts = OfflineTextTower(device)
        constants, self._constants_sha256 = load_constants()
        self._mean: NDArray[np.float32] = constants["text_mean"].numpy()

    def identity(self) -> Identity:
        """Describe the network and the constants' hash."""
        return {
            "name": "all-minilm-l6-v2-centred",
            "version": 1,
            "texts": dict(self._texts.identity()),
            "constants": self._constants_sha256,
            "width": self.width,
        }

    @property
    def texts(self) -> OfflineTextTower:
        """The tower whose sentence vectors are centred."""
        return self._texts

    @property
    def mean(self) -> NDArray[np.float32]:
        """(384,) what is subtracted from sentence vectors."""
        return self._mean

    def knows(self, text: str) -> bool:
        """Tell whether `OfflineTextTower` knows a text."""
        return self._texts.knows(text)

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode texts; there are no tokens."""
        refuse_tokens(with_tokens)
        return TowerOutput(self.centre_texts(self._texts.encode(texts).pooled))

    def centre_texts(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Subtract the mean of captions from MiniLM's sentence vectors.

        Args:
            pooled: (n, 384) float32, as `OfflineTextTower` makes them.

        Returns:
            (n, 384) float32, of length 1.
        """
        centred = pooled - self._mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        unit: NDArray[np.float32] = centred / np.maximum(lengths, np.finfo(np.float32).tiny)
        return unit
